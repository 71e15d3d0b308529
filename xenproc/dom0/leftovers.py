"""Names that a dead hypervisor left in /dev/shm: found by their prefix and the pid in them, removed under a lock.

Machine memory has a name for the microseconds between its creation and its unlinking only (machine.py), so there is
something to find only after a power cut or a kill just then. Invariant: what a living process made is never touched.
"""

import fcntl
import os
import re
from pathlib import Path

from xenproc.machine import NAME_PREFIX, SHM_DIR

_NAME = re.compile(rf"(?:sem\.)?{re.escape(NAME_PREFIX)}(\d+)\.[0-9A-Za-z_.-]+")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def collect(remove: bool = True, directory: str = SHM_DIR) -> list[str]:
    """Return the left-over paths in `directory`, removed unless `remove` is False.

    Names of other users are left alone. Two collections at once do not disturb each other.
    """
    found = []
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in sorted(Path(directory).iterdir()):
            match = _NAME.fullmatch(path.name)
            if not match or _alive(int(match[1])) or (path.lstat().st_uid not in (os.geteuid(),) and os.geteuid() != 0):
                continue
            if remove:
                path.unlink(missing_ok=True)
            found.append(str(path))
    finally:
        os.close(lock)
    return found
