"""What the domains of a measurement run: one end each of a ring, an event channel, a message channel; or hypercalls.

Imported in the warm server before any domain exists (preload), and in Domain0 for its names. A client returns its
Sample as bytes. Each round has domains of its own: many placements of memory are measured, not one again and again.
"""

import struct
import time
from collections.abc import Callable
from typing import Any

from xenproc.abi import Hypercall
from xenproc.bench import messages, vchan
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.hist import Hist
from xenproc.bench.messages import KEY, record_stamps
from xenproc.errors import PeerGone
from xenproc.guest import link
from xenproc.native import check, ffi, lib
from xenproc.ring_layout import Layout
from xenproc.units import timeout_ns

LIMIT_S = 20.0
LIMIT_NS = 20_000_000_000
QUIET_S = 0.004
WARM = 512
STRIDE = 32
CHANNEL_RING = "256K"
CHANNEL_BATCH = vchan.BATCH
MODES = {"poll": lib.XP_WAIT_POLL, "adaptive": lib.XP_WAIT_ADAPTIVE, "block": lib.XP_WAIT_BLOCK}

# A client's loop: n operations, the time taken of `stride` at once, into the histogram.
Loop = Callable[[int, int, Hist], Any]


def layout(size: int) -> Layout:
    """Return the ring's layout: a number, a value and padding, `size` bytes each way (a multiple of 8, 16 or more)."""
    if size < 16 or size % 8:
        raise BenchError(f"ring: expected a size of 16 bytes or more in eights, got {size}")
    pad = f" uint64_t pad[{size // 8 - 2}];" if size > 16 else ""
    text = f"struct {{ uint64_t id; uint64_t value;{pad} }}"
    return Layout(text, text)


def sampled(loop: Loop, n: int, stride: int | None = None, grain: int = 1) -> bytes:
    """Warm up, measure n operations in strides (if asked for) and n one by one; return the packed Sample.

    The other end does total(n, stride) operations; in whole batches of `grain`, if it wants such.
    """
    # Whoever made this domain is still busy with that.
    time.sleep(QUIET_S)
    scratch, hist, fast = Hist(), Hist(), Hist()
    loop(warm(n, grain), 1, scratch)
    if stride is not None:
        loop(n, stride, fast)
    begin = time.perf_counter()
    value = loop(n, 1, hist)
    took_s = (time.perf_counter() - begin) * (1 if stride is None else 2)
    return Sample(n, hist, fast, value, took_s).pack()


def warm(n: int, grain: int = 1) -> int:
    """How many operations come before the first that counts."""
    return min(n, max(grain, WARM // grain * grain))


def total(n: int, stride: int | None = None) -> int:
    """How many operations a server does in all."""
    return warm(n) + n * (1 if stride is None else 2)


def tick() -> Any:
    """Return a calibrated clock (native/tick.h)."""
    made = ffi.new("struct xp_tick *")
    check(lib.xp_tick_calibrate(made, 5_000_000), op="calibrating the time stamp counter")
    return made


# ---- events ----


def event_client(g: Any, peer: int, n: int, mode: str, limit: float | None = None) -> bytes:
    """One end of a direct event channel, loops in C: send, wait for the answer, `limit` seconds at most."""
    shared = link.offer(g, peer, "bench", 1, 1, LIMIT_S)
    event = link.await_peer(shared, "bench", LIMIT_S)
    link.confirm(shared, "bench", LIMIT_S)
    g.board.lookup(shared.peer, "bench/drained", LIMIT_S)
    event.take()
    clock = tick()

    def loop(n: int, stride: int, hist: Hist) -> None:
        ret = lib.xp_bench_event_client(event.core, n, stride, MODES[mode], timeout_ns(limit), clock, hist.c)
        check(ret, op="event round trip")

    return sampled(loop, n)


def event_server(g: Any, peer: str, n: int, mode: str, limit: float | None = None) -> None:
    """The other end: wait, answer."""
    shared = link.accept(g, peer, "bench", LIMIT_S)
    link.ready(shared, "bench")
    # A port may have an event from when it was bound; counted as a request it would end us one too early.
    event = shared.event
    assert event is not None, "an accepted link has one"
    event.take()
    g.board.publish(shared.peer, "bench/drained", b"")
    ret = lib.xp_bench_event_server(event.core, total(n), MODES[mode], timeout_ns(limit))
    check(ret, op="event round trip")


# ---- hypercalls ----


def hypercall_client(g: Any, n: int, mode: str) -> bytes:
    """The smallest hypercall, xen_version, again and again."""
    args = ffi.new("uint64_t[6]")
    ticks = ffi.new("uint64_t[]", max(n, warm(n)))
    clock = tick()

    def loop(n: int, stride: int, hist: Hist) -> None:
        ret = lib.xp_gcall_repeat(
            g.hypercalls.core, int(Hypercall.xen_version), args, MODES[mode], LIMIT_NS, n, ticks
        )
        check(ret, op="xen_version")
        lib.xp_bench_record_ticks(hist.c, clock, ticks, n)

    return sampled(loop, n)


# ---- time ----


def per_turn(read: Callable[[], int], n: int) -> float:
    """Return the ns of a turn of a loop that calls `read`."""
    begin = lib.xp_now_ns()
    for _ in range(n):
        read()
    return (lib.xp_now_ns() - begin) / n


def time_client(g: Any, n: int, how: str) -> bytes:
    """Read real time, how: "c" in a loop in C, "py" in one of Python's."""
    begin = lib.xp_now_ns()
    if how == "py":
        each = per_turn(g.clock.system_time, n)
    else:
        lib.xp_time_cost(g.events.shared_info, n)
        each = (lib.xp_now_ns() - begin) / n
    return Sample(n, value=each, took_s=each * n / 1e9).pack()


# ---- rings ----


def ring_c_client(g: Any, peer: int, n: int, mode: str, size: int, stride: int | None = None) -> bytes:
    """The front of a ring, loop in C."""
    ring = g.ring_front(peer, layout(size), timeout=LIMIT_S, mode=mode)
    ticks = ffi.new("uint64_t[]", n)
    clock = tick()

    def loop(n: int, stride: int, hist: Hist) -> None:
        check(lib.xp_front_pingpong(ring._core, ring._wait, n, stride, ticks), op="ring round trip")
        lib.xp_bench_record_ticks(hist.c, clock, ticks, -(-n // stride))

    return sampled(loop, n, stride)


def ring_c_server(g: Any, peer: str, n: int, mode: str, size: int, stride: int | None = None) -> None:
    """The back of a ring, loop in C: answers with what it was asked."""
    ring = g.ring_back(peer, layout(size), timeout=LIMIT_S, mode=mode)
    check(lib.xp_back_serve(ring._core, ring._wait, total(n, stride), 1), op="ring service")


def ring_py_client(g: Any, peer: int, n: int, mode: str, size: int, stride: int | None = None) -> bytes:
    """The front of a ring in Python: builds another value for each request and checks its answer."""
    ring = g.ring_front(peer, layout(size), timeout=LIMIT_S, mode=mode)
    call, core = ring.call_fast()
    request, response = ring.words("requests"), ring.words("responses")
    first = 0

    def loop(n: int, stride: int, hist: Hist) -> None:
        nonlocal first
        now, key, end = time.perf_counter_ns, KEY, first + n
        stamps = [now()]
        stamp = stamps.append
        for begin in range(first, end, stride):
            for i in range(begin, min(begin + stride, end)):
                request[1] = value = i ^ key
                if call(core) != 1:
                    ring.resume()
                if response[1] != value + 1:
                    raise BenchError(f"request {i} was answered by {response[1]:#x}")
            stamp(now())
        first = end
        record_stamps(hist, stamps, n, stride)

    return sampled(loop, n, stride)


def ring_py_server(g: Any, peer: str, n: int, mode: str, size: int, stride: int | None = None) -> None:
    """The back of a ring in Python: checks each request's value and answers with the next."""
    ring = g.ring_back(peer, layout(size), timeout=LIMIT_S, mode=mode)
    turn, core = ring.turn_fast()
    request, response = ring.words("requests"), ring.words("responses")
    key, got = KEY, ring.wait()
    for i in range(total(n, stride) - 1):
        value = request[1]
        if got != 1 or value ^ key != i:
            raise BenchError(f"request {i} arrived with {value:#x}, {got} at once")
        response[1] = value + 1
        got = turn(core)
        if got < 1:
            got = ring.wait()
    response[1] = request[1] + 1
    ring.reply(1)


# ---- rings, at a fixed rate ----


def paced_client(g: Any, peer: int, n: int, mode: str, size: int, rate: int) -> bytes:
    """The front in Python at `rate` requests a second: each is timed from when it should have been sent.

    Where an answer comes late the next request is late too, and that counts: nothing is left out because we waited.
    """
    ring = g.ring_front(peer, layout(size), timeout=LIMIT_S, mode=mode)
    call, core = ring.call_fast()
    request, response = ring.words("requests"), ring.words("responses")
    first = stalled = 0

    def loop(n: int, stride: int, hist: Hist) -> None:
        nonlocal first, stalled
        now, key, period = time.perf_counter_ns, KEY, 1_000_000_000 // rate
        spans, stalled = [], 0
        due = now() + period
        for i in range(first, first + n):
            at = now()
            if at > due:
                # How much of the time until the next is due was spent behind.
                stalled += min(at - due, period)
            while at < due:
                at = now()
            request[1] = value = i ^ key
            if call(core) != 1:
                ring.resume()
            if response[1] != value + 1:
                raise BenchError(f"request {i} was answered by {response[1]:#x}")
            spans.append(now() - due)
            due += period
        first += n
        for span in spans:
            hist.record(max(span, 0))

    sample = Sample.unpack(sampled(loop, n))
    sample.stalled = stalled * rate / 1e9 / n
    return sample.pack()


def paced_server(g: Any, peer: str, n: int, mode: str, size: int, rate: int) -> None:
    """The back: as ever."""
    ring_py_server(g, peer, n, mode, size)


# ---- rings, as fast as they go ----


def roomy(size: int, batch: int) -> int:
    """Return the fewest pages whose ring holds two batches. Raises BenchError if 16 do not."""
    shape = ffi.new("struct xp_ring_layout *", {"req_size": size, "rsp_size": size})
    for pages in range(1, lib.XP_RING_MAX_PAGES + 1):
        if lib.xp_ring_entries(shape, pages) >= 2 * batch:
            return pages
    raise BenchError(f"ring: two batches of {batch} requests of {size} bytes do not fit into 16 pages")


def pump_c_client(g: Any, peer: int, n: int, mode: str, size: int, batch: int) -> bytes:
    """The front, loop in C: n requests in batches, all the ring may hold under way. Its value: millions a second."""
    ring = g.ring_front(peer, layout(size), timeout=LIMIT_S, mode=mode, pages=roomy(size, batch))

    def loop(n: int, stride: int, hist: Hist) -> float:
        begin = time.perf_counter_ns()
        flight = max(batch, ring.nr_ents // batch * batch)
        check(lib.xp_front_pump(ring._core, ring._wait, n, batch, flight), op="ring throughput")
        return n / (time.perf_counter_ns() - begin) * 1e3

    return sampled(loop, n, grain=batch)


def pump_c_server(g: Any, peer: str, n: int, mode: str, size: int, batch: int) -> None:
    """The back, loop in C."""
    ring = g.ring_back(peer, layout(size), timeout=LIMIT_S, mode=mode)
    # Twice, as the front does: its warm-up ends with an empty ring.
    for some in (warm(n, batch), n):
        check(lib.xp_back_serve(ring._core, ring._wait, some, batch), op="ring throughput")


def pump_py_client(g: Any, peer: int, n: int, mode: str, size: int, batch: int) -> bytes:
    """The front in Python: builds another value for each request, checks each answer; two batches are under way.

    Its value: millions of requests a second.
    """
    ring = g.ring_front(peer, layout(size), timeout=LIMIT_S, mode=mode, pages=roomy(size, batch))
    words = size // 8
    request, response = ring.words("requests"), ring.words("responses")
    mine = slice(1, batch * words, words)
    build, first = struct.Struct(f"{batch}Q"), 0

    def some(n: int) -> None:
        nonlocal first
        put, push, wait, pack, key = ring.put, ring.push, ring.wait, build.pack, KEY
        done = sent = first
        end = first = first + n
        while done < end:
            while sent < end and sent - done <= batch:
                request[mine] = memoryview(pack(*[i ^ key for i in range(sent, sent + batch)])).cast("Q")
                if put(batch) != batch:
                    raise BenchError(f"no room for {batch} requests beside {sent - done}")
                push()
                sent += batch
            got = wait()
            if response[1 : got * words : words].tolist() != [(i ^ key) + 1 for i in range(done, done + got)]:
                raise BenchError(f"a request of {done} to {done + got} was answered wrongly")
            done += got

    def loop(n: int, stride: int, hist: Hist) -> float:
        begin = time.perf_counter_ns()
        some(n)
        return n / (time.perf_counter_ns() - begin) * 1e3

    return sampled(loop, n, grain=batch)


def pump_py_server(g: Any, peer: str, n: int, mode: str, size: int, batch: int) -> None:
    """The back in Python: checks and answers whatever a wait brings."""
    ring = g.ring_back(peer, layout(size), timeout=LIMIT_S, mode=mode)
    words = size // 8
    request, response = ring.words("requests"), ring.words("responses")
    packers = [struct.Struct(f"{got}Q") for got in range(ring.nr_ents + 1)]
    key, done, got = KEY, 0, 0
    whole = warm(n, batch) + n
    while done < whole:
        got = ring.reply_and_wait(got)
        here = slice(1, got * words, words)
        values = request[here].tolist()
        if values != [i ^ key for i in range(done, done + got)]:
            raise BenchError(f"a request of {done} to {done + got} arrived wrongly")
        response[here] = memoryview(packers[got].pack(*[value + 1 for value in values])).cast("Q")
        done += got
    ring.reply(got)


# ---- channels ----


def channel_client(g: Any, peer: int, n: int, mode: str, size: int, many: bool) -> bytes:
    """The sending end of a message channel: n messages, then one acknowledgement. Its value: MB/s."""
    with g.channel_connect(peer, timeout=LIMIT_S, mode=mode) as channel:
        if many:
            return sampled(vchan.send_loop(channel, size), n)
        return sampled(messages.pouring(channel.send, channel.recv, size), n)


def channel_server(g: Any, peer: str, n: int, mode: str, size: int, many: bool) -> None:
    """The receiving end: checks every message, acknowledges the last."""
    with g.channel_listen(peer, timeout=LIMIT_S, ring_size=CHANNEL_RING, mode=mode) as channel:
        if many:
            drain = vchan.receive_loop(channel, size)
        else:
            drain = messages.draining(channel.send, vchan.receiver(channel, size), size)
        for some in (warm(n), n):
            drain(some)
        # The client closes first: what we acknowledged last is on its way.
        try:
            channel.recv()
        except PeerGone:
            return


# ---- creation ----


def born(g: Any) -> int:
    """A guest that says when its first line ran, on the host's monotonic clock."""
    return time.monotonic_ns()
