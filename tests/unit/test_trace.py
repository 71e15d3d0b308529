"""The trace without a hypervisor: whose memory is taken, what a reader gets, what becomes of it in a browser."""

import fcntl
import json
import os
from types import SimpleNamespace

import pytest

from xenproc.dom0 import chrome
from xenproc.dom0.trace import Record, slices, type_name
from xenproc.native import ffi, lib

NR = 256
EINVAL = -22


class Ring:
    """A tracer over one ring, and a reader of it."""

    def __init__(self):
        self.fd = os.memfd_create("test-trace", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, lib.xp_trace_ring_bytes(NR))
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.tracer = ffi.new("struct xp_tracer *")
        assert lib.xp_tracer_open(self.tracer, self.fd, 1, NR, lib.XP_TRACE_events) == 0
        self.at, self.lost = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        self.seen = ffi.new("struct xp_trace_seen[]", NR)

    def put(self, number):
        lib.xp_trace_put(self.tracer, lib.XP_TT_event, 7, number, number * 3)

    def read(self, limit=NR):
        import mmap

        with mmap.mmap(self.fd, lib.xp_trace_ring_bytes(NR)) as memory:
            base = ffi.from_buffer(memory)
            nr = lib.xp_trace_read(base, NR, self.at, self.seen, limit, self.lost)
            ffi.release(base)
        assert all((s.type, s.domid, s.value) == (lib.XP_TT_event, 7, s.number * 3) for s in self.seen[0:nr])
        return [s.number for s in self.seen[0:nr]]

    def scribble(self, at, data):
        os.pwrite(self.fd, data, at)

    def close(self):
        lib.xp_tracer_close(self.tracer)
        os.close(self.fd)


@pytest.fixture
def ring():
    ring = Ring()
    yield ring
    ring.close()


def test_records_come_in_order_and_once(ring):
    assert ring.read() == []
    for number in range(10):
        ring.put(number)
    assert ring.read(4) == [0, 1, 2, 3]
    assert ring.read() == [4, 5, 6, 7, 8, 9]
    assert ring.read() == [] and ring.lost[0] == 0


def test_the_oldest_are_overwritten_and_counted(ring):
    for number in range(3 * NR + 5):
        ring.put(number)
    assert ring.read() == list(range(2 * NR + 5, 3 * NR + 5))
    assert ring.lost[0] == 2 * NR + 5


def test_a_record_that_does_not_fit_its_check_is_dropped(ring):
    for number in range(NR):
        ring.put(number)
    for number, field in ((3, 8), (4, 16), (5, 18), (6, 20), (7, 24), (8, 0)):
        ring.scribble(64 + 32 * number + field, b"\xee")
    ring.read(0)
    first = ring.read()
    # the ring's end may still be being written, so near to the head a reader waits: here it has gone on for long
    for number in range(NR, 2 * NR):
        ring.put(number)
    later = ring.read()
    assert not {3, 4, 5, 6, 7, 8} & set(first + later)
    assert len(first) + len(later) + ring.lost[0] == 2 * NR


def test_a_record_under_way_is_waited_for(ring):
    ring.put(0)
    ring.put(1)
    whole = os.pread(ring.fd, 8, 64 + 32)
    ring.scribble(64 + 32, bytes(8))
    assert ring.read() == [0] and ring.lost[0] == 0
    ring.scribble(64 + 32, whole)
    assert ring.read() == [1]


@pytest.mark.parametrize(("cpus", "records", "seals", "length"), [
    (0, NR, fcntl.F_SEAL_SHRINK, 1 << 20), (1025, NR, fcntl.F_SEAL_SHRINK, 1 << 30), (1, 0, fcntl.F_SEAL_SHRINK, 1 << 20),
    (1, 128, fcntl.F_SEAL_SHRINK, 1 << 20), (1, 300, fcntl.F_SEAL_SHRINK, 1 << 20), (1, NR, 0, 1 << 20),
    (1, NR, fcntl.F_SEAL_GROW, 1 << 20), (1, NR, fcntl.F_SEAL_SHRINK, 64 + 32 * NR - 1), (2, NR, fcntl.F_SEAL_SHRINK, 64 + 32 * NR),
])
def test_memory_that_is_not_taken(cpus, records, seals, length):
    fd = os.memfd_create("test-trace", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, length)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    tracer = ffi.new("struct xp_tracer *")
    assert lib.xp_tracer_open(tracer, fd, cpus, records, 1) == EINVAL
    os.close(fd)
    assert lib.xp_tracer_open(tracer, fd, 1, NR, 1) == EINVAL, "no descriptor at all"


def test_off_costs_a_branch_and_on_little(ring):
    """What is promised (30 ns) belongs to the benchmark; here: nothing like a system call."""
    def ticks(tracer):
        return min(lib.xp_trace_cost(tracer, 10000) for _ in range(7)) / 10000

    off = ffi.new("struct xp_tracer *")
    assert lib.xp_tracer_open(ring.tracer, ring.fd, 1, NR, lib.XP_TRACE_hypercalls) == 0
    assert ticks(off) < 20
    assert ticks(ring.tracer) < 500


# ---- what a browser gets ----

def record(ns, name, domid=1, number=0, value=0):
    kind = next(n for n in range(1, 40) if type_name(n) == name)
    return Record(ns, 0, kind, domid, number, value)


def test_calls_and_waits_last():
    found = slices([
        record(100, "call", number=29 | 2 << 16, value=3), record(110, "block", number=2, value=2), record(120, "event", number=5),
        record(150, "wake", number=2), record(160, "answer", number=2, value=(1 << 64) - 110), record(170, "answer", number=4),
    ])
    assert [(p["name"], p["ns"], p["dur"]) for p in found] == [("event", 120, None), ("blocked", 110, 40), ("sched_op", 100, 60)]
    assert found[2]["args"] == {"result": -110, "argument": 3, "slot": 2}


def test_chrome_gets_one_track_a_domain():
    recording = SimpleNamespace(lost=3, names={1: "web", 2: "db"}, collected=[
        record(0, "sleep", domid=0), record(1000, "call", number=17), record(1500, "call", number=18 | 1 << 16),
        record(2000, "answer"), record(2500, "answer", number=1), record(3000, "upcall", domid=2), record(4000, "awake", domid=0),
    ])
    found = chrome.events(recording)
    names = {e["tid"]: e["args"]["name"] for e in found if e["name"] == "thread_name"}
    assert names == {0: "hypervisor", 1: "domain 1 web", 2: "domain 2 db"}
    spans = [(e["name"], e["tid"], e["ts"], e["dur"]) for e in found if e["ph"] == "X"]
    assert spans == [("asleep", 0, 0.0, 4.0), ("xen_version", 1, 1.0, 1.0)]
    beside = [(e["ph"], e["ts"]) for e in found if e.get("cat") == "overlapping"]
    assert beside == [("b", 1.5), ("e", 2.5)], "a call that overlaps another is shown beside it"
    assert [e["tid"] for e in found if e["ph"] == "i"] == [2]
    assert json.dumps(found)


def test_an_empty_recording_is_one():
    assert [e["ph"] for e in chrome.events(SimpleNamespace(lost=0, names={}, collected=[]))] == ["M"]
