"""What an event loop has to do with one end of a vchan: its descriptor stands for the event while tasks wait.

  1. A task that waits has asked the peer to tell and looked again (xp_vchan_arm) before it sleeps.
  2. Whoever consumes an event wakes all waiters; each looks for itself.
  3. Tasks take turns in reading, and in writing; time limits include the wait for one's turn.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from xenproc.errors import Timeout, WouldBlock
from xenproc.native import lib

READ, WRITE = lib.XP_VCHAN_READ, lib.XP_VCHAN_WRITE


class Tasks:
    """The tasks of one event loop that use one end. Used from that loop's thread only, except `leave`."""

    def __init__(self, core: Any, fd: int) -> None:
        """core: struct xp_vchan. fd: the end's descriptor."""
        self.loop = asyncio.get_running_loop()
        self.left = False
        self._core, self._fd = core, fd
        self._waiters: dict[asyncio.Future, int] = {}
        self._turns = {READ: asyncio.Lock(), WRITE: asyncio.Lock()}
        self.loop.add_reader(fd, self._on_event)

    def leave(self) -> None:
        """The end is closed: forget the descriptor, let all waiters see. Any thread."""

        def here() -> None:
            self.loop.remove_reader(self._fd)
            self._wake()

        self.left = True
        if self.loop.is_closed():
            return
        try:
            same = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            same = False
        if same:
            here()
        else:
            self.loop.call_soon_threadsafe(here)

    def _on_event(self) -> None:
        if not self.left:
            lib.xp_vchan_disarm(self._core)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def news(self, which: int) -> None:
        """Sleep until something may have changed for `which` (READ or WRITE), whose last attempt raised WouldBlock."""
        if self.left:
            return
        waiter = self.loop.create_future()
        self._waiters[waiter] = which
        try:
            interest = 0
            for direction in self._waiters.values():
                interest |= direction
            if lib.xp_vchan_arm(self._core, interest):
                self._wake()
                await asyncio.sleep(0)  # whatever there is to do, the loop's other tasks get their turn
            await waiter
        finally:
            del self._waiters[waiter]

    @contextlib.asynccontextmanager
    async def turn(self, which: int, timeout: float | None, op: str) -> AsyncIterator[None]:
        """Be the one task that reads, or writes, until the time limit. Raises Timeout."""
        try:
            async with asyncio.timeout(timeout):
                async with self._turns[which]:
                    yield
        except TimeoutError as error:
            if isinstance(error, Timeout):
                raise
            raise Timeout(f"vchan {op}: time limit passed") from None

    async def until_done(self, which: int, timeout: float | None, op: str, attempt: Callable, *args: Any) -> Any:
        """Call attempt(*args, timeout=0) until it does not raise WouldBlock, and return its result. Raises Timeout."""
        if timeout == 0 or not self._turns[which].locked():
            try:
                return attempt(*args, timeout=0)
            except WouldBlock:
                if timeout == 0:
                    raise
        async with self.turn(which, timeout, op):
            while True:
                try:
                    return attempt(*args, timeout=0)
                except WouldBlock:
                    await self.news(which)
