"""The guests of `xenproc demo`: short enough to read, and to copy.

Each runs in a domain of its own; `g` is the domain (xenproc/guest/kernel.py).
"""

import ctypes
import os
import time
import zlib

import xenproc
from xenproc.ring import Layout

# A request and a response, as C has them. Both guests say the same; the ring's slots are as large as the larger one.
ECHO = Layout("struct { uint64_t id; uint64_t value; }", "struct { uint64_t id; uint64_t value; }")
MESSAGE = Layout("struct { uint64_t id; uint64_t number; uint32_t crc; uint8_t data[64]; }",
                 "struct { uint64_t id; uint64_t number; uint32_t crc; }")
PERIOD_S = 0.005


def client(g, mode: str, requests: int) -> list[int]:
    """Make requests, each with a value of its own, check each answer; return the ns that each took."""
    took = []
    with g.ring_front("server", ECHO, mode=mode) as ring:
        values, answers = ring.words("requests"), ring.words("responses")
        call, core = ring.call_fast()
        for value in range(requests):
            start = time.perf_counter_ns()
            values[1] = value
            if call(core) != 1:
                ring.resume()
            if answers[1] != value + 1:
                raise ValueError(f"asked with {value}, answered with {answers[1]}")
            took.append(time.perf_counter_ns() - start)
    took.sort()
    return [took[len(took) * share // 1000] for share in (500, 990, 999)]


def server(g, mode: str) -> int:
    """Answer every request with its value plus one until the client is gone."""
    with g.ring_back("client", ECHO, mode=mode) as ring:
        values, answers = ring.words("requests"), ring.words("responses")
        reply, core = ring.reply_fast()
        answered = n = 0
        try:
            while True:
                n = reply(core, n)
                if n < 1:
                    n = ring.wait()
                for i in range(n):
                    answers[2 * i + 1] = values[2 * i + 1] + 1
                answered += n
        except xenproc.PeerGone:
            return answered


def talker(g) -> dict[str, float]:
    """One of the well-behaved pair: a checked message every 5 ms until Domain0 asks for the end."""
    wrong = number = 0
    gap = 0.0
    with g.ring_front("listener", MESSAGE, timeout=20) as ring:
        g.console.print("talking")
        due = last = time.monotonic()
        while g.shutdown_request() is None:
            data = number.to_bytes(8, "little") * 8
            ring.request.number, ring.request.crc, ring.request.data = number, zlib.crc32(data), list(data)
            answer = ring.call()
            wrong += answer.number != number + 1 or answer.crc != zlib.crc32(data)
            now = time.monotonic()
            gap, last = max(gap, now - max(last, due)), now
            number, due = number + 1, due + PERIOD_S
            if due > now:
                time.sleep(due - now)
    return {"sent": number, "wrong": wrong, "gap_ms": gap * 1000}


def listener(g) -> dict[str, int]:
    """The other one: counts what arrives damaged or out of order."""
    damaged = disorder = expected = 0

    def answer(request, response) -> None:
        nonlocal damaged, disorder, expected
        damaged += zlib.crc32(bytes(request.data)) != request.crc
        disorder += request.number != expected
        expected += 1
        response.number, response.crc = request.number + 1, request.crc

    with g.ring_back("talker", MESSAGE, timeout=20) as ring:
        ring.serve(answer)
    return {"got": expected, "damaged": damaged, "disorder": disorder}


# ---- guests that end badly ----


def wild_write(g) -> None:
    """Write to the next domain's memory: its own window, frame after frame, past its own."""
    for mfn in range(1, 16384):
        ctypes.memset(g.memory.address_of(mfn), 0xEE, 4096)


def abort(g) -> None:
    """Abort."""
    os.abort()


def mistake(g) -> None:
    """Raise an exception that nobody catches."""
    raise RuntimeError("a guest's own mistake")


def forbidden(g) -> None:
    """Try what the filter forbids through the 32-bit gate."""
    import mmap

    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page[:8] = bytes.fromhex("b802000000cd80c3")        # mov $2, %eax (fork); int $0x80; ret
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def greedy(g) -> str:
    """Allocate until there is no more; the limit is its own."""
    hoard = []
    try:
        while True:
            hoard.append(bytearray(8 << 20))
    except MemoryError:
        return f"was given {len(hoard) * 8} MiB, then MemoryError"


def stubborn(g) -> None:
    """Never stop computing."""
    while True:
        pass


def liar(g) -> None:
    """Show the back end of a ring an impossible producer index."""
    ring = g.ring_front("deceived", ECHO)
    ring.call()
    ctypes.c_uint32.from_address(ring._link.addresses[0]).value += 100000
    ring.event.send()
    time.sleep(0.2)


def deceived(g) -> str:
    """The back end that is lied to: closes that ring, lives on."""
    with g.ring_back("liar", ECHO) as ring:
        try:
            ring.serve(lambda request, response: None)
        except xenproc.PeerMisbehaved as error:
            return str(error)
    return "the liar was believed"
