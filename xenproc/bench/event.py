"""`xenproc bench event`: an event there and back between two domains, direct, against bare semaphores.

Like with like: sem_wait has no time limit, and so the waits of `event` have none (a peer that dies ends them all the
same). `event_limited` has the library's default of 5 s a wait, for which the kernel sets and clears a timer at each sleep:
it is held against the same limit.
"""

from xenproc.bench import guests
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite
from xenproc.guest.hypercall import DEFAULT_TIMEOUT

AT_MOST = 1.15


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    made.add_semaphore()
    made.add_cache_line()
    made.add_peers(("posix_ipc",), ("block",))
    machine = Machine(plan.isolation)
    add(made, machine, "event", ("block", "adaptive", "poll"))
    add(made, machine, "event_limited", ("block",), limit=DEFAULT_TIMEOUT)
    made.ratio("event_block_over_semaphore", "event", "semaphore", "block", at_most=AT_MOST)
    made.ratio("event_block_limited_over_semaphore", "event_limited", "semaphore", "block", at_most=AT_MOST)
    if plan.cooperative:
        add(made, Machine("cooperative"), "event_cooperative", ("block",))
        made.ratio("event_block_enforced_over_cooperative", "event", "event_cooperative", "block")
    return made


def add(made: Suite, machine: Machine, name: str, modes: tuple[str, ...], limit: float | None = None) -> None:
    """Add the event's round trip on a machine to a suite; limit: of each wait, in seconds."""
    for mode in modes:
        for place in made.places(mode):
            case = DomainCase(machine, guests.event_client, guests.event_server, mode=mode, limit=limit)
            made.add(Entry(name, "own", case, place, mode, spinners=2 if mode == "poll" else 0))
