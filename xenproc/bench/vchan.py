"""Our message channel between two processes, as peers.py has the others: the same loops, one message at a time or batched.

Both ends lie in anonymous shared memory, without a hypervisor: what is measured is the channel. Between two domains
the guest library makes the ends and the loops here serve as they are (`send_loop`, `receive_loop`).
"""

import mmap
import os
import struct
import time
from collections.abc import Callable
from typing import Any

from xenproc.bench import messages
from xenproc.bench.case import BenchError
from xenproc.bench.hist import Hist
from xenproc.bench.party import ClientLoop, ServerLoop
from xenproc.bench.peers import Peer
from xenproc.native import ffi, lib
from xenproc.units import PAGE_SIZE
from xenproc.vchan import RING_SIZE, Channel

BATCH = 512  # messages a call,
BATCH_BYTES = 64 << 10  # and what they hold together: a batch stays in the second-level cache
LARGE = 64 << 10  # from here on a receiver lands in a buffer of its own


class Shared:
    """Memory and event descriptors of one vchan; both ends are made from it, in one process or after a fork."""

    def __init__(self, ring_size: int = RING_SIZE) -> None:
        pages = ring_size // PAGE_SIZE
        self.memory = mmap.mmap(-1, (2 + 2 * pages) * PAGE_SIZE)
        self.base = int(ffi.cast("uintptr_t", ffi.from_buffer(self.memory)))
        self.fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        first = [self.base + (2 + i) * PAGE_SIZE for i in range(2 * pages)]
        self.pages = {"left_pages": first[:pages], "right_pages": first[pages:]}

    def _event(self, side: int) -> Any:
        event = ffi.new("struct xp_direct *")
        lib.xp_direct_init(event, ffi.cast("void *", self.base + PAGE_SIZE), side, self.fds[side], self.fds[1 - side])
        return event

    def server(self, kind: Any = Channel, **options: Any) -> Any:
        """Return the server's end, a Channel or a Stream. To be made first."""
        return kind.server(self.base, self._event(0), owner=self, **self.pages, **options)

    def client(self, kind: Any = Channel, **options: Any) -> Any:
        """Return the client's end."""
        return kind.client(self.base, self._event(1), owner=self, **self.pages, **options)

    def write_fd(self, side: int) -> None:
        """Wake an end's descriptor, as the hypervisor does."""
        os.eventfd_write(self.fds[side], 1)

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self.fds:
            os.close(fd)


class Vchan(Peer):
    """xenproc.vchan.Channel. `many`: 512 messages a call (send_many, recv_many)."""

    name = "vchan"

    def __init__(
        self, mode: str = "block", size: int = 64, pour: bool = False, many: bool = False, ring_size: int = RING_SIZE
    ) -> None:
        super().__init__("poll" if mode == "poll" else "block", size, pour)
        self.waits = mode
        self.many = many
        self.ring_size = ring_size

    def open(self) -> None:
        self._shared = Shared(self.ring_size)
        self._ends = [self._shared.server(mode=self.waits), self._shared.client(mode=self.waits)][::-1]

    def end(self, side: int) -> tuple[Any, Any]:
        channel = self._ends[side]
        return channel.send, receiver(channel, self.size)

    def client(self) -> ClientLoop:
        return send_loop(self._ends[0], self.size) if self.many else super().client()

    def server(self) -> ServerLoop:
        return receive_loop(self._ends[1], self.size) if self.many else super().server()

    def close(self) -> None:
        for end in self._ends:
            end.close()
        self._shared.close()


def receiver(channel: Any, size: int) -> messages.Receive:
    """Return the receive that suits a size: large messages land in the same buffer each time."""
    if size < LARGE:
        return channel.recv
    buffer = bytearray(size)

    def receive() -> bytearray:
        channel.recv_into(buffer)
        return buffer

    return receive


def send_loop(channel: Any, size: int) -> Callable[[int, int, Hist], float]:
    """Return messages.pouring in batches: n distinct messages, then one acknowledgement; its value is MB/s."""
    pack = struct.Struct(f"<QQ{size - 16}x").pack
    batch = max(1, min(BATCH, BATCH_BYTES // size))
    first = 0

    def loop(n: int, stride: int, hist: Hist) -> float:
        nonlocal first
        key, send_many = messages.KEY, channel.send_many
        begin = time.perf_counter_ns()
        for start in range(first, first + n, batch):
            send_many([pack(i, i ^ key) for i in range(start, min(start + batch, first + n))])
        first += n
        (done,) = struct.unpack_from("<Q", channel.recv())
        if done != first:
            raise BenchError(f"{first} messages were sent, {done} acknowledged")
        return n * size * 1e3 / (time.perf_counter_ns() - begin)

    return loop


def receive_loop(channel: Any, size: int) -> Callable[[int], None]:
    """Return messages.draining in batches: receive and check n messages, acknowledge once."""
    unpack = struct.Struct(f"<QQ{size - 16}x").unpack
    first = 0

    def loop(n: int) -> None:
        nonlocal first
        key, recv_many = messages.KEY, channel.recv_many
        i, end = first, first + n
        while i < end:
            for number, value in map(unpack, recv_many()):
                if number != i or value != i ^ key:
                    raise BenchError(f"message {i} arrived as ({number}, {value:#x})")
                i += 1
        first += n
        channel.send(struct.pack("<Q", first).ljust(size, b"\0"))

    return loop
