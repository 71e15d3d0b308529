"""Entries of grants where counts are full, where taking one is made to fail, and where the audit must see that one has no grant."""

import pytest
from tables import BASE, FULL_COUNT, RW, X32, X32P, X64, A, D, Machine, P, lib

VA = 2 << 12
GENERAL_ERROR = -1


@pytest.fixture(params=[X32, X32P, X64])
def m(request):
    """Domain 1 has page tables and maps; domain 2 grants."""
    machine = Machine(request.param)
    machine.domain(2)
    for domid in (1, 2):
        machine.grants(domid)
    machine.tables = machine.space()
    machine.l1 = machine.tables[-2 if request.param == X32P else -1]
    machine.page = machine.own(1, domid=2)[0]
    assert machine.ext((BASE, machine.tables[0])) == (0, 1)
    yield machine
    machine.close()


def test_no_count_wraps(m):
    record = lib.hvtest_record(m.t, m.page)
    record.ref_count = FULL_COUNT - 1                               # the handle's goes in, the entry's does not
    assert m.grant_map(1, 2, 8, m.page, 2, VA) == GENERAL_ERROR
    assert (record.ref_count, record.type, record.type_count) == (FULL_COUNT - 1, 0, 0) and not m.real.uses(1)
    assert m.real.entry(2, 8).flags == 1
    record.ref_count = FULL_COUNT - 2
    handle = m.grant_map(1, 2, 8, m.page, 2, VA)
    assert handle >= 0 and record.ref_count == FULL_COUNT
    m.drop(1, m.page)
    assert m.grant_unmap(1, handle, VA) == 0 and record.ref_count == FULL_COUNT - 2
    record.ref_count = 1


def test_what_cannot_be_taken_leaves_nothing(m):
    before = m.records()
    for flags, address in ((2, VA), (6, VA), (18, m.ptr(m.l1, 2)), (22, m.ptr(m.l1, 2))):
        lib.hvtest_inject(m.t, 1)
        assert m.grant_map(1, 2, 8, m.page, flags, address) == GENERAL_ERROR
        lib.hvtest_inject(m.t, 0)
        assert m.records() == before and not m.real.uses(1) and m.real.entry(2, 8).flags == 1
    assert m.table(m.l1)[2] >> 12 & 0xFFFFF == m.own(1, skip=8)[0]   # what was there is there


def test_the_audit_sees_an_entry_without_a_grant(m):
    record, spare = lib.hvtest_record(m.t, m.page), m.table(m.l1)
    record.ref_count += 1
    spare[9] = m.page << 12 | P                                     # as if somebody had made one: all counts are right
    assert lib.hvtest_mm_audit(m.t) == 1
    handle = m.grant_map(1, 2, 8, m.page, 6)                        # with one it is not told from the one that this made
    assert lib.hvtest_mm_audit(m.t) == 0
    record.ref_count, record.type, record.type_count = record.ref_count + 1, 6, 1
    spare[10] = m.page << 12 | P | RW                               # ... but for writing it is
    assert lib.hvtest_mm_audit(m.t) == 1
    spare[9] = spare[10] = 0
    record.ref_count, record.type, record.type_count = record.ref_count - 2, 0, 0
    m.drop(1, m.page)
    assert m.grant_unmap(1, handle) == 0


def test_a_replaced_entry_may_sit_in_a_tlb(m):
    """What was there before a grant is gone from the TLB before its frame becomes a table."""
    old = m.own(1, skip=8)[0]
    assert m.table(m.l1)[2] == old << 12 | 0x67 and not m.mm().stale
    handle = m.grant_map(1, 2, 8, m.page, 2, VA)
    assert m.mm().stale and m.record(old)[:3] == (0, 0, 1)
    m.drop(1, m.page)
    assert m.grant_unmap(1, handle, VA) == 0 and not m.mm().stale and m.mm().nr_flushes[4] == 1
    handle = m.grant_map(1, 2, 8, m.page, 2, 9 << 12)
    assert not m.mm().stale and m.table(m.l1)[9] & 0xFFF == P | RW | A | D
    m.drop(1, m.page)
    assert m.grant_unmap(1, handle, 9 << 12) == 0
