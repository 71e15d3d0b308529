"""Address spaces and other domains' pages: grants mapped at virtual addresses, used through the MMU, ended; tables left empty go."""

import pytest

from xenproc.errors import DomainCrashed

MODES = ["x86_32", "x86_32p", "x86_64"]
VA = 0x0840_0000


def owner(g) -> list:
    """[guest] Grants three pages to "mapper", the second for reading alone; returns what is in them in the end."""
    mapper = g.board.resolve("mapper")
    pages = g.memory.alloc(3)
    pages.view[:] = bytes(3 * 4096)
    pages.view[4096:4101] = b"there"
    refs = g.grants.grant(mapper, pages.mfns[0]) + g.grants.grant(mapper, pages.mfns[1], readonly=True)
    refs += g.grants.grant(mapper, pages.mfns[2])
    g.board.publish(mapper, "refs", b"".join(ref.to_bytes(4, "little") for ref in refs))
    g.board.lookup(mapper, "mapped", None)
    busy = len(g.grants.end(refs))
    g.board.publish(mapper, "tried", b"")
    g.board.lookup(mapper, "unmapped", None)
    return [bytes(pages.view[:5]).decode(), bytes(pages.view[8192:8198]).decode(), busy, g.grants.end(refs)]


def given(g) -> tuple[int, list[int]]:
    """[guest] The owner and its references."""
    peer = g.board.resolve("owner")
    data = g.board.lookup(peer, "refs")
    return peer, [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def mapper(g, writes: str = "queued") -> list:
    """[guest] Maps them, reads and writes by address, is refused what it may not, and lets go."""
    from xenproc.errors import HypercallError, PageFault
    from xenproc.guest.paging import WRITABLE, AddressSpace

    peer, refs = given(g)
    space = AddressSpace(g, writes=writes)
    free = g.memory.nr_free
    space.map_grant(VA, refs[0], peer)
    space.map_grant(VA + 4096, [refs[1]], peer, readonly=True)
    space.map_grant(VA + 8192, refs[2:], peer, user=False)
    space.load()
    g.board.publish(peer, "mapped", b"")
    g.board.lookup(peer, "tried", None)
    space.write(VA, b"hello")
    space.write(VA + 8192, b"kernel")
    seen = [space.read(VA + 4096, 5).decode(), space.read(VA + 4095, 2, user=True) == b"\0t"]

    def refused(do) -> str:
        try:
            do()
        except PageFault as fault:
            return f"fault {fault.error_code}"
        except HypercallError as error:
            return f"errno {error.errno}"
        return "done"

    seen += [refused(lambda: space.write(VA + 4096, b"x")), refused(lambda: space.read(VA + 8192, 1, user=True)),
             refused(lambda: space.protect(VA + 4096, 1, lambda entry: entry | WRITABLE)),
             refused(lambda: (space.map(VA + 0x5000, [space.entry(VA) >> 12 & 0xFFFFF]), space.queue.flush()))]
    space.unmap(VA + 0x5000)
    space.unmap(VA, 2)
    seen += [refused(lambda: space.read(VA, 1)), space.read(VA + 8192, 6).decode()]
    space.unmap(VA + 8192)
    g.board.publish(peer, "unmapped", b"")
    return [*seen, g.memory.nr_free == free]


@pytest.mark.parametrize(("without", "writes"), [((), "queued"), (("window",), "queued"), ((), "direct"), (("window",), "direct")])
@pytest.mark.parametrize("mode", MODES)
def test_pages_of_another_domain_by_address(hv, mode, without, writes):
    """A table with a grant's entry is not unhooked: who stores into it has it done."""
    giving = hv.create(owner, name="owner", memory="1M", paging=mode, without=without)
    using = hv.create(mapper, writes, name="mapper", memory="1M", paging=mode, without=without)
    assert using.wait() == ["there", True, "fault 3", "fault 5", "errno 1", "errno 1", "fault 0", "kernel", True]
    assert giving.wait() == ["hello", "kernel", 3, []]
    assert hv.audit() == 0


def careless(g) -> list:
    """[guest] Overwrites an entry that a grant made; the mapping cannot be ended any more, and the owner's page is in use."""
    from xenproc.guest.gnttab import GrantError
    from xenproc.guest.paging import AddressSpace

    peer, refs = given(g)
    space = AddressSpace(g)
    space.map_grant(VA, refs[0], peer)
    space.load()
    space.queue.put(space._entry(1, VA), 0)
    space.queue.flush()
    try:
        space.unmap(VA)
        status = 0
    except GrantError as error:
        status = error.status
    g.board.publish(peer, "mapped", b"")
    g.board.lookup(peer, "tried", None)
    return [status, space.entry(VA)]


def test_an_entry_lost_keeps_the_grant_in_use_until_the_domain_ends(hv):
    giving = hv.create(owner, name="owner", memory="1M")
    using = hv.create(careless, name="mapper", memory="1M")
    assert using.wait() == [-1, 0]
    using.join()
    giving.destroy()
    assert hv.audit() == 0


def tables(g) -> list:
    """[guest] Free pages as tables come and go, and whether their frames can be written again."""
    from xenproc.guest.paging import AddressSpace

    space, pages = AddressSpace(g), g.memory.alloc(6)
    space.load()
    start = g.memory.nr_free
    space.map(VA, pages.mfns[:2])
    space.map(VA + 0x80_0000, pages.mfns[2:3])
    space.queue.flush()
    both = start - g.memory.nr_free
    space.unmap(VA)
    half = start - g.memory.nr_free
    calls = space.queue.nr_calls
    space.unmap(VA + 4096)
    one = start - g.memory.nr_free
    calls = space.queue.nr_calls - calls
    space.write(VA + 0x80_0000, b"still there")
    space.protect(VA + 0x80_0000, 2, lambda entry: (entry ^ 1) & ~0xFFF | 8 if not entry & 1 else 0)     # one goes, one comes
    swapped = [start - g.memory.nr_free, bool(space.entry(VA + 0x80_1000))]
    space.unmap(VA + 0x80_0000, 2)
    rest = start - g.memory.nr_free
    again = g.memory.alloc(g.memory.nr_free)
    again.view[:] = b"w" * len(again.view)                  # no frame of theirs is protected any more
    again.free()
    space.map(VA, pages.mfns)
    space.write(VA, b"and again")
    return [both - half, half - one > 0, calls, swapped[0] == one, swapped[1], rest, bytes(pages.view[:9]).decode()]


@pytest.mark.parametrize("mode", MODES)
def test_tables_that_are_left_empty_go(hv, mode):
    same, fewer, calls, kept, came, rest, text = hv.create(tables, memory="1M", paging=mode).wait()
    assert (same, fewer, calls, kept, came, rest, text) == (0, True, 1, True, True, 0, "and again")


def foreign_store(g) -> None:
    """[guest] Writes past the MMU into a page that was granted for reading."""
    from xenproc.guest.paging import AddressSpace

    peer, refs = given(g)
    space = AddressSpace(g)
    space.map_grant(VA, refs[1], peer, readonly=True)
    import ctypes

    ctypes.memset(g.window_base + (space.entry(VA) & 0xFFFFF000), 1, 1)


def test_the_window_has_the_grants_rights(hv):
    giving = hv.create(owner, name="owner", memory="1M")
    with pytest.raises(DomainCrashed):
        hv.create(foreign_store, name="mapper", memory="1M").wait()
    giving.destroy()
    assert hv.audit() == 0
