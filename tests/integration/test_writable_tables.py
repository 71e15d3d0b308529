"""Guests that store into their page tables (writable page tables): trapped, unhooked, written, hooked again at the next use."""

import pytest

MODES = ["x86_32", "x86_32p", "x86_64"]
VA = 0x0840_0000


def life(g) -> list:
    """[guest] Map, use, protect, fault, map more: all by stores into level-1 tables that are in use."""
    from xenproc.errors import PageFault
    from xenproc.guest.paging import WRITABLE, AddressSpace

    space, pages = AddressSpace(g, writes="direct"), g.memory.alloc(4)
    pages.view[:] = bytes(4 * 4096)
    space.map(VA, pages.mfns[:2])
    space.load()
    space.write(VA + 4090, b"across an edge")
    trapped = space.link.nr_trapped
    space.map(VA + 2 * 4096, pages.mfns[2:])                # its table is in use by now
    results = [space.link.nr_trapped > trapped, space.queue.nr_calls]
    space.write(VA + 4 * 4096 - 1, b"!")                    # by an unhooked table: faults, is hooked again
    results += [space.read(VA + 4090, 14).decode(), pages.view[4 * 4096 - 1], space.queue.nr_calls - results[1]]
    space.protect(VA, 4, lambda entry: entry & ~WRITABLE)
    try:
        space.write(VA, b"x")
    except PageFault as fault:
        results.append(fault.error_code)
    space.unmap(VA + 4096)
    try:
        space.read(VA + 4096, 1)
    except PageFault as fault:
        results.append(fault.error_code)
    return [*results, space.read(VA + 3 * 4096 + 4095, 1).decode(), space.queue.nr_stored]


@pytest.mark.parametrize("without", [(), ("window",)])
@pytest.mark.parametrize("mode", MODES)
def test_a_space_written_by_stores(hv, mode, without):
    trapped, _, text, last, calls, readonly, gone, still, stored = hv.create(life, memory="1M", paging=mode, without=without).wait()
    assert trapped and (text, last, calls, readonly, gone, still) == ("across an edge", ord("!"), 0, 3, 0, "!") and stored >= 8
    assert hv.audit() == 0


def through_the_mmu(g) -> list:
    """[guest] A table mapped read-only in its own space, and written by virtual address: as an old kernel does."""
    from xenproc.errors import PageFault
    from xenproc.guest.paging import ACCESSED, PRESENT, AddressSpace

    space, pages = AddressSpace(g, writes="direct"), g.memory.alloc(2)
    pages.view[:] = b"\x5a" * 8192
    space.map(VA, pages.mfns[:1])
    space.load()
    space.read(VA, 1)
    where = space._entry(1, VA + 4096)
    other = VA + (1 << 30)
    space.map(other, [where >> 12], PRESENT | ACCESSED)
    space.write(other + (where & 4095), (pages.mfns[1] << 12 | 0x67).to_bytes(space._size, "little"))
    results = [space.read(VA + 4096, 1) == b"\x5a"]
    space.map(other + 4096, pages.mfns[:1], PRESENT | ACCESSED)
    for at, data in ((other + 4096, b"x"), (other + (where & 4095), b"abc")):
        try:
            space.write(at, data)
            results.append("written")
        except PageFault as fault:
            results.append(fault.error_code)
    return [*results, bytes(pages.view[:1]).decode("latin1")]


@pytest.mark.parametrize("mode", MODES)
def test_a_store_by_virtual_address_into_a_table(hv, mode):
    """... is done for the guest; into another read-only page it is what its kernel may do to any page of its own."""
    done, page, odd, byte = hv.create(through_the_mmu, memory="1M", paging=mode).wait()
    assert done is True and (page, odd, byte) == (3, 3, "Z")


def wrong(g, what: int) -> None:
    """[guest] An entry that cannot be, by a store, then a use."""
    from xenproc.guest.paging import AddressSpace

    space, pages = AddressSpace(g, writes="direct"), g.memory.alloc(1)
    space.map(VA, pages.mfns)
    space.load()
    space.map(VA + 4096, [what])
    space.read(VA, 1)


@pytest.mark.parametrize("without", [(), ("window",)])
def test_what_does_not_validate_ends_the_domain_and_says_why(hv, without):
    end = hv.create(wrong, 1, memory="1M", without=without).join(20)
    assert end.crashed and "writable page table: frame" in str(end.crash), end
    assert hv.audit() == 0
