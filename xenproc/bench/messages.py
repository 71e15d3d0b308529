"""The messages of the Python measurements and the loops that build, send, receive and check each of them.

Each request carries its own number and a value that follows from it; the answer that value plus one. So nothing can be
answered from a cache, lost, doubled or swapped without notice. Padded to the size asked for. (KEY keeps the values
below 2**30, Python's cheapest integers: what is measured is the transport, not big numbers.)
"""

import array
import os
import struct
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from xenproc.bench.case import BenchError
from xenproc.bench.hist import Hist

KEY = 0x2A5C93E1
SMALLEST = 16
SPINS = 2000

Send = Callable[[Any], object]
Receive = Callable[[], Any]


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
        left = stride
        for i in range(first, end):
            value = i ^ KEY
            send(pack(i, value))
            number, back = unpack(receive())
            if number != i or back != value + 1:
                raise BenchError(f"request {i} was answered by ({number}, {back:#x})")
            left -= 1
            if not left:
                stamp(now())
                left = stride
        stamp(now())
        first = end
        record_stamps(hist, stamps, n, stride)

    return loop


def record_stamps(hist: Hist, stamps: list[int], n: int, stride: int) -> None:
    """Record the mean time of each stride from a stamp before the first, one after each, and one at the end.

    What is left after the last whole stride would weigh like the others; it counts only if it is all there is.
    """
    whole, per = n // stride or 1, min(stride, n)
    spans = [(after - before) // per for before, after in pairwise(stamps[: whole + 1])]
    hist.record_many(array.array("q", spans))


def answering(send: Send, receive: Receive, size: int) -> Callable[[int], None]:
    """Return the server's loop: receive, check, answer."""
    pack, unpack = layout(size).pack, layout(size).unpack
    first = 0

    def loop(n: int) -> None:
        nonlocal first
        for i in range(first, first + n):
            number, value = unpack(receive())
            if number != i or value != i ^ KEY:
                raise BenchError(f"request {i} arrived as ({number}, {value:#x})")
            send(pack(number, value + 1))
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
            head.pack_into(message, 0, i, i ^ KEY)
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
            if number != i or value != i ^ KEY:
                raise BenchError(f"message {i} arrived as ({number}, {value:#x})")
            if tail >= SMALLEST and unpack_from("<Q", message, tail)[0] != i:
                raise BenchError(f"message {i} arrived torn")
        first += n
        send(struct.pack("<Q", first).ljust(size, b"\0"))

    return loop
