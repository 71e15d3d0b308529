"""Guests that use virtual memory: tables of their own, validated; loads and stores through the MMU; A and D bits; faults."""

import pytest

from xenproc.abi.ours import XenprocOp

MODES = ["x86_32", "x86_32p", "x86_64"]
VA = 0x0840_0000


def use(g) -> list:
    """[guest] Map four pages, write across their edges, read back by address and in place."""
    from xenproc.guest.paging import AddressSpace

    space, pages = AddressSpace(g), g.memory.alloc(4)
    pages.view[:] = bytes(4 * 4096)
    space.map(VA, pages.mfns)
    space.load()
    space.write(VA + 4090, b"across an edge")
    space.write(VA + 4 * 4096 - 1, b"!")
    results = [space.read(VA + 4090, 14).decode(), bytes(pages.view[4090:4104]).decode(), pages.view[4 * 4096 - 1]]
    results += [space.queue.nr_calls, space.mmu.tlb.nr_misses > 0, g.paging]
    return results


@pytest.mark.parametrize("without", [(), ("window",)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shadow", [False, True])
def test_loads_and_stores(hv, mode, without, shadow):
    found = hv.create(use, memory="1M", paging=mode, without=without, shadow=shadow).wait()
    assert found == ["across an edge", "across an edge", ord("!"), found[3], True, mode] and found[3] <= 3


def bits(g) -> list:
    """[guest] Accessed and dirty bits, of entries that were written without them."""
    from xenproc.guest.paging import ACCESSED, DIRTY, PRESENT, USER, WRITABLE, AddressSpace

    space, page = AddressSpace(g), g.memory.alloc(1)
    space.map(VA, page.mfns, PRESENT | WRITABLE | USER)
    space.load()
    seen = [space.entry(VA) & (ACCESSED | DIRTY)]
    space.read(VA, 1)
    seen.append(space.entry(VA) & (ACCESSED | DIRTY))
    space.write(VA, b"x")
    seen.append(space.entry(VA) & (ACCESSED | DIRTY))
    return [*seen, space.mmu.nr_ad]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shadow", [False, True])
def test_accessed_and_dirty_are_set_as_hardware_does(hv, mode, shadow):
    assert hv.create(bits, memory="1M", paging=mode, shadow=shadow).wait()[:3] == [0, 0x20, 0x60]


def faults(g) -> list:
    """[guest] (vector, error code, address) of what cannot be accessed, and what was left undone."""
    from xenproc.errors import PageFault
    from xenproc.guest.paging import ACCESSED, PRESENT, USER, WRITABLE, AddressSpace

    space, pages = AddressSpace(g), g.memory.alloc(2)
    pages.view[:] = bytes(8192)
    space.map(VA, pages.mfns[:1])
    space.map(VA + 8192, pages.mfns[1:], PRESENT | ACCESSED)
    space.load()

    def fault(do) -> list:
        try:
            do()
        except PageFault as error:
            return [error.vector, error.error_code, error.address, str(error)]
        return ["none"]

    found = [fault(lambda: space.read(VA + 4096, 4)), fault(lambda: space.write(VA + 4094, b"four")),
             fault(lambda: space.write(VA + 8192, b"x")), fault(lambda: space.read(VA + 8192, 1, user=True))]
    undone = bytes(pages.view[4094:4096]) == b"\0\0"
    space.unmap(VA)
    space.protect(VA + 8192, 1, lambda entry: entry | WRITABLE | USER)
    return [*found, fault(lambda: space.read(VA, 1)), undone, fault(lambda: space.write(VA + 8192, b"x", user=True))]


@pytest.mark.parametrize("shadow", [False, True])
def test_faults(hv, shadow):
    missing, across, readonly, kernels, gone, undone, allowed = hv.create(faults, memory="1M", shadow=shadow).wait()
    assert missing[:3] == [14, 0, VA + 4096] and "kernel read at 0x8401000: it is not present" in missing[3]
    assert across[:3] == [14, 2, VA + 4096] and undone
    assert readonly[:3] == [14, 3, VA + 8192] and "it forbids that" in readonly[3]
    assert kernels[:3] == [14, 5, VA + 8192] and kernels[3].startswith("user read")
    assert gone[:3] == [14, 0, VA] and allowed == ["none"]


def batches(g) -> list:
    """[guest] Calls that changing eight pages takes, and what became of them."""
    from xenproc.guest.paging import WRITABLE, AddressSpace

    space, pages = AddressSpace(g), g.memory.alloc(8)
    space.map(VA, pages.mfns)
    space.load()
    before = space.queue.nr_calls
    space.protect(VA, 8, lambda entry: entry & ~WRITABLE)
    space.unmap(VA, 8)
    return [space.queue.nr_calls - before, [space.entry(VA + i * 4096) for i in range(8)]]


def test_changing_many_pages_is_one_call(hv):
    assert hv.create(batches, memory="1M").wait() == [2, [0] * 8]


def refused(g) -> list:
    """[guest] A frame that is not the guest's is refused by the validator; two spaces share pages and part."""
    from xenproc.errors import HypercallError
    from xenproc.guest.paging import AddressSpace

    one, other, pages = AddressSpace(g), AddressSpace(g), g.memory.alloc(1)
    one.map(VA, [1])
    try:
        one.queue.flush()
        error = 0
    except HypercallError as refusal:
        error = refusal.errno
    one.map(VA, pages.mfns)
    other.map(VA + 4096, pages.mfns)
    one.load()
    one.write(VA, b"shared")
    other.load()
    text = other.read(VA + 4096, 6).decode()
    free = g.memory.nr_free
    one.free()
    return [error, text, g.memory.nr_free - free, one.queue.nr_sent]


def test_a_refusal_and_two_spaces(hv):
    error, text, freed, sent = hv.create(refused, memory="1M").wait()
    assert (error, text, freed) == (1, "shared", 4 + 3) and sent >= 4


def test_set_ad_sets_nothing_else(hv):
    """Only A and D, only into present entries of the caller's own validated tables."""
    def guest(g):
        from xenproc.guest.paging import AddressSpace

        space, page = AddressSpace(g), g.memory.alloc(2)
        space.map(VA, page.mfns[:1], 5)
        space.load()
        scratch = g.memory.alloc(1)
        words = scratch.view.cast("B").cast("Q")
        entry = space._entry(1, VA)

        def set_ad(maddr, bits, nr=1):
            words[0], words[1] = maddr, bits
            return g.hypercall(62, int(XenprocOp.set_ad), scratch.address, nr)

        refusals = [set_ad(entry, 2), set_ad(entry, 1 << 63), set_ad(entry + 8, 0x20), set_ad(entry + 4, 0x20),
                    set_ad(page.mfns[1] << 12, 0x20), set_ad(1 << 12, 0x20), set_ad(1 << 50, 0x20), set_ad(entry, 0x20, 17),
                    set_ad((space.top << 12) + 256 * 8, 0x40)]
        before = space.entry(VA)
        return [refusals, before & 0xFFF, set_ad(entry, 0x60), space.entry(VA) ^ before,
                g.hypercall(62, int(XenprocOp.set_ad), 8, 1)]

    refusals, before, done, changed, bad = hv.create(guest, memory="1M").wait()
    assert refusals == [-22] * 9 and (before, done, changed, bad) == (5, 0, 0x60, -14)
