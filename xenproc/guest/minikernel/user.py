"""What a process sees: its memory, by virtual address, and the system calls. Runs in ring 3; a C library, so to speak.

    def init(sys):
        heap = sys.sbrk(4096)
        sys.store(heap, b"hello")
        if sys.fork(child, heap):
            print_status(sys.wait())

A system call that fails raises OSError with its number. Where a call needs memory for its arguments (a pipe's descriptors, a name)
it is on the stack, as a compiler would have it. The kernel knows code by address: here is what Python code is at which. Where the kernel
has the process go on in a signal's handler, it is run here.
"""
# Tour G:260

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xenproc.errors import PageFault
from xenproc.guest.cpu import Cpu
from xenproc.guest.interrupts import Interrupts
from xenproc.guest.minikernel.process import Process
from xenproc.guest.minikernel.syscalls import Call
from xenproc.guest.minikernel.traps import SYSTEM_CALL

_BUFFER_BYTES = 4096
_TEXT = 0x1000                  # where code is
_INVALID_OPCODE = 6


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
        if self._cpu.user_rip:
            result = self.resume(result)
        if self._cpu.interrupt_due:
            self._interrupts.take()
        return result

    # ---- system calls ----

    def _call(self, number: int, *args: Any) -> Any:
        result = self.raw(number, *args)
        if isinstance(result, int) and result < 0:
            raise OSError(-result, f"{Call(number).name}: {os.strerror(-result)}")
        return result

    def resume(self, result: Any = 0) -> Any:
        """Back in ring 3: run the handlers that the kernel has it go on in; return what the system call returned that they interrupted.

        A handler that raises is left as by longjmp.
        """
        while self._cpu.user_rip:
            address, self._cpu.user_rip = self._cpu.user_rip, 0
            number = int.from_bytes(self.load(self._cpu.user_rsp, 4), "little")
            try:
                self._code(address)(self, number)
            except Exception:
                self.resume(self._cpu.interrupt(SYSTEM_CALL, Call.sigreturn))
                raise
            result = self._cpu.interrupt(SYSTEM_CALL, Call.sigreturn)
        return result

    # ---- code and stack ----

    def _address_of(self, code: Callable[..., Any]) -> int:
        text = self._process.text
        address = next((a for a, known in text.items() if known == code), _TEXT + 16 * len(text))
        text[address] = code
        return address

    def _code(self, address: int) -> Callable[..., Any]:
        """What runs at an address. Where no code is: SIGSEGV, or SIGILL where there is memory."""
        code = self._process.text.get(address)
        while code is None:
            self.load(address, 1)
            self._cpu.deliver(_INVALID_OPCODE)
            self.resume()
        return code

    @contextmanager
    def _on_stack(self, nr: int) -> Iterator[int]:
        """Yield the address of nr bytes on the stack, which is that much longer meanwhile."""
        before = self._cpu.user_rsp
        self._cpu.user_rsp = (before - nr) & -16
        try:
            yield self._cpu.user_rsp
        finally:
            self._cpu.user_rsp = before

    def arguments(self) -> list[str]:
        """Return what exec has put on the stack, without the program's name."""
        at = self._cpu.user_rsp
        nr = int.from_bytes(self.load(at, 4), "little")
        return [self._string(int.from_bytes(self.load(at + 4 * i, 4), "little")) for i in range(2, nr + 1)]

    def _string(self, at: int) -> str:
        found = b""
        while (byte := self.load(at + len(found), 1)) != b"\0":
            found += byte
        return found.decode(errors="surrogateescape")

    # ---- processes ----

    def exit(self, status: int = 0) -> None:
        """End, with a status from 0 to 255. Does not return."""
        self._call(Call.exit, status)

    def fork(self, child: Callable[..., Any], *args: Any) -> int:
        """Make a process that runs child(sys, *args) in a copy of this memory, with these files; return its pid.

        Raises OSError: EAGAIN, ENOMEM.
        """
        return self._call(Call.fork, child, *args)

    def exec(self, name: str, *args: str) -> None:
        """Run one of the kernel's programs instead of this one. Raises OSError: ENOENT, ENOMEM, E2BIG."""
        strings = [text.encode(errors="surrogateescape") + b"\0" for text in (name, *args)]
        nr = 4 * (len(strings) + 1)
        with self._on_stack(nr + sum(map(len, strings))) as at:
            where, addresses = at + nr, []
            for each in strings:
                addresses.append(where)
                where += len(each)
            self.store(at, b"".join([*(address.to_bytes(4, "little") for address in (*addresses, 0)), *strings]))
            self._call(Call.exec, at + nr, at)

    def wait(self) -> tuple[int, int]:
        """Wait for a child to end; return (pid, status), the status minus a signal's number if one ended it.

        Raises OSError: ECHILD, EINTR.
        """
        return self.waitpid(-1)

    def waitpid(self, pid: int, options: int = 0) -> tuple[int, int]:
        """Wait for this child, -1: any; options: WNOHANG, (0, 0) if it has not ended. As wait; raises OSError: EINVAL, too."""
        with self._on_stack(4) as at:
            found = self._call(Call.waitpid, pid, at, options)
            return found, int.from_bytes(self.load(at, 4), "little", signed=True) if found else 0

    def uptime(self) -> int:
        """How often the timer has ticked."""
        return self._call(Call.uptime)

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
        before = self._call(Call.signal, int(number), self._address_of(action) if callable(action) else action)
        return self._process.text.get(before, before)

    # ---- files ----

    def read_at(self, fd: int, va: int, nr: int) -> int:
        """Read up to nr bytes to an address; return how many. Raises OSError: EBADF, EFAULT, EINTR."""
        return self._call(Call.read, fd, va, nr)

    def write_at(self, fd: int, va: int, nr: int) -> int:
        """Write nr bytes from an address; return how many were taken. Raises OSError: EBADF, EFAULT, EPIPE, EINTR."""
        return self._call(Call.write, fd, va, nr)

    def read(self, fd: int, nr: int = _BUFFER_BYTES) -> bytes:
        """Read up to a page by way of a buffer on the stack; b"" at the end. Raises as read_at."""
        with self._on_stack(min(nr, _BUFFER_BYTES)) as at:
            return self.load(at, self.read_at(fd, at, min(nr, _BUFFER_BYTES)))

    def write(self, fd: int, data: bytes) -> int:
        """Write up to a page by way of the buffer; return how many were taken. Raises as write_at."""
        with self._on_stack(min(len(data), _BUFFER_BYTES)) as at:
            self.store(at, data[:_BUFFER_BYTES])
            return self.write_at(fd, at, len(data[:_BUFFER_BYTES]))

    def print(self, *values: object) -> None:
        """Write a line to descriptor 1."""
        self.write(1, (" ".join(map(str, values)) + "\n").encode())

    def close(self, fd: int) -> None:
        """Give a descriptor up. Raises OSError: EBADF."""
        self._call(Call.close, fd)

    def dup(self, fd: int) -> int:
        """Return another descriptor of the same file. Raises OSError: EBADF, EMFILE."""
        return self._call(Call.dup, fd)

    def dup2(self, fd: int, new: int) -> int:
        """Make `new` another descriptor of fd's file; what it was is closed. Raises OSError: EBADF."""
        return self._call(Call.dup2, fd, new)

    def pipe(self) -> tuple[int, int]:
        """Return the descriptors of a new pipe, for reading and for writing. Raises OSError: EMFILE."""
        with self._on_stack(8) as at:
            self._call(Call.pipe, at)
            ends = self.load(at, 8)
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
