"""The system calls: numbers (Linux' for i386, where there is one), arguments, what each does.

Each gets the kernel, the calling process and its arguments, as numbers that a process chose: an address is read and written through
the process's own page tables, with its own rights. Results are numbers; errors are raised and become negative numbers (traps.py).
"""
# Tour G:250

import errno
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from xenproc.guest.minikernel import lifecycle
from xenproc.guest.minikernel.files import File
from xenproc.guest.minikernel.pipe import Pipe
from xenproc.guest.minikernel.process import MAX_FILES, Process
from xenproc.guest.minikernel.signals import SIG_DFL, Signal
from xenproc.guest.minikernel.vm import BadAddress, Refused

if TYPE_CHECKING:
    from xenproc.guest.minikernel.kernel import Kernel

WNOHANG = 1
_MAX_ARGS = 16                  # of exec
_LONGEST = 1 << 20              # bytes of one read or write; a longer one is shortened


class Call(IntEnum):
    """The numbers."""

    exit = 1
    fork = 2
    read = 3
    write = 4
    close = 6
    waitpid = 7
    exec = 11
    getpid = 20
    kill = 37
    dup = 41
    pipe = 42
    signal = 48
    dup2 = 63
    getppid = 64
    mmap = 90
    munmap = 91
    sigreturn = 119
    mprotect = 125
    sched_yield = 158
    nanosleep = 162
    sbrk = 445                  # Linux has brk; xv6 has this, and the next
    uptime = 446


# ---- processes ----

def exit_(kernel: "Kernel", process: Process, status: int) -> int:
    """End. Does not return."""
    lifecycle.end(process, status & 0xFF)
    return 0


def fork(kernel: "Kernel", process: Process, main: Any, *args: Any) -> int:
    """A child that runs main(sys, *args); its pid."""
    if not callable(main):
        raise Refused(errno.EINVAL)
    return lifecycle.fork(kernel, process, main, args)


def exec_(kernel: "Kernel", process: Process, name_at: int, args_at: int) -> int:
    """Run a program of the kernel's table instead. Its name is a string in memory; its arguments are an array of addresses of strings
    (4 bytes each) that ends with 0. Does not return."""
    name = kernel.traps.copy_in_string(process, name_at)
    args: list[bytes] = []
    while at := int.from_bytes(kernel.traps.copy_in(process, args_at + 4 * len(args), 4), "little"):
        if len(args) == _MAX_ARGS:
            raise Refused(errno.E2BIG)
        args.append(kernel.traps.copy_in_string(process, at))
    return lifecycle.exec_(kernel, process, name.decode(errors="replace"), args)


def waitpid(kernel: "Kernel", process: Process, pid: int, status_at: int, options: int) -> int:
    """Wait for a child (-1: any); its pid, or 0 if none has ended and WNOHANG is given. Its status goes to an address, if that is not 0."""
    if options & ~WNOHANG or (pid != -1 and pid <= 0):
        raise Refused(errno.EINVAL)
    found, status = lifecycle.wait(kernel, process, pid, not options & WNOHANG)
    if found and status_at:
        kernel.traps.copy_out(process, status_at, status.to_bytes(4, "little", signed=True))
    return found


def getpid(kernel: "Kernel", process: Process) -> int:
    """Its number."""
    return process.pid


def getppid(kernel: "Kernel", process: Process) -> int:
    """Its parent's number, 0 for the first process."""
    return process.parent.pid if process.parent else 0


def sched_yield(kernel: "Kernel", process: Process) -> int:
    """Let others run."""
    kernel.sched.yield_()
    return 0


def nanosleep(kernel: "Kernel", process: Process, ns: int) -> int:
    """Sleep so many ns at least."""
    if ns < 0:
        raise Refused(errno.EINVAL)
    until = kernel.g.clock.system_time() + ns
    while kernel.g.clock.system_time() < until:
        kernel.sched.sleep_on(process.context, until)
    return 0


def uptime(kernel: "Kernel", process: Process) -> int:
    """Ticks of the timer since the kernel has run."""
    return kernel.sched.nr_ticks


# ---- signals ----

def kill(kernel: "Kernel", process: Process, pid: int, number: int) -> int:
    """Send a signal; 0 only asks whether the process is there."""
    target = kernel.table.get(pid)
    if number != 0 and number not in Signal.__members__.values():
        raise Refused(errno.EINVAL)
    if target is None:
        raise Refused(errno.ESRCH)
    if number and not (target.pid == 1 and target.signals.action(number) == SIG_DFL):       # as Linux: nobody ends the first one
        kernel.sched.signal(target, number)
    return 0


def signal(kernel: "Kernel", process: Process, number: int, action: int) -> int:
    """Set what a signal does: SIG_DFL, SIG_IGN or the address of a handler; what it did before."""
    if number not in Signal.__members__.values() or number == Signal.KILL or not 0 <= action < 1 << 32:
        raise Refused(errno.EINVAL)
    before = process.signals.handlers.pop(number, SIG_DFL)
    if action != SIG_DFL:
        process.signals.handlers[number] = action
    return before


def sigreturn(kernel: "Kernel", process: Process) -> int:
    """A handler has ended: go on with what its frame says. A frame that cannot be read is a SIGSEGV."""
    try:
        return kernel.traps.sigreturn(process)
    except BadAddress:
        process.signals.force(Signal.SEGV)
        raise


# ---- files ----

def _file(process: Process, fd: int) -> File:
    if fd not in process.files:
        raise Refused(errno.EBADF)
    return process.files[fd]


def _new_fd(process: Process, file: File) -> int:
    fd = process.free_fd()
    if fd is None:
        raise Refused(errno.EMFILE)
    process.files[fd] = file
    return fd


def read(kernel: "Kernel", process: Process, fd: int, va: int, nr: int) -> int:
    """Read up to nr bytes to an address; how many, 0 at the end."""
    file = _file(process, fd)
    if nr < 0:
        raise Refused(errno.EINVAL)
    data = file.read(kernel, min(nr, _LONGEST))
    kernel.traps.copy_out(process, va, data)
    return len(data)


def write(kernel: "Kernel", process: Process, fd: int, va: int, nr: int) -> int:
    """Write nr bytes from an address; how many were taken."""
    file = _file(process, fd)
    if nr < 0:
        raise Refused(errno.EINVAL)
    return file.write(kernel, kernel.traps.copy_in(process, va, min(nr, _LONGEST)))


def close(kernel: "Kernel", process: Process, fd: int) -> int:
    """Give a descriptor up."""
    _file(process, fd).put()
    del process.files[fd]
    return 0


def dup(kernel: "Kernel", process: Process, fd: int) -> int:
    """Another descriptor of the same file, the lowest that is free."""
    new = _new_fd(process, _file(process, fd))
    process.files[new].get()
    return new


def dup2(kernel: "Kernel", process: Process, fd: int, new: int) -> int:
    """Make a descriptor one of the same file, whatever it was of before; itself."""
    file = _file(process, fd)
    if not 0 <= new < MAX_FILES:
        raise Refused(errno.EBADF)
    if new != fd:
        file.get()
        if new in process.files:
            close(kernel, process, new)
        process.files[new] = file
    return new


def pipe(kernel: "Kernel", process: Process, fds_at: int) -> int:
    """A pipe; the descriptors of its ends, for reading and for writing, are written at an address, 4 bytes each."""
    if len(process.files) + 2 > MAX_FILES:
        raise Refused(errno.EMFILE)
    reader, writer = Pipe(kernel).ends()
    fds = _new_fd(process, reader), _new_fd(process, writer)
    try:
        kernel.traps.copy_out(process, fds_at, b"".join(fd.to_bytes(4, "little") for fd in fds))
    except BaseException:
        for fd in fds:
            close(kernel, process, fd)
        raise
    return 0


# ---- memory ----

def mmap(kernel: "Kernel", process: Process, length: int, rights: int) -> int:
    """A new region of zeros, private; its address."""
    return process.vm.mmap(length, rights)


def munmap(kernel: "Kernel", process: Process, va: int, length: int) -> int:
    """Take memory away."""
    process.vm.munmap(va, length)
    return 0


def mprotect(kernel: "Kernel", process: Process, va: int, length: int, rights: int) -> int:
    """Change rights."""
    process.vm.mprotect(va, length, rights)
    return 0


def sbrk(kernel: "Kernel", process: Process, change: int) -> int:
    """Move the heap's end; where it was."""
    return process.vm.sbrk(change)


# number -> (what does it, its arguments: i a number, o anything, * any more)
CALLS: dict[int, tuple[Callable[..., Any], str]] = {
    Call.exit: (exit_, "i"), Call.fork: (fork, "o*"), Call.exec: (exec_, "ii"), Call.waitpid: (waitpid, "iii"),
    Call.getpid: (getpid, ""), Call.getppid: (getppid, ""), Call.sched_yield: (sched_yield, ""), Call.nanosleep: (nanosleep, "i"),
    Call.kill: (kill, "ii"), Call.signal: (signal, "ii"), Call.sigreturn: (sigreturn, ""),
    Call.read: (read, "iii"), Call.write: (write, "iii"), Call.close: (close, "i"), Call.dup: (dup, "i"), Call.dup2: (dup2, "ii"),
    Call.pipe: (pipe, "i"),
    Call.mmap: (mmap, "ii"), Call.munmap: (munmap, "ii"), Call.mprotect: (mprotect, "iii"), Call.sbrk: (sbrk, "i"),
    Call.uptime: (uptime, ""),
}
