"""Events that interrupt what the virtual CPU does: the upcall, for a guest that is a kernel of its own.

    def upcall(cpu, frame):
        ports = g.events.take_upcall()
    with Interrupts(g, upcall, after):
        g.cpu.run_user(process)             # interrupted at its next bytecode

A thread waits for the domain's upcall descriptor and tells the interpreter that a signal came (no signal is sent); the interpreter runs
its handler in the main thread between two bytecodes. There the handler looks where it is. Where a process's own code runs in ring 3, the
interrupt is taken. An access to memory or a system call is one instruction: `cpu.interrupt_due` is set, and who carries the instruction
out calls take() at its end. The kernel is left alone: it takes events itself on its way out. What slips through between two of these is
asked for again after a millisecond. One long call of a C function is one instruction, too.
Invariant: while no event is pending none of this runs. Only in the main thread: there alone the interpreter runs such handlers.
"""
# Tour G:280

import _thread
import select
import signal
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from xenproc.guest.cpu import Cpu, Frame

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

_NUMBER = signal.SIGVTALRM      # nobody sends it; its number is what the interpreter is told
_AGAIN_S = 0.001
_MACHINE = "xenproc.guest."     # code that is the kernel or the machine, not a process's


class Interrupts:
    """The upcall of one guest. handler(cpu, frame) runs in the kernel's ring; after() then, in ring 3 again.

    entries: code of ours from which a process's own code is called, beside Cpu.run_user.
    """

    def __init__(
        self, g: "Guest", handler: Callable[[Cpu, Frame], Any], after: Callable[[], Any] = lambda: None, entries: tuple[CodeType, ...] = ()
    ) -> None:
        self._cpu = g.cpu
        self._vcpu = g.events.shared_info.vcpu_info[0]
        self._fd = g.events.fileno()
        self._handler, self._after = handler, after
        self._entries = (Cpu.run_user.__code__, *entries)
        self._before: Any = None
        self._over = False
        self.nr_taken = 0

    def __enter__(self) -> "Interrupts":
        """Begin. Raises ValueError outside the main thread."""
        self._over = False
        self._before = signal.signal(_NUMBER, self._boundary)
        threading.Thread(target=self._watch, name="interrupts", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        signal.signal(_NUMBER, self._before)

    def _watch(self) -> None:
        events = select.poll()
        events.register(self._fd, select.POLLIN)
        while not self._over:
            if events.poll(100) and not self._over:
                _thread.interrupt_main(_NUMBER)
                time.sleep(_AGAIN_S)

    def _boundary(self, number: int, frame: FrameType | None) -> None:
        """Between two bytecodes of the main thread."""
        if self._cpu.in_user:
            if self._in_process(frame):
                self.take()
            else:
                self._cpu.interrupt_due = True

    def take(self) -> None:
        """Be interrupted, if an event is pending and not masked; called in ring 3 only, between instructions."""
        self._cpu.interrupt_due = False
        if self._vcpu.evtchn_upcall_pending and not self._vcpu.evtchn_upcall_mask:
            self.nr_taken += 1
            self._cpu.upcall(self._handler)
            self._after()

    def _in_process(self, frame: FrameType | None) -> bool:
        """Is this a process's own code, and not something of ours that it has called?"""
        inner = frame
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith(_MACHINE):
                return frame is not inner and frame.f_code in self._entries
            frame = frame.f_back
        return False
