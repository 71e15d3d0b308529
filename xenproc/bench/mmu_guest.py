"""What domains of `xenproc bench mmu` and `bench tlb` run: validated writes to a page table, batched or single; what flushes a TLB.

Every write names another frame than the entry had, so that each is validated: a table's references are taken and dropped.
"""

from typing import Any

from xenproc.abi import Hypercall, MmuExt
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.guests import LIMIT_NS, MODES, sampled, tick, warm
from xenproc.bench.hist import Hist
from xenproc.guest.paging import WRITABLE, AddressSpace
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

BATCH = 512
SLOTS = BATCH // 2              # each is written twice in a batch
SELF = 0x7FF0
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
