"""The MMU's loops: each measures what it says, and none is believed whose TLB did something else."""

import pytest

from xenproc.bench import tlb
from xenproc.bench.case import BenchError
from xenproc.bench.placement import resolve
from xenproc.bench.suite import Plan
from xenproc.native import ffi, lib

SMALL = 1 << 14


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["x86_32", "x86_32p", "x86_64"])
def core(request):
    made = lib.xp_bench_tlb_new(request.param, SMALL, 64, 64, 4)
    yield made
    lib.xp_bench_tlb_free(made)


@pytest.fixture(scope="module")
def clock():
    return tlb.tick()


LOOPS = ["hit", "hit_behind", "hit_chained", "walk", "walk_free", "chase", "chase_free", "load", "memcpy", "getppid"]


@pytest.mark.parametrize("loop", LOOPS)
def test_each_loop_finds_what_it_must(core, clock, loop):
    for n in (1, 5000, 1):
        ns = lib.xp_bench_tlb_run(core, getattr(lib, f"XP_BENCH_TLB_{loop}"), n, clock)
        assert 0 < ns < 1e6


def test_counters_move_as_the_loop_says(core, clock):
    lib.xp_bench_tlb_run(core, lib.XP_BENCH_TLB_walk, 1, clock)
    walks, hits = core.mmu.nr_walks, core.mmu.tlb.nr_hits
    lib.xp_bench_tlb_run(core, lib.XP_BENCH_TLB_hit, 50_000, clock)
    assert core.mmu.tlb.nr_hits - hits >= 45_000 and core.mmu.nr_walks - walks == 64
    short = core.mmu.nr_short
    lib.xp_bench_tlb_run(core, lib.XP_BENCH_TLB_walk, 50_000, clock)
    assert core.mmu.nr_walks - walks >= 45_000 and core.mmu.nr_short == short


def test_a_walk_that_the_tlb_spared_is_no_walk(clock):
    small = lib.xp_bench_tlb_new(2, 256, 64, 64, 4)
    assert lib.xp_bench_tlb_run(small, lib.XP_BENCH_TLB_walk, 1000, clock) < 0
    assert lib.xp_bench_tlb_run(small, 99, 1000, clock) < 0
    lib.xp_bench_tlb_free(small)


@pytest.mark.parametrize("asked", [
    (3, 256, 64, 64, 4), (2, 100, 64, 64, 4), (2, 256, 0, 64, 4), (0, 1 << 21, 64, 64, 4), (2, 256, 64, 63, 4)])
def test_what_is_no_space(asked):
    assert lib.xp_bench_tlb_new(*asked) == ffi.NULL


def test_a_table_that_lies_is_noticed(clock):
    """An entry that leads elsewhere: the sum of what comes out is another."""
    space = tlb.Space(Plan(), 4, SMALL)
    case = tlb.Loop(space, "walk")
    case.start(resolve("free"))
    assert case.round(1000).value > 0
    space.core.first_data += 1
    with pytest.raises(BenchError, match="walk: the TLB hit or missed"):
        case.round(1000)
    case.stop()
    case.stop()
    assert space.core is None


def test_two_loops_in_turns():
    case = tlb.Beside(tlb.Space(Plan(), 4, SMALL), "walk", "hit")
    case.start(resolve("free"))
    assert case.round(2000).value > 1.5
    case.stop()
    assert case.space.core is None


@pytest.mark.parametrize("sets, ways", [(63, 4), (64, 3), (4096, 2)])
def test_a_tlb_that_cannot_be_measured_is_refused(sets, ways):
    with pytest.raises(BenchError, match="expected powers of two"):
        tlb.suite(Plan(sets=sets, ways=ways))


def test_tables_out_of_cache_are_as_large_as_memory_allows(monkeypatch):
    assert tlb.far(2) <= 1 << 20 and tlb.NEAR * 16 <= tlb.far(4) <= 1 << 24
    monkeypatch.setattr(tlb.os, "sysconf", lambda name: 4096)
    assert tlb.far(4) == tlb.NEAR * 16
