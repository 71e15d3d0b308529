"""Waiting on a ring between two threads or processes: time limits, who is told, floods, closing, a second thread, a dead peer."""

import mmap
import multiprocessing
import threading
import time
from types import SimpleNamespace

import pytest

from xenproc.errors import HypercallError, PeerGone, PeerMisbehaved, Timeout
from xenproc.native import ffi, lib
from xenproc.ring import BackRing, FrontRing, Layout

CTX = multiprocessing.get_context("fork")
LAYOUT = Layout("struct { uint64_t id; uint64_t value; }", "struct { uint64_t id; uint64_t value; }")
MODES = ["poll", "adaptive", "block"]


class Pair:
    """A ring and an event page in anonymous shared memory, and both ends on them."""

    def __init__(self, mode="block", timeout=10.0, layout=LAYOUT, nr_pages=1, event=True):
        self.memory = mmap.mmap(-1, 4096 * (nr_pages + 1))
        self.base = ffi.cast("char *", ffi.from_buffer(self.memory))
        address = int(ffi.cast("uintptr_t", self.base))
        self.page = self.base + 4096 * nr_pages
        self.half = [ffi.cast("struct xp_event_half *", self.page + 64 * n) for n in range(2)]
        self.header = ffi.cast("uint32_t *", self.base)
        self.kicks = []
        self.events = []
        for side in range(2):
            core = ffi.new("struct xp_direct *")
            lib.xp_direct_init(core, self.page, side, -1, -1)
            self.events.append(SimpleNamespace(core=core, kick=lambda: self.kicks.append(1), fileno=lambda: -1))
        pages = [address + 4096 * n for n in range(nr_pages)]
        front, back = self.events if event else (None, None)
        self.front = FrontRing(layout, pages, front, mode=mode, timeout=timeout)
        self.back = BackRing(layout, pages, back, mode=mode, timeout=timeout)


class Call(threading.Thread):
    """Runs something in a thread and keeps how it ended and how long it took."""

    def __init__(self, call):
        super().__init__()
        self.call, self.result, self.error, self.took = call, None, None, None
        self.start()

    def run(self):
        begin = time.monotonic()
        try:
            self.result = self.call()
        except Exception as error:
            self.error = error
        self.took = time.monotonic() - begin

    def asleep_on(self, half):
        """Return once the kernel has it."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with open(f"/proc/self/task/{self.native_id}/stat") as file:
                if half.sem.waiting and file.read().rpartition(")")[2].split()[0] == "S":
                    return self
        raise AssertionError("it never slept")

    def done(self):
        self.join(20)
        assert not self.is_alive()
        return self


def serve(pair, nr):
    """Answer nr requests with the value plus 1."""
    n = 0
    while nr > 0:
        n = pair.back.reply_and_wait(n)
        nr -= n
        for i in range(n):
            pair.back.responses[i].value = pair.back.requests[i].value + 1
    pair.back.reply(n)


@pytest.mark.parametrize("event", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_between_two_processes(mode, event):
    """Distinct values, each answer checked; without an event channel every mode is polling."""
    pair = Pair(mode, 20, event=event)
    child = CTX.Process(target=serve, args=(pair, 1000))
    child.start()
    for i in range(1000):
        pair.front.request.value = i * 3
        assert pair.front.call().value == i * 3 + 1
    child.join(20)
    assert child.exitcode == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["front", "back"])
def test_a_wait_ends_by_its_time_limit(mode, end):
    pair = Pair(mode, 0.05)
    begin = time.monotonic()
    with pytest.raises(Timeout):
        pair.front.call() if end == "front" else pair.back.wait()
    assert 0.045 <= time.monotonic() - begin < 3


def test_nobody_is_told_who_did_not_ask():
    """One push with an event in it, one without: one event in all."""
    pair = Pair()
    pair.front.put(1)
    pair.front.push()               # the first one always tells: events start at 1
    pair.front.put(1)
    pair.front.push()
    assert pair.events[0].core.sent == 1
    assert pair.front.counters == {"pushes": 2, "notified": 1}
    assert pair.back.get() == 2
    assert pair.back.final_check(3) == 0
    for told in (1, 1, 2):          # hold-off: only the third one tells
        pair.front.put(1)
        pair.front.push()
        assert pair.events[0].core.sent == told


def test_an_exchange_of_many_is_woken_once():
    pair = Pair()
    call = Call(lambda: pair.front.exchange(8)).asleep_on(pair.half[0])
    assert pair.back.get() == 8
    for i in range(8):
        ffi.memmove(pair.back._core.rsp_buf, ffi.cast("char *", pair.back._core.req_buf) + 16 * i, 8)
        pair.back.reply(1)
    assert call.done().result == 8
    assert pair.events[1].core.woken == 1


def test_a_flood_of_events_without_a_response_is_borne_up_to_the_budget():
    pair = Pair(timeout=30)
    call = Call(pair.front.call)
    while call.is_alive():
        lib.xp_direct_send(pair.events[1].core)
    assert isinstance(call.error, PeerMisbehaved)
    assert call.took < 25
    assert pair.front.closed
    with pytest.raises(PeerMisbehaved):
        pair.front.call()


def test_a_slow_drip_of_events_does_not_move_the_deadline():
    pair = Pair(timeout=0.4)
    call = Call(pair.front.call)
    while call.is_alive():
        lib.xp_direct_send(pair.events[1].core)
        call.join(0.02)
    assert isinstance(call.error, Timeout)
    assert call.took < 5


@pytest.mark.parametrize("word", ["sleep", "waiting", "pending"])
def test_a_stolen_wake_ends_at_the_deadline(word):
    pair = Pair(timeout=0.4)
    call = Call(pair.back.wait).asleep_on(pair.half[1])
    if word == "sleep":
        pair.half[1].sleep = lib.XP_AWAKE
    elif word == "waiting":
        pair.half[1].sem.waiting = 0
    else:
        pair.half[1].pending = 1        # without a wake, and the sender's own is then left out
    pair.front.put(1)
    pair.front.push()
    assert call.done().result == 1          # what is there when the limit comes is taken
    assert 0.3 < call.took < 5


def test_an_impossible_index_closes_the_sleeper_and_nobody_else():
    pair = Pair()
    call = Call(pair.front.call).asleep_on(pair.half[0])
    pair.header[2] = 77                     # rsp_prod
    lib.xp_direct_send(pair.events[1].core)
    assert isinstance(call.done().error, PeerMisbehaved)
    assert pair.front.closed
    assert pair.back.get() == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_peer_that_is_gone_ends_every_wait(mode):
    pair = Pair(mode, 20)
    calls = [Call(pair.front.call), Call(pair.back.wait)]
    assert calls[1].done().result == 1
    calls[1] = Call(pair.back.wait)
    lib.xp_direct_close_page(pair.page)
    assert all(isinstance(call.done().error, PeerGone) for call in calls)
    assert max(call.took for call in calls) < 10


def test_what_the_dead_had_pushed_still_arrives():
    pair = Pair()
    pair.front.put(2)
    pair.front.push()
    lib.xp_direct_close_page(pair.page)
    assert pair.back.wait() == 2
    with pytest.raises(PeerGone):
        pair.back.wait()


def test_closing_by_another_thread_ends_a_polling_wait():
    pair = Pair("poll", 20)
    call = Call(pair.back.wait)
    until = time.monotonic() + 10
    while not pair.half[1].cpu and time.monotonic() < until:
        pass                                # it says where it spins once it has spun for a while
    assert pair.half[1].cpu
    pair.back.close()
    assert isinstance(call.done().error, PeerGone)
    assert call.took < 10


def test_a_second_thread_is_refused_and_does_no_harm():
    pair = Pair()
    call = Call(pair.front.call).asleep_on(pair.half[0])
    for again in (pair.front.call, lambda: pair.front.put(1), pair.front.push, pair.front.get, pair.front.final_check):
        with pytest.raises(HypercallError, match="busy"):
            again()
    serve(pair, 1)
    assert call.done().error is None
    pair.front.put(1)


def test_answers_that_are_owed_come_before_the_next_exchange():
    pair = Pair(timeout=0.02)
    with pytest.raises(Timeout):
        pair.front.call()
    with pytest.raises(HypercallError, match="busy"):
        pair.front.call()
    serve(pair, 1)
    assert pair.front.resume() == 1


def test_a_turn_answers_what_the_call_before_took():
    """All of it, and none of it twice: not after a time limit, not after an answer by hand."""
    pair = Pair(timeout=0.02)
    turn, core = pair.back.turn_fast()
    assert turn(core) == -110               # nothing taken yet: nothing to answer
    pair.front.put(3)
    pair.front.push()
    assert pair.back.wait() == 3
    pair.back.reply(3)                      # by hand
    assert turn(core) == -110
    assert pair.front.get() == 3
    pair.front.put(2)
    pair.front.push()
    assert turn(core) == 2
    pair.front.put(1)
    pair.front.push()
    assert turn(core) == 1
    assert pair.front.get() == 2
    call = Call(lambda: turn(core)).asleep_on(pair.half[1])
    assert turn(core) == -16                # a second thread changes nothing
    pair.front.put(1)
    pair.front.push()
    assert call.done().result == 1
    assert pair.front.get() == 1
    assert turn(core) == -110
    assert pair.front.get() == 1


def test_a_peer_asleep_on_a_descriptor_is_told_the_long_way():
    pair = Pair(timeout=0.05)
    lib.xp_direct_arm(pair.events[1].core)
    with pytest.raises(Timeout):
        pair.front.call()
    assert pair.kicks == [1]
    assert pair.back.get() == 1             # pushed all the same


def test_more_spinners_than_cpus_do_not_collapse():
    """Six ends that poll on whatever CPUs there are: slow, not dead."""
    pairs = [Pair("poll", 30) for _ in range(3)]
    children = [CTX.Process(target=serve, args=(pair, 300)) for pair in pairs]
    for child in children:
        child.start()

    def run(pair):
        for i in range(300):
            pair.front.request.value = i
            assert pair.front.call().value == i + 1
        return True

    calls = [Call(lambda pair=pair: run(pair)) for pair in pairs]
    assert [call.done().result for call in calls] == [True] * 3
    for child in children:
        child.join(20)
        assert child.exitcode == 0
