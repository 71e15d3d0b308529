"""Strands: what processes run on, one at a time: greenlets, each with a stack of its own, in the one thread that is the virtual CPU.

A switch goes from one strand to another, wherever the first is in its code. A strand whose process has ended waits for the next one,
as a kernel keeps the stacks of the dead. Because all of them are in the domain's main thread, an event can interrupt whichever runs
(xenproc/guest/interrupts.py).
"""
# Tour G:200

from collections.abc import Callable

from greenlet import getcurrent, greenlet


class Strand:
    """A stack, and what to do on it: a body, which returns the strand that goes on when it has ended."""

    def __init__(self, pool: "Strands", boot: greenlet | None = None) -> None:
        self._pool = pool
        self._stack: greenlet = boot or greenlet(self._loop, pool.boot._stack)
        self.body: Callable[[], Strand] | None = None

    def enter(self) -> None:
        """Give it the CPU; return when somebody gives it back."""
        self._stack.switch()

    def _loop(self) -> None:
        while True:
            body, self.body = self.body, None
            assert body is not None, "a strand was entered with nothing to do"
            to = body()
            self._pool.give_back(self)
            to.enter()

    def quit(self) -> None:
        """Unwind its stack, which is done for."""
        self._stack.throw()


class Strands:
    """All strands of a kernel. `boot` is the one of whoever makes them: it boots, and goes on when all has ended."""

    def __init__(self) -> None:
        self._idle: list[Strand] = []
        self.nr_made = 0
        self.boot = Strand(self, getcurrent())

    def take(self) -> Strand:
        """Return a strand that waits for a body."""
        if self._idle:
            return self._idle.pop()
        self.nr_made += 1
        return Strand(self)

    def give_back(self, strand: Strand) -> None:
        """Take one that has nothing to do."""
        self._idle.append(strand)

    def close(self) -> None:
        """Unwind all that wait."""
        while self._idle:
            self._idle.pop().quit()
