"""What the domains of `xenproc bench memory` run: each does an operation over and over on pages of its own and returns a Sample.

Grants are mapped from a server's domain. A transfer is to the domain itself: the hypervisor does the same as between two.
"""

import struct
import time
from collections.abc import Callable
from typing import Any

from xenproc.abi import GnttabOp, GrantFlag, GrantMap, Hypercall, XenMem
from xenproc.bench.case import BenchError
from xenproc.bench.guests import sampled
from xenproc.bench.hist import Hist
from xenproc.native import ffi, lib
from xenproc.units import PAGE_SHIFT

SELF = 0x7FF0
TOUCHED = 4096          # pages a round


def rounds_of(nr: int) -> int:
    """How many operations on `nr` pages a round has."""
    return max(16, min(500, TOUCHED // nr))


def one_by_one(op: Callable[[], None], n: int) -> bytes:
    """Measure n calls of op."""

    def loop(n: int, stride: int, hist: Hist) -> None:
        for _ in range(n):
            begin = time.perf_counter_ns()
            op()
            hist.record(time.perf_counter_ns() - begin)

    return sampled(loop, n)


def array(g: Any, ctype: str, nr: int) -> tuple[Any, int]:
    """Return (array of C structs in pages of our own, its address), zeroed."""
    size = ffi.sizeof(ctype) * nr
    pages = g.memory.alloc((size + 4095) >> PAGE_SHIFT)
    ffi.memmove(ffi.cast("char *", pages.address), bytes(size), size)
    return ffi.cast(f"{ctype} *", pages.address), pages.address


def grant_op(g: Any, cmd: int, ops: Any, address: int, nr: int) -> None:
    """Make one grant_table_op on an array and look at every status. Raises BenchError."""
    ret = g.hypercall(Hypercall.grant_table_op, cmd, address, nr)
    bad = [ops[i].status for i in range(nr) if ops[i].status]
    if ret or bad:
        raise BenchError(f"grant_table_op {cmd}: {ret}, {bad[:3]}")


def grant_map(g: Any, peer: int, n: int, nr: int) -> bytes:
    """Map nr pages of the server's in one call, let go of them, unmap them in one."""
    refs = struct.unpack(f"<{nr}I", g.board.lookup(peer, "refs"))
    maps, maps_at = array(g, "struct xen_gnttab_map_grant_ref", nr)
    unmaps, unmaps_at = array(g, "struct xen_gnttab_unmap_grant_ref", nr)
    for i in range(nr):
        maps[i].dom, maps[i].ref, maps[i].flags = peer, refs[i], GrantMap.host_map

    def op() -> None:
        grant_op(g, GnttabOp.map_grant_ref, maps, maps_at, nr)
        for i in range(nr):
            unmaps[i].handle = maps[i].handle
        lib.xp_pages_leave(g.window_base + maps[0].dev_bus_addr, nr)        # the server's pages follow each other
        grant_op(g, GnttabOp.unmap_grant_ref, unmaps, unmaps_at, nr)

    sample = one_by_one(op, n)
    g.board.publish(peer, "done", b"")
    return sample


def grant_server(g: Any, peer: str, n: int, nr: int) -> None:
    """Grant nr pages that follow each other; end when the client has."""
    client = g.board.resolve(peer)
    refs = g.grants.grant(client, g.memory.alloc(nr))
    g.board.publish(client, "refs", struct.pack(f"<{nr}I", *refs))
    g.board.lookup(client, "done", 60)


def flip(g: Any, n: int, nr: int) -> bytes:
    """Transfer nr pages: offers made, pages let go of, transferred, taken."""
    pages = g.memory.alloc(nr)
    refs = [g.grants.accept(g.domid) for _ in range(nr)]
    entries = [g.grants._entry(ref) for ref in refs]
    ops, address = array(g, "struct xen_gnttab_transfer", nr)
    for i, mfn in enumerate(pages.mfns):
        ops[i].mfn, ops[i].domid, ops[i].ref = mfn, g.domid, refs[i]

    def op() -> None:
        lib.xp_pages_leave(pages.address, nr)
        grant_op(g, GnttabOp.transfer, ops, address, nr)
        for entry in entries:
            lib.xp_grant_transfer_taken(entry)
            lib.xp_grant_entry_set(entry, g.domid, 0, GrantFlag.accept_transfer)

    return one_by_one(op, n)


def copy(g: Any, n: int, nr: int) -> bytes:
    """Copy nr pages through the hypervisor, in one call."""
    source, dest = g.memory.alloc(nr), g.memory.alloc(nr)
    ops, address = array(g, "struct xen_gnttab_copy", nr)
    for i in range(nr):
        for end, mfn in ((ops[i].source, source.mfn + i), (ops[i].dest, dest.mfn + i)):
            end.domid, end.u.gmfn = SELF, mfn
        ops[i].len = 4096

    return one_by_one(lambda: grant_op(g, GnttabOp.copy, ops, address, nr), n)


def exchange(g: Any, n: int, nr: int) -> bytes:
    """Exchange nr pages for others (XENMEM_exchange)."""
    words, at = array(g, "uint64_t", 2 * nr)
    pages = g.memory.alloc(nr)
    for i, mfn in enumerate(pages.mfns):
        words[i], words[nr + i] = mfn, mfn
    ops, address = array(g, "struct xen_memory_exchange", 1)
    side = getattr(ops[0], "in")
    side.extent_start, side.nr_extents, side.domid = at, nr, SELF
    ops[0].out.extent_start, ops[0].out.nr_extents, ops[0].out.domid = at + 8 * nr, nr, SELF

    def op() -> None:
        for i in range(nr):
            lib.xp_page_leave(g.memory.address_of(words[i]))
            words[nr + i] = i
        ops[0].nr_exchanged = 0
        ret = g.hypercall(Hypercall.memory_op, XenMem.exchange, address)
        if ret:
            raise BenchError(f"XENMEM_exchange: {ret}")
        for i in range(nr):
            words[i] = words[nr + i]

    return one_by_one(op, n)
