"""Signals of one process: which are pending, which are held back, what happens at each.

A handler runs in ring 3, on the way back from the kernel: the kernel leaves a frame for it (on a real machine on the user's stack),
the process's side of the system calls (user.py) runs it and ends it with `sigreturn`. Meanwhile the same signal waits. Pure.
"""
# Tour G:180

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


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
Action = int | Callable[..., Any]


@dataclass
class Signals:
    """handlers: what is not SIG_DFL. frames: handlers that are about to run, with their signals."""

    handlers: dict[int, Action] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    held: set[int] = field(default_factory=set)
    frames: list[tuple[Callable[..., Any], int]] = field(default_factory=list)

    def action(self, number: int) -> Action:
        """What a signal does now: SIG_IGN, SIG_DFL (it ends the process) or a handler."""
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

    def deliver(self) -> int:
        """Leave frames for the handlers of what is pending; return the signal that ends the process instead, or 0."""
        for number in [each for each in self.pending if each not in self.held]:
            self.pending.remove(number)
            action = self.action(number)
            if callable(action):
                self.held.add(number)
                self.frames.append((action, number))
            elif action == SIG_DFL:
                return number
        return 0

    def forked(self) -> "Signals":
        """What a child starts with: the same handlers, nothing pending."""
        return Signals(dict(self.handlers), held=set(self.held))

    def executed(self) -> "Signals":
        """What a new program starts with: what was ignored still is, handlers are gone with their code."""
        return Signals({n: a for n, a in self.handlers.items() if not callable(a)}, list(self.pending))
