"""Cases on a core without processes: page tables validated, pinned, protected, with nothing but the calls themselves timed.

Owns machine memory of its own (sparse: 4 GiB whose frame table is 16 MiB) and two domains on it that have no process: a
large one whose frames are far apart, a small one with a full two-level tree. 1. Every call's result is checked. 2. What a case
did to the machine is undone before its round ends.
"""

import os
import random
from collections.abc import Callable
from typing import Any

from xenproc.abi import Hypercall, MmuExt
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.guests import tick
from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement, usable
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT

FRAMES = 1 << 20
LARGE, SMALL = 1, 2
SMALL_PAGES = 2048
TABLES = 1008                   # below the hole
ENTRIES = 1024
BATCH = 512
RUN = 64
SELF = 0x7FF0
X86_32, X86_64 = 0, 2           # native/paging.h
ENTRY = 0x67                    # present, writable, user, accessed, dirty


class Core:
    """The machine, made at the first use and kept until the last."""

    def __init__(self, isolation: str = "auto") -> None:
        self.wanted = isolation
        self.isolation: str | None = None
        self.hv: Any = None
        self.mfns: dict[int, list[int]] = {}
        self.base: dict[int, int] = {}
        self._users = 0
        self._memory: Any = None

    def acquire(self) -> None:
        """Make it if it does not exist. Raises BenchError, EnvironmentLacks, OSError."""
        self._users += 1
        if self._users == 1:
            try:
                self._make()
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Take it down if nobody else uses it."""
        if self._users:
            self._users -= 1
        if self._users == 0 and self.hv is not None:
            hv, self.hv, self._memory = self.hv, None, None
            for domid in self.mfns:
                check(lib.xp_domain_dying(hv, domid), "dying", domid)
                lib.xp_bench_mm_detach(hv, domid)
                while check(lib.xp_domain_teardown(hv, domid), "teardown", domid) == 1:
                    pass
            broken = lib.xp_hv_audit(hv)
            lib.xp_hv_destroy(hv)
            self.mfns, self.base = {}, {}
            if broken:
                raise BenchError(f"{broken} frames were counted wrongly in the end")

    def _make(self) -> None:
        fd = os.memfd_create("xenproc-bench-mmu")
        try:
            os.ftruncate(fd, FRAMES << PAGE_SHIFT)
            error = ffi.new("int *")
            self.hv = lib.xp_hv_create(fd, FRAMES, False, error)
            if self.hv == ffi.NULL:
                self.hv = None
                check(error[0], "a machine of 4 GiB")
            info = ffi.new("struct xp_hv_info *")
            lib.xp_hv_info(self.hv, info)
            self._memory = ffi.buffer(info.base, FRAMES << PAGE_SHIFT)
            self._domain(fd, SMALL, SMALL_PAGES, X86_32)
            lib.xp_hv_info(self.hv, info)
            self._domain(fd, LARGE, info.nr_free - 64, X86_64)
        finally:
            os.close(fd)

    def _domain(self, fd: int, domid: int, nr: int, paging: int) -> None:
        plan = ffi.new("struct xp_domain_plan *")
        name, cmdline = ffi.new("char[]", b"bench"), ffi.new("char[]", b"")
        plan.name, plan.cmdline, plan.paging = name, cmdline, paging
        plan.nr_pages = plan.max_pages = nr
        check(lib.xp_domain_create(self.hv, domid, plan), "create", domid)
        found = ffi.new("uint64_t[]", nr)
        self.mfns[domid] = ffi.unpack(found, lib.xp_bench_mm_frames(self.hv, domid, found, nr))
        base = ffi.new("uint64_t *")
        ret = -95
        if self.wanted != "cooperative":
            ret = lib.xp_bench_mm_attach(self.hv, domid, fd, True, base)
            if ret and self.wanted == "enforced":
                check(ret, "a window from outside", domid)
        self.isolation = "enforced" if ret == 0 else "cooperative"
        if ret:
            check(lib.xp_bench_mm_attach(self.hv, domid, fd, False, base), "a window", domid)
        self.base[domid] = base[0]

    def words(self, mfn: int, nr: int = 1, form: str = "Q") -> memoryview:
        """Return nr frames from mfn as entries."""
        return memoryview(self._memory)[mfn << PAGE_SHIFT : (mfn + nr) << PAGE_SHIFT].cast("B").cast(form)

    def give(self, domid: int, first: int, nr: int) -> None:
        """Put frames into the domain's window (in memory they must be already)."""
        scratch = ffi.new("uint64_t[1]")
        if self.isolation == "enforced":
            check(lib.xp_bench_mm_give(self.hv, domid, first, nr, nr, scratch), "give", domid)

    def run(self, domid: int, nr: int) -> int:
        """Return the first of nr consecutive frames of the domain's, behind those of its start."""
        mfns = self.mfns[domid]
        for i in range(len(mfns) // 2, len(mfns) - nr):
            if mfns[i + nr - 1] == mfns[i] + nr - 1:
                return mfns[i]
        raise BenchError(f"domain {domid} has no {nr} consecutive frames")

    def call(self, domid: int, nr: int, *args: int) -> tuple[int, int]:
        """Make a call to its end; return the ticks of all its steps and of the longest. Raises HypercallError."""
        took = ffi.new("uint64_t[2]")
        ret = lib.xp_bench_mm_call(self.hv, domid, nr, ffi.new("uint64_t[6]", [*args, *[0] * (6 - len(args))]), took)
        check(ret, f"hypercall {nr}", domid)
        return took[0], took[1]


class CoreCase:
    """A case on the core: `make` prepares it and returns what one round of n operations does."""

    def __init__(self, core: Core, make: Callable[[Core], Callable[[int, "Record"], None]]) -> None:
        self.core = core
        self._make = make
        self._round: Callable[[int, Record], None] | None = None
        self._cpus: set[int] | None = None

    @property
    def isolation(self) -> str | None:
        """Whether the core's windows are enforced."""
        return self.core.isolation

    def start(self, placement: Placement) -> None:
        """Make the machine if it does not exist, and prepare."""
        self.core.acquire()
        self._cpus = None if placement.cpu(0) is None else {placement.cpu(0) or 0}
        try:
            self._round = self._make(self.core)
        except BaseException:
            self.core.release()
            raise

    def round(self, n: int) -> Sample:
        """Do n operations on the placement's CPU."""
        assert self._round is not None, "a case is started first"
        hist = Hist()
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, self._cpus or usable())
            self._round(n, Record(hist))
        finally:
            os.sched_setaffinity(0, before)
        return Sample(len(hist), hist)

    def stop(self) -> None:
        """Let go of the machine."""
        if self._round is not None:
            self._round = None
            self.core.release()


class Record:
    """Ticks into a histogram."""

    def __init__(self, hist: Hist) -> None:
        self._hist = hist
        self._clock = tick()

    def __call__(self, ticks: int) -> None:
        lib.xp_bench_record_ticks(self._hist.c, self._clock, ffi.new("uint64_t[1]", [ticks]), 1)

    def many(self, ticks: Any, nr: int) -> None:
        """Record nr of them."""
        lib.xp_bench_record_ticks(self._hist.c, self._clock, ticks, nr)


# ---- what is measured ----


def validate(core: Core) -> Callable[[int, Record], None]:
    """512 entries of a validated table written, each to another frame far away; then cleared, which is not timed."""
    table, requests = core.run(LARGE, 1), core.run(LARGE, 8) + 4
    core.words(table)[0] = 0
    core.give(LARGE, table, 1)
    pages = core.words(requests, 2)
    _ext(core, LARGE, core.words(requests + 2), requests + 2, MmuExt.PIN_L1_TABLE, table)
    others = [mfn for mfn in core.mfns[LARGE] if mfn != table and not requests <= mfn < requests + 4]
    for i in range(BATCH):
        pages[2 * i] = (table << PAGE_SHIFT) + 8 * i

    def some(n: int, record: Record) -> None:
        for _ in range(n):
            for i, mfn in enumerate(random.sample(others, BATCH)):
                pages[2 * i + 1] = mfn << PAGE_SHIFT | ENTRY
            record(core.call(LARGE, Hypercall.mmu_update, _at(core, LARGE, requests), BATCH, 0, SELF)[0])
            for i in range(BATCH):
                pages[2 * i + 1] = 0
            core.call(LARGE, Hypercall.mmu_update, _at(core, LARGE, requests), BATCH, 0, SELF)

    return some


def touch(core: Core) -> Callable[[int, Record], None]:
    """512 records of frames far apart loaded and counted: the limit of validation."""

    def some(n: int, record: Record) -> None:
        for _ in range(n):
            mfns = ffi.new("uint64_t[]", random.sample(core.mfns[LARGE], BATCH))
            record(lib.xp_bench_mm_touch(core.hv, mfns, BATCH))

    return some


def pin(core: Core, longest: bool = False) -> Callable[[int, Record], None]:
    """A full two-level tree pinned (timed: the whole, or its longest step) and unpinned."""
    first = core.run(SMALL, TABLES + 2)
    top, args = first + TABLES, first + TABLES + 1
    leaves = [mfn for mfn in core.mfns[SMALL] if mfn < first or mfn > args][:ENTRIES]
    entries = [mfn << PAGE_SHIFT | ENTRY for mfn in leaves]
    table = core.words(first, 1, "I")
    for i in range(ENTRIES):
        table[i] = entries[i % len(entries)]
    for i in range(1, TABLES):
        core.words(first + i)[:] = core.words(first)
    base = core.words(top, 1, "I")
    for i in range(ENTRIES):
        base[i] = (first + i) << PAGE_SHIFT | ENTRY if i < TABLES else 0
    core.give(SMALL, first, TABLES + 1)
    page = core.words(args)

    def some(n: int, record: Record) -> None:
        for _ in range(n):
            record(_ext(core, SMALL, page, args, MmuExt.PIN_L2_TABLE, top)[longest])
            _ext(core, SMALL, page, args, MmuExt.UNPIN_TABLE, top)

    return some


def pin_step(core: Core) -> Callable[[int, Record], None]:
    """The same, of each pin the longest step: so long do others wait."""
    return pin(core, longest=True)


def windows(what: str) -> Callable[[Core], Callable[[int, Record], None]]:
    """Frames given one by one ("give"), RUN at a time ("give_run"), or write-protected ("protect")."""

    def make(core: Core) -> Callable[[int, Record], None]:
        if core.isolation != "enforced":
            raise BenchError("windows are not enforced here: nothing is given or protected from outside")
        first = core.run(LARGE, 8 * RUN) + 4 * RUN
        for i in range(RUN):
            core.words(first + i)[0] = 0
        ticks = ffi.new("uint64_t[]", RUN)
        core.give(LARGE, first, RUN)

        def some(n: int, record: Record) -> None:
            for _ in range(-(-n // (1 if what == "give_run" else RUN))):
                if what == "protect":
                    check(lib.xp_bench_mm_protect(core.hv, LARGE, first, RUN, ticks), "protect", LARGE)
                else:
                    run = RUN if what == "give_run" else 1
                    check(lib.xp_bench_mm_give(core.hv, LARGE, first, RUN, run, ticks), "give", LARGE)
                record.many(ticks, 1 if what == "give_run" else RUN)

        return some

    return make


def _at(core: Core, domid: int, mfn: int) -> int:
    return core.base[domid] + (mfn << PAGE_SHIFT)


def _ext(core: Core, domid: int, page: memoryview, page_mfn: int, cmd: int, mfn: int) -> tuple[int, int]:
    page[0], page[1], page[2] = int(cmd), mfn, 0
    return core.call(domid, Hypercall.mmuext_op, _at(core, domid, page_mfn), 1, 0, SELF)
