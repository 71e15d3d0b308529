"""Writable page tables in all modes: a store unhooks a table, what needs tables hooks it again, what is wrong ends the domain."""

import pytest
import tables
from tables import (
    BASE,
    EBUSY,
    EINVAL,
    ENOMEM,
    EPERM,
    FULL,
    L1,
    NONE,
    PIN,
    RW,
    UNPIN,
    WRITABLE,
    Machine,
    P,
    every_machine,
    lib,
    top,
)

EFAULT = tables.EFAULT
m = every_machine


def loaded(m, leaves=4):
    """A space with the assist on, then loaded: (directory, level-1 table, its leaves)."""
    assert m.assist() == 0
    spaces = m.space(leaves)
    assert m.ext((BASE, spaces[0])) == (0, 1)
    return spaces[top(m) - 2], spaces[top(m) - 1], m.own(leaves, skip=6)


def test_a_store_unhooks_and_what_needs_tables_hooks_again(m):
    directory, l1, leaves = loaded(m)
    entry, flushes = m.table(directory)[0], m.mm().nr_flushes[3]
    assert m.record(l1)[:3] == (L1, 1, 2) and m.shown(l1) == 1
    assert m.pt_write(m.ptr(l1, 5), 0) == 1
    assert m.table(directory)[0] == entry & ~P and m.mm().nr_flushes[3] == flushes + 1
    assert m.record(l1)[:3] == (NONE, 0, 1) and m.shown(l1) == 2 and m.record(leaves[0])[:3] == (NONE, 0, 1)
    m.table(l1)[0], m.table(l1)[5] = 0, leaves[1] << 12 | P
    assert m.pt_write(m.ptr(l1, 6), 0) == 1 and m.mm().nr_unhooks == 1
    assert m.pt_fault() == 0
    assert m.table(directory)[0] == entry and m.mm().nr_unhooked == 0
    assert m.record(l1)[:3] == (L1, 1, 2) and m.shown(l1) == 1
    assert m.record(leaves[0])[:3] == (NONE, 0, 1) and m.record(leaves[1])[:3] == (WRITABLE, 1, 3)


@pytest.mark.parametrize("what", ["update", "ext", "map_va", "gdt", "descriptor", "assist", "fault"])
def test_everything_that_needs_tables_sees_it(m, what):
    directory, l1, leaves = loaded(m)
    assert m.pt_write(m.ptr(l1, 5), 0) == 1
    m.table(l1)[5] = leaves[2] << 12 | FULL
    {"update": lambda: m.update((m.ptr(l1, 6), leaves[3] << 12 | P)), "ext": lambda: m.ext((tables.FLUSH,)),
     "map_va": lambda: m.map_va(6 << 12, leaves[3] << 12 | P), "gdt": lambda: m.call(2, m.va(), 0),
     "descriptor": lambda: m.call(10, leaves[0] << 12, 0), "assist": lambda: m.assist(False), "fault": m.pt_fault}[what]()
    assert m.mm().nr_unhooked == 0 and m.record(leaves[2])[:3] == (WRITABLE, 2, 3) and m.table(directory)[0] & P
    if what in ("update", "map_va"):
        assert m.table(l1)[6] == leaves[3] << 12 | P
    if what == "assist":
        assert m.pt_write(m.ptr(l1, 5), 0) == EPERM and m.pt_fault() == EFAULT


@pytest.mark.parametrize("bad", [1 << 12 | P, FULL | tables.G, "itself", "neighbour"])
def test_what_does_not_validate_ends_the_domain(m, bad):
    _directory, l1, leaves = loaded(m)
    stranger = m.domain(2)
    assert m.pt_write(m.ptr(l1, 5), 0) == 1
    m.table(l1)[5] = {"itself": l1 << 12 | FULL, "neighbour": stranger << 12 | P}.get(bad, bad)
    m.ext((tables.FLUSH,))
    assert m.crashed() and m.mm().nr_unhooked == 0
    assert m.record(leaves[0])[:3] == (NONE, 0, 1) and m.record(l1)[:3] == (NONE, 0, 1), "what was taken is dropped"
    m.end(2)


def test_a_third_table_hooks_the_oldest_again(m):
    directory, l1, leaves = loaded(m)
    more = m.own(2, skip=12)
    for i, mfn in enumerate(more):
        m.table(mfn)[0] = leaves[i] << 12 | FULL
        assert m.update((m.ptr(directory, 4 + i), mfn << 12 | FULL))[0] == 0
    for nr, mfn in enumerate([l1, *more], 1):
        assert m.pt_write(m.ptr(mfn, 1), 0) == 1
        m.table(mfn)[1] = leaves[3] << 12 | P
        assert m.mm().nr_unhooked == min(nr, 2)
    assert m.record(l1)[0] == L1 and m.record(more[0])[0] == NONE
    assert m.pt_write(m.ptr(l1, 1), 0) == 1 and m.record(more[0])[0] == L1 and m.mm().nr_unhooks == 4


def test_a_shared_or_pinned_table_is_stored_for_its_guest(m):
    directory, l1, leaves = loaded(m)
    assert m.ext((PIN[L1], l1)) == (0, 1)
    assert m.pt_write(m.ptr(l1, 5), leaves[1] << 12 | P) == 0
    assert m.table(l1)[5] == leaves[1] << 12 | P and m.record(l1)[:2] == (L1, 2) and m.mm().nr_emulated == 1
    assert m.pt_write(m.ptr(l1, 6), l1 << 12 | P | RW) == EBUSY and m.pt_write(m.ptr(l1, 6), 1 << 12 | P) == EPERM
    m.ext((UNPIN, l1))
    assert m.update((m.ptr(directory, 5), l1 << 12 | FULL)) == (0, 1)
    assert m.pt_write(m.ptr(l1, 6), leaves[2] << 12 | P) == 0 and m.table(l1)[6] == leaves[2] << 12 | P
    # The entry that named it last is gone, the first one stays: the hint is wrong, and not believed.
    assert m.update((m.ptr(directory, 5), 0)) == (0, 1) and m.record(l1)[:2] == (L1, 1)
    assert m.pt_write(m.ptr(l1, 7), leaves[2] << 12 | P) == 0 and m.record(l1)[:2] == (L1, 1)


def test_parts_of_an_entry(m):
    _directory, l1, leaves = loaded(m)
    m.ext((PIN[L1], l1))
    entry = leaves[1] << 12 | P
    half = m.size() // 2
    assert m.pt_write(m.ptr(l1, 5) + half, entry >> 8 * half, size=half) == 0
    assert m.pt_write(m.ptr(l1, 5), entry & ((1 << 8 * half) - 1), size=half) == 0
    assert m.table(l1)[5] == entry
    assert m.pt_write(m.ptr(l1, 5), P | RW, size=1) == 0 and m.table(l1)[5] == entry | RW
    for size, at in ((3, 0), (16, 0), (2, 1), (2 * m.size(), 0), (m.size(), 1)):
        assert m.pt_write(m.ptr(l1, 4) + at, 0, size=size) == EINVAL


def test_what_may_not_be_stored(m):
    directory, l1, _leaves = loaded(m)
    stranger, before = m.domain(2), m.records()
    for mfn in (directory, stranger, 1, 1 << 30, m.first[1] + 40):
        assert m.pt_write(mfn << 12, 0) == EPERM, mfn
    assert m.records() == before and m.pt_write(m.own(1, skip=20)[0] << 12, 7) == 2
    m.assist(False)
    assert m.pt_write(m.ptr(l1, 0), 0) == EPERM
    m.end(2)


def test_tables_hooked_before_the_assist_are_stored_for_their_guest(m):
    spaces = m.space()
    m.ext((BASE, spaces[0]))
    m.assist()
    l1 = spaces[top(m) - 1]
    assert m.pt_write(m.ptr(l1, 0), 0) == 0 and m.table(l1)[0] == 0 and m.mm().nr_unhooks == 0


def test_a_store_of_which_nobody_knows_what(m):
    """It can only be let: a table that cannot be unhooked keeps its protection, and nothing has changed."""
    directory, l1, leaves = loaded(m)
    m.ext((PIN[L1], l1))
    before = m.records()
    for mfn in (l1, directory, 1, 1 << 30):
        assert m.pt_write(mfn << 12 | 3, 7, size=0) == EPERM, mfn
    assert m.records() == before and m.mm().nr_emulated == 0
    m.ext((UNPIN, l1))
    assert m.pt_write(m.ptr(l1, 5) | 3, 7, size=0) == 1 and m.shown(l1) == 2 and m.table(l1)[5] == 0
    assert m.pt_write(m.ptr(l1, 9), 7, size=0) == 1 and m.pt_write(m.own(1, skip=20)[0] << 12, 0, size=0) == 2
    m.table(l1)[5] = leaves[1] << 12 | P
    assert m.pt_fault() == 0 and m.record(l1)[0] == L1 and m.record(leaves[1])[2] == 3
    m.assist(False)
    assert m.pt_write(m.ptr(l1, 5), 0, size=0) == EPERM


def test_death_at_every_step():
    """A domain dies after each number of steps of an unhooking and of a hooking: nothing is left."""
    for steps in range(1, 4000, 97):
        m = Machine(tables.X64, enforced=True, step=1, pages=40)
        _directory, l1, leaves = loaded(m)
        ret = m.pt_write(m.ptr(l1, 5), 0, steps=steps)
        if ret == 1:
            m.table(l1)[5] = leaves[0] << 12 | P
            ret = m.pt_fault(steps=steps)
        m.close()
        if ret == 0:
            break
    else:
        pytest.fail("it never came to an end")


def test_another_call_waits_for_a_hooking_and_goes_on_with_it():
    m = Machine(tables.X64, enforced=True, step=1)
    directory, l1, leaves = loaded(m)
    assert m.pt_write(m.ptr(l1, 5), 0) == 1
    m.table(l1)[5] = leaves[0] << 12 | P
    assert m.pt_fault(steps=3) == lib.XP_CALL_AGAIN and m.record(l1)[0] == L1 and m.shown(l1) == 1
    assert m.update((m.ptr(l1, 5), 0)) == (0, 1)
    assert m.table(directory)[0] & P and m.table(l1)[5] == 0
    m.close()


def test_no_memory_for_the_hints():
    m = Machine(tables.X64)
    lib.hvtest_fail_at(0)
    assert m.assist() == ENOMEM
    lib.hvtest_fail_at(-1)
    assert m.assist() == 0
    m.close()
