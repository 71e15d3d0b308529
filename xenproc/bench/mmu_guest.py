"""What domains of `xenproc bench mmu` and `bench tlb` run: validated writes to a page table, batched or single; what flushes a TLB.

Every write names another frame than the entry had, so that each is validated: a table's references are taken and dropped.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import Any

from xenproc.abi import Hypercall, MmuExt
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.guests import LIMIT_NS, MODES, sampled, tick, warm
from xenproc.bench.hist import Hist
from xenproc.guest.cpu import PAGE_FAULT, Gate
from xenproc.guest.paging import WRITABLE, AddressSpace
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

BATCH = 512
SLOTS = BATCH // 2              # each is written twice in a batch
SELF = 0x7FF0
TABLE5_VA = 0x40000000
MMAP_PAGES = 2048               # 8 MiB
PROT_FAULTS = 64                # in a row
ENTRY = 0x67                    # present, writable, user, accessed, dirty


def pte_client(g: Any, n: int, mode: str, batch: int) -> bytes:
    """n hypercalls of `batch` writes each (1: two calls in turns, to and fro). The time is a call's."""
    table, page = g.memory.alloc(), g.memory.alloc(3)
    targets = [g.memory.alloc().mfn for _ in range(16)]
    table.view[:] = bytes(PAGE_SIZE)
    ops = page.view[2 * PAGE_SIZE :].cast("Q")
    ops[0], ops[1], ops[2] = int(MmuExt.PIN_L1_TABLE), table.mfn, 0
    g.hypercalls.call(Hypercall.mmuext_op, page.address + 2 * PAGE_SIZE, 1, 0, SELF, op="pin")
    requests = page.view[: 2 * PAGE_SIZE].cast("Q")
    for i in range(BATCH):
        slot, turn = i % SLOTS, i // SLOTS
        if batch == 1:
            slot, turn = 0, i
        requests[2 * i] = (table.mfn << PAGE_SHIFT) + 8 * slot
        requests[2 * i + 1] = targets[(slot + turn) % len(targets)] << PAGE_SHIFT | ENTRY
    done = page.address + 2 * PAGE_SIZE + 64
    calls = [ffi.new("uint64_t[6]", [page.address + 16 * i, batch, done, SELF, 0, 0]) for i in range(2 if batch == 1 else 1)]
    ticks, clock = ffi.new("uint64_t[]", max(n, warm(n))), tick()

    def repeat(args: Any, count: int, at: Any) -> None:
        check(lib.xp_gcall_repeat(g.hypercalls.core, int(Hypercall.mmu_update), args, MODES[mode], LIMIT_NS, count, at), "mmu_update")

    def loop(n: int, stride: int, hist: Hist) -> None:
        ops[8] = 0
        if batch == 1:
            for i in range(n):
                repeat(calls[i & 1], 1, ticks + i)
        else:
            repeat(calls[0], n, ticks)
        if ops[8] & 0xFFFF_FFFF != batch:
            raise BenchError(f"the last batch of {batch} writes ended after {ops[8] & 0xFFFF_FFFF}")
        lib.xp_bench_record_ticks(hist.c, clock, ticks, n)

    return sampled(loop, n)


def flush_client(g: Any, n: int, what: str, counter: str) -> bytes:
    """n times: a hypercall ("crossing"), another address space and back ("switch"), an entry changed ("update"); each time all
    pages are then read. The value is what a counter of the TLB says an operation: one cause of flushes, "any", or "misses".
    """
    spaces = [AddressSpace(g), AddressSpace(g)]
    pages = g.memory.alloc(8)
    for space in spaces:
        space.map(PAGE_SIZE, pages.mfns)
    space = spaces[0]
    tlb = space.mmu.tlb

    def read_all() -> None:
        for i in range(len(pages.mfns)):
            space.read((1 + i) * PAGE_SIZE, 8)

    def op() -> None:
        if what == "switch":
            spaces[1].load()
            space.load()
        elif what == "update":
            space.protect(PAGE_SIZE, 1, lambda entry: entry ^ WRITABLE)
        else:
            g.hypercall(Hypercall.xen_version, 0)
        read_all()

    def count() -> int:
        if counter == "misses":
            return int(tlb.nr_misses)
        causes = range(len(tlb.nr_flushes)) if counter == "any" else [getattr(lib, f"XP_TLB_{counter}")]
        return sum(tlb.nr_flushes[cause] for cause in causes)

    space.load()
    read_all()
    before = count()
    for _ in range(n):
        op()
    return Sample(n, value=(count() - before) / n).pack()


# ---- the paper's Table 5 (mmu_table5.py) ----


def table5_client(g: Any, n: int, what: str) -> bytes:
    """n operations of "mmap", "prot" or "fault"; the value is their median, us."""
    op, many = {"mmap": _mmap, "prot": _prot, "fault": _fault}[what](g, AddressSpace(g))
    op()
    took = []
    for _ in range(n):
        begin = perf_counter_ns()
        op()
        took.append(perf_counter_ns() - begin)
    return Sample(n, value=median(took) / 1000 / many).pack()


def _mmap(g: Any, space: AddressSpace) -> tuple[Callable[[], None], int]:
    """One hypercall that maps MMAP_PAGES pages, and one that unmaps them, from C; as the TLB has none of them, it is not flushed."""
    frames = g.memory.alloc(16).mfns
    space.map(TABLE5_VA, [frames[i % len(frames)] for i in range(MMAP_PAGES)])
    space.load()
    nr = MMAP_PAGES * 16 // PAGE_SIZE
    page = g.memory.alloc(2 * nr + 1)
    requests = page.view[: 2 * nr * PAGE_SIZE].cast("Q")
    for i in range(MMAP_PAGES):
        at = space._entry(1, TABLE5_VA + i * PAGE_SIZE)
        requests[2 * i], requests[2 * i + 1] = at, frames[i % len(frames)] << PAGE_SHIFT | ENTRY
        requests[2 * (MMAP_PAGES + i)], requests[2 * (MMAP_PAGES + i) + 1] = at, 0
    done = page.address + 2 * nr * PAGE_SIZE
    count, ticks = ffi.cast("uint32_t *", done), ffi.new("uint64_t[1]")
    calls = [ffi.new("uint64_t[6]", [page.address + i * nr * PAGE_SIZE, MMAP_PAGES, done, SELF, 0, 0]) for i in (0, 1)]

    def op() -> None:
        for args in calls:
            ret = lib.xp_gcall_repeat(g.hypercalls.core, int(Hypercall.mmu_update), args, MODES["block"], LIMIT_NS, 1, ticks)
            check(ret, "mmu_update")
            if count[0] != MMAP_PAGES:
                raise BenchError(f"{count[0]} of {MMAP_PAGES} updates were done")

    return op, 1


def _fault(g: Any, space: AddressSpace) -> tuple[Callable[[], None], int]:
    """A load from a page that is not there; the handler maps it. Then it is unmapped."""
    frame = g.memory.alloc().mfns
    space.map(TABLE5_VA + PAGE_SIZE, g.memory.alloc().mfns)         # so that the table stays
    space.load()
    g.cpu.set_trap_table({PAGE_FAULT: Gate(lambda cpu, fault: space.map(fault.address & -PAGE_SIZE, frame))})

    def op() -> None:
        g.cpu.load(space, TABLE5_VA, 8)
        space.unmap(TABLE5_VA)

    return op, 1


def _prot(g: Any, space: AddressSpace) -> tuple[Callable[[], None], int]:
    """A store into a page that may not be written; at the PROT_FAULTS-th fault the handler lets it. Then it is read-only again."""
    space.map(TABLE5_VA, g.memory.alloc().mfns, ENTRY & ~WRITABLE)
    space.load()
    left = [0]

    def handler(cpu: Any, fault: Any) -> None:
        left[0] -= 1
        if not left[0]:
            space.protect(fault.address & -PAGE_SIZE, 1, lambda entry: entry | WRITABLE)

    g.cpu.set_trap_table({PAGE_FAULT: Gate(handler)})

    def op() -> None:
        left[0] = PROT_FAULTS
        g.cpu.store(space, TABLE5_VA, b"x")
        if left[0]:
            raise BenchError(f"the store was let after {PROT_FAULTS - left[0]} faults")
        space.protect(TABLE5_VA, 1, lambda entry: entry & ~WRITABLE)

    return op, PROT_FAULTS
