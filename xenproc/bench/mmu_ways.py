"""`xenproc bench mmu`: the same work on page tables in several ways, side by side: direct, batched, writable page tables, shadows.

In domains, in C alike (native/benchpt.h): 8 MiB of address space built in tables that are in use (2,048 entries) and read; the fork of 64
tables; a page fault. Beside them what the first costs through AddressSpace, in Python. A further way is a further name in WAYS.
"""

from xenproc.bench import mmu_ways_guest
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Suite

# As native/benchpt.h has them. Each is compared with the first two, if it comes behind them.
WAYS = ("direct", "batched", "wpt", "shadow", "unshadow")
SHADOW = {"shadow": "keep", "unshadow": True}           # of a domain
# Work -> (entries, operations a round, domain's memory)
WORKS = {"build": (mmu_ways_guest.BUILD_PAGES, 3, "1M"), "fork": (512 * mmu_ways_guest.FORK_TABLES, 1, "2M"), "fault": (1, 100, "1M")}
SPACES = {"queued": "queued", "direct": "stored"}


def add_ways(made: Suite) -> None:
    """Add a row for each way and work, what an entry costs, and each way over the first."""
    machine = Machine(made.plan.isolation)
    for place in made.places("adaptive"):
        for work, (_, n, memory) in WORKS.items():
            for way in WAYS:
                case = DomainCase(machine, mmu_ways_guest.ways_client, memory=memory, shadow=SHADOW.get(way, False), way=way, work=work)
                made.add(Entry(f"{work}_{way}", "own", case, place, "adaptive", n=made.plan.trips or n))
        for writes, name in SPACES.items():
            case = DomainCase(machine, mmu_ways_guest.space_client, memory="1M", writes=writes)
            made.add(Entry(f"build_space_{name}", "own", case, place, "adaptive", n=made.plan.trips or 3))
    for work, (entries, _, _) in WORKS.items():
        for way in WAYS:
            name, scale = (f"{work}_{way}_us", 1e-3) if entries == 1 else (f"{work}_{way}_entry_ns", 1 / entries)
            made.number(name, f"{work}_{way}", "adaptive", scale=scale)
        for over, under in [(over, under) for i, under in enumerate(WAYS[:2]) for over in WAYS[i + 1 :]]:
            made.ratio(f"{over}_over_{under}_{work}", f"{work}_{over}", f"{work}_{under}", "adaptive")
    for name in SPACES.values():
        made.number(f"build_space_{name}_entry_ns", f"build_space_{name}", "adaptive", scale=1e3 / mmu_ways_guest.BUILD_PAGES)
