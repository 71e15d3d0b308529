"""`xenproc bench time`: reading a domain's clock, in C and from Python, beside Python's own; and what a record of a trace costs.

One number a round, ns an operation: the loop's time over its turns, the loop included.
"""

import fcntl
import os
import time
from collections.abc import Callable

from xenproc.bench import guests
from xenproc.bench.case import Sample
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.placement import Placement
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite
from xenproc.native import check, ffi, lib

RECORDS = 1 << 12


def monotonic(n: int) -> float:
    """Return the ns of time.monotonic_ns(), from a loop as the guest's."""
    return guests.per_turn(time.monotonic_ns, n)


class Here:
    """A case of this process alone."""

    isolation = None

    def __init__(self, measure: Callable[[int], float]) -> None:
        """measure: returns ns an operation for a number of them."""
        self.measure = measure

    def start(self, placement: Placement) -> None:
        """Nothing to make."""

    def round(self, n: int) -> Sample:
        """Measure n operations."""
        return Sample(n, value=self.measure(n))

    def stop(self) -> None:
        """Nothing to end."""


class Tracing(Here):
    """Records into a ring of this process's, or none where recording is off."""

    def __init__(self, on: bool) -> None:
        super().__init__(self._records)
        self.tracer = ffi.new("struct xp_tracer *")
        self.on = on

    def start(self, placement: Placement) -> None:
        """Make the ring."""
        if not self.on:
            return
        cpus = os.cpu_count() or 1
        fd = os.memfd_create("xenproc-bench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, cpus * lib.xp_trace_ring_bytes(RECORDS))
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            check(lib.xp_tracer_open(self.tracer, fd, cpus, RECORDS, lib.XP_TRACE_hypercalls), "trace")
        finally:
            os.close(fd)

    def _records(self, n: int) -> float:
        begin = lib.xp_now_ns()
        lib.xp_trace_cost(self.tracer, n)
        return (lib.xp_now_ns() - begin) / n

    def stop(self) -> None:
        """Let go of the ring."""
        lib.xp_tracer_close(self.tracer)


def suite(plan: Plan) -> Suite:
    """Return the entries and their targets."""
    made = Suite(plan)
    machine = Machine(plan.isolation)
    for place in made.places("poll"):
        cases = {
            "time_c": ("own", DomainCase(machine, guests.time_client, how="c")),
            "time_py": ("own", DomainCase(machine, guests.time_client, how="py")),
            "monotonic_ns": ("peer", Here(monotonic)),
            "trace_event": ("own", Tracing(on=True)),
            "trace_off": ("own", Tracing(on=False)),
        }
        for name, (kind, case) in cases.items():
            made.add(Entry(name, kind, case, place, "poll", unit="ns", spinners=1))
    made.number("time_c_ns", "time_c", "poll", at_most=15)
    made.number("time_py_ns", "time_py", "poll", at_most=200)
    made.number("trace_event_ns", "trace_event", "poll", at_most=30)
    made.number("trace_off_ns", "trace_off", "poll")
    made.ratio("time_py_over_monotonic_ns", "time_py", "monotonic_ns", "poll")
    return made
