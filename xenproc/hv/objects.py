"""What the kernel holds for this hypervisor and each domain: descriptors by kind, threads. Read from /proc when asked.

Called by control.py for `xenproc info`. What may not be read is None, never 0.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from xenproc.hv.domain import DomainRecord

_KINDS = (
    (re.compile(r"anon_inode:\[?(\w+)\]?"), None),
    (re.compile(r"(pidfd|socket|pipe):\["), None),
    (re.compile(r"(mnt|net|ipc|uts|user|pid|cgroup|time):\["), "namespace"),
    (re.compile(r"/proc/\d+/pagemap$"), "pagemap"),
    (re.compile(r"/dev/shm/.* \(deleted\)$"), "machine memory"),
)


def kind_of(target: str) -> str:
    """Return what a descriptor is, from what its link in /proc/PID/fd says."""
    for pattern, name in _KINDS:
        match = pattern.match(target)
        if match:
            return name or match[1]
    return "file"


def descriptors(pid: int | str) -> dict[str, int] | None:
    """Return how many descriptors of each kind a process holds, or None if we may not look."""
    kinds: Counter[str] = Counter()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                kinds[kind_of(os.readlink(f"/proc/{pid}/fd/{fd}"))] += 1
            except FileNotFoundError:
                pass            # the one that listed the directory
    except OSError:
        return None
    return dict(sorted(kinds.items()))


def threads(pid: int | str) -> int | None:
    """Return how many threads a process has, or None if we may not look."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return None


def kernel_objects(domains: Iterable[DomainRecord]) -> dict[str, Any]:
    """Return {"hypervisor": {"descriptors": {kind: n}, "threads": n}, "domains": {domid: the same}}."""

    def of(pid: int | str) -> dict[str, Any]:
        return {"descriptors": descriptors(pid), "threads": threads(pid)}

    alive = [record for record in domains if record.pidfd >= 0]
    return {"hypervisor": of("self"), "domains": {record.domid: of(record.pid) for record in alive}}
