"""A pair of well-behaved domains: checked messages over a ring at a fixed rate, timed from when each was meant to be sent.

It runs beside every crashing guest, and notices nothing: no message lost or changed, no gap over MAX_GAP_MS.
"""
# Tour T:070

import time
import zlib

from helpers import until

import xenproc
from xenproc.ring import Layout

PERIOD_S = 0.005
MAX_GAP_MS = 250
AT_LEAST = 40           # messages: where the crash is over in a moment, the pair goes on a little after it
MESSAGE = Layout("struct { uint64_t id; uint64_t number; uint32_t crc; uint8_t data[64]; }",
                 "struct { uint64_t id; uint64_t number; uint32_t crc; }")


def payload(number: int) -> bytes:
    """Return 64 bytes that belong to a number."""
    return number.to_bytes(8, "little") * 8


def sender(g) -> list[float]:
    """[guest] Send until told to end; return [messages, wrong answers, longest gap in ms]."""
    wrong = number = 0
    gap = 0.0
    with g.ring_front("witness-back", MESSAGE, timeout=20) as ring:
        due = last = time.monotonic()
        while number < AT_LEAST or g.shutdown_request(0) is None:
            if number == 1:
                g.console.print("begun")
            data = payload(number)
            ring.request.number, ring.request.crc = number, zlib.crc32(data)
            ring.request.data = list(data)
            answer = ring.call()
            wrong += (answer.number, answer.crc) != (number + 1, zlib.crc32(data))
            now = time.monotonic()
            gap, last = max(gap, now - max(last, due)), now
            number += 1
            due += PERIOD_S
            if due > now:
                time.sleep(due - now)
    return [number, wrong, gap * 1000]


def receiver(g) -> list[int]:
    """[guest] Answer until the sender is gone; return [messages, damaged, out of order]."""
    damaged = disorder = expected = 0

    def answer(request, response) -> None:
        nonlocal damaged, disorder, expected
        data = bytes(request.data)
        damaged += zlib.crc32(data) != request.crc or data != payload(request.number)
        disorder += request.number != expected
        expected += 1
        response.number, response.crc = request.number + 1, zlib.crc32(data)

    with g.ring_back("witness-front", MESSAGE, timeout=20) as ring:
        ring.serve(answer)
    return [expected, damaged, disorder]


class Witness:
    """The pair, for use around something hostile."""

    def __init__(self, hv: xenproc.Hypervisor) -> None:
        self.back = hv.create(receiver, name="witness-back")
        self.front = hv.create(sender, name="witness-front")
        until(lambda: "begun" in self.front.console.read(), "the pair's first message")

    def verdict(self) -> dict[str, float]:
        """End the pair and return its figures."""
        self.front.shutdown()
        sent, wrong, gap = self.front.wait(30)
        got, damaged, disorder = self.back.wait(30)
        return {"sent": sent, "got": got, "wrong": wrong, "damaged": damaged, "disorder": disorder, "gap_ms": gap}


def assert_unharmed(figures: dict[str, float]) -> None:
    """Nobody noticed."""
    assert figures["sent"] >= AT_LEAST, figures
    assert figures["sent"] == figures["got"], figures
    assert figures["wrong"] == figures["damaged"] == figures["disorder"] == 0, figures
    assert figures["gap_ms"] <= MAX_GAP_MS, figures
