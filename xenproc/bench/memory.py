"""`xenproc bench memory`: mapping and unmapping granted pages, one and many at once; moving pages by transfer against copying them.

Each operation is whole: a map with its unmap (the page let go of first, as the hypervisor wants it), a transfer with the offer it
needs and the page in the window again. Copying is GNTTABOP_copy, which also leaves the receiver with pages of its own. Moving is
cheaper where `flip_over_copy_*` is below 1; the sizes go from one page to 1 MiB, so that it is seen where that begins, if at all.
"""

from xenproc.bench import memory_guests as guests
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.placement import resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite

SIZES = {"4k": 1, "16k": 4, "64k": 16, "256k": 64, "1m": 256}      # pages
MANY = 64


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    machine = Machine(plan.isolation)
    place = resolve("free" if plan.placement == "auto" else plan.placement)

    def add(name: str, client: object, nr: int, server: object = None) -> str:
        case = DomainCase(machine, client, server, memory="4M", maxmem="8M", nr=nr)     # type: ignore[arg-type]
        made.add(Entry(name, "own", case, place, "block", n=plan.trips or guests.rounds_of(nr)))
        return made.entries[-1].key

    one, many = add("grant_map", guests.grant_map, 1, guests.grant_server), add("grant_map64", guests.grant_map, MANY, guests.grant_server)
    made.ratios.append(Ratio("grant_map_us", ((one, None),), scale=1e-3))
    made.ratios.append(Ratio("grant_map64_us", ((many, None),), scale=1e-3 / MANY))
    made.ratios.append(Ratio("grant_map_over_map64_each", ((one, many),), scale=float(MANY)))
    for size, nr in SIZES.items():
        flip, copy = add(f"flip_{size}", guests.flip, nr), add(f"copy_{size}", guests.copy, nr)
        made.ratios.append(Ratio(f"flip_over_copy_{size}", ((flip, copy),)))
    made.ratios.append(Ratio("exchange_4k_us", ((add("exchange_4k", guests.exchange, 1), None),), scale=1e-3))
    return made
