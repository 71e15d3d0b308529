"""Strands: threads of the guest on which processes run, one at a time. Whoever has the baton has the virtual CPU.

A switch hands the baton from one strand to another. A strand whose process has ended waits for the next one, as a kernel keeps the
stacks of the dead: a thread is made only where there were never so many processes at once.
"""
# Tour G:200

import _thread
import threading
from collections.abc import Callable
from typing import Any

STACK_BYTES = 1 << 20           # a thread's, of which Python's own calls take little


class Strand:
    """A thread and the lock it waits on until it is its turn."""

    def __init__(self, pool: "Strands") -> None:
        self._pool = pool
        self._turn = _thread.allocate_lock()
        self._turn.acquire()
        self.body: Callable[[], Any] | None = None
        self._quit = False

    def go(self) -> None:
        """Give it the baton. Whoever calls has it no more."""
        self._turn.release()

    def wait(self) -> None:
        """Wait for the baton; called by the strand itself."""
        self._turn.acquire()

    def loop(self) -> None:
        """The thread: body after body. A body ends when it has given the baton away."""
        while True:
            self.wait()
            if self._quit:
                return
            body, self.body = self.body, None
            assert body is not None, "a strand was woken with nothing to do"
            body()

    def quit(self) -> None:
        """End the thread, which waits."""
        self._quit = True
        self._turn.release()


class Strands:
    """All strands of a kernel."""

    def __init__(self) -> None:
        self._idle: list[Strand] = []
        self.nr_made = 0

    def take(self) -> Strand:
        """Return a strand that waits. Raises RuntimeError where no thread can be made."""
        if self._idle:
            return self._idle.pop()
        strand = Strand(self)
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=strand.loop, daemon=True).start()
        finally:
            threading.stack_size(before)
        self.nr_made += 1
        return strand

    def give_back(self, strand: Strand) -> None:
        """Take one that waits, or will before anybody gives it the baton."""
        self._idle.append(strand)

    def close(self) -> None:
        """End all that wait."""
        for strand in self._idle:
            strand.quit()
        self._idle.clear()
