"""Guests in shadow mode: tables stored into as they like, what the hypervisor walks for them, what a person sees of it."""

import pytest
from helpers import until

from xenproc.errors import ConfigError

MODES = ["x86_32", "x86_32p", "x86_64"]
VA = 0x0840_0000


def life(g) -> list:
    """[guest] Stores into tables that are in use: trapped, and seen at the next access."""
    from xenproc.errors import PageFault
    from xenproc.guest.paging import WRITABLE, AddressSpace

    space, pages = AddressSpace(g, writes="direct"), g.memory.alloc(8)
    pages.view[:] = bytes(8 * 4096)
    space.map(VA, pages.mfns[:2])
    space.load()
    space.write(VA + 4090, b"across an edge")
    trapped = space.link.nr_trapped
    space.map(VA + 2 * 4096, pages.mfns[2:])
    results = [space.link.nr_trapped - trapped]
    space.write(VA, bytes(range(256)) * 128)                # all eight pages in one store
    results += [bytes(pages.view[:]) == bytes(range(256)) * 128, space.queue.nr_calls]
    for change in (lambda: space.protect(VA, 4, lambda entry: entry & ~WRITABLE), lambda: space.unmap(VA)):
        change()
        try:
            space.write(VA, b"x")
        except PageFault as fault:
            results.append(fault.error_code)
    other = AddressSpace(g, beside=space)
    other.map(VA, pages.mfns[1:2])
    other.load()
    results.append(other.read(VA + 1, 3).hex())
    tables = list(space._tables.values())
    space.free(then=other)
    again = g.memory.alloc(len(tables))
    again.view[:] = b"d" * len(again.view)                  # pages like any others
    return [*results, other.read(VA, 1).hex()]


@pytest.mark.parametrize("without", [(), ("window",)])
@pytest.mark.parametrize("mode", MODES)
def test_tables_are_stored_into(hv, mode, without):
    trapped, same, _, readonly, gone, other, last = hv.create(life, memory="1M", paging=mode, shadow=True, without=without).wait()
    assert (trapped, same, readonly, gone, other, last) == (6, True, 3, 2, "010203", "00")
    assert hv.audit() == 0


def lives(g) -> int:
    """[guest] Store into a page by its address, and wait to be told to end."""
    from xenproc.guest.paging import AddressSpace

    space, page = AddressSpace(g), g.memory.alloc(1)
    space.map(VA, page.mfns)
    space.load()
    space.write(VA, b"here")
    g.console.print(f"frame {page.mfns[0]}")
    return g.shutdown_request(30)


def features(g) -> list:
    """[guest] What Xen's own interface says, and a store of plain code into a table that has a shadow."""
    from xenproc.abi import Hypercall
    from xenproc.guest.paging import AddressSpace

    page = g.memory.alloc(1)
    page.view[:8] = bytes(8)
    g.hypercalls.call(Hypercall.xen_version, 6, page.address, op="xen_version")
    space, pages = AddressSpace(g), g.memory.alloc(2)
    pages.view[:] = b"a" * 4096 + b"b" * 4096
    space.map(VA, pages.mfns[:1])
    space.load()
    found = [page.view[4] & 1, space.read(VA, 1).decode()]
    table = space._tables[space._key(1, VA)].view
    at = space._entry(1, VA) % 4096
    entry = int.from_bytes(table[at : at + 4], "little")
    table[at : at + 4] = (entry + (int(pages.mfns[1]) - int(pages.mfns[0]) << 12)).to_bytes(4, "little")
    return [*found, space.read(VA, 1).decode()]


def test_a_guest_that_knows_of_nothing(hv):
    assert hv.create(features, memory="1M", shadow=True).wait() == [1, "a", "b"]


def test_a_person_sees_the_guests_own_tables(hv):
    made = hv.create(lives, memory="1M", paging="x86_32p", shadow=True)
    frame = int(until(lambda: made.console.read().strip(), "its page").split()[1])
    seen = hv._client.call("pagetable", domid=made.domid, address=VA + 5)
    assert [step["level"] for step in seen["steps"]] == [3, 2, 1] and seen["page"]["mfn"] == frame
    assert {step["table"]["type"] for step in seen["steps"]} == {"shadowed"} and seen["page"]["type"] == "writable"
    assert hv.audit() == 0
    made.destroy()


def test_a_pool_that_is_none_is_refused(hv):
    with pytest.raises(ConfigError, match="shadow"):
        hv.create(features, shadow="yes")


def stored_into(g) -> list[int]:
    """[guest] 300 stores into a table, with no walk in between; how many of them were trapped."""
    from xenproc.guest.paging import AddressSpace

    space, pages = AddressSpace(g, writes="direct"), g.memory.alloc(1)
    space.map(VA, pages.mfns)
    space.load()
    space.read(VA, 1)
    trapped = space.link.nr_trapped
    for i in range(300):
        space.queue.put(space._entry(1, VA) + 8 * (1 + i % 100), i << 12)
    return [space.link.nr_trapped - trapped, space.read(VA, 1)[0]]


@pytest.mark.parametrize("shadow,trapped", [(True, 128), ("keep", 300)])
def test_a_table_that_is_stored_into_all_the_time(hv, shadow, trapped):
    assert hv.create(stored_into, memory="1M", shadow=shadow).wait() == [trapped, 0]
