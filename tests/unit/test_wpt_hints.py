"""Writable page tables at their edges: the hint that is wrong in each way it can be, grants in a table, what a guest's MMU is told.

What a generated mutant (scripts/mutants) survived in the other tests of writable page tables is met here.
"""

import pytest
from tables import BASE, EINVAL, FLUSH, FULL, L1, L2, LDT, NONE, NX, PIN, RW, UNPIN, X32, X32P, X64, A, Machine, P, every_machine, lib, top

HOST_MAP, CONTAINS_PTE = 2, 16
m = every_machine


@pytest.fixture
def loaded(m):
    """A space with the assist on, then loaded: (directory, level-1 table, its leaves)."""
    assert m.assist() == 0
    spaces = m.space()
    assert m.ext((BASE, spaces[0])) == (0, 1)
    return spaces[top(m) - 2], spaces[top(m) - 1], m.own(4, skip=6)


def empty_l1(m, directory, slot, skip=14):
    """One more level-1 table, in this slot of a directory."""
    (mfn,) = m.own(1, skip=skip)
    assert m.update((m.ptr(directory, slot), mfn << 12 | FULL)) == (0, 1)
    return mfn


def misleading(m, l1):
    """Another directory, whose slot 0 has named the table last: (it, ...), the table has two users."""
    (other,) = m.own(1, skip=12)
    m.table(other)[0] = l1 << 12 | FULL
    assert m.ext((PIN[L2], other)) == (0, 1) and m.record(l1)[:2] == (L1, 2)
    return other


def is_emulated(m, l1, directory):
    """A store is done for the guest; neither the table nor the entry that names it is another than before."""
    entry = m.table(directory)[0]
    assert m.pt_write(m.ptr(l1, 9), 0) == 0 and m.mm().nr_unhooks == 0
    assert m.table(directory)[0] == entry and m.record(l1)[:2] == (L1, 1)
    return True


def test_a_hint_at_an_entry_that_is_not_present_any_more(m, loaded):
    directory, l1, _ = loaded
    other = misleading(m, l1)
    assert m.update((m.ptr(other, 0), l1 << 12 | FULL & ~P)) == (0, 1)
    assert is_emulated(m, l1, directory) and m.table(other)[0] == l1 << 12 | FULL & ~P


def test_a_hint_at_an_entry_that_names_another_table(m, loaded):
    directory, l1, _ = loaded
    other = misleading(m, l1)
    another = empty_l1(m, other, 0)
    assert is_emulated(m, l1, directory) and m.table(other)[0] & P and m.record(another)[:2] == (L1, 1)


def test_a_hint_at_a_frame_that_is_no_table_any_more(m, loaded):
    directory, l1, _ = loaded
    other = misleading(m, l1)
    assert m.ext((UNPIN, other)) == (0, 1) and m.record(other)[0] == NONE
    assert is_emulated(m, l1, directory) and m.table(other)[0] == l1 << 12 | FULL


def test_a_hint_at_a_frame_that_is_a_table_of_level_1(m, loaded):
    """Its entry names the table, to read it: that is no place to unhook it from."""
    directory, l1, _ = loaded
    other = misleading(m, l1)
    assert m.ext((UNPIN, other)) == (0, 1)
    for slot in range(512):
        m.words(other)[slot] = 0                                # the hypervisor's entries, too, where it had some
    m.table(other)[0] = l1 << 12 | P
    assert m.ext((PIN[L1], other)) == (0, 1)
    assert is_emulated(m, l1, directory) and m.table(other)[0] == l1 << 12 | P


@pytest.mark.parametrize("slot", [0, 9, -1])
def test_a_table_with_a_grants_entry_is_not_unhooked(m, loaded, slot):
    directory, l1, _ = loaded
    m.domain(2)
    m.grants(2)
    slot %= 4096 // m.size()
    page = m.own(1, domid=2)[0]
    handle = m.grant_map(1, 2, 1, page, HOST_MAP | CONTAINS_PTE, m.ptr(l1, slot))
    assert handle >= 0 and (m.table(l1)[slot] & ~NX) >> 12 == page
    assert m.pt_write(m.ptr(l1, 20), 0) == 0 and m.mm().nr_unhooks == 0 and m.table(directory)[0] & P
    m.drop(1, page)
    assert m.grant_unmap(1, handle, m.ptr(l1, slot)) == 0
    assert m.pt_write(m.ptr(l1, 20), 0) == 1
    m.end(2)


def test_what_is_no_grants_entry(m, loaded):
    """Of one who has mapped a grant: a foreign frame's number that is not present, and one behind the table's end."""
    _, l1, _ = loaded
    m.domain(2)
    m.grants(2)
    page = m.own(1, domid=2)[0]
    assert m.grant_map(1, 2, 1, page, HOST_MAP) >= 0
    m.table(l1 + 1)[0] = page << 12 | P
    assert m.update((m.ptr(l1, 7), page << 12 | FULL & ~P)) == (0, 1) and FULL & A
    assert m.pt_write(m.ptr(l1, 20), 0) == 1
    m.table(l1)[7] = 0
    m.drop(1, page)
    assert m.grant_unmap(1, 0) == 0
    m.end(2)


def test_a_guests_mmu_is_told_how_many_are_unhooked(m, loaded):
    directory, l1, _ = loaded
    tables = [l1, empty_l1(m, directory, 4), empty_l1(m, directory, 5, skip=15)]
    lib.hvtest_calls(m.t, 1, m.own(1, skip=25)[0])
    for mfn, nr in zip(tables, (1, 2, 2), strict=True):
        assert m.pt_write(m.ptr(mfn, 9), 0) == 1 and lib.hvtest_unhooked(m.t, 1) == nr == m.mm().nr_unhooked
    assert [m.pt_write(m.ptr(mfn, 9), 0) for mfn in tables[1:]] == [1, 1] and m.mm().nr_unhooks == 3
    assert m.pt_fault() == 0 and lib.hvtest_unhooked(m.t, 1) == 0
    assert all(m.record(mfn)[0] == L1 for mfn in tables)


def test_a_table_that_was_unhooked_once_is_none_for_ever(m, loaded):
    directory, l1, _ = loaded
    assert m.pt_write(m.ptr(l1, 9), 0) == 1 and m.pt_fault() == 0
    assert m.update((m.ptr(directory, 0), 0)) == (0, 1) and m.record(l1)[0] == NONE
    assert m.pt_write(m.ptr(l1, 9), 0) == 2, "no table: writable anyway"


def test_a_store_waits_for_a_call_that_is_under_way(m, loaded):
    _, l1, _ = loaded
    m.mm().ticket = 5
    assert m.pt_write(m.ptr(l1, 9), 0, steps=3) == lib.XP_CALL_AGAIN and m.mm().nr_unhooks == 0
    m.mm().ticket = 0
    assert lib.hvtest_continue(m.t, 1, 1_000_000) == 1 and m.mm().nr_unhooks == 1


@pytest.mark.parametrize("mode", [X32, X32P, X64])
@pytest.mark.parametrize("stored", [0, 1])
def test_a_store_between_two_steps_of_a_table_that_is_hooked_again(mode, stored):
    """By another thread. What the guest has written and nobody has validated yet is not dropped as if it had been."""
    m = Machine(mode, step=1)
    assert m.assist() == 0
    spaces = m.space()
    assert m.ext((BASE, spaces[0])) == (0, 1)
    directory, l1 = spaces[top(m) - 2], spaces[top(m) - 1]
    tables = l1, empty_l1(m, directory, 4)
    (page,) = m.own(1, skip=20)
    assert m.pt_write(m.ptr(l1, 9), 0) == 1
    m.table(l1)[40] = page << 12 | FULL                     # far behind what a step comes to
    before = m.record(page)
    assert m.pt_fault(steps=1) == lib.XP_CALL_AGAIN and m.mm().rehooking
    result = m.pt_write(m.ptr(tables[stored], 40 * (1 - stored)), 0)
    assert result in (0, 1) and not m.mm().rehooking
    assert m.record(l1)[0] == (NONE if stored == 0 else L1) or m.mm().nr_unhooked > 0
    assert m.pt_fault() == 0 and m.record(l1)[0] == L1 and m.record(tables[1])[0] == L1
    held = m.table(l1)[40] != 0
    assert m.record(page)[1:3] == (before[1] + held, before[2] + held)
    m.close()


# ---- odd addresses, and the first one behind the hole ----


def test_descriptors_stand_at_multiples_of_eight(m):
    (page,) = m.own(1, skip=20)
    for offset in (1, 2, 4):
        assert m.ext((LDT, 0x1000 | offset, 1))[0] == EINVAL and m.call(10, page << 12 | offset, 0) == EINVAL, offset
    assert m.ext((LDT, 0x1000, 1)) == (0, 1) and m.call(10, page << 12 | 8, 0) == 0


def test_the_first_address_behind_the_hole():
    m = Machine(X64)
    spaces, leaf = m.space(), m.own(1, skip=7)[0]
    assert m.ext((BASE, spaces[0])) == (0, 1)
    assert m.update((m.ptr(spaces[0], 272), spaces[1] << 12 | FULL)) == (0, 1)
    assert m.map_va(0xFFFF880000000000, leaf << 12 | P | RW) == 0 and m.table(spaces[3])[0] == leaf << 12 | P | RW
    assert m.map_va(0xFFFF880000000000 - 4096, 0) == EINVAL and m.ext((FLUSH,)) == (0, 1)
    m.close()


def test_an_entry_is_replaced_by_one_of_the_same_index_in_another_table(m):
    spaces = m.space()
    assert m.ext((BASE, spaces[0])) == (0, 1)
    directory, l1, leaf = spaces[top(m) - 2], spaces[top(m) - 1], m.own(1, skip=7)[0]
    other = empty_l1(m, directory, 4)
    assert m.update((m.ptr(other, 7), leaf << 12 | P)) == (0, 1)
    m.domain(2)
    m.grants(2)
    page, entries = m.own(1, domid=2)[0], 4096 // m.size()
    handle = m.grant_map(1, 2, 1, page, HOST_MAP, 7 << 12)
    assert (m.table(l1)[7] & ~NX) >> 12 == page
    m.drop(1, page)
    assert m.grant_unmap(1, handle, 7 << 12, (4 * entries + 7) << 12) == 0
    assert m.table(l1)[7] == leaf << 12 | P and m.table(other)[7] == 0
    m.end(2)
