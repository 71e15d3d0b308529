"""Long operations on page tables: how long a step is, who waits meanwhile, and the end of a domain, which takes steps, too."""

import pytest
from tables import (
    BASE,
    EPERM,
    FLUSH,
    FULL,
    FULL_COUNT,
    L1,
    L2,
    PIN,
    SELF,
    UNPIN,
    X32,
    X32P,
    X64,
    Machine,
    P,
    every_machine,
    ffi,
    lib,
    top,
)

m = every_machine


# ---- steps ----


@pytest.mark.parametrize("mode", [X32, X32P, X64])
@pytest.mark.parametrize("enforced", [True, False])
def test_what_is_quick_is_done_in_one_step(mode, enforced):
    """A call comes again only when its step's entries or its time are spent; here neither ever is."""
    m = Machine(mode, enforced, step=1 << 24)
    tables = m.space()
    l1, fresh = tables[top(m) - 1], m.own(1, skip=20)[0]
    above = tables[top(m) - 2]
    branch = P if m.mode == X32P and above == tables[0] else FULL
    assert m.ext((PIN[top(m)], tables[0]), (BASE, tables[0]), (UNPIN, tables[0]), steps=1) == (0, 3)
    assert m.update((m.ptr(above, 5), fresh << 12 | branch), (m.ptr(above, 5), 0), (m.ptr(l1, 9), 0), steps=1) == (0, 3)
    assert m.call(14, 0, m.table(l1)[1], 0, steps=1) == 0
    assert m.ext((PIN[L1], fresh), (UNPIN, fresh), (FLUSH, 0), steps=1) == (0, 3)
    m.table(fresh)[1000 if m.mode == X32 else 500] = P
    assert m.ext((PIN[L1], fresh), steps=1) == (EPERM, 0)
    m.close()


@pytest.mark.parametrize("mode", [X32, X32P, X64])
@pytest.mark.parametrize("step", [1, 3, 64, 300])
def test_a_step_ends_in_time(mode, step):
    """No step takes more entries than it may, but for those that lead to a table: there is one of each level."""
    m = Machine(mode, step=step)
    tables = m.space()
    entries = sum({X32: [1024, 1008], X32P: [512, 512, 428, 4], X64: [512, 512, 512, 496]}[mode])
    for op in (PIN[top(m)], UNPIN):
        steps, ret = 1, m.ext((op, tables[0]), steps=1)[0]
        while ret == lib.XP_CALL_AGAIN:
            steps, ret = steps + 1, lib.hvtest_continue(m.t, 1, 1)
        assert ret == 0 and (entries - 4) // step <= steps <= entries // step + 20, (op, steps)
    l1 = m.own(1, skip=12)[0]
    assert m.ext((PIN[L1], l1)) == (0, 1)
    for call in (lambda: m.update(*[(m.ptr(l1, i % 8), 0) for i in range(120)], steps=1),
                 lambda: m.update(*[(m.ptr(m.own(1)[0], i % 8), 0) for i in range(120)], steps=1),
                 lambda: m.ext(*[(FLUSH, 0)] * 120, steps=1)):
        steps, ret = 1, call()[0]
        while ret == lib.XP_CALL_AGAIN:
            steps, ret = steps + 1, lib.hvtest_continue(m.t, 1, 1)
        assert ret == 0 and 120 // step <= steps <= 120 // step + 1, steps
    m.close()


@pytest.mark.parametrize("look_ns", [1, 60_000, 110_000])
@pytest.mark.parametrize("mode", [X32, X32P, X64])
def test_a_step_ends_when_its_time_is_over_and_not_before(mode, look_ns):
    """The clock is looked at every 256 entries; here only looking takes time. 100 us are a step."""
    m = Machine(mode, pages=60)
    tables = m.own(3)
    lib.hvtest_slow(-look_ns)
    steps_of = {1: 1_000_000, 60_000: 512, 110_000: 256}[look_ns]       # entries
    for op, table in [(op, table) for op in (PIN[L1], UNPIN) for table in tables]:
        steps, ret = 1, m.ext((op, table), steps=1)[0]
        while ret == lib.XP_CALL_AGAIN:
            steps, ret = steps + 1, lib.hvtest_continue(m.t, 1, 1)
        assert (ret, steps) == (0, 4096 // m.size() // steps_of + 1), (op, steps)
    lib.hvtest_slow(0)
    m.close()


def test_each_call_about_tables_waits_for_the_one_under_way(m):
    """... of its own domain; that one goes on where it was."""
    tables, segment = m.space(leaves=6), m.own(1, skip=20)[0]
    if m.ext((PIN[top(m)], tables[0]), steps=1)[0] != lib.XP_CALL_AGAIN:
        pytest.skip("this machine does it in one step")
    kept, before = ffi.new("struct xp_call *", m.t.call), m.records()
    m.words(m.first[1])[0] = segment
    for call, args in ((1, (m.va(), 1, 0, SELF)), (26, (m.va(), 1, 0, SELF)), (14, (0, 0, 0)), (22, (0, 0, 0, SELF)), (2, (m.va(), 512)),
                       (10, (segment << 12, 0))):
        assert m.call(call, *args, steps=2) == lib.XP_CALL_AGAIN, call
        assert m.records() == before
    m.t.call = kept[0]
    assert lib.hvtest_continue(m.t, 1, 1_000_000) == 0
    assert m.call(2, m.va(), 512) == 0


@pytest.mark.parametrize("mode", [X32, X32P, X64])
def test_the_end_of_a_domain_takes_steps_too(mode):
    """Tables that others hold up cost an entry each, and so do pins: no step of a death is long."""
    m = Machine(mode, step=1, pages=60)
    first = m.domain(2, 40)
    l1s, level2 = [first + 1 + i for i in range(30)], first + 31
    branch = FULL
    for i, mfn in enumerate(l1s):
        m.table(level2)[i] = mfn << 12 | branch
    assert m.ext((PIN[L2], level2), domid=2) == (0, 1)
    assert m.ext(*[(PIN[L1], mfn) for mfn in l1s], domid=2) == (0, 30)
    del m.first[2]
    lib.hvtest_domain_kill(m.t, 2)
    steps = []
    while (ret := lib.hvtest_domain_teardown(m.t, 2)) == 1:
        steps.append(m.record(l1s[-1])[1])
    assert ret == 0 and steps.count(2) >= 29  # the last one's pin goes last
    assert len(steps) > 30 + 30 * 4096 // m.size()
    m.close()


def test_a_ticket_is_never_0():
    m = Machine(X64, step=1)
    tables = m.space()
    m.mm().last_ticket = FULL_COUNT
    assert m.ext((PIN[4], tables[0]), steps=1)[0] == lib.XP_CALL_AGAIN
    assert m.mm().ticket == 1
    assert lib.hvtest_mm_audit(m.t) == 0  # half done: it cannot tell
    assert lib.hvtest_continue(m.t, 1, 1_000_000) == 0
    lib.hvtest_fail_at(0)
    assert lib.hvtest_mm_audit(m.t) == 0  # no memory: it cannot tell either
    lib.hvtest_fail_at(-1)
    m.close()


def test_pins_far_apart_are_found_at_the_end():
    m = Machine(X64, frames=20_000)
    first = m.domain(2, 18_000)
    far = [first + i for i in (5, 9000, 17_900)]
    assert m.ext(*[(PIN[L1], mfn) for mfn in far], domid=2) == (0, 3)
    del m.first[2]
    lib.hvtest_domain_kill(m.t, 2)
    steps = 1
    while (ret := lib.hvtest_domain_teardown(m.t, 2)) == 1:
        steps += 1
    assert ret == 0 and steps > 2  # 8,192 frames are looked through in one
    m.close()
