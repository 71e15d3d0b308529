"""The way into the kernel and back: page faults, other exceptions, system calls, and what is done before a process goes on.

Page faults come through the hypervisor, system calls straight (or, for comparison, through it), other exceptions straight; g.cpu.counters
has the figures. An event interrupts a process anywhere in its own code. On the way back: queued page-table updates are sent, for a process
makes no hypercalls; events that are pending are taken, the timer's tick among them; signals leave frames for their handlers or end the
process.
"""
# Tour G:120

import errno
import struct
from typing import TYPE_CHECKING, Any

from xenproc.guest.cpu import Cpu, Frame, Gate
from xenproc.guest.memory import OutOfMemory
from xenproc.guest.minikernel import lifecycle
from xenproc.guest.minikernel.process import Process
from xenproc.guest.minikernel.sched import Interrupted
from xenproc.guest.minikernel.signals import FRAME, SIG_DFL, Signal
from xenproc.guest.minikernel.syscalls import CALLS
from xenproc.guest.minikernel.vm import BadAddress, Refused
from xenproc.units import PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.minikernel.kernel import Kernel

SYSTEM_CALL = 0x80
_INVALID_OPCODE, _PROTECTION, _PAGE_FAULT, _MACHINE_CHECK = 6, 13, 14, 18
_LOWEST, _END, _WORD = -(1 << 63), 1 << 64, (1 << 64) - 1
_SIGNALS = {_INVALID_OPCODE: Signal.ILL, _PROTECTION: Signal.SEGV, _MACHINE_CHECK: Signal.BUS}


class Traps:
    """The handlers of a kernel."""

    def __init__(self, kernel: "Kernel", fast: bool) -> None:
        self._kernel = kernel
        self._vcpu = kernel.g.events.shared_info.vcpu_info[0]
        self._queue = kernel.cpu.outgoing = kernel.space.queue
        self._copying = False           # the kernel touches a process's memory
        gates = {vector: Gate(self.exception) for vector in _SIGNALS}
        kernel.cpu.set_trap_table({**gates, _PAGE_FAULT: Gate(self.page_fault), SYSTEM_CALL: Gate(self.system_call, dpl=3)})
        kernel.cpu.set_fast_trap(SYSTEM_CALL if fast else 0)
        self._timer = kernel.g.clock.port
        kernel.g.events.unmask(self._timer)

    # ---- in ----

    def page_fault(self, cpu: Cpu, frame: Frame) -> None:
        """Vector 14: a page is to come, to be copied, or the process has no business there."""
        process = self._enter()
        try:
            process.vm.fault(frame.address, frame.error_code)
        except BadAddress:
            if self._copying:
                raise
            process.signals.force(Signal.SEGV)
        except OutOfMemory:
            if self._copying:
                raise
            process.signals.post(Signal.KILL)
        if not self._copying:
            self._leave(process, updates=frame.hypervisor)

    def exception(self, cpu: Cpu, frame: Frame) -> None:
        """Any other exception: a signal."""
        process = self._enter()
        if self._copying:
            raise BadAddress(f"vector {frame.vector}")
        process.signals.force(_SIGNALS[frame.vector])
        self._leave(process)

    def system_call(self, cpu: Cpu, frame: Frame) -> Any:
        """A system call: (number, arguments). Its result, or a negative error number."""
        process = self._enter()
        result = self._call(process, *frame.args)
        self._leave(process, frame.hypervisor, result)
        return result

    def upcall(self, cpu: Cpu, frame: Frame) -> None:
        """An event while a process's own code ran."""
        self._leave(self._enter())

    def _call(self, process: Process, number: Any = None, *args: Any) -> Any:
        found = CALLS.get(number) if isinstance(number, int) else None
        if found is None:
            return -errno.ENOSYS
        call, kinds = found
        if not _fit(args, kinds):
            return -errno.EINVAL
        try:
            return call(self._kernel, process, *args)
        except Refused as refused:
            return -refused.errno
        except Interrupted:
            return -errno.EINTR
        except BadAddress:
            return -errno.EFAULT
        except OutOfMemory:
            return -errno.ENOMEM

    def _enter(self) -> Process:
        process = self._kernel.current
        if process.ended is not None:
            lifecycle.end(process, process.ended)
        return process

    # ---- out ----

    def _leave(self, process: Process, updates: bool = False, result: int = 0) -> None:
        """updates: those that are queued go with iret. result: of a system call, for after a signal's handler."""
        if not updates:
            self._queue.flush()
        if self._vcpu.evtchn_upcall_pending:
            self._events()
        if process.signals.pending:
            due = process.signals.deliver()
            if due is not None:
                self._signal(process, *due, result)

    def _signal(self, process: Process, number: int, handler: int, result: int) -> None:
        """End the process, or push a frame on its stack and have it go on in the handler."""
        cpu = self._kernel.cpu
        if handler == SIG_DFL:
            lifecycle.end(process, -number)
        at = (cpu.user_rsp - FRAME.size) & -16
        try:
            self.copy_out(process, at, FRAME.pack(number, cpu.user_rip, cpu.user_rsp, process.signals.mask, result))
        except (BadAddress, struct.error):
            lifecycle.end(process, -Signal.SEGV)            # it has no stack
        except OutOfMemory:
            lifecycle.end(process, -Signal.KILL)
        process.signals.held.add(number)
        cpu.user_rsp, cpu.user_rip = at, handler
        self._queue.flush()

    def sigreturn(self, process: Process) -> int:
        """Take a frame off the stack: what the process was about to do; the result that its system call had. Raises BadAddress."""
        cpu = self._kernel.cpu
        _, rip, rsp, mask, result = FRAME.unpack(self.copy_in(process, cpu.user_rsp, FRAME.size))
        cpu.user_rip, cpu.user_rsp = rip, rsp
        process.signals.hold(mask)
        return int(result)

    def _events(self) -> None:
        if self._timer in self._kernel.g.events.take_upcall():
            self._kernel.obey_balloon()
            self._kernel.sched.tick()

    # ---- a process's memory, for system calls ----

    def copy_in(self, process: Process, va: int, nr: int) -> bytes:
        """Read a process's memory with its own rights. Raises BadAddress, OutOfMemory."""
        self._copying = True
        try:
            return self._kernel.cpu.load(process.vm.space, va & _WORD, nr, user=True)
        finally:
            self._copying = False

    def copy_in_string(self, process: Process, va: int, most: int = 256) -> bytes:
        """Read bytes up to a zero. Raises BadAddress, OutOfMemory, Refused (ENAMETOOLONG)."""
        found = b""
        while len(found) < most:
            piece = self.copy_in(process, va + len(found), min(most - len(found), PAGE_SIZE - (va + len(found)) % PAGE_SIZE))
            end = piece.find(0)
            if end >= 0:
                return found + piece[:end]
            found += piece
        raise Refused(errno.ENAMETOOLONG)

    def copy_out(self, process: Process, va: int, data: bytes) -> None:
        """Write it. Raises BadAddress, OutOfMemory; then nothing is written."""
        self._copying = True
        try:
            self._kernel.cpu.store(process.vm.space, va & _WORD, data, user=True)
        finally:
            self._copying = False


def _fit(args: tuple, kinds: str) -> bool:
    """Are these the arguments of a call? i: a 64-bit number, *: any more of any kind, o: anything."""
    if kinds.endswith("*"):
        kinds = kinds[:-1]
        args = args[: len(kinds)]
    return len(args) == len(kinds) and all(map(_is, args, kinds))


def _is(arg: Any, kind: str) -> bool:
    return kind == "o" or (isinstance(arg, int) and _LOWEST <= arg < _END)
