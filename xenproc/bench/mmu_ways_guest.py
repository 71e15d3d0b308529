"""What domains of `xenproc bench mmu` run where ways of changing page tables stand side by side (mmu_ways.py).

The work is native/benchpt.h's; this makes what it works on: a space whose tables are in use, 16 frames that all its pages show.
"""

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from xenproc.bench.case import Sample
from xenproc.bench.guests import LIMIT_NS, tick
from xenproc.bench.hist import Hist
from xenproc.guest.cpu import PAGE_FAULT, Gate
from xenproc.guest.paging import AddressSpace
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

VA = 0x40000000
BUILD_PAGES = 2048              # 8 MiB
FORK_TABLES = 64
FRAMES = 16
ENTRY = 0x67                    # present, writable, user, accessed, dirty
STORING = ("wpt", "shadow", "unshadow")


@dataclass
class Work:
    """[guest] What does a work once: called with a place for the ticks it returns 0 or -errno."""

    bench: "Bench"
    call: Any                   # of native/benchpt.h
    parts: tuple                # its arguments between the bench and the ticks

    def __call__(self, ticks: Any) -> int:
        """Do it."""
        return int(self.call(self.bench.core, *self.parts, ticks))


class Bench:
    """[guest] A loaded space that maps `nr` pages from VA on, and native/benchpt.h's struct for it."""

    def __init__(self, g: Any, way: str, nr: int) -> None:
        self.g = g
        self.space = AddressSpace(g, writes="direct" if way in STORING else "queued")
        self.frames = g.memory.alloc(FRAMES).mfns
        self.space.map(VA, [self.frames[i % FRAMES] for i in range(nr)])
        self.space.load()
        self._args = g.memory.alloc(lib.XP_BENCH_PT_ARGS)
        self._stack = g.memory.alloc(1)
        self.core = ffi.new("struct xp_bench_pt *", {
            "calls": g.hypercalls.core, "mmu": self.space.mmu, "link": self.space.link, "timeout_ns": LIMIT_NS,
            "args": ffi.cast("uint8_t *", self._args.address), "way": getattr(lib, f"XP_BENCH_PT_{way}"),
            "stack": self._stack.address + PAGE_SIZE,
        })

    def entries(self, nr: int) -> Any:
        """What the first nr pages' entries are, as the C wants it; in memory they are emptied."""
        made = ffi.new("struct xp_bench_pt_entry[]", nr)
        for i in range(nr):
            va, frame = VA + i * PAGE_SIZE, self.frames[i % FRAMES]
            made[i] = {"at": self.space._entry(1, va), "value": frame << PAGE_SHIFT | ENTRY, "va": va}
            self.space.queue.put(made[i].at, 0)
        self.space.queue.flush()
        self.space.read(VA + nr * PAGE_SIZE, 1)             # where tables are written by stores: they are in use again
        lib.xp_mmu_flush(self.space.mmu)
        return made


def ways_client(g: Any, n: int, way: str, work: str) -> bytes:
    """n times one work ("build", "fork", "fault") in one way, after one that does not count."""
    op = prepare(g, way, work)
    hist, clock, ticks = Hist(), tick(), ffi.new("uint64_t[1]")
    for i in range(n + 1):
        check(op(ticks), f"{work}, {way}")
        if i:
            lib.xp_bench_record_ticks(hist.c, clock, ticks, 1)
    return Sample(n, hist).pack()


def prepare(g: Any, way: str, work: str) -> Work:
    """Return one of the works."""
    return {"build": _build, "fork": _fork, "fault": _fault}[work](g, way)


def _build(g: Any, way: str) -> Work:
    bench = Bench(g, way, BUILD_PAGES + 1)
    return Work(bench, lib.xp_bench_pt_build, (bench.entries(BUILD_PAGES), BUILD_PAGES))


def _fault(g: Any, way: str) -> Work:
    bench = Bench(g, way, 2)
    g.cpu.set_trap_table({PAGE_FAULT: Gate(_never)})
    bench.core.handler = g.cpu._address_of(_never)
    return Work(bench, lib.xp_bench_pt_fault, (bench.entries(1),))


def _never(cpu: Any, frame: Any) -> None:
    """The handler's name: what it does is C's."""
    raise AssertionError("the handler is in C")


def _fork(g: Any, way: str) -> Work:
    bench = Bench(g, way, FORK_TABLES * 512)
    parent = [bench.space._entry(1, VA + i * 512 * PAGE_SIZE) >> PAGE_SHIFT for i in range(FORK_TABLES)]
    pages = g.memory.alloc(FORK_TABLES + 3)
    pages.view[:] = bytes(len(pages.view))
    child, above = pages.mfns[:FORK_TABLES], pages.mfns[FORK_TABLES:]
    words = pages.view[FORK_TABLES * PAGE_SIZE :].cast("Q")
    for i in range(FORK_TABLES):                            # level 2; 3 and 4 above it
        words[i] = child[i] << PAGE_SHIFT | ENTRY
    words[512] = above[0] << PAGE_SHIFT | ENTRY
    words[1024] = above[1] << PAGE_SHIFT | ENTRY
    tables = ffi.new("uint64_t[]", parent), ffi.new("uint64_t[]", child)
    return Work(bench, lib.xp_bench_pt_fork, (*tables, FORK_TABLES, above[2], VA))


def space_client(g: Any, n: int, writes: str) -> bytes:
    """n times: 8 MiB mapped through AddressSpace, and each page read in one sweep; then unmapped. The value is the median, us."""
    space, frames = AddressSpace(g, writes=writes), g.memory.alloc(FRAMES).mfns
    wanted, took = [frames[i % FRAMES] for i in range(BUILD_PAGES)], []
    space.map(VA + BUILD_PAGES * PAGE_SIZE, frames[:1])
    space.load()
    for i in range(n + 1):
        begin = perf_counter_ns()
        space.map(VA, wanted)
        space.read(VA + (BUILD_PAGES - 1) * PAGE_SIZE, 8)
        took += [perf_counter_ns() - begin] if i else []
        space.unmap(VA, BUILD_PAGES)
    return Sample(n, value=sorted(took)[n // 2] / 1000).pack()
