"""Signals of one process: which are pending, which are held back, what happens at each.

A handler is an address of the process's code. It runs in ring 3, on the way back from the kernel: the kernel pushes a frame on the
process's stack, with what the process was about to do, and has it go on in the handler; `sigreturn` takes the frame off again (traps.py).
Until then the same signal waits: the frame has the set of those that waited before. Pure.
"""
# Tour G:180

import struct
from dataclasses import dataclass, field
from enum import IntEnum


class Signal(IntEnum):
    """Linux' numbers."""

    HUP = 1
    INT = 2
    ILL = 4
    BUS = 7
    KILL = 9
    USR1 = 10
    SEGV = 11
    USR2 = 12
    PIPE = 13
    ALRM = 14
    TERM = 15
    CHLD = 17


SIG_DFL, SIG_IGN = 0, 1
_IGNORED = frozenset({Signal.CHLD})         # where the default is to do nothing
FRAME = struct.Struct("<IIIQq")             # signal, user_rip and user_rsp before, those held before, the result of a system call


@dataclass
class Signals:
    """handlers: what is not SIG_DFL, by signal."""

    handlers: dict[int, int] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    held: set[int] = field(default_factory=set)

    def action(self, number: int) -> int:
        """What a signal does now: SIG_IGN, SIG_DFL (it ends the process) or the address of a handler."""
        action = self.handlers.get(number, SIG_DFL)
        return SIG_IGN if action == SIG_DFL and number in _IGNORED else action

    def post(self, number: int) -> bool:
        """Have a signal come; return whether it does something. One that is pending already comes once."""
        if self.action(number) == SIG_IGN:
            return False
        if number not in self.pending:
            self.pending.append(number)
        return True

    def force(self, number: int) -> None:
        """Have the signal of a fault come: where it is ignored, or its handler runs already, it ends the process."""
        if number in self.held or self.action(number) == SIG_IGN:
            self.handlers.pop(number, None)
            self.held.discard(number)
        self.post(number)

    @property
    def deliverable(self) -> bool:
        """Is there one that need not wait?"""
        return any(number not in self.held for number in self.pending)

    def deliver(self) -> tuple[int, int] | None:
        """Take the next signal that need not wait, with what it does: SIG_DFL, it ends the process, or a handler's address."""
        for number in [each for each in self.pending if each not in self.held]:
            self.pending.remove(number)
            action = self.action(number)
            if action != SIG_IGN:
                return number, action
        return None

    @property
    def mask(self) -> int:
        """Those that are held, a bit each."""
        return sum(1 << number for number in self.held)

    def hold(self, mask: int) -> None:
        """Hold these, as a frame says."""
        self.held = {number for number in Signal if mask >> number & 1 and number != Signal.KILL}

    def forked(self) -> "Signals":
        """What a child starts with: the same handlers, nothing pending."""
        return Signals(dict(self.handlers), held=set(self.held))

    def executed(self) -> "Signals":
        """What a new program starts with: what was ignored still is, handlers are gone with their code."""
        return Signals({n: a for n, a in self.handlers.items() if a == SIG_IGN}, list(self.pending))
