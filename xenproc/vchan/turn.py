"""Time limits that several steps share, and whose turn it is among threads."""

import threading

from xenproc.errors import Timeout, WouldBlock
from xenproc.native import lib
from xenproc.units import timeout_ns

EAGAIN = 11


class Limit:
    """A time limit that several steps share."""

    __slots__ = ("_deadline", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._deadline = None if not timeout else lib.xp_now_ns() + timeout_ns(timeout)

    def ns(self) -> int:
        """What is left, for the C core: 0 only where nothing may be waited for at all."""
        if self._deadline is None:
            return timeout_ns(self.timeout)
        return max(1, self._deadline - lib.xp_now_ns())

    def left(self) -> float | None:
        """What is left in seconds, for a call of ours."""
        return self.timeout if self._deadline is None else self.ns() / 1e9


class Turn:
    """Who may read (or write) an end: one thread at a time. A tenth of a lock's cost while nobody has to wait.

    Take it with `token.pop()`, and where that raises IndexError with `wait`; give it back with `token.append(None)`, then
    `wake` if anybody is `waiting`. Each is one step of the interpreter; who waits counts himself in before he tries.
    """

    __slots__ = ("_gate", "_mutex", "ended", "token", "waiting")

    def __init__(self) -> None:
        self.token: list[None] = [None]
        self.waiting = 0
        self.ended = False  # the last one has taken it and will not give it back
        self._mutex = threading.Lock()
        self._gate = threading.Semaphore(0)

    def take(self, timeout: float | None, op: str) -> None:
        """Take it. Raises WouldBlock (timeout 0) or Timeout."""
        try:
            self.token.pop()
        except IndexError:
            self.wait(timeout, op)

    def wait(self, timeout: float | None, op: str) -> None:
        """Take it from another thread. Raises as `take`, ValueError once the end is closed."""
        if self.ended:
            raise ValueError(f"vchan {op}: this end is closed")
        if timeout == 0:
            raise WouldBlock(EAGAIN, f"vchan {op}: another thread is at it")
        limit = Limit(timeout)
        with self._mutex:
            self.waiting += 1
        try:
            while True:
                try:
                    return self.token.pop()
                except IndexError:
                    pass  # another thread has it still
                if self.ended:
                    raise ValueError(f"vchan {op}: this end is closed")
                if not self._gate.acquire(timeout=limit.left()) and limit.ns() == 1:
                    raise Timeout(f"vchan {op}: time limit passed while another thread was at it")
        finally:
            with self._mutex:
                self.waiting -= 1

    def give(self) -> None:
        """Give it back."""
        self.token.append(None)
        if self.waiting:
            self.wake()

    def wake(self) -> None:
        """Let one who waits try again."""
        self._gate.release()

    def end(self, timeout: float) -> bool:
        """Take it for good; False if who has it does not give it back in time."""
        try:
            self.take(timeout, "close")
        except (Timeout, ValueError):
            return False
        self.ended = True
        with self._mutex:
            for _ in range(self.waiting):
                self._gate.release()
        return True
