"""A schedule from a recording: what each domain was charged, when it ran and where.

Of the records of the scheduler (native/trace.h, XP_TT_sched_*).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any

from xenproc.dom0.trace import Record, Recording, type_name
from xenproc.errors import ConfigError

_PREFIX = "sched_"
CHARGES = ("charge", "spent", "paid")


@dataclass
class Schedule:
    """Steps in order, as (ns, what, domid, number, value); names of the domains."""

    steps: list[tuple[int, str, int, int, int]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def title(self, domid: int) -> str:
        """Return what a domain is called in a picture."""
        return f"{domid} {self.names.get(domid, '')}".rstrip()

    def charges(self, kinds: tuple[str, ...] = CHARGES) -> dict[int, list[tuple[int, int]]]:
        """Return each domain's charges: (ns, ns of CPU time). kinds: what its process used, the hypervisor, or back ends for it."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for ns, what, domid, number, _ in self.steps:
            if what in kinds:
                found[domid].append((ns, number))
        return dict(found)

    def turns(self) -> list[tuple[int, int, int, int]]:
        """Return who had which CPU: (cpu, domid, from ns, to ns)."""
        turns = []
        on: dict[int, int] = {}
        since: dict[int, int] = {}
        end = self.steps[-1][0] if self.steps else 0

        def off(cpu: int, ns: int) -> None:
            domid = on.pop(cpu, 0)
            if domid and ns > since[cpu]:
                turns.append((cpu, domid, since[cpu], ns))

        for ns, what, domid, number, _ in self.steps:
            if what == "decide" and on.get(number, 0) != domid:
                off(number, ns)
                if domid:
                    on[number], since[number] = domid, ns
            elif what in ("sleep", "remove"):
                for cpu in [cpu for cpu, who in on.items() if who == domid]:
                    off(cpu, ns)
        for cpu in list(on):
            off(cpu, end)
        return sorted(turns, key=lambda turn: (turn[2], turn[0]))


def of_records(records: Iterable[Record], names: dict[int, str]) -> Schedule:
    """Return the schedule that is in these records."""
    out = Schedule(names=dict(names))
    for record in records:
        name = type_name(record.type)
        if name.startswith(_PREFIX):
            out.steps.append((record.ns, name.removeprefix(_PREFIX), record.domid, record.number, record.value))
    return out


def of_recording(recording: Recording) -> Schedule:
    """Return the schedule of a recording that has ended."""
    return of_records(recording.collected, recording.names)


def of_chrome(file: IO[str]) -> Schedule:
    """Return the schedule of a file that `xenproc trace` wrote. Raises ConfigError if it is none."""
    try:
        events: list[dict[str, Any]] = json.load(file)["traceEvents"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file.name}: not a trace: {error!r}") from None
    out = Schedule()
    for event in events:
        name = event.get("name", "")
        if name == "thread_name" and event["tid"]:
            out.names[event["tid"]] = event["args"]["name"].removeprefix(f"domain {event['tid']}").strip()
        elif name.startswith(_PREFIX):
            args = event["args"]
            out.steps.append((round(event["ts"] * 1000), name.removeprefix(_PREFIX), event["tid"], args["number"], args["value"]))
    return out
