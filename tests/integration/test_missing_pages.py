"""A page that is gone from under a mapping: the MMU's own accesses become faults with an address, and the guest lives on."""

import pytest

from xenproc.errors import DomainCrashed

VA = 0x0840_0000


def gone(g) -> list:
    """[guest] Uses a page until it is in the TLB, gives its frame up, and uses it again; then the same with a table."""
    from xenproc.abi import Hypercall, XenMem
    from xenproc.errors import PageFault
    from xenproc.guest.paging import AddressSpace
    from xenproc.native import ffi, lib

    space, pages = AddressSpace(g), g.memory.alloc(3)
    space.map(VA, pages.mfns)
    space.load()
    space.write(VA, b"in the TLB")
    space.write(VA + 4096, b"and this")

    def fault(do) -> list:
        try:
            return ["no fault", do()]
        except PageFault as error:
            return [error.vector, error.address, str(error)]

    hits = space.mmu.tlb.nr_hits
    lib.xp_pages_leave(pages.address, 1)
    with g.hypercalls.struct("struct xen_memory_reservation", nr_extents=1, domid=0x7FF0) as (address, op):
        op.extent_start = address + 64                      # the list lies behind the argument
        ffi.cast("uint64_t *", address + 64)[0] = pages.mfns[0]
        done = g.hypercall(Hypercall.memory_op, XenMem.decrease_reservation, address)
    found = [done, fault(lambda: space.read(VA, 4)), fault(lambda: space.write(VA + 8, b"x")),
             fault(lambda: space.read(VA + 4090, 12)), fault(lambda: space.write(VA - 2, b"four")),
             space.read(VA + 4096, 8).decode(), space.mmu.tlb.nr_hits > hits]
    lib.xp_page_leave(g.window_base + (space._table(1, VA) << 12))      # ... and its level-1 table is out of the window
    lib.xp_mmu_flush(space.mmu)
    return [*found, fault(lambda: space.read(VA + 8192, 1)), space.mmu.nr_faults[18]]


@pytest.mark.parametrize("mode", ["x86_32", "x86_32p", "x86_64"])
def test_the_mmu_turns_it_into_a_fault(hv, mode):
    done, read, write, across, before, other, hit, table, nr = hv.create(gone, memory="1M", paging=mode).wait()
    assert done == 1 and other == "and this" and hit
    assert read[:2] == [18, VA] and "kernel read at 0x8400000: the frame is not this domain's to touch" in read[2]
    assert write[:2] == [18, VA + 8] and "write" in write[2]
    assert across[:2] == [18, VA + 4090]
    assert before[:2] == [14, VA - 2]
    assert table[0] == 18 and nr >= 3
    assert hv.audit() == 0


def past_it(g) -> None:
    """[guest] Touches it without the MMU."""
    from xenproc.native import lib

    page = g.memory.alloc(1)
    lib.xp_pages_leave(page.address, 1)
    page.view[0] = 1


def test_without_the_mmu_it_is_a_death(hv):
    """The fix-up is for the MMU's own instructions alone."""
    with pytest.raises(DomainCrashed) as end:
        hv.create(past_it, memory="1M").wait()
    assert "SIGBUS" in str(end.value)
