"""`xenproc bench hypercall`: the smallest hypercall (xen_version), blocking and spinning, against bare semaphores.

Blocking: both sides sleep at once (the hypervisor's dispatcher does not spin either). Spinning: both spin.
"""

from xenproc.bench import guests
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite

AT_MOST = {"one": ("hypercall_block_one_cpu_over_semaphore", 1.35), "two": ("hypercall_block_two_cpus_over_semaphore", 1.1)}


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    made.add_semaphore()
    add(made, Machine(plan.isolation, spin=False), "hypercall", ("block",))
    add(made, Machine(plan.isolation, spin=True), "hypercall", ("poll", "adaptive"))
    for over, under in made.pairs("hypercall", "semaphore", "block"):
        place = over.rpartition("/")[2]
        name, bound = AT_MOST.get(place, (f"hypercall_block_{place}_over_semaphore", None))
        made.ratios.append(Ratio(name, ((over, under),), at_most=bound))
    made.number("hypercall_spin_us", "hypercall", "poll", scale=1e-3, at_most=1.0)
    return made


def add(made: Suite, machine: Machine, name: str, modes: tuple[str, ...]) -> None:
    """Add the hypercall on a machine to a suite; the server's CPU is the dispatcher's."""
    for mode in modes:
        for place in made.places(mode):
            case = DomainCase(machine, guests.hypercall_client, mode=mode)
            made.add(Entry(name, "own", case, place, mode, spinners=2 if mode == "poll" else 0))
