"""The cases whose parties are domains: they measure what they say, notice what is wrong, and leave nothing."""

import os
from pathlib import Path

import benched
import pytest
from benched import bench_machine

from xenproc.bench import create, domains, guests, idle, mmu_guest, mmu_table5
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement, resolve, usable
from xenproc.bench.suite import Plan
from xenproc.errors import XenprocError

ONE = resolve("one")
TWO = resolve("two") if len(usable()) > 1 else ONE


machine = bench_machine


def measured(case, n, placement=TWO):
    return benched.measured(case, n, placement)


@pytest.mark.parametrize("mode", ["poll", "adaptive", "block"])
@pytest.mark.parametrize("name", ["event", "ring_c", "ring_py"])
def test_round_trips(machine, name, mode):
    client, server = getattr(guests, f"{name}_client"), getattr(guests, f"{name}_server")
    options = {"mode": mode} if name == "event" else {"mode": mode, "size": 24}
    sample = measured(domains.DomainCase(machine, client, server, **options), 70)
    assert (sample.n, len(sample.hist), sample.fast, sample.value) == (70, 70, None, None)
    assert 30 < sample.hist.min_ns <= sample.hist.quantile(50) < 1e9
    assert 0 < sample.took_s < 20


def test_strides_beside_single_trips(machine):
    case = domains.DomainCase(machine, guests.ring_py_client, guests.ring_py_server, mode="poll", size=16, stride=32)
    sample = measured(case, 100)
    assert (len(sample.hist), len(sample.fast)) == (100, 3)
    assert sample.middle() == sample.fast.quantile(50)


@pytest.mark.parametrize("batch", [1, 24, 32])
@pytest.mark.parametrize("name", ["pump_c", "pump_py"])
def test_ring_throughput(machine, name, batch):
    client, server = getattr(guests, f"{name}_client"), getattr(guests, f"{name}_server")
    case = domains.DomainCase(machine, client, server, grain=batch, mode="adaptive", size=16, batch=batch)
    sample = measured(case, 1000)
    assert sample.n == -(-1000 // batch) * batch
    assert 1e-4 < sample.value < 1000


def test_a_ring_that_cannot_hold_two_batches_is_refused(machine):
    case = domains.DomainCase(
        machine, guests.pump_c_client, guests.pump_c_server, mode="block", size=1024, batch=64
    )
    with pytest.raises(BenchError, match="do not fit into 16 pages"):
        measured(case, 64)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("size", [64, 4096, 1 << 20])
def test_channel_throughput(machine, size, many):
    if many and size == 1 << 20:
        size = 1024
    case = domains.DomainCase(
        machine, guests.channel_client, guests.channel_server, grain=guests.CHANNEL_BATCH if many else 1, memory="4M",
        mode="adaptive", size=size, many=many,
    )
    sample = measured(case, 4)
    assert 1e-3 < sample.value < 1e6


def test_a_fixed_rate_is_kept_and_stalls_are_counted(machine):
    def run(rate):
        case = domains.DomainCase(machine, guests.paced_client, guests.paced_server, mode="adaptive", size=16, rate=rate)
        return measured(case, 200)

    calm = run(1000)
    assert 0.19 < calm.took_s < 5
    assert 0 <= calm.stalled <= 1
    hopeless = run(50_000_000)
    assert hopeless.stalled > 0.9, "nobody sends a request every 20 ns"
    assert hopeless.hist.quantile(99) > hopeless.hist.quantile(1), "each starts later than the one before"


@pytest.mark.parametrize("mode", ["block", "poll"])
def test_hypercalls(machine, mode):
    sample = measured(domains.DomainCase(machine, guests.hypercall_client, mode=mode), 100)
    assert len(sample.hist) == 100
    assert sample.hist.min_ns > 30


@pytest.mark.parametrize("what, counter, value", [
    ("crossing", "any", 0), ("crossing", "misses", 0), ("switch", "switch", 1), ("switch", "misses", 8), ("update", "page", 1)])
def test_flushes_are_counted_by_cause(machine, what, counter, value):
    case = domains.DomainCase(machine, mmu_guest.flush_client, memory="2M", what=what, counter=counter)
    assert measured(case, 5).value == value


@pytest.mark.parametrize("what", list(mmu_table5.ROUND))
def test_table_5_by_a_guest_and_by_linux(machine, what):
    ours = domains.DomainCase(machine, mmu_guest.table5_client, memory="2M", what=what)
    for case in ours, mmu_table5.Native(what):
        assert 0.05 < measured(case, 3).value < 1e6


@pytest.mark.parametrize("how", ["c", "py"])
def test_reading_time(machine, how):
    sample = measured(domains.DomainCase(machine, guests.time_client, how=how), 1000)
    assert sample.hist is None and 0.5 < sample.value < 100_000


def test_what_costs_no_domain():
    from xenproc.bench import clock

    for case in (clock.Here(clock.monotonic), clock.Tracing(on=True), clock.Tracing(on=False)):
        case.start(resolve("free"))
        sample = case.round(10_000)
        case.stop()
        assert sample.n == 10_000 and 0 <= sample.value < 100_000


def where(g, n):
    return Sample(n, value=float(sum(1 << cpu for cpu in os.sched_getaffinity(0)))).pack()


def test_parties_and_dispatcher_are_where_the_placement_says(machine):
    first, last = usable()[0], usable()[-1]
    seen = measured(domains.DomainCase(machine, where), 1, Placement("x", (last, first)))
    assert seen.value == 1 << last
    threads = [int(task.name) for task in Path(f"/proc/{machine.hv.pid}/task").iterdir()]
    assert {first} in [os.sched_getaffinity(thread) for thread in threads if thread != machine.hv.pid]
    free = measured(domains.DomainCase(machine, where), 1, resolve("free"))
    assert free.value == sum(1 << cpu for cpu in usable())
    assert all(os.sched_getaffinity(thread) == set(usable()) for thread in threads)


def lying_server(g, peer, n, mode, size):
    ring = g.ring_back(peer, guests.layout(size), timeout=5, mode=mode)
    while True:
        got = ring.wait()
        for i in range(got):
            ring.responses[i].value = 7
        ring.reply(got)


def dying_server(g, peer, n, mode, size):
    g.ring_back(peer, guests.layout(size), timeout=5, mode=mode)
    os.abort()


@pytest.mark.parametrize(
    "client, server, match",
    [
        (guests.ring_py_client, lying_server, "was answered by 0x7"),
        (guests.ring_c_client, lying_server, "DomainCrashed"),
        (guests.pump_py_client, lying_server, "DomainCrashed|answered wrongly"),
        (guests.ring_c_client, dying_server, "PeerGone|SIGABRT"),
    ],
    ids=["py", "c", "pump_py", "dies"],
)
def test_a_wrong_or_dead_end_is_a_reason(machine, client, server, match):
    options = {"batch": 4} if client is guests.pump_py_client else {}
    wrapped = (lambda g, peer, n, mode, size, batch: server(g, peer, n, mode, size)) if options else server
    with pytest.raises(BenchError, match=match):
        measured(domains.DomainCase(machine, client, wrapped, mode="adaptive", size=16, **options), 64)


@pytest.mark.parametrize(
    "result, match",
    [(3, "not a sample"), (b"", "no sample"), (Sample(1, value=1.0).pack() + b"x", "more than a sample"),
     (Sample(1, value=-1.0).pack(), "impossible"), (Sample(1, value=float("inf")).pack(), "impossible")],
)
def test_what_a_guest_returns_is_not_believed(machine, result, match):
    with pytest.raises(BenchError, match=match):
        measured(domains.DomainCase(machine, lambda g, n: result), 1)


def test_samples_travel_whole():
    hist, fast = Hist(), Hist()
    for ns in (5, 5, 70_000):
        hist.record(ns)
    fast.record(6)
    for sample in (Sample(3, hist, fast, None, 0.5, 0.25), Sample(3, hist), Sample(1, value=2.0)):
        back = Sample.unpack(sample.pack())
        assert (back.n, back.value, back.took_s, back.stalled) == (
            sample.n, sample.value, sample.took_s, sample.stalled)
        assert [h and h.pack() for h in (back.hist, back.fast)] == [h and h.pack() for h in (sample.hist, sample.fast)]


def test_a_machine_is_shared_and_closed_by_its_last_user():
    machine = domains.Machine(memory="2M")
    cases = [domains.DomainCase(machine, where) for _ in range(2)]
    for case in cases:
        case.start(ONE)
    hv = machine.hv
    cases[0].stop()
    cases[0].stop()
    assert machine.hv is hv and cases[1].round(1).n == 1
    cases[1].stop()
    assert machine.hv is None
    with pytest.raises((XenprocError, OSError)):
        hv.info()


def test_creating_and_forking_are_timed_from_the_same_clock(machine):
    free = resolve("free")
    fork = measured(create.ForkCase(), 3, free)
    made = measured(create.CreateCase(machine), 2, free)
    whole = measured(create.CreateCase(machine, whole=True), 2, free)
    assert (len(fork.hist), len(made.hist), len(whole.hist)) == (3, 2, 2)
    assert fork.hist.min_ns > 50_000
    assert 500_000 < made.hist.min_ns < 10e9


def test_a_guest_that_lies_about_its_birth_is_noticed(machine, monkeypatch):
    monkeypatch.setattr(guests, "born", lambda g: 5)
    with pytest.raises(BenchError, match="born at 5"):
        measured(create.CreateCase(machine), 1, resolve("free"))


def test_a_census_of_a_few():
    machine = domains.Machine(spin=False)
    census = idle.Census(machine, 12)
    cases = [idle.CensusCase(census, number) for number in (census.hv_kb, census.hv_descriptors, census.domain_mb)]
    try:
        for case in cases:
            case.start(resolve("free"))
        kb, descriptors, mb = (case.round(1).value for case in cases)
        assert len(machine.idle) == 12
        assert [domain.state for domain in machine.idle] == ["running"] * 12
    finally:
        for case in cases:
            case.stop()
    assert -200 < kb < 2000
    assert 3 <= descriptors <= 10, "a domain costs some descriptors"
    assert 0.2 < mb < 40
    assert machine.hv is None


def test_the_window_is_not_the_domains_own_memory(machine):
    """A page more in the window changes nothing, a page more of its own does."""

    def grown(g, private, frames):
        keep = [bytearray(os.urandom(1)) * (private << 20)]
        if frames:
            pages = g.memory.alloc(frames)
            pages.view[:] = b"x" * len(pages.view)
        g.console.print("ready", len(keep))
        g.shutdown_request(timeout=None)

    def kb(private, frames):
        domain = machine.hv.create(grown, private, frames, memory="8M")
        try:
            text = ""
            while "ready" not in text:
                text += domain.console.read()
            return idle.own_kb(domain.pid)
        finally:
            domain.destroy()

    small, framed, big = kb(1, 0), kb(1, 1500), kb(9, 0)
    assert abs(framed - small) < 1500
    assert 7000 < big - small < 10_000


def test_idle_suite_names_its_population():
    made = idle.suite(Plan(domains=40))
    assert {ratio.name for ratio in made.ratios} >= {"idle40_event", "idle40_hypercall", "hv_kb_per_domain", "domain_mb"}
