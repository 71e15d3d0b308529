"""Shadow mode in all paging modes: what walks find, what stores do, what is protected, and what no shadow may ever say."""

import pytest
import tables
from model.shadow import PF_P, PF_R, PF_U, PF_W, Fault
from shadowed import SHADOW, SHADOWED, Shadowed, leaf
from tables import (
    BASE,
    EFAULT,
    EINVAL,
    EPERM,
    FULL,
    FULL_COUNT,
    NONE,
    PIN,
    RW,
    UNPIN,
    USER_BASE,
    WRITABLE,
    X32,
    X32P,
    X64,
    A,
    D,
    P,
    U,
    kind,
    lib,
    top,
)

VARIANTS = [(mode, enforced, step) for mode in (X32, X32P, X64) for enforced, step in ((True, 0), (False, 0), (True, 1))]


@pytest.fixture(params=VARIANTS, ids=kind)
def m(request):
    machine = Shadowed(*request.param)
    yield machine
    machine.close()


def loaded(m, leaves=4, skip=1):
    """A space that is the current one: (the tables from the top, leaves)."""
    spaces = m.space(leaves, skip)
    assert m.base(spaces[0]) == 0
    return spaces, m.own(leaves, skip=skip + 5)


def test_tables_are_shadowed_as_walks_come_to_them(m):
    spaces, leaves = loaded(m)
    assert m.shadowed(spaces[0]) == 1 and m.shadowed(spaces[1]) == 0
    assert m.access(0, 0) == (leaves[0] << 12, False)
    for table in spaces[: top(m)]:
        assert m.record(table)[:3] == (SHADOWED, 1, 2) and m.shown(table) == 1
    assert m.record(leaves[0])[:3] == (WRITABLE, 1, 2) and m.shown(leaves[0]) == 2
    assert m.record(leaves[1])[:3] == (NONE, 0, 1), "nobody has asked for that page"
    assert m.walk(0, PF_W) == leaves[0] << 12, "its entry was dirty"
    assert isinstance(m.walk(1 << 12, 0), Fault)
    assert m.access(5 << 12 | 77, 0)[0] == Fault(0, 1)


def test_the_pool_is_the_hypervisors(m):
    assert m.shadow.nr == m.shadow.nr_free == 16
    for mfn in range(m.shadow.first, m.shadow.first + 16):
        assert m.record(mfn) == (SHADOW, 1, 1, 3) and m.shown(mfn) == 1
    spaces, _ = loaded(m)
    own, free = m.shadow.first, m.own(1, skip=20)[0]
    assert m.put(spaces[top(m) - 1], 0, leaf(own)) is False
    assert m.access(0, 0) == (own << 12, False), "it may be looked at"
    assert m.access(0, PF_W)[0] == Fault(PF_P | PF_W, 1)
    assert m.pt_write(own << 12, 1) == EPERM
    assert m.update((own << 12, 1)) == (EINVAL, 0) and m.ext((PIN[top(m)], own))[0] == 0
    assert m.base(own) == EINVAL
    assert m.update((m.ptr(free, 0), 77)) == (0, 1) and m.table(free)[0] == 77


def test_accessed_and_dirty_bits_reach_the_guests_tables(m):
    spaces, leaves = loaded(m)
    for level, table in enumerate(spaces[: top(m)]):
        pdpte = m.mode == X32P and level == 0
        m.table(table)[0] = m.table(table)[0] & ~(A | D) if not pdpte else m.table(table)[0]
    l1 = spaces[top(m) - 1]
    assert m.access(0, 0)[0] == leaves[0] << 12
    assert m.table(l1)[0] & (A | D) == A
    assert all(m.table(table)[0] & A for table in spaces[1 : top(m)])
    assert m.record(leaves[0])[:2] == (NONE, 0), "read-only until the first write"
    assert isinstance(m.walk(0, PF_W), Fault)
    assert m.access(0, PF_W) == (leaves[0] << 12, False)
    assert m.table(l1)[0] & (A | D) == A | D and m.record(leaves[0])[:2] == (WRITABLE, 1)
    m.put(l1, 0, leaf(leaves[0], P | RW | U | A))
    assert m.record(leaves[0])[:2] == (NONE, 0), "a page that is clean again is read-only again"
    m.put(l1, 0, leaf(leaves[0], P | RW | U))
    assert isinstance(m.walk(0, 0), Fault) and m.access(0, 0)[0] == leaves[0] << 12


def test_a_fault_changes_nothing(m):
    spaces, leaves = loaded(m)
    l1 = spaces[top(m) - 1]
    m.table(l1)[0], m.table(l1)[1], m.table(l1)[2] = leaf(leaves[0], P), 0, leaf(m.frames + 5)
    before = m.bytes(spaces[0], top(m))
    assert m.access(0, PF_W)[0] == Fault(PF_P | PF_W, 1)
    assert m.access(0, PF_U)[0] == Fault(PF_P | PF_U, 1)
    assert m.access(1 << 12, PF_W)[0] == Fault(PF_W, 1)
    assert m.access(2 << 12, 0)[0] == Fault(PF_P | PF_R, 1)
    assert m.bytes(spaces[0], top(m)) == before and m.shadowed(l1) == 0
    assert m.access(0, 0)[0] == leaves[0] << 12


def test_a_store_into_a_table_is_trapped_and_followed(m):
    spaces, leaves = loaded(m)
    l1 = spaces[top(m) - 1]
    assert m.put(l1, 0, leaf(leaves[1], FULL)) is False, "nobody has walked it"
    assert m.access(0, 0)[0] == leaves[1] << 12
    assert m.put(l1, 0, leaf(leaves[2], FULL)) is True
    assert m.table(l1)[0] == leaf(leaves[2], FULL)
    assert m.walk(0, PF_W) == leaves[2] << 12, "no walk had to ask"
    assert m.record(leaves[1])[:3] == (NONE, 0, 1)
    assert m.put(l1, 0, 0) is True and m.access(0, 0)[0] == Fault(0, 1) and m.record(leaves[2])[:3] == (NONE, 0, 1)


def test_stores_of_all_sizes(m):
    spaces, leaves = loaded(m)
    l1 = spaces[top(m) - 1]
    m.access(0, 0)
    for size in (1, 2, 4, 8):
        assert m.pt_write(m.ptr(l1, 0), leaf(leaves[3], FULL), size) == 0
        m.access(0, 0)
    assert m.pt_write(m.ptr(l1, 0), leaf(leaves[3], FULL), 8) == 0 and m.access(0, 0)[0] == leaves[3] << 12
    assert m.pt_write((l1 << 12) + 4088, 0, 8) == 0
    for maddr, size in ((m.ptr(l1, 0), 16), (m.ptr(l1, 0), 3), ((l1 << 12) + 1, 2), ((l1 << 12) + 4, 8)):
        assert m.pt_write(maddr, 0, size) == EINVAL
    assert m.pt_write(m.ptr(l1, 0), 0, 0) == 1 and m.record(l1)[:3] == (NONE, 0, 1), "stored by code that says nothing"
    assert m.pt_write(m.ptr(spaces[0], 0), 0, 0) == EPERM
    assert m.pt_write(lib.hvtest_domain(m.t, 1).shared_info_mfn.v << 12, 0) == EPERM
    assert m.pt_write(m.domain(2) << 12, 0) == EPERM and m.pt_write(m.frames << 12, 0) == EPERM


def test_no_leaf_writes_to_a_table(m):
    """A guest that maps its tables writable, as those do that know of no hypervisor: a store is done for it."""
    spaces, leaves = loaded(m)
    l1 = spaces[top(m) - 1]
    m.table(l1)[3] = leaf(l1, FULL)
    assert m.access(3 << 12, PF_W) == (l1 << 12, True)
    assert m.store((3 << 12) + 2 * m.size(), leaf(leaves[3], FULL)) is None
    assert m.table(l1)[2] == leaf(leaves[3], FULL) and m.access(2 << 12, 0)[0] == leaves[3] << 12
    assert m.store((3 << 12) + 2 * m.size(), 0, PF_W | PF_U) is None and m.access(2 << 12, 0)[0] == Fault(0, 1)


def test_a_page_that_becomes_a_table_loses_its_writers(m):
    spaces, leaves = loaded(m)
    l1, late = spaces[top(m) - 1], leaves[0]
    for slot in (0, 1, 2):
        m.table(l1)[slot] = leaf(late, FULL)
        assert m.access(slot << 12, PF_W) == (late << 12, False)
    assert m.record(late)[:3] == (WRITABLE, 3, 4)
    above = spaces[top(m) - 2]
    m.put(above, 1, leaf(late, FULL))
    reach = 1 << (22 if m.mode == X32 else 21)
    m.table(late)[0] = leaf(leaves[1], FULL)
    assert m.access(reach, 0)[0] == leaves[1] << 12
    assert m.record(late)[:3] == (SHADOWED, 1, 5) and m.shown(late) == 1
    assert m.access(1 << 12, PF_W) == (late << 12, True)
    assert m.store(1 << 12, leaf(leaves[2], FULL)) is None and m.access(reach, 0)[0] == leaves[2] << 12


def test_tables_that_name_themselves(m):
    """A linear page table: the same frame is a table of two levels."""
    spaces, _ = loaded(m)
    directory, l1 = spaces[top(m) - 2], spaces[top(m) - 1]
    m.table(directory)[2] = leaf(directory, FULL)
    reach = 2 << (22 if m.mode == X32 else 21)
    assert m.access(reach, PF_W) == (l1 << 12, False) or m.shadowed(l1), "level 1 by way of the linear entry"
    assert m.shadowed(directory) == 2
    assert m.store(reach + (2 << 12) + 2 * m.size(), 0) is None, "it unmaps itself"
    assert m.table(directory)[2] == 0 and m.shadowed(directory) == 1 and m.access(reach, 0)[0] == Fault(0, 2)


def test_shadows_go_with_what_named_them(m):
    spaces, leaves = loaded(m)
    m.access(0, 0)
    above, l1 = spaces[top(m) - 2], spaces[top(m) - 1]
    entry = m.table(above)[0]
    if m.mode != X32P:
        m.put(spaces[0], 0, 0)
        assert all(m.record(table)[:3] == (NONE, 0, 1) and m.shown(table) == 2 for table in spaces[1 : top(m)])
        return
    m.put(above, 0, 0)
    assert m.record(l1)[:3] == (NONE, 0, 1) and m.shown(l1) == 2 and m.record(leaves[0])[:3] == (NONE, 0, 1)
    m.put(above, 0, entry)
    assert m.access(0, 0)[0] == leaves[0] << 12 and m.shadowed(l1) == 1


def test_roots_stay_until_they_are_given_up(m):
    spaces, _ = loaded(m)
    m.access(0, 0)
    other = m.space(2, skip=15)
    assert m.base(other[0]) == 0 and m.shadowed(spaces[0]) == 1 and m.shadowed(spaces[top(m) - 1]) == 1
    made = m.shadow.count.made
    assert m.base(spaces[0]) == 0 and m.shadow.count.made == made, "found again"
    assert m.walk(0, 0) == m.own(4, skip=6)[0] << 12
    assert m.base(other[0]) == 0 and m.ext((UNPIN, spaces[0])) == (0, 1)
    assert all(m.record(table)[:3] == (NONE, 0, 1) and m.shown(table) == 2 for table in spaces[: top(m)])
    assert m.ext((UNPIN, other[0])) == (0, 1) and m.shadowed(other[0]) == 1, "not under the processor's feet"


def test_calls_on_tables(m):
    spaces, leaves = loaded(m)
    l1 = spaces[top(m) - 1]
    assert m.ext((PIN[1], l1), (UNPIN, l1)) == (0, 2) and m.record(l1)[:3] == (NONE, 0, 1)
    assert m.base(m.domain(2)) == EINVAL and m.base(m.frames) == EINVAL and m.base(0) == EINVAL
    assert m.base(spaces[0], USER_BASE) == (0 if m.mode == X64 else -95)
    assert m.base(0, USER_BASE) == (0 if m.mode == X64 else -95)
    assert m.map_va(0, leaf(leaves[3], FULL)) == 0 and m.table(l1)[0] == leaf(leaves[3], FULL)
    assert m.access(0, 0)[0] == leaves[3] << 12
    assert m.map_va(0, leaf(leaves[2], FULL)) == 0 and m.walk(0, 0) == leaves[2] << 12
    assert m.update((m.ptr(l1, 0, 2), leaf(leaves[1], P))) == (0, 1) and m.table(l1)[0] == leaf(leaves[1], P | A | D)
    assert m.walk(0, 0) == leaves[1] << 12
    assert m.map_va(1 << 30, 0) == EINVAL and m.map_va(lib_hole(m), 0) == EINVAL
    m.access(lib_hole(m), 0)
    assert m.call(62, 21, lib_hole(m), 0) == EFAULT, "what is there is the hypervisor's business"


def lib_hole(m):
    words = tables.ffi.new("uint64_t[8]")
    assert lib.hvtest_mode(m.mode, words)
    return words[0]


def test_the_hole_is_the_hypervisors(m):
    spaces, leaves = loaded(m)
    found = tables.ffi.new("uint64_t[8]")
    assert lib.hvtest_mode(m.mode, found)
    at, _ = m.access(found[2], PF_U)
    assert not isinstance(at, Fault) and m.record(at >> 12)[0] == NONE and at >> 12 not in range(m.first[1], m.first[1] + 40)
    hangs = {X32: (spaces[0], 1008), X32P: (spaces[-1], 428), X64: (spaces[0], 256)}[m.mode]
    assert m.put(hangs[0], hangs[1], leaf(leaves[0], FULL)) is True
    assert m.record(leaves[0])[:3] == (NONE, 0, 1) and m.walk(found[2], PF_U) == at


def test_nothing_foreign_without_a_grant(m):
    spaces, _ = loaded(m)
    l1, theirs = spaces[top(m) - 1], m.domain(2) + 3
    m.access(0, 0)
    m.put(l1, 0, leaf(theirs, FULL))
    assert m.access(0, 0)[0] == Fault(PF_P | PF_R, 1) and m.record(theirs)[:3] == (NONE, 0, 1)
    m.put(spaces[top(m) - 2], 1, leaf(theirs, FULL))
    assert m.access(1 << (22 if m.mode == X32 else 21), 0)[0] == Fault(PF_P | PF_R, 2)
    m.grants(2)
    handle = m.grant_map(1, 2, 1, theirs, 2)
    assert handle >= 0
    assert m.access(0, PF_W) == (theirs << 12, False) and m.record(theirs)[:3] == (WRITABLE, 2, 3)
    m.drop(1, theirs)
    assert m.grant_unmap(1, handle) == 0
    assert m.access(0, 0)[0] == Fault(PF_P | PF_R, 1) and m.record(theirs)[:3] == (NONE, 0, 1)


def test_a_grant_for_reading_gives_no_more(m):
    spaces, _ = loaded(m)
    l1, theirs = spaces[top(m) - 1], m.domain(2) + 3
    m.grants(2)
    handle = m.grant_map(1, 2, 1, theirs, 2 | 4, host_addr=1 << 12)
    assert handle >= 0 and m.table(l1)[1] & (P | RW) == P
    assert m.access(1 << 12, 0) == (theirs << 12, False) and m.access(1 << 12, PF_W)[0] == Fault(PF_P | PF_W, 1)
    m.put(l1, 2, leaf(theirs, FULL))
    assert m.access(2 << 12, 0)[0] == Fault(PF_P | PF_R, 1), "nor does a bolder entry"
    m.drop(1, theirs)
    assert m.grant_unmap(1, handle, host_addr=1 << 12) == 0 and m.table(l1)[1] == 0
    assert m.record(theirs)[:3] == (NONE, 0, 1)


def test_what_others_may_write_is_no_table(m):
    spaces, leaves = loaded(m)
    m.grants(1)
    m.domain(2)
    above, lent = spaces[top(m) - 2], leaves[0]
    handle = m.grant_map(2, 1, 1, lent, 2)
    m.put(above, 1, leaf(lent, FULL))
    reach = 1 << (22 if m.mode == X32 else 21)
    assert m.access(reach, 0)[0] == Fault(0, 1)
    m.table(lent)[0] = leaf(leaves[1], FULL)
    assert m.access(reach, 0)[0] == Fault(PF_P | PF_R, 2) and m.shadowed(lent) == 0
    m.drop(2, lent)
    assert m.grant_unmap(2, handle) == 0
    assert m.access(reach, 0)[0] == leaves[1] << 12 and m.shadowed(lent) == 1
    assert m.grant_map(2, 1, 1, lent, 2) < 0, "nor is a table anything that others may write"


def test_a_page_that_goes_leaves_the_shadows_first(m):
    spaces, leaves = loaded(m)
    m.access(0, PF_W)
    m.access(1 << 12, PF_W)
    for page in (leaves[0], spaces[top(m) - 1]):
        m.drop(1, page)
        assert m.give_up(page) == 1
        assert lib.hvtest_frame_record(m.t, page).owner != 1
        assert isinstance(m.access(0, 0)[0], Fault)


def test_a_table_written_as_data_is_none_any_more(m):
    spaces, leaves = loaded(m)
    m.access(0, 0)
    l1 = spaces[top(m) - 1]
    trapped = sum(m.put(l1, 100 + i % 50, i) for i in range(300))
    assert trapped == 128 and m.record(l1)[:3] == (NONE, 0, 1) and m.shadow.count.unshadowed == 1
    assert m.access(0, 0)[0] == leaves[0] << 12 and m.put(l1, 0, 0) is True
    root = spaces[0]
    entries = [i for i in range(4 if m.mode == X32P else 64) if m.table(root)[i] & P]
    assert sum(m.put(root, 5 if m.mode != X32P else 600 % 512, 0) for i in range(300)) == 300, "a base pointer's stays"
    other = m.space(2, skip=15)
    assert m.base(other[0]) == 0
    for i in entries:
        m.put(root, i, 0)
    assert m.record(root)[:3] == (NONE, 0, 1), "all its entries are gone"


def test_the_pool_is_bounded(m):
    spaces, leaves = loaded(m)
    above, tables_of_1 = spaces[top(m) - 2], m.own(18, skip=20)
    shift = 22 if m.mode == X32 else 21
    for i, table in enumerate(tables_of_1):
        m.table(table)[0] = leaf(leaves[i % 4], FULL)
        m.put(above, 1 + i, leaf(table, FULL))
    for _ in range(2):
        for i in range(18):
            assert m.access((1 + i) << shift, 0)[0] == leaves[i % 4] << 12
            assert lib.hvtest_mm_audit(m.t) == 0
    assert m.shadow.count.evicted > 18 and m.shadow.nr_free <= 1
    assert 0 < sum(m.shadowed(table) for table in tables_of_1) <= 16 - top(m) + 1
    assert all((m.shown(table) == 1) == (m.shadowed(table) > 0) for table in tables_of_1)


def test_an_ended_shadow_flushes(m):
    spaces, leaves = loaded(m)
    lib.hvtest_calls(m.t, 1, m.own(1, skip=39)[0])
    m.access(0, PF_W)
    before = lib.hvtest_generation(m.t, 1)
    m.put(spaces[top(m) - 1], 0, leaf(leaves[1], FULL))
    assert lib.hvtest_generation(m.t, 1) == before, "as on hardware: a changed leaf is the guest's to flush"
    m.put(spaces[top(m) - 2], 0, 0)
    assert lib.hvtest_generation(m.t, 1) == before + 1, "a shadow that ends is ours"


def test_a_full_count_is_a_fault(m):
    _, leaves = loaded(m)
    record = lib.hvtest_record(m.t, leaves[0])
    record.ref_count = FULL_COUNT
    assert m.access(0, 0)[0] == Fault(PF_P | PF_R, 1)
    record.ref_count = 1
    assert m.access(0, 0)[0] == leaves[0] << 12


def test_a_pool_has_bounds():
    m = tables.Machine()
    assert [lib.hvtest_shadow(m.t, 1, nr) for nr in (0, 15, 513)] == [EINVAL] * 3
    assert lib.hvtest_shadow(m.t, 1, 512) == tables.ENOMEM and lib.hvtest_shadow(m.t, 1, 16) == 0
    assert m.ext((BASE, m.space(2)[0])) == (0, 1)
    m.close()
