"""`xenproc bench event`: an event there and back between two domains, direct, against bare semaphores."""

from xenproc.bench import guests
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    made.add_semaphore()
    made.add_cache_line()
    made.add_peers(("posix_ipc",), ("block",))
    add(made, Machine(plan.isolation), "event", ("block", "adaptive", "poll"))
    made.ratio("event_block_over_semaphore", "event", "semaphore", "block", at_most=1.15)
    if plan.cooperative:
        add(made, Machine("cooperative"), "event_cooperative", ("block",))
        made.ratio("event_block_enforced_over_cooperative", "event", "event_cooperative", "block")
    return made


def add(made: Suite, machine: Machine, name: str, modes: tuple[str, ...]) -> None:
    """Add the event's round trip on a machine to a suite."""
    for mode in modes:
        for place in made.places(mode):
            case = DomainCase(machine, guests.event_client, guests.event_server, mode=mode)
            made.add(Entry(name, "own", case, place, mode, spinners=2 if mode == "poll" else 0))
