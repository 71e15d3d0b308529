"""Names that a dead hypervisor left in /dev/shm: found by their prefix and the pid in them, removed under a lock.

Machine memory has a name for the microseconds between its creation and its unlinking only (machine.py), so there is
something to find only after a power cut or a kill just then. Invariants:
1. what a living process made, or any process has open or mapped, is never touched;
2. who cannot be asked (another user's name) is left alone;
3. two collections at once do not disturb each other, and neither waits for ever.
"""

import fcntl
import os
import re
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from xenproc.errors import EnvironmentLacks, Timeout
from xenproc.machine import NAME_PREFIX, SHM_DIR

LOCK_DEADLINE_S = 5.0
_NAME = re.compile(rf"(?:sem\.)?{re.escape(NAME_PREFIX)}([1-9]\d{{0,6}})\.[0-9A-Za-z_.-]+")
_CLOCK_SLACK_S = 1.0


@dataclass(frozen=True)
class Name:
    """A name of ours in /dev/shm whose owner is not at work; kept: why it must stay all the same, or None."""

    path: str
    kept: str | None


def collect(remove: bool = True, directory: str = SHM_DIR) -> list[Name]:
    """Return the left-over names in `directory`; those that nobody uses are removed unless `remove` is False.

    Raises EnvironmentLacks (no such directory), Timeout (another collection, or whoever locks it, takes too long).
    """
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EnvironmentLacks(f"{directory} cannot be read: {error.strerror}") from None
    try:
        _lock(lock, directory)
        return [found for path in sorted(Path(directory).iterdir()) if (found := _look(path, remove)) is not None]
    finally:
        os.close(lock)


def _lock(fd: int, directory: str) -> None:
    end = time.monotonic() + LOCK_DEADLINE_S
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Timeout(f"{directory} is locked by another process for more than {LOCK_DEADLINE_S:g} s") from None
            time.sleep(0.02)


def _look(path: Path, remove: bool) -> Name | None:
    match = _NAME.fullmatch(path.name)
    if not match:
        return None
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or _owner_lives(int(match[1]), status.st_ctime):
            return None
        kept = _in_use(path)
        if kept is None and remove:
            path.unlink()
    except FileNotFoundError:
        return None             # whoever made it has removed it meanwhile
    except PermissionError:
        kept = "it belongs to another user"
    return Name(str(path), kept)


def _owner_lives(pid: int, changed: float) -> bool:
    """Does the process that made the name live? One that is younger than the name has only inherited the number."""
    import psutil

    try:
        return psutil.Process(pid).create_time() <= changed + _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _in_use(path: Path) -> str | None:
    """Return who the kernel says has a file open or mapped, in whatever namespace: it grants a write lease only if nobody has.

    Raises FileNotFoundError, PermissionError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # A process that opens it just now would have us told by SIGIO, which kills; SIGURG is ignored unless somebody wants it.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return "a process has it open"
    except OSError as error:
        if error.errno in (1, 13):
            raise
        return f"whether it is open cannot be found out: {error.strerror}"
    finally:
        os.close(fd)
    return None
