"""Ways of changing page tables side by side: each work is done, in the way it says, and a page that shows something else is noticed."""

import benched
import pytest
from benched import bench_machine

from xenproc.bench import mmu_ways, mmu_ways_guest
from xenproc.bench.domains import DomainCase
from xenproc.bench.placement import resolve

machine = bench_machine
LEAVES = 4                      # tables of level 1 that 8 MiB have


def counted(g, way: str, work: str) -> tuple:
    """[guest] Hypercalls and trapped stores of one work, what is put back included."""
    from xenproc.bench import mmu_ways_guest
    from xenproc.native import ffi

    op = mmu_ways_guest.prepare(g, way, work)
    core, link = g.hypercalls.core, op.bench.space.link
    ticks = ffi.new("uint64_t[1]")
    results, calls, trapped = [op(ticks)], core.nr_calls, link.nr_trapped
    results.append(op(ticks))
    return results, core.nr_calls - calls, link.nr_trapped - trapped, ticks[0] > 0


FORK = mmu_ways_guest.FORK_TABLES
BUILD = mmu_ways_guest.BUILD_PAGES
DATA = 128                      # stores after which a table in shadow mode is data
BACK = BUILD // 512, FORK + 1, 1       # calls that put things back: of a build, a fork (with its unpin), a fault
# (calls, trapped stores): of two unhooked tables the older is hooked again where a third is, both at their next use
COSTS = {
    ("direct", "build"): (BUILD, 0), ("batched", "build"): (BUILD // 512, 0), ("wpt", "build"): (LEAVES + 1, LEAVES),
    ("direct", "fork"): (FORK * 512 + 2, 0), ("batched", "fork"): (FORK + 2, 0), ("wpt", "fork"): (FORK + 2, FORK),
    ("direct", "fault"): (3, 0), ("batched", "fault"): (3, 0), ("wpt", "fault"): (4, 1),
    # Each page of a table that lost its shadow comes into the new one by a call.
    ("shadow", "build"): (BUILD, BUILD), ("unshadow", "build"): (BUILD, 0),
    ("shadow", "fork"): (FORK * 512 + 2, FORK * 512), ("unshadow", "fork"): (FORK * DATA + FORK + 2, FORK * DATA),
    ("shadow", "fault"): (4, 1), ("unshadow", "fault"): (4, 1),
}


def test_every_way_and_work_has_its_cost_here():
    assert set(COSTS) == {(way, work) for way in mmu_ways.WAYS for work in mmu_ways.WORKS}


@pytest.mark.parametrize("way,work", COSTS)
def test_a_work_is_done_in_its_way(machine, way, work):
    memory = mmu_ways.WORKS[work][2]
    results, calls, trapped, timed = machine.hv.create(counted, way, work, memory=memory, shadow=mmu_ways.SHADOW.get(way, False)).wait(60)
    back = dict(zip(mmu_ways.WORKS, BACK, strict=True))[work]
    assert results == [0, 0] and timed
    back += FORK if (way, work) == ("unshadow", "fork") else 0         # their shadows are made again
    assert (calls - back, trapped) == COSTS[way, work]
    assert machine.hv.audit() == 0


@pytest.mark.parametrize("writes", mmu_ways.SPACES)
def test_through_an_address_space(machine, writes):
    sample = benched.measured(DomainCase(machine, mmu_ways_guest.space_client, memory="1M", writes=writes), 1, resolve("free"))
    assert 100 < sample.value < 10_000_000


def test_the_clients_time_is_a_works(machine):
    case = DomainCase(machine, mmu_ways_guest.ways_client, memory="1M", way="batched", work="build")
    sample = benched.measured(case, 3, resolve("free"))
    assert (sample.n, len(sample.hist)) == (3, 3) and 2048 < sample.hist.min_ns


def lied_to(g, work: str) -> int:
    """[guest] An entry that is written shows another page than the one that is then read; a table that has nothing to share."""
    from xenproc.bench import mmu_ways_guest
    from xenproc.native import ffi

    op = mmu_ways_guest.prepare(g, "batched", work)
    if work == "fork":
        empty = g.memory.alloc(1)
        empty.view[:] = bytes(4096)
        op.parts[0][0] = empty.mfn
    else:
        op.parts[0][0].va += 1 << 40
    return op(ffi.new("uint64_t[1]"))


@pytest.mark.parametrize("work", ["build", "fault", "fork"])
def test_what_is_not_there_in_the_end_is_noticed(machine, work):
    assert machine.hv.create(lied_to, work, memory="2M").wait(60) == -14


def no_such_way(g) -> int:
    """[guest] A number behind the last way."""
    from xenproc.bench import mmu_ways_guest
    from xenproc.native import ffi, lib

    op = mmu_ways_guest.prepare(g, "direct", "build")
    op.bench.core.way = lib.XP_BENCH_PT_WAYS
    return op(ffi.new("uint64_t[1]"))


def test_no_such_way(machine):
    assert machine.hv.create(no_such_way, memory="1M").wait(60) == -22
