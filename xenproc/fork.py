"""A fork that can make a sibling or enter new namespaces, for a process with a single thread.

Owns nothing. Used by the pen (xenproc/hv/pen.py) and by the warm server (xenproc/guest/fork.py), each of which must have
only one thread: another thread's locks would be held for ever in the child.
Invariant: Python is told before and after, as by os.fork: import lock, GIL and at-fork handlers are right in the child.
"""

import ctypes
import os

from xenproc.errors import EnvironmentLacks
from xenproc.native import ffi, lib


def clone(flags: int = 0, *, want_pidfd: bool = False) -> tuple[int, int]:
    """Fork with `flags` (lib.XP_CLONE_*); return (pid, pidfd): (0, -1) in the child, pidfd -1 unless wanted.

    The pid is as this process's pid namespace numbers it. Raises EnvironmentLacks where this process has more than one
    thread or libc's thread id cannot be found, OSError with the kernel's errno where it refuses (EPERM, EAGAIN, ENOSPC...).
    Source: clone(2). Unlike os.fork no handler of pthread_atfork runs.
    """
    pidfd = ffi.new("int *", -1)
    names = ("BeforeFork", "AfterFork_Child", "AfterFork_Parent")
    before, child, parent = (getattr(ctypes.pythonapi, f"PyOS_{name}") for name in names)
    before()
    pid = lib.xp_clone(flags, pidfd if want_pidfd else ffi.NULL)
    if pid == 0:
        child()
        return 0, -1
    parent()
    if pid < 0:
        if pid in (-16, -95):
            why = "this process has more than one thread" if pid == -16 else "libc's thread id was not found"
            raise EnvironmentLacks(f"cannot fork a sibling: {why}")
        raise OSError(-pid, f"clone: {os.strerror(-pid)}")
    return pid, pidfd[0]
