"""Two counting semaphores behind one interface: ours, on a futex word, and POSIX's named one, for comparison.

`post()` never waits; `wait(timeout)` raises Timeout. Ours survives a peer that scribbles on it (native/sem.h),
glibc's sem_t does not: that is why rings and events are built on ours.
"""

import os
import secrets

import posix_ipc

from xenproc.errors import Timeout
from xenproc.machine import NAME_PREFIX
from xenproc.native import check, ffi, lib
from xenproc.units import timeout_ns

MODES = {"poll": lib.XP_WAIT_POLL, "adaptive": lib.XP_WAIT_ADAPTIVE, "block": lib.XP_WAIT_BLOCK}


class FutexSemaphore:
    """A semaphore in eight bytes of shared memory.

    address: where they lie, a multiple of 4, mapped shared by both processes; zeros are a semaphore of 0.
    owner: what keeps the memory mapped, held as long as this object. mode: "poll", "adaptive" or "block", how to
    wait. One thread waits at a time.
    """

    def __init__(self, address: int, mode: str = "adaptive", owner: object = None) -> None:
        if address <= 0 or address % 4:
            raise ValueError(f"semaphore: expected an address that is a multiple of 4, got {address:#x}")
        self._owner = owner
        self._sem = ffi.cast("struct xp_sem *", address)
        self._waiter = ffi.new("struct xp_sem_waiter *")
        self._mode = MODES[mode] | lib.XP_WAIT_SIGNALS
        lib.xp_sem_waiter_init(self._waiter)

    def post(self) -> None:
        """Add one and wake the waiter if it sleeps."""
        lib.xp_sem_post(self._sem)

    def wait(self, timeout: float | None = 5.0) -> None:
        """Take one, waiting up to `timeout` seconds (None: for ever).

        Raises Timeout; PeerMisbehaved if the other end woke us too often without posting.
        """
        limit = timeout_ns(timeout)
        deadline = lib.xp_now_ns() + limit
        while (ret := lib.xp_sem_wait(self._sem, self._waiter, self._mode, limit)) == -lib.XP_EINTR:
            limit = max(0, min(limit, deadline - lib.xp_now_ns()))
        check(ret, "semaphore wait")


class PosixSemaphore:
    """A named POSIX semaphore; `unlink` removes the name, the semaphore lives on in who has it.

    name: of an existing one ("/..."), or None to make a new one of value 0.
    """

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            # The name says whose it is, for `xenproc gc`, should this process die before unlink().
            own = f"/{NAME_PREFIX}{os.getpid()}.{secrets.token_hex(4)}"
            self._sem = posix_ipc.Semaphore(own, posix_ipc.O_CREX, mode=0o600)
        else:
            self._sem = posix_ipc.Semaphore(name)
        self.name = self._sem.name

    def post(self) -> None:
        """Add one and wake a waiter."""
        self._sem.release()

    def wait(self, timeout: float | None = 5.0) -> None:
        """Take one, waiting up to `timeout` seconds (None: for ever). Raises Timeout."""
        try:
            self._sem.acquire(timeout)
        except posix_ipc.BusyError:
            raise Timeout("semaphore wait: time limit passed") from None

    def unlink(self) -> None:
        """Remove the name."""
        self._sem.unlink()

    def close(self) -> None:
        """Let go of the semaphore."""
        self._sem.close()
