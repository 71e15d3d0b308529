"""The paper's Table 5 below any guest kernel: what the hypervisor and the guest library take for mmap, a protection fault, a page fault.

Ours: mmu_guest.py's table5_client. mmap is 8 MiB mapped by one hypercall of 2,048 updates and unmapped by another, called from C. A fault
goes through the hypervisor to the guest's handler, and the access is done again; a page fault's handler mends it, a protection fault's
does at the 64th. Handlers and accesses are Python's, so those two show what a Python kernel takes, not the hypervisor alone. Native: the
same by Linux' own calls in this process, protection faults in C (native/benchfault.h).
"""

import mmap
import os
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

from xenproc.bench import mmu_guest
from xenproc.bench.case import Sample
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Suite
from xenproc.native import check, lib
from xenproc.units import PAGE_SHIFT

BYTES = mmu_guest.MMAP_PAGES << PAGE_SHIFT
FAULTS = mmu_guest.PROT_FAULTS
# Row -> (where it stands, native Linux on one CPU, XenoLinux), us. PAPER A.8.
PAPER = {"table5_mmap": ("Table 5", 68.0, 139), "table5_prot": ("Table 5", 1.06, 1.40), "table5_fault": ("Table 5", 1.42, 2.73)}
ROUND = {"mmap": 20, "prot": 100, "fault": 100}


class Native:
    """A case: Linux' own mmap, prot or fault, us."""

    isolation = None

    def __init__(self, what: str) -> None:
        self._op: Callable[[], None] = {"mmap": self._map, "prot": self._prot, "fault": self._fault}[what]
        self._scale = 1000 * (FAULTS if what == "prot" else 1)
        self._fd = -1
        self._page: mmap.mmap | None = None

    def start(self, placement: Placement) -> None:
        """Make a file in memory, all of it there."""
        self._fd = os.memfd_create("xenproc-bench", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, BYTES)
        self._map()
        self._page = mmap.mmap(self._fd, mmap.PAGESIZE)

    def _map(self) -> None:
        mmap.mmap(self._fd, BYTES, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE).close()

    def _fault(self) -> None:
        assert self._page is not None
        self._page[0]
        self._page.madvise(mmap.MADV_DONTNEED)

    def _prot(self) -> None:
        check(lib.xp_bench_prot_faults(FAULTS), "protection faults")

    def round(self, n: int) -> Sample:
        """Do n operations."""
        took = []
        for _ in range(n):
            begin = perf_counter_ns()
            self._op()
            took.append(perf_counter_ns() - begin)
        return Sample(n, value=median(took) / self._scale)

    def stop(self) -> None:
        """Let go of the file."""
        if self._page is not None:
            self._page.close()
            os.close(self._fd)
            self._page, self._fd = None, -1


def add_table5(made: Suite) -> None:
    """Add ours and native, and the paper's figures beside them."""
    if not made.plan.wants("block"):
        return
    made.paper.update(PAPER)
    machine, place = Machine(made.plan.isolation), resolve("one" if made.plan.placement == "auto" else made.plan.placement)
    for what, n in ROUND.items():
        ours = DomainCase(machine, mmu_guest.table5_client, memory="2M", what=what)
        made.add(Entry(f"table5_{what}", "own", ours, place, n=made.plan.trips or n))
        made.add(Entry(f"linux_table5_{what}", "peer", Native(what), place, n=made.plan.trips or n))
        pair = made.entries[-2].key, made.entries[-1].key
        made.ratios.append(Ratio(f"table5_{what}_over_native", (pair,)))
