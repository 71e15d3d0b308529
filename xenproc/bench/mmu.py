"""`xenproc bench mmu`: validated page-table writes in several ways, pinning, what windows cost; the paper's Table 5.

Writes come from a domain, hypercall included (mmu_guest.py; whole works, ways side by side: mmu_ways.py). Validation alone, a pin
and its longest step, and windows are measured on a core without processes (mmu_core.py), on the first CPU of where the kernel puts us.
"""

from xenproc.bench import guests, mmu_core, mmu_guest
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.mmu_core import BATCH, ENTRIES, RUN, TABLES, CoreCase
from xenproc.bench.mmu_table5 import add_table5
from xenproc.bench.mmu_ways import add_ways
from xenproc.bench.placement import resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite

DOMAIN_MEMORY = "1M"
# name, of which case, its unit's share of an operation, the bound
NUMBERS = (
    ("pin_entry_ns", "pin", 1 / (TABLES * ENTRIES), 5.0),
    ("pin_step_us", "pin_step", 1e-3, 200.0),
    ("give_frame_us", "give", 1e-3, 1.0),
    ("give_frame_run_us", "give_run", 1e-3 / RUN, 0.4),
    ("protect_frame_us", "protect", 1e-3, 1.0),
)


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    add_writes(made)
    add_core(made)
    add_table5(made)
    add_ways(made)
    return made


def add_writes(made: Suite) -> None:
    """Batches and single writes, spinning on two CPUs and blocking; beside them the smallest hypercall."""
    for mode, word, at_least in (("poll", "spin", 20.0), ("block", "block", 100.0)):
        machine = Machine(made.plan.isolation, spin=mode == "poll")
        for place in made.places(mode):
            for name, client, options in (
                ("pte_batch512", mmu_guest.pte_client, {"batch": BATCH}),
                ("pte_single", mmu_guest.pte_client, {"batch": 1}),
                ("hypercall", guests.hypercall_client, {}),
            ):
                case = DomainCase(machine, client, memory=DOMAIN_MEMORY, mode=mode, **options)
                made.add(Entry(name, "own", case, place, mode, spinners=2 if mode == "poll" else 0))
        made.number(f"pte_batch512_{word}_ns", "pte_batch512", mode, scale=1 / BATCH, **({"at_most": 30.0} if mode == "poll" else {}))
        made.number(f"crossing_over_512_{word}_ns", "hypercall", mode, scale=1 / BATCH)
        pairs = made.pairs("pte_single", "pte_batch512", mode)
        if pairs:
            made.ratios.append(Ratio(f"single_over_batch512_{word}", pairs, at_least=at_least, scale=BATCH))


def add_core(made: Suite) -> None:
    """What is measured without processes."""
    if not made.plan.wants("block"):
        return
    core, place = mmu_core.Core(made.plan.isolation), resolve("free")
    made.add(Entry("touch", "limit", CoreCase(core, mmu_core.touch), place))
    makers = {"validate": mmu_core.validate, "pin": mmu_core.pin, "pin_step": mmu_core.pin_step,
              **{name: mmu_core.windows(name) for name in ("give", "give_run", "protect")}}
    for name, make in makers.items():
        few = 2 if name.startswith("pin") else None
        made.add(Entry(name, "own", CoreCase(core, make), place, n=few))
    made.ratios.append(Ratio("validate_over_touch", ((f"validate/block/{place.name}", f"touch/block/{place.name}"),), at_most=3))
    for name, of, scale, bound in NUMBERS:
        made.ratios.append(Ratio(name, ((f"{of}/block/{place.name}", None),), at_most=bound, scale=scale))
