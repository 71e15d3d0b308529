"""The messages of the Python measurements and the loops that build, send, receive and check each of them.

Each request carries its own number and a value that follows from it; the answer the complement of that
value. So nothing can be answered from a cache, lost, doubled or swapped without notice. Padded to the size
asked for.
"""

import array
import os
import struct
import time
from collections.abc import Callable
from itertools import pairwise

from xenproc.bench.case import BenchError
from xenproc.bench.hist import Hist

MASK = (1 << 64) - 1
FACTOR = 0x9E3779B97F4A7C15
SMALLEST = 16
SPINS = 2000

Send = Callable[[bytes], object]
Receive = Callable[[], bytes]


def layout(size: int) -> struct.Struct:
    """Return the layout of a message of size bytes, at least SMALLEST: number, value, padding."""
    if size < SMALLEST:
        raise BenchError(f"message size: expected at least {SMALLEST} bytes, got {size}")
    return struct.Struct(f"<QQ{size - SMALLEST}x")


def polled(attempt: Callable[[], object], spins: int = SPINS) -> Callable[[], object]:
    """Return a receive that calls attempt until it is not None, giving up the CPU every `spins` tries."""

    def receive() -> object:
        left = spins
        while (got := attempt()) is None:
            left -= 1
            if not left:
                os.sched_yield()
                left = spins
        return got

    return receive


def asking(send: Send, receive: Receive, size: int) -> Callable[[int, int, Hist], None]:
    """Return the client's loop: ask, wait for the answer, check it."""
    pack, unpack = layout(size).pack, layout(size).unpack
    first = 0

    def loop(n: int, stride: int, hist: Hist) -> None:
        nonlocal first
        now = time.perf_counter_ns
        end = first + n
        stamps = [now()]
        stamp = stamps.append
        for start in range(first, end, stride):
            for i in range(start, min(start + stride, end)):
                value = i * FACTOR & MASK
                send(pack(i, value))
                number, back = unpack(receive())
                if number != i or back != value ^ MASK:
                    raise BenchError(f"request {i} was answered by ({number}, {back:#x})")
            stamp(now())
        first = end
        # The last stride may be short; its mean would weigh like the others'.
        whole = n // stride or 1
        per = min(stride, n)
        spans = [(after - before) // per for before, after in pairwise(stamps[: whole + 1])]
        hist.record_many(array.array("q", spans))

    return loop


def answering(send: Send, receive: Receive, size: int) -> Callable[[int], None]:
    """Return the server's loop: receive, check, answer."""
    pack, unpack = layout(size).pack, layout(size).unpack
    first = 0

    def loop(n: int) -> None:
        nonlocal first
        for i in range(first, first + n):
            number, value = unpack(receive())
            if number != i or value != i * FACTOR & MASK:
                raise BenchError(f"request {i} arrived as ({number}, {value:#x})")
            send(pack(number, value ^ MASK))
        first += n

    return loop


def pouring(send: Send, receive: Receive, size: int) -> Callable[[int, int, Hist], float]:
    """Return the client's loop of a throughput: n messages, then one acknowledgement; its value is MB/s.

    Each message is numbered at both of its ends; what lies between is not touched (both sides are measured
    moving it).
    """
    message = bytearray(size)
    head, pack_into = layout(SMALLEST), struct.pack_into
    tail = size - 8
    first = 0

    def loop(n: int, stride: int, hist: Hist) -> float:
        nonlocal first
        begin = time.perf_counter_ns()
        for i in range(first, first + n):
            head.pack_into(message, 0, i, i * FACTOR & MASK)
            if tail >= SMALLEST:
                pack_into("<Q", message, tail, i)
            send(message)
        first += n
        (done,) = struct.unpack_from("<Q", receive())
        if done != first:
            raise BenchError(f"{first} messages were sent, {done} acknowledged")
        return n * size * 1e3 / (time.perf_counter_ns() - begin)

    return loop


def draining(send: Send, receive: Receive, size: int) -> Callable[[int], None]:
    """Return the server's loop of a throughput: receive and check n messages, acknowledge once."""
    head = layout(SMALLEST)
    unpack_from, tail = struct.unpack_from, size - 8
    first = 0

    def loop(n: int) -> None:
        nonlocal first
        for i in range(first, first + n):
            message = receive()
            if len(message) != size:
                raise BenchError(f"message {i} has {len(message)} bytes of {size}")
            number, value = head.unpack_from(message)
            if number != i or value != i * FACTOR & MASK:
                raise BenchError(f"message {i} arrived as ({number}, {value:#x})")
            if tail >= SMALLEST and unpack_from("<Q", message, tail)[0] != i:
                raise BenchError(f"message {i} arrived torn")
        first += n
        send(struct.pack("<Q", first).ljust(size, b"\0"))

    return loop
