"""What a process sees: its memory, by virtual address, and the system calls. Runs in ring 3; a C library, so to speak.

    def init(sys):
        heap = sys.sbrk(4096)
        sys.store(heap, b"hello")
        if sys.fork(child, heap):
            print_status(sys.wait())

A system call that fails raises OSError with its number. Where a call needs memory for its arguments (a pipe's descriptors, a status)
it is on the stack, as a compiler would have it. Signal handlers run here, when the kernel has left a frame for one.
"""
# Tour G:260

import os
from collections.abc import Callable
from typing import Any

from xenproc.errors import PageFault
from xenproc.guest.cpu import Cpu
from xenproc.guest.interrupts import Interrupts
from xenproc.guest.minikernel.process import Process
from xenproc.guest.minikernel.syscalls import Call
from xenproc.guest.minikernel.traps import SYSTEM_CALL
from xenproc.guest.minikernel.vm import STACK_TOP

_SCRATCH = STACK_TOP - 64       # for arguments that are in memory
_BUFFER, _BUFFER_BYTES = STACK_TOP - 8192, 4096


class Sys:
    """The process itself, for its own code."""

    def __init__(self, cpu: Cpu, interrupts: Interrupts, process: Process) -> None:
        self._cpu = cpu
        self._interrupts = interrupts
        self._process = process

    # ---- instructions: an interrupt that came meanwhile is taken at their end ----

    def load(self, va: int, nr: int = 8) -> bytes:
        """Return nr bytes at an address; a page that is not there comes."""
        while True:
            try:
                data = self._process.vm.space.read(va, nr, True)
                break
            except PageFault as fault:
                self._cpu.fault(fault)
                self.resume()
        if self._cpu.interrupt_due:
            self._interrupts.take()
        return data

    def store(self, va: int, data: bytes) -> None:
        """Write bytes at an address."""
        while True:
            try:
                self._process.vm.space.write(va, data, True)
                break
            except PageFault as fault:
                self._cpu.fault(fault)
                self.resume()
        if self._cpu.interrupt_due:
            self._interrupts.take()

    def raw(self, *args: Any) -> Any:
        """Make a system call, number first; its result as the kernel gives it, errors negative."""
        result = self._cpu.interrupt(SYSTEM_CALL, *args)
        if self._process.signals.frames:
            self.resume()
        if self._cpu.interrupt_due:
            self._interrupts.take()
        return result

    # ---- system calls ----

    def _call(self, number: int, *args: Any) -> Any:
        result = self.raw(number, *args)
        if isinstance(result, int) and result < 0:
            raise OSError(-result, f"{Call(number).name}: {os.strerror(-result)}")
        return result

    def resume(self) -> None:
        """Back in ring 3: run the handlers that the kernel has left frames for. One that raises is left as by longjmp."""
        frames = self._process.signals.frames
        while frames:
            handler, number = frames.pop(0)
            try:
                handler(self, number)
            finally:
                self._cpu.interrupt(SYSTEM_CALL, Call.sigreturn, number)

    def exit(self, status: int = 0) -> None:
        """End, with a status from 0 to 255. Does not return."""
        self._call(Call.exit, status)

    def fork(self, child: Callable[..., Any], *args: Any) -> int:
        """Make a process that runs child(sys, *args) in a copy of this memory, with these files; return its pid.

        Raises OSError: EAGAIN, ENOMEM.
        """
        return self._call(Call.fork, child, *args)

    def exec(self, name: str, *args: Any) -> None:
        """Run one of the kernel's programs instead of this one. Raises OSError: ENOENT, ENOMEM."""
        self._call(Call.exec, name, *args)

    def wait(self) -> tuple[int, int]:
        """Wait for a child to end; return (pid, status), the status minus a signal's number if one ended it.

        Raises OSError: ECHILD, EINTR.
        """
        pid = self._call(Call.wait, _SCRATCH)
        return pid, int.from_bytes(self.load(_SCRATCH, 4), "little", signed=True)

    def getpid(self) -> int:
        """This process's number."""
        return self._call(Call.getpid)

    def getppid(self) -> int:
        """Its parent's."""
        return self._call(Call.getppid)

    def yield_(self) -> None:
        """Let the others run."""
        self._call(Call.sched_yield)

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises OSError: EINTR."""
        self._call(Call.nanosleep, int(seconds * 1e9))

    def kill(self, pid: int, number: int) -> None:
        """Send a signal. Raises OSError: ESRCH, EINVAL."""
        self._call(Call.kill, pid, int(number))

    def signal(self, number: int, action: Any) -> Any:
        """Set what a signal does: SIG_DFL, SIG_IGN, or handler(sys, number); return what it did. Raises OSError: EINVAL."""
        return self._call(Call.signal, int(number), action)

    # ---- files ----

    def read_at(self, fd: int, va: int, nr: int) -> int:
        """Read up to nr bytes to an address; return how many. Raises OSError: EBADF, EFAULT, EINTR."""
        return self._call(Call.read, fd, va, nr)

    def write_at(self, fd: int, va: int, nr: int) -> int:
        """Write nr bytes from an address; return how many were taken. Raises OSError: EBADF, EFAULT, EPIPE, EINTR."""
        return self._call(Call.write, fd, va, nr)

    def read(self, fd: int, nr: int = _BUFFER_BYTES) -> bytes:
        """Read up to a page by way of a buffer on the stack; b"" at the end. Raises as read_at."""
        return self.load(_BUFFER, self.read_at(fd, _BUFFER, min(nr, _BUFFER_BYTES)))

    def write(self, fd: int, data: bytes) -> int:
        """Write up to a page by way of the buffer; return how many were taken. Raises as write_at."""
        self.store(_BUFFER, data[:_BUFFER_BYTES])
        return self.write_at(fd, _BUFFER, len(data[:_BUFFER_BYTES]))

    def print(self, *values: object) -> None:
        """Write a line to descriptor 1."""
        self.write(1, (" ".join(map(str, values)) + "\n").encode())

    def close(self, fd: int) -> None:
        """Give a descriptor up. Raises OSError: EBADF."""
        self._call(Call.close, fd)

    def dup(self, fd: int) -> int:
        """Return another descriptor of the same file. Raises OSError: EBADF, EMFILE."""
        return self._call(Call.dup, fd)

    def pipe(self) -> tuple[int, int]:
        """Return the descriptors of a new pipe, for reading and for writing. Raises OSError: EMFILE."""
        self._call(Call.pipe, _SCRATCH)
        ends = self.load(_SCRATCH, 8)
        return int.from_bytes(ends[:4], "little"), int.from_bytes(ends[4:], "little")

    # ---- regions ----

    def mmap(self, length: int, rights: int = 3) -> int:
        """Return the address of a new region of zeros; rights: 1 to read, 2 to write. Raises OSError: EINVAL, ENOMEM."""
        return self._call(Call.mmap, length, rights)

    def munmap(self, va: int, length: int) -> None:
        """Take memory away. Raises OSError: EINVAL."""
        self._call(Call.munmap, va, length)

    def mprotect(self, va: int, length: int, rights: int) -> None:
        """Change rights. Raises OSError: EINVAL, ENOMEM."""
        self._call(Call.mprotect, va, length, rights)

    def sbrk(self, change: int) -> int:
        """Move the heap's end by so many bytes; return where it was. Raises OSError: ENOMEM."""
        return self._call(Call.sbrk, change)


ENTRIES = (Sys.resume.__code__,)       # from where code of the process is called, beside its first function
