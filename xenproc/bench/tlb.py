"""`xenproc bench tlb`: what a translation costs that the TLB has, and one that it has not; loads of whole pages; what flushes the TLB.

The MMU is the one that guests use (native/mmu.h), here in this process on tables of its own (native/benchtlb.h). `far` is tables that no
cache holds: 128 MiB with four levels; two levels never have more than the 4 MiB that map 4 GiB. Flushes are counted in a domain.
"""

import os
from statistics import median
from typing import Any

from xenproc.bench import guests, mmu_guest
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.limits import tick
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite
from xenproc.native import ffi, lib

LEVELS = {2: 0, 3: 1, 4: 2}     # levels -> enum xp_paging
NEAR = 1 << 14                  # pages whose tables fit into a second-level cache: 64 KiB of two levels, 128 of more
FAR = {2: 1 << 20, 4: 1 << 24}
FEW = 64                        # frames that they are mapped to, where no byte of them is touched
WHOLE = 1 << 14                 # pages of 64 MiB
SLICE = 512
MOST_ENTRIES = NEAR // 4        # a larger TLB would not miss
DOMAIN_MEMORY = "2M"
COUNTED = (
    *(("crossing", cause) for cause in ("any", "switch", "asked", "page", "generation", "misses")),
    ("switch", "switch"), ("switch", "misses"), ("update", "page"), ("update", "misses"),
)


class Space:
    """Tables and an MMU that several cases share: made by the first that starts, kept until the last has stopped."""

    def __init__(self, plan: Plan, levels: int, pages: int, data: int = FEW) -> None:
        self.asked = LEVELS[levels], pages, data, plan.sets, plan.ways
        self.core: Any = None
        self.clock: Any = None
        self._users = 0

    def acquire(self) -> None:
        """Make it if it does not exist. Raises BenchError."""
        if self._users == 0:
            made = lib.xp_bench_tlb_new(*self.asked)
            if made == ffi.NULL:
                raise BenchError(f"no memory for tables of {self.asked[1]} pages, or no such TLB")
            self.core, self.clock = made, tick()
        self._users += 1

    def release(self) -> None:
        """Free it if nobody else uses it."""
        self._users -= 1
        if self._users == 0:
            core, self.core = self.core, None
            lib.xp_bench_tlb_free(core)


class Loop:
    """A case: one of native/benchtlb.h's loops, ns an operation."""

    isolation = None

    def __init__(self, space: Space, name: str) -> None:
        self.space = space
        self.name = name
        self._started = False

    def start(self, placement: Placement) -> None:
        """Make the tables if nobody has."""
        self.space.acquire()
        self._started = True

    def round(self, n: int) -> Sample:
        """Do n operations. Raises BenchError if the TLB did not do what the loop is about."""
        loop = getattr(lib, f"XP_BENCH_TLB_{self.name}")
        ns = lib.xp_bench_tlb_run(self.space.core, loop, n, self.space.clock)
        if ns < 0:
            raise BenchError(f"{self.name}: the TLB hit or missed, or an address came out, as it should not")
        return Sample(n, value=ns)

    def stop(self) -> None:
        """Let go of the tables."""
        if self._started:
            self._started = False
            self.space.release()


class Beside(Loop):
    """A case: two loops in turns, some tens of microseconds each; the value is the median of how much longer the first takes."""

    def __init__(self, space: Space, name: str, under: str) -> None:
        super().__init__(space, name)
        self.under = Loop(space, under)

    def round(self, n: int) -> Sample:
        """Do n operations of each, SLICE at a time. Raises BenchError."""
        pairs = [(super(Beside, self).round(SLICE), self.under.round(SLICE)) for _ in range(-(-n // SLICE))]
        return Sample(n, value=median((over.value or 0) / (under.value or 1) for over, under in pairs))


def suite(plan: Plan) -> Suite:
    """Return the entries and their targets."""
    if plan.sets & (plan.sets - 1) or plan.ways & (plan.ways - 1) or plan.sets * plan.ways > MOST_ENTRIES:
        raise BenchError(f"TLB: expected powers of two, {MOST_ENTRIES} entries at most, got {plan.sets} sets of {plan.ways} ways")
    made = Suite(plan)
    if plan.wants("block"):
        add_translations(made)
        add_loads(made)
    add_crossings(made)
    return made


def far(levels: int) -> int:
    """Return how many pages' tables are out of any cache, as far as an eighth of the free memory goes."""
    room = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
    pages = FAR[levels]
    while pages > NEAR * 16 and pages * 2 * levels > room:
        pages //= 2
    return pages


def add_translations(made: Suite) -> None:
    """Hits and walks, and the chase of pointers through the same tables."""
    place = resolve("free")

    def add(name: str, space: Space, loop: str) -> str:
        kind = "limit" if loop.startswith("chase") else "own"
        made.add(Entry(name, kind, Loop(space, loop), place, unit="ns"))
        return made.entries[-1].key

    hot = Space(made.plan, 4, made.plan.sets * made.plan.ways)
    for loop, bound in (("hit", 3.0), ("hit_behind", None), ("hit_chained", None)):
        made.ratios.append(Ratio(f"tlb_{loop}_ns", ((add(loop, hot, loop), None),), at_most=bound))
    worst = []
    for levels, bound in ((2, 20.0), (3, None), (4, 40.0)):
        near = Space(made.plan, levels, NEAR)
        made.ratios.append(Ratio(f"walk{levels}_ns", ((add(f"walk{levels}", near, "walk"), None),), at_most=bound))
        made.ratios.append(Ratio(f"chase{levels}_ns", ((add(f"chase{levels}", near, "chase"), None),)))
        if levels not in FAR:
            continue
        away = Space(made.plan, levels, far(levels))
        add(f"walk{levels}_far", away, "walk"), add(f"chase{levels}_far", away, "chase")
        worst.append(beside(made, f"walk{levels}_over_chase", Beside(away, "walk", "chase")))
        beside(made, f"walk{levels}_over_chase_free", Beside(away, "walk_free", "chase_free"))
    made.ratios.append(Ratio("walk_over_chase", tuple(worst), at_most=1.5))


def beside(made: Suite, name: str, case: Beside) -> tuple[str, None]:
    """Add what is a ratio already, and the ratio; return its key."""
    made.add(Entry(name, "own", case, resolve("free"), unit="x"))
    key = made.entries[-1].key
    made.ratios.append(Ratio(name, ((key, None),)))
    return key, None


def add_loads(made: Suite) -> None:
    """64 MiB page by page, through the MMU and by memcpy."""
    worst = []
    for levels in FAR:
        space = Space(made.plan, levels, WHOLE, WHOLE)
        for name, kind in (("memcpy", "limit"), ("load", "own")):
            made.add(Entry(f"{name}{levels}", kind, Loop(space, name), resolve("free"), unit="ns"))
        worst.append(beside(made, f"walk{levels}_over_memcpy", Beside(space, "memcpy", "load")))
    made.ratios.append(Ratio("walk_over_memcpy", tuple(worst), at_least=0.8))


def add_crossings(made: Suite) -> None:
    """What flushes a domain's TLB; and what a crossing costs: into the hypervisor, and into the host's kernel."""
    machine = Machine(made.plan.isolation)
    for place in made.places("block"):
        made.add(Entry("hypercall", "own", DomainCase(machine, guests.hypercall_client, memory=DOMAIN_MEMORY, mode="block"), place))
    made.number("crossing_block_us", "hypercall", "block", scale=1e-3)
    if not made.plan.wants("block"):
        return
    place = resolve("free")
    made.add(Entry("getppid", "limit", Loop(Space(made.plan, 4, 1, 1), "getppid"), place, unit="ns"))
    made.ratios.append(Ratio("getppid_ns", ((made.entries[-1].key, None),)))
    for what, counter in COUNTED:
        case = DomainCase(machine, mmu_guest.flush_client, memory=DOMAIN_MEMORY, what=what, counter=counter)
        made.add(Entry(f"{what}_{counter}", "own", case, place, unit="an op", n=100, rounds=1))
    made.ratios.append(Ratio("flushes_per_crossing", ((f"crossing_any/block/{place.name}", None),), at_most=0.0))
