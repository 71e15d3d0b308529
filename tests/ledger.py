"""The ledger: what a test has left behind, in words.

Counted before and after each test (tests/conftest.py): names (shared memory, semaphores, sockets, temporary files of ours),
living and unreaped processes below this one, descriptors, mappings of machine memory, threads, mounts. Invariants:
1. This process adopts orphans (PR_SET_CHILD_SUBREAPER), so that a domain that outlives its hypervisor is seen here.
2. What another run on this host leaves is not ours: a name counts only if no process outside of this tree holds it.
3. What only needs a moment to go (a killed process, a closing socket) has one: SETTLE_S.
"""

import ctypes
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SETTLE_S = float(os.environ.get("XENPROC_SETTLE_S", "5"))
NAMES = (
    "/dev/shm/*",
    "/tmp/xenproc*",
    "/run/xenproc*",
    f"{os.environ.get('XDG_RUNTIME_DIR', f'/run/user/{os.getuid()}')}/xenproc*",
)
SPARE = "xenproc-spare"          # xenproc/guest/boot.py
OURS = ("xenproc", "/dev/shm/")
CACHES = "/site-packages/"      # files that other packages keep open for good, such as matplotlib's fonts
_PR_SET_CHILD_SUBREAPER = 36


_made: set[tuple[int, int]] = set()             # (pid, start) of the children that this process made itself
_popen_init = subprocess.Popen.__init__


def adopt_orphans() -> None:
    """Make this process the one that a descendant falls to when its parent dies, and tell those from its own children."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    os.register_at_fork(after_in_parent=_note_newest_child)
    subprocess.Popen.__init__ = _note_popen


@dataclass(frozen=True)
class Process:
    """A process below this one."""

    pid: int
    parent: int
    session: int
    state: str
    started: int        # tells a number used again from the old one
    name: str

    def __str__(self) -> str:
        kind = "zombie" if self.state == "Z" else "process"
        return f"{kind} {self.pid} ({self.name}) of parent {self.parent}: {_command(self.pid)}"

    @property
    def key(self) -> tuple[int, int, bool]:
        """What makes it the same one as before; a zombie is another thing than the process it was.

        The warm server keeps one process in reserve and forks the next when it is used: any spare is as good as another.
        """
        if self.name == SPARE:
            return -1, self.parent, self.state == "Z"
        return self.pid, self.started, self.state == "Z"


@dataclass
class Ledger:
    """What there is at one moment."""

    names: set[str] = field(default_factory=set)
    processes: dict[tuple[int, int, bool], Process] = field(default_factory=dict)
    descriptors: dict[int, str] = field(default_factory=dict)
    mappings: set[str] = field(default_factory=set)
    threads: dict[int, str] = field(default_factory=dict)
    mounts: set[str] = field(default_factory=set)

    @classmethod
    def now(cls) -> "Ledger":
        """Count."""
        reap_adopted()
        return cls(
            set(_names()),
            {process.key: process for process in descendants()},
            _descriptors(),
            set(_mappings()),
            _threads(),
            {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "xenproc" in line},
        )

    def left_since(self, before: "Ledger") -> list[str]:
        """Return what is here and was not there before, one sentence a thing."""
        found = [f"name {name}" for name in sorted(self.names - before.names) if not _held_by_others(name)]
        found += [str(process) for key, process in self.processes.items() if key not in before.processes]
        for fd, target in self.descriptors.items():
            if before.descriptors.get(fd) != target and CACHES not in target:
                found.append(f"descriptor {fd} -> {target}")
        found += [f"mapping {line}" for line in sorted(self.mappings - before.mappings)]
        found += [f"thread {name}" for ident, name in self.threads.items() if ident not in before.threads]
        found += [f"mount {line}" for line in sorted(self.mounts - before.mounts)]
        return found


def settle(before: Ledger, seconds: float = SETTLE_S, ignore: Container[str] = ()) -> list[str]:
    """Return what is still left when `seconds` have passed; at once when nothing is."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        left = [line for line in Ledger.now().left_since(before) if line not in ignore]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def clear_processes(before: Ledger) -> None:
    """Kill and reap what a failed test has left running, so that the next one is not blamed for it."""
    for key, process in Ledger.now().processes.items():
        if key in before.processes:
            continue
        try:
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass                # it went by itself, or somebody else has reaped it


def descendants(root: int | None = None) -> list[Process]:
    """Return every process below `root` (default: this one), the dead that nobody has waited for included."""
    found: list[Process] = []
    todo = [os.getpid() if root is None else root]
    while todo:
        below = [process for pid in _children(todo.pop()) if (process := _process(pid)) is not None]
        found += below
        todo += [process.pid for process in below]
    return found


def reap_adopted() -> None:
    """Reap dead orphans, as init would: children that this process did not make itself."""
    for pid in _children(os.getpid()):
        process = _process(pid)
        if process is not None and process.state == "Z" and (pid, process.started) not in _made:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass            # a thread of the test was faster


def _note_newest_child() -> None:
    below = [process for pid in _children(os.getpid()) if (process := _process(pid)) is not None]
    if below:
        newest = max(below, key=lambda process: process.started)
        _made.add((newest.pid, newest.started))


def _note_popen(self: subprocess.Popen, *args: object, **kwargs: object) -> None:
    _popen_init(self, *args, **kwargs)
    process = _process(self.pid)
    if process is not None:
        _made.add((self.pid, process.started))


def _process(pid: int) -> Process | None:
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return None
    fields = tail.split()
    return Process(pid, int(fields[1]), int(fields[3]), fields[0], int(fields[19]), head.partition(" (")[2])


def _children(pid: int) -> list[int]:
    """Return the children of a process, from the kernel's own list where it keeps one (CONFIG_PROC_CHILDREN)."""
    if not os.path.exists("/proc/thread-self/children"):
        return [process.pid for process in _all_processes() if process.parent == pid]
    found = []
    for path in glob.glob(f"/proc/{pid}/task/[0-9]*/children"):
        try:
            found += [int(word) for word in Path(path).read_text().split()]
        except OSError:
            continue            # a thread that ended meanwhile
    return found


def _all_processes() -> Iterator[Process]:
    for path in glob.glob("/proc/[0-9]*"):
        process = _process(int(path.removeprefix("/proc/")))
        if process is not None:
            yield process


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() or "?"
    except OSError:
        return "?"


def _names() -> Iterator[str]:
    ours = {os.getpid(), *(process.pid for process in descendants())}
    for pattern in NAMES:
        for path in glob.glob(pattern):
            made_by = re.search(r"xenproc\.(\d+)\.", path)
            # Another run beside this one: a name that carries the number of a process that lives and is none of ours.
            if not made_by or int(made_by[1]) in ours or not Path(f"/proc/{made_by[1]}").exists():
                yield path


def _held_by_others(name: str) -> bool:
    """Does a process that is not below this one map or hold the file?"""
    ours = {os.getpid(), *(process.pid for process in descendants())}
    try:
        inode = f" {os.stat(name).st_ino} "
    except OSError:
        return True             # gone meanwhile
    for process in _all_processes():
        if process.pid in ours:
            continue
        try:
            if inode in Path(f"/proc/{process.pid}/maps").read_text() or name in _targets(process.pid):
                return True
        except OSError:
            continue
    return False


def _targets(pid: int | str) -> dict[str, int]:
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[os.readlink(f"/proc/{pid}/fd/{fd}")] = int(fd)
        except OSError:
            continue
    return found


def _descriptors() -> dict[int, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue            # the listing's own
    return found


def _mappings() -> Iterator[str]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and any(mark in fields[5] for mark in OURS) and not fields[5].endswith(".so"):
            yield f"{fields[0]} {fields[5]}"


def _threads() -> dict[int, str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {ident: names.get(ident, "without a name") for ident in sys._current_frames()}
