"""Page tables and frame types: each operation, each refusal, each count, in all paging modes, enforced and not, step by step."""

import pytest
from tables import (
    ALLOCATED,
    BASE,
    CLEAR,
    COPY,
    EACCES,
    EBUSY,
    EFAULT,
    EINVAL,
    ENOMEM,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ESRCH,
    FLUSH,
    FULL,
    INVLPG,
    L1,
    L2,
    L2_HOLE,
    L4,
    LDT,
    NONE,
    NX,
    PCD,
    PIN,
    PINNED,
    PSE,
    PWT,
    RW,
    SELF,
    UNPIN,
    USER_BASE,
    VALIDATED,
    WRITABLE,
    X32,
    X32P,
    X64,
    A,
    D,
    G,
    Machine,
    P,
    U,
    every_machine,
    ffi,
    lib,
    top,
)

m = every_machine


# ---- pin, base, unpin ----


def test_a_tree_is_validated_counted_protected_and_given_back(m):
    before = m.records()
    tables = m.space(leaves=3)
    tree = tables[: top(m)]
    leaves = m.own(3, skip=6)
    assert m.ext((PIN[top(m)], tree[0])) == (0, 1)
    for level, mfn in zip(range(top(m), 0, -1), tree, strict=True):
        assert m.record(mfn) == (level, 1, 2, ALLOCATED | VALIDATED | (PINNED if mfn == tree[0] else 0))
        assert m.shown(mfn) == 1
    if m.mode == X32P:
        assert m.record(tables[3])[:2] == (L2_HOLE, 1)
    for mfn in leaves:
        assert m.record(mfn) == (WRITABLE, 1, 2, ALLOCATED) and m.shown(mfn) == 2
    assert m.ext((PIN[top(m)], tree[0])) == (EINVAL, 0)  # once is enough
    assert m.ext((BASE, tree[0])) == (0, 1)
    assert m.record(tree[0])[1:3] == (2, 3) and m.mm().base.v == tree[0]
    assert m.ext((UNPIN, tree[0])) == (0, 1)
    assert m.record(tree[0])[1:3] == (1, 2)
    assert m.ext((UNPIN, tree[0])) == (EINVAL, 0)
    other = m.own(1, skip=30)[0]
    m.table(other)[3 if m.mode == X32P else 0] = m.table(tree[0])[3] if m.mode == X32P else 0
    assert m.ext((BASE, other)) == (0, 1)  # the first tree goes
    assert [m.record(mfn) for mfn in [*tree, *leaves]] == [before[mfn] for mfn in [*tree, *leaves]]
    assert all(m.shown(mfn) == 2 for mfn in [*tree, *leaves])


def test_the_hole_is_in_each_table_that_carries_it_and_stays(m):
    tables = m.space()
    carrier = tables[-1] if m.mode == X32P else tables[0]
    first = {X32: 1008, X32P: 428, X64: 256}[m.mode]
    m.table(carrier)[first] = m.own(1)[0] << 12 | FULL  # overwritten, and never counted
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1)
    entry = m.table(carrier)[first]
    assert entry & 0xFFF == P | U | A
    assert m.update((m.ptr(carrier, first), 0)) == (EINVAL, 0)
    assert m.update((m.ptr(carrier, {X32: 1023, X32P: 511, X64: 271}[m.mode]), 0)) == (EINVAL, 0)
    assert m.table(carrier)[first] == entry
    start = {X32: 0xFC000000, X32P: 0xF5800000, X64: 0xFFFF800000000000}[m.mode]
    assert m.ext((BASE, tables[0])) == (0, 1)
    assert m.map_va(start, 0) == EINVAL
    if m.mode == X32P:
        assert m.update((m.ptr(tables[0], 3), 0)) == (EINVAL, 0)  # what the hole hangs on
        assert m.update((m.ptr(tables[0], 4), 0)) == (EINVAL, 0)  # PAE: four entries, no more


@pytest.mark.parametrize("bits", [G, PSE, PWT, PCD, 1 << 52, 1 << 62])
def test_forbidden_bits(m, bits):
    if m.mode == X32 and bits >> 32:
        pytest.skip("entries of 32 bits")
    for level in range(1, top(m) + (m.mode != X32P or bits not in (PWT, PCD))):  # PAE's top level may have these two
        tables = m.space()
        bad = tables[top(m) - level]
        m.table(bad)[1] = m.table(bad)[0] | bits
        before = m.records()
        assert m.ext((PIN[top(m)], tables[0])) == (EINVAL, 0)
        assert m.records() == before
        m.table(bad)[1] = bits  # not present: no business of anybody's
        assert m.ext((PIN[top(m)], tables[0]), (UNPIN, tables[0])) == (0, 2)
        m.table(bad)[1] = 0


def test_what_a_leaf_may_name(m):
    tables = m.space()
    l1 = tables[top(m) - 1]
    stranger = m.domain(2) + 1
    m.ext((PIN[top(m)], tables[0]))
    for entry, error in [
        (stranger << 12 | FULL, EPERM),
        (stranger << 12 | P, EPERM),
        (0 | P, EPERM),
        (255 << 12 | P, EPERM),
        (0xFFFFF000 | P, EPERM),
        (1 << 12 | P, EPERM),
        (l1 << 12 | FULL, EBUSY),
        (tables[0] << 12 | FULL, EBUSY),
    ]:
        before = m.records()
        assert m.update((m.ptr(l1, 9), entry)) == (error, 0), hex(entry)
        assert m.records() == before and m.table(l1)[9] == 0
    assert m.update((m.ptr(l1, 9), l1 << 12 | P | U)) == (0, 1)  # tables are read freely
    assert m.record(l1)[:3] == (L1, 1, 3)
    shared = m.first[1] + 40  # shared_info follows the domain's pages here
    assert m.update((m.ptr(l1, 10), shared << 12 | FULL)) == (0, 1)
    m.end(2)


def test_what_a_branch_may_name(m):
    tables = m.space()
    stranger = m.domain(2) + 1
    m.ext((PIN[top(m)], tables[0]))
    above = tables[top(m) - 2]  # level 2
    branch = P if m.mode == X32P and above == tables[0] else FULL
    leaf, shared = m.own(1, skip=6)[0], m.first[1] + 40
    for frame in (stranger, 0, 255, leaf, shared, tables[0] if top(m) > 2 else 0):
        before = m.records()
        assert m.update((m.ptr(above, 5), frame << 12 | branch)) == (EINVAL, 0), frame
        assert m.records() == before and m.table(above)[5] == 0
    fresh = m.own(1, skip=20)[0]
    m.table(fresh)[2] = leaf << 12 | FULL
    assert m.update((m.ptr(above, 5), fresh << 12 | branch)) == (0, 1)
    assert m.record(fresh)[:3] == (L1, 1, 2) and m.shown(fresh) == 1 and m.record(leaf)[:3] == (WRITABLE, 2, 3)
    assert m.update((m.ptr(above, 6), fresh << 12 | branch), (m.ptr(above, 5), 0)) == (0, 2)
    assert m.record(fresh)[:3] == (L1, 1, 2)
    assert m.update((m.ptr(above, 6), 0)) == (0, 1)
    assert m.record(fresh)[:3] == (NONE, 0, 1) and m.shown(fresh) == 2 and m.record(leaf)[:3] == (WRITABLE, 1, 2)
    m.end(2)


def test_a_bad_leaf_deep_down_undoes_all(m):
    tables = m.space(leaves=6)
    l1 = tables[top(m) - 1]
    m.table(l1)[900 if m.mode == X32 else 400] = 0xFFFFF000 | P
    before = m.records()
    assert m.ext((PIN[top(m)], tables[0])) == (EPERM, 0)
    assert m.records() == before and all(m.shown(mfn) == 2 for mfn in tables)


def test_each_failure_inside_a_validation_undoes_exactly_what_was_done(m):
    tables = m.space(leaves=5)
    before, shown = m.records(), [m.shown(mfn) for mfn in range(256)]
    n = 1
    while True:
        lib.hvtest_inject(m.t, n)
        ret = m.ext((PIN[top(m)], tables[0]))
        if ret == (0, 1):
            break
        assert ret == (ENOMEM, 0)
        assert m.records() == before and [m.shown(mfn) for mfn in range(256)] == shown
        n += 1
    lib.hvtest_inject(m.t, 0)
    assert n == top(m) - 1 + 5 + (m.mode == X32P) + 1
    for n in range(1000):  # the window, the copies, arguments in and out
        lib.hvtest_fail_at(n)
        ret = m.ext((UNPIN, tables[0]))
        name = lib.hvtest_failed()
        lib.hvtest_fail_at(-1)
        if ret[0] == 0 or ffi.string(name) == b"copy_to":
            break
    else:
        raise AssertionError("it never ends")


def test_a_step_of_a_long_call_leaves_others_alone(m):
    tables = m.space(leaves=6)
    if lib.hvtest_domain(m.t, 1) and m.ext((PIN[top(m)], tables[0]), steps=1)[0] != lib.XP_CALL_AGAIN:
        pytest.skip("this machine does it in one step")
    kept = ffi.new("struct xp_call *", m.t.call)
    assert m.update((m.ptr(tables[-1], 3), 0), steps=5)[0] == lib.XP_CALL_AGAIN  # another slot's: comes again
    assert m.call(14, 0, 0, steps=2) == lib.XP_CALL_AGAIN
    m.t.call = kept[0]
    assert lib.hvtest_continue(m.t, 1, 1_000_000) == 0
    assert m.record(tables[0])[:2] == (top(m), 1)


def test_a_domain_that_dies_in_the_middle(m):
    for steps in (1, 2, 5, 9):
        m.domain(3, 30)
        first, m.first[1] = m.first[1], m.first[3]
        tables = m.space(leaves=6)
        m.first[1] = first
        m.ext((PIN[top(m)], tables[0]), domid=3, steps=steps)
        m.end(3)


# ---- mmu_update ----


def test_requests_before_a_bad_one_stand(m):
    tables = m.space()
    l1, leaf = tables[top(m) - 1], m.own(1, skip=25)[0]
    m.ext((PIN[top(m)], tables[0]))
    good = (m.ptr(l1, 20), leaf << 12 | FULL)
    assert m.update(good, (m.ptr(l1, 21), 0 | P), good) == (EPERM, 1)
    assert m.record(leaf)[:3] == (WRITABLE, 1, 2)
    assert m.update(good, good, (m.ptr(l1, 20), leaf << 12 | P), (m.ptr(l1, 20), 0)) == (0, 4)
    assert m.record(leaf)[:3] == (NONE, 0, 1)


def test_accessed_and_dirty_are_kept_if_asked(m):
    tables = m.space()
    l1, leaf = tables[top(m) - 1], m.own(1, skip=6)[0]
    m.ext((PIN[top(m)], tables[0]))
    m.update((m.ptr(l1, 0, 2), leaf << 12 | P | U))
    assert m.table(l1)[0] == leaf << 12 | P | U | A | D
    m.update((m.ptr(l1, 0, 0), leaf << 12 | P | U))
    assert m.table(l1)[0] == leaf << 12 | P | U
    m.update((m.ptr(l1, 0, 3), leaf << 12 | P | U | A))
    assert m.table(l1)[0] == leaf << 12 | P | U | A
    assert m.record(leaf)[:3] == (NONE, 0, 2)


def test_kinds_of_update(m):
    frame = m.own(1, skip=12)[0]
    stranger = m.domain(2)
    assert m.update((m.ptr(frame, 3), 0x1234)) == (0, 1) and m.table(frame)[3] == 0x1234  # no table: a plain write
    assert m.update((frame << 12 | 1, 77)) == (0, 1)  # machphys
    for ptr, error in [
        (stranger << 12, EINVAL),
        (stranger << 12 | 1, EINVAL),
        (0, EINVAL),
        (1 << 40, EINVAL),
        ((m.first[1] + 40) << 12, EINVAL),
    ]:
        assert m.update((ptr, 0)) == (error, 0), hex(ptr)
    if m.mode != X32:
        assert [m.update((m.ptr(frame, 3, cmd), 0)) for cmd in (4, 7)] == [(ENOSYS, 0)] * 2
    gdt = m.own(1, skip=13)[0]
    m.words(m.first[1])[0] = gdt
    assert m.call(2, m.va(), 512) == 0
    assert m.update((gdt << 12, 0)) == (EINVAL, 0)
    m.end(2)


def test_arguments(m):
    m.domain(2)
    for call in (1, 26):
        assert m.call(call, m.va(), 0, 0, SELF) == 0
        assert m.call(call, 0, 1, 0, SELF) == EFAULT
        assert m.call(call, m.va(), 1 << 31, 0, SELF) == EINVAL
        assert [m.call(call, m.va(), 0, 0, domid) for domid in (2, 1, 9, 0x7FF1, 0x7FF2)] == [EPERM, ESRCH, ESRCH, EPERM, EPERM]
        assert m.call(call, m.va(), 0, 1, SELF) == EFAULT
    assert m.call(1, m.va(), 0, 0, SELF | 2 << 16) == 0
    assert m.call(1, m.va(), 0, 0, SELF | 3 << 16) == EPERM
    tables = m.space()
    m.ext((PIN[top(m)], tables[0]))
    assert m.call(26, m.va(), 0, lib.HVTEST_BASE + (tables[0] << 12), SELF) == EFAULT  # no answer is written into a table
    m.end(2)


def test_a_branch_replaced(m):
    tables = m.space()
    above, old = tables[top(m) - 2], tables[top(m) - 1]
    branch = P if m.mode == X32P and above == tables[0] else FULL
    new = m.own(1, skip=20)[0]
    m.table(new)[0] = m.own(1, skip=21)[0] << 12 | FULL
    m.ext((PIN[top(m)], tables[0]))
    assert m.update((m.ptr(above, 0), new << 12 | branch)) == (0, 1)
    assert m.record(old)[:3] == (NONE, 0, 1) and m.shown(old) == 2 and m.record(new)[:3] == (L1, 1, 2)
    assert m.record(m.own(1, skip=6)[0])[:3] == (NONE, 0, 1)


# ---- update_va_mapping ----


def test_by_address(m):
    tables = m.space()
    l1, leaf = tables[top(m) - 1], m.own(1, skip=26)[0]
    m.domain(2)
    assert m.map_va(0x3000, leaf << 12 | FULL) == EINVAL  # no tables yet
    m.ext((BASE, tables[0]))
    flushes = list(m.mm().nr_flushes)
    assert m.map_va(0x3000, leaf << 12 | FULL, 1) == 0 and m.table(l1)[3] == leaf << 12 | FULL
    assert m.map_va(0x3000, 0, 2) == 0
    assert [now - was for now, was in zip(m.mm().nr_flushes, flushes, strict=True)] == [0, 1, 1, 0, 0]
    assert m.map_va(0x3000, leaf << 12 | FULL, m.va() | 1) == 0  # a bitmap of CPUs
    assert m.map_va(0x3000, leaf << 12 | FULL, 8 | 1) == EFAULT
    assert m.map_va(0x3000, 0 | P) == EPERM
    assert m.map_va(1 << (31 if m.mode != X64 else 40), 0) == EINVAL
    assert m.map_va(1 << 47, 0) == EINVAL
    assert m.call(22, 0x3000, 0, 0, SELF) == 0
    assert [m.call(22, 0x3000, 0, 0, domid) for domid in (2, 1, 9)] == [EPERM, ESRCH, ESRCH]
    m.end(2)


# ---- linear page tables ----


def test_a_table_may_name_itself_for_reading(m):
    tables = m.space()
    level2 = tables[top(m) - 2]
    if m.mode != X32P:
        m.table(tables[0])[7] = tables[0] << 12 | P | U
    m.table(level2)[7] = level2 << 12 | P | U
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1)
    assert m.record(tables[0])[1:3] == (1, 2)
    before = m.records()
    assert m.update((m.ptr(level2, 8), level2 << 12 | FULL)) == (EINVAL, 0)  # never writable
    assert m.records() == before
    assert m.update((m.ptr(level2, 7), 0)) == (0, 1) and m.records() == before


def test_a_table_may_name_another_of_its_level_but_no_ring(m):
    if m.mode == X32P:
        pytest.skip("the same at level 2; a PAE top level has no linear form")
    a, b, c = m.own(3, skip=10)
    lin = P | U
    assert m.ext((PIN[top(m)], a), (PIN[top(m)], b), (PIN[top(m)], c)) == (0, 3)
    assert m.update((m.ptr(a, 1), b << 12 | lin)) == (0, 1)
    assert m.record(b)[1:3] == (2, 3)
    assert m.update((m.ptr(b, 1), a << 12 | lin)) == (EINVAL, 0)  # b is looked into
    assert m.update((m.ptr(c, 1), a << 12 | lin)) == (EINVAL, 0)  # a looks into another
    assert m.update((m.ptr(c, 1), b << 12 | lin)) == (0, 1)
    assert m.ext((UNPIN, b)) == (0, 1) and m.record(b)[:2] == (top(m), 2)
    assert m.update((m.ptr(a, 1), 0)) == (0, 1)
    assert m.ext((UNPIN, c)) == (0, 1)  # the last that looks into b: both go
    assert m.record(b)[:3] == (NONE, 0, 1) and m.record(c)[:3] == (NONE, 0, 1)
    # Not a table any more. (Two levels: it would be one of level 1, but for what the hole has left in it.)
    assert m.update((m.ptr(a, 1), b << 12 | lin)) == (EPERM if m.mode == X32 else EINVAL, 0)


# ---- mmuext_op, the rest ----


def test_refusals_of_mmuext(m):
    stranger, table, writable = m.domain(2), m.own(1, skip=3)[0], m.own(1, skip=6)[0]
    tables = m.space()
    m.ext((PIN[top(m)], tables[0]))
    for op, error in [
        ((PIN[L1], stranger), EINVAL),
        ((PIN[L1], 0), EINVAL),
        ((PIN[L1], 1 << 30), EINVAL),
        ((PIN[L1], m.first[1] + 40), EINVAL),
        ((PIN[L1], writable), EINVAL),
        ((PIN[L2], tables[top(m) - 1]), EINVAL),
        ((UNPIN, stranger), EINVAL),
        ((UNPIN, table), EINVAL),
        ((UNPIN, 1 << 30), EINVAL),
        ((BASE, 0), EINVAL),
        ((BASE, stranger), EINVAL),
        ((BASE, writable), EINVAL),
        ((12, 0), EACCES),
        ((18, 0), EINVAL),
        ((19, 0), EOPNOTSUPP),
        ((20, 0), EOPNOTSUPP),
        ((14, 0), ENOSYS),
        ((99, 0), ENOSYS),
        ((8, 0, 5), EINVAL),
        ((9, 0, 5), EINVAL),
        ((CLEAR, tables[0]), EINVAL),
        ((CLEAR, stranger), EINVAL),
        ((COPY, stranger, writable), EINVAL),
        ((COPY, writable, stranger), EINVAL),
        ((COPY, tables[0], writable), EINVAL),
        ((LDT, 4, 1), EINVAL),
        ((LDT, 8, 8193), EINVAL),
        ((LDT, {X32: 0xFC000000, X32P: 0xF5800000, X64: 0xFFFF800000000000}[m.mode], 1), EINVAL),
    ]:
        before = m.records()
        assert m.ext(op) == (error, 0), op
        assert m.records() == before, op
    for level in range(top(m) + 1, L4 + 1):
        assert m.ext((PIN[level], m.own(1, skip=30)[0])) == (EINVAL, 0)
    if m.mode != X64:
        assert m.ext((USER_BASE, tables[0])) == (EOPNOTSUPP, 0)
    m.end(2)


def test_services(m):
    a, b = m.own(2, skip=12)
    m.words(a)[5] = 99
    assert m.ext((COPY, b, a)) == (0, 1) and m.words(b)[5] == 99
    assert m.ext((CLEAR, a)) == (0, 1) and m.words(a)[5] == 0
    assert m.ext((LDT, 0x1000, 4)) == (0, 1) and (m.mm().ldt_address, m.mm().ldt_entries) == (0x1000, 4)
    was = list(m.mm().nr_flushes)
    assert m.ext((FLUSH, 0), (10, 0), (8, 0, m.va()), (INVLPG, 0), (9, 0, m.va()), (11, 0)) == (0, 6)
    assert [now - then for now, then in zip(m.mm().nr_flushes, was, strict=True)] == [0, 3, 3, 0, 0]


def test_a_user_base_pointer_of_its_own():
    m = Machine(X64)
    a, b = m.own(2, skip=12)
    assert m.ext((USER_BASE, a)) == (0, 1) and m.record(a)[:3] == (L4, 1, 2)
    assert m.ext((USER_BASE, b)) == (0, 1) and m.record(a)[:3] == (NONE, 0, 1)
    assert m.ext((USER_BASE, 0), (USER_BASE, 0)) == (0, 2) and m.record(b)[:3] == (NONE, 0, 1)
    m.close()


def test_a_type_change_flushes_what_a_tlb_may_still_hold(m):
    tables = m.space()
    m.ext((BASE, tables[0]))
    l1, leaf = tables[top(m) - 1], m.own(1, skip=6)[0]
    m.update((m.ptr(l1, 0), 0))
    was = m.mm().nr_flushes[3]
    assert m.ext((PIN[L1], leaf)) == (0, 1) and m.mm().nr_flushes[3] == was + 1
    assert m.ext((PIN[L1], m.own(1, skip=20)[0])) == (0, 1) and m.mm().nr_flushes[3] == was + 1


# ---- vm_assist ----


def test_vm_assist(m):
    assert m.call(21, 0, 0) == 0 and m.mm().assists == 1
    assert m.call(21, 1, 0) == 0 and m.mm().assists == 0
    assert m.call(21, 2, 0) == ENOSYS and m.call(21, 0, 31) == EINVAL and m.call(21, 0, 1 << 33) == EINVAL


# ---- enforcement, and the lack of it ----


def test_protection_comes_before_the_first_look_and_goes_last(m):
    """A guest that writes behind the hypervisor's back, where nothing is enforced, fools itself alone."""
    if m.t.enforced:
        pytest.skip("here the window forbids it")
    tables = m.space()
    l1, stranger = tables[top(m) - 1], m.domain(2) + 1
    m.ext((PIN[top(m)], tables[0]))
    before = m.record(stranger)
    m.table(l1)[0] = stranger << 12 | FULL  # over an entry that was validated
    assert m.update((m.ptr(l1, 1), 0), (m.ptr(l1, 0), 0)) == (0, 2)
    m.table(l1)[2] = stranger << 12 | FULL
    assert m.ext((UNPIN, tables[0])) == (0, 1)
    assert m.record(stranger) == before
    m.end(2)


def test_grants_and_tables_exclude_each_other(m):
    """What a peer may write through a grant never becomes a table, and no table is granted for writing."""
    frame = m.own(1, skip=12)[0]
    lib.hvtest_frame_type(m.t, frame, WRITABLE, 1)
    assert m.ext((PIN[L1], frame)) == (EINVAL, 0)
    lib.hvtest_frame_type(m.t, frame, NONE, 0)
    assert m.ext((PIN[L1], frame)) == (0, 1)


def test_nx_where_there_is_one(m):
    tables = m.space()
    m.ext((PIN[top(m)], tables[0]))
    l1, leaf = tables[top(m) - 1], m.own(1, skip=6)[0]
    entry = leaf << 12 | P | RW | NX
    assert m.update((m.ptr(l1, 0), entry)) == (0, 1)
    assert m.table(l1)[0] == (entry & 0xFFFFFFFF if m.mode == X32 else entry)
