"""The audit counts every kind of holder of a frame exactly: one reference or type more or less is found."""

import pytest
import tables
from native.hvtest_real import Real
from tables import FULL, Machine, P, every_machine, lib

m = every_machine
VA = 2 << 12


def off_by_one(t, mfn: int) -> None:
    """A record that says one more, or one less, is found; what it says is right."""
    record = lib.hvtest_record(t, mfn)
    assert lib.hvtest_mm_audit(t) == 0
    for field in ("ref_count", "type_count"):
        for by in (-1, 1):
            if (field, by, record.type_count) != ("type_count", -1, 0):
                setattr(record, field, getattr(record, field) + by)
                assert lib.hvtest_mm_audit(t) == 1, (field, by)
                setattr(record, field, getattr(record, field) - by)
    assert lib.hvtest_mm_audit(t) == 0


@pytest.mark.parametrize("flags", [2, 6])
@pytest.mark.parametrize("place", [0, VA])
def test_grants(m, flags, place):
    """For reading and for writing, with an entry and without; twice."""
    spaces = m.space()
    assert m.ext((tables.BASE, spaces[0])) == (0, 1)
    page = m.domain(2) + 3
    for domid in (1, 2):
        m.grants(domid)
    handles = []
    for nr in (1, 2):
        handles.append(m.grant_map(1, 2, 7 + nr, page, flags, place + (nr << 12 if place else 0)))
        assert handles[-1] >= 0 and m.record(page)[2] == 1 + nr * (2 if place else 1)
        off_by_one(m.t, page)
    m.drop(1, page)
    for nr, handle in enumerate(handles, 1):
        assert m.grant_unmap(1, handle, place + (nr << 12 if place else 0)) == 0
        off_by_one(m.t, page)


def test_a_granter_that_is_gone_still_counts():
    """Its table is; the page stays, as a handle holds it."""
    m = Machine(tables.X64)
    page = m.domain(2) + 3
    for domid in (1, 2):
        m.grants(domid)
    assert m.grant_map(1, 2, 8, page, 2) >= 0
    assert not m.real.destroy(2), "a zombie"
    assert m.record(page)[:3] == (tables.WRITABLE, 1, 1)
    off_by_one(m.t, page)
    m.close()


def test_an_entry_of_a_table_to_itself(m):
    """Of level 1, for reading: a reference as any other; above, a linear one: none."""
    spaces = m.space()
    l1 = spaces[tables.top(m) - 1]
    m.table(l1)[5] = l1 << 12 | P
    assert m.ext((tables.BASE, spaces[0])) == (0, 1)
    assert m.record(l1)[:3] == (tables.L1, 1, 3)
    off_by_one(m.t, l1)
    if m.mode != tables.X32P:
        assert m.update((m.ptr(spaces[0], 9), spaces[0] << 12 | P)) == (0, 1)
    off_by_one(m.t, spaces[0])


def test_an_unhooked_table_holds_nothing(m):
    m.assist()
    spaces = m.space()
    assert m.ext((tables.BASE, spaces[0])) == (0, 1)
    l1, leaf = spaces[tables.top(m) - 1], m.own(1, skip=6)[0]
    assert m.pt_write(m.ptr(l1, 5), 0) == 1
    m.table(l1)[5] = leaf << 12 | FULL
    off_by_one(m.t, l1)
    off_by_one(m.t, leaf)
    assert m.pt_fault() == 0 and m.record(leaf)[1] == 2
    off_by_one(m.t, leaf)


def test_ends_of_direct_events():
    """One end has asked, then both; then the channel is closed while one process still has the page."""
    real = Real()
    for domid in (1, 2):
        real.create(domid, max_evtchns=8, max_direct=4)
    _, one = real.evtchn(1, "alloc_unbound", dom=1, remote_dom=2)
    _, two = real.evtchn(2, "bind_interdomain", remote_dom=1, remote_port=one["port"])
    mfn = real.make_direct(1, one["port"])[1]["mfn"]
    assert lib.hvtest_record(real.t, mfn).ref_count == 2
    off_by_one(real.t, mfn)
    assert real.make_direct(2, two["local_port"])[0] == 0
    assert lib.hvtest_record(real.t, mfn).ref_count == 3
    off_by_one(real.t, mfn)
    lib.hvtest_drop(real.t, 1, mfn)
    assert real.evtchn(1, "close", port=one["port"])[0] == 0
    assert lib.hvtest_record(real.t, mfn).ref_count == 1, "domain 2 still has it"
    off_by_one(real.t, mfn)
    real.close()
