"""mmuext_op: what its services cost a step, and a pinned table whose page was given up."""

from tables import ALLOCATED, CLEAR, EINVAL, EPERM, L1, LDT, NONE, PIN, SELF, UNPIN, X64, Machine, every_machine, ffi, lib

m = every_machine


def test_pages_cleared_count_for_more_than_entries():
    """Hundreds of pages that are in no cache would hold others up for longer than a step may."""
    m = Machine(X64, step=100)
    ops = [(CLEAR, m.own(1, skip=12)[0])] * 10
    steps = 0
    assert m.ext(*ops, steps=1)[0] == lib.XP_CALL_AGAIN
    while (ret := lib.hvtest_continue(m.t, 1, 1)) == lib.XP_CALL_AGAIN:
        steps += 1
    assert ret == 0 and steps >= 3
    m.close()


def test_a_pinned_table_that_was_given_up_can_be_unpinned(m):
    """Nothing but the pin keeps such a page; were it not the domain's any more it would stay until the domain's end."""
    frame = m.own(1, skip=12)[0]
    assert m.ext((PIN[L1], frame)) == (0, 1)
    lib.hvtest_drop(m.t, 1, frame)
    m.words(m.first[1])[256] = frame
    op = ffi.new("struct xen_memory_reservation *", {"extent_start": m.va(1, 2048), "nr_extents": 1, "domid": SELF})
    assert lib.hvtest_memory_op(m.t, 1, 1, op, ffi.sizeof("struct xen_memory_reservation")) == 1
    assert m.record(frame)[:3] == (L1, 1, 1) and m.record(frame)[3] & ALLOCATED == 0
    other = m.own(1, skip=14)[0]        # what is given up is mapped by nobody any more, not even for reading
    assert m.ext((PIN[L1], other)) == (0, 1)
    assert m.update((m.ptr(other, 0), frame << 12 | 5)) == (EPERM, 0)
    m.table(other)[0] = 0
    assert m.ext((UNPIN, frame)) == (0, 1)
    assert m.record(frame) == (NONE, 0, 0, 0)
    assert m.ext((UNPIN, frame)) == (EINVAL, 0)


def test_an_ldt_may_begin_where_the_hole_ends():
    m = Machine(X64)
    for address, result in ((0xFFFF800000000000, EINVAL), (0xFFFF87FFFFFFFFF8, EINVAL), (0xFFFF880000000000, 0)):
        assert m.ext((LDT, address, 1))[0] == result, hex(address)
    m.close()
