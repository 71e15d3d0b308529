"""Descriptor pages: set_gdt and update_descriptor, what is mended and what is refused, in all paging modes."""

import pytest
from tables import ALLOCATED, EFAULT, EINVAL, L1, NONE, PIN, SEG, VALIDATED, X32, X32P, X64, Machine, every_machine, top

m = every_machine


CODE = 0x00AF9A000000FFFF  # 64-bit code, DPL 0
DATA = 0x00CF92000000FFFF  # flat data, DPL 0, 4 GiB
GATE = 0x0000EC0000080000  # call gate to selector 8
TSS = 0x0000890000000067


def gdt(m, *frames, entries=None):
    for i, mfn in enumerate(frames):
        m.words(m.first[1])[i] = mfn
    return m.call(2, m.va(), 512 * len(frames) if entries is None else entries)


def test_a_gdt(m):
    a, b = m.own(2, skip=12)
    m.words(a)[1], m.words(a)[2], m.words(a)[3] = CODE, DATA, TSS & ~(1 << 47)  # the last is not present
    assert gdt(m, a, b) == 0
    assert m.record(a) == (SEG, 1, 2, ALLOCATED | VALIDATED) and m.shown(a) == 1
    ring = 3 if m.mode == X64 else 1
    assert m.words(a)[1] >> 45 & 3 == ring and m.words(a)[2] >> 45 & 3 == ring
    if m.mode != X64:
        limit = (m.words(a)[2] & 0xFFFF) | (m.words(a)[2] >> 32 & 0xF0000)
        assert (limit << 12 | 0xFFF) < {X32: 0xFC000000, X32P: 0xF5800000}[m.mode]
    assert gdt(m, b) == 0 and m.record(a)[:3] == (NONE, 0, 1) and m.shown(a) == 2
    assert gdt(m) == 0 and m.record(b)[:3] == (NONE, 0, 1)


def test_refused_descriptors(m):
    stranger, a, b = m.domain(2), *m.own(2, skip=12)
    m.words(b)[511] = TSS
    for frames in ((a, b), (a, stranger), (a, 1 << 30), (a, m.first[1] + 40)):
        before = m.records()
        assert gdt(m, *frames) == EINVAL
        assert m.records() == before
    assert gdt(m, a, entries=7169) == EINVAL
    assert m.call(2, 8, 512) == EFAULT
    tables = m.space()
    m.ext((PIN[top(m)], tables[0]))
    assert gdt(m, tables[0]) == EINVAL
    assert gdt(m, a) == 0 and m.ext((PIN[L1], a)) == (EINVAL, 0)
    m.end(2)


def test_update_descriptor(m):
    stranger, a, plain = m.domain(2), *m.own(2, skip=12)
    assert gdt(m, a) == 0
    assert m.call(10, (a << 12) + 8, DATA) == 0 and m.words(a)[1] & 1 << 47
    assert m.call(10, (a << 12) + 16, GATE) == 0 and m.words(a)[2] >> 16 & 3 == (3 if m.mode == X64 else 1)
    assert m.call(10, (plain << 12) + 8, CODE) == 0 and m.words(plain)[1] >> 45 & 3
    tables = m.space()
    m.ext((PIN[top(m)], tables[0]))
    for at, value in [
        ((a << 12) + 4, DATA),
        ((a << 12) + 8, TSS),
        ((a << 12) + 8, GATE & ~0xFFFF0000),
        (stranger << 12, DATA),
        (0, DATA),
        (1 << 50, DATA),
        (tables[0] << 12, DATA),
    ]:
        was = m.words(a)[1]
        assert m.call(10, at, value) == EINVAL, hex(at)
        assert m.words(a)[1] == was
    if m.mode != X64:
        down = 0x00CF96000000FFFF
        assert m.call(10, a << 12, down) == EINVAL
    m.end(2)


def descriptor(base, limit, flags=0x92, pages=False):
    """A segment descriptor."""
    return limit & 0xFFFF | (base & 0xFFFFFF) << 16 | flags << 40 | (limit >> 16) << 48 | pages << 55 | (base >> 24) << 56


def limit_of(value):
    return value & 0xFFFF | (value >> 48 & 15) << 16


@pytest.mark.parametrize("mode", [X32, X32P])
def test_limits_end_below_the_hole(mode):
    """In bytes and in pages: what fits stays, what reaches in is cut to its last unit below, and nothing is left of some."""
    m = Machine(mode)
    hole, page = {X32: 0xFC000000, X32P: 0xF5800000}[mode], m.own(1, skip=12)[0]
    for base, limit, pages, cut in [
        (hole - 0x800, 0x7FF, False, 0x7FF),        # the last byte below
        (hole - 0x800, 0x800, False, 0x7FF),
        (hole - 0x800, 0xFFFFF, False, 0x7FF),
        (hole - 1, 0, False, 0),
        (hole - 1, 5, False, 0),
        (hole, 0, False, None),
        (hole + 0x1000, 0, False, None),
        (hole - 0x3000, 2, True, 2),
        (hole - 0x3000, 3, True, 2),
        (hole - 0x3001, 3, True, 2),
        (hole - 0x1000, 0, True, 0),
        (hole - 0x1000, 1, True, 0),
        (hole - 0xFFF, 0, True, None),              # not one page below
        (0, 0xFFFFF, True, (hole >> 12) - 1),
        (0, (hole >> 12) - 1, True, (hole >> 12) - 1),
        (0, hole >> 12, True, (hole >> 12) - 1),
    ]:
        value = descriptor(base, limit, pages=pages)
        got = m.call(10, page << 12, value)
        assert got == (EINVAL if cut is None else 0), (hex(base), limit, pages)
        if cut is not None:
            assert limit_of(m.words(page)[0]) == cut, (hex(base), limit, pages)
            assert m.words(page)[0] == descriptor(base, cut, 0xB2, pages)  # and ring 1
    m.close()


def test_who_a_call_gate_leads_to(m):
    ring, page = 3 if m.mode == X64 else 1, m.own(1, skip=12)[0]
    gate = lambda selector, dpl: 0x8C00 << 32 | dpl << 45 | selector << 16 | 0x1234  # noqa: E731
    for selector, good in ((0, False), (7, False), (8, True), (7167 * 8, True), (7168 * 8, False), (0xFFFF, False)):
        assert m.call(10, page << 12, gate(selector, 3)) == (0 if good else EINVAL), selector
    for rpl in range(4):
        for dpl in range(4):
            assert m.call(10, page << 12, gate(8 | rpl, dpl)) == 0
            assert m.words(page)[0] == gate(8 | max(rpl, ring), max(dpl, ring)), (rpl, dpl)
    for type_, good in [(type_, type_ in (0, 12)) for type_ in range(16)]:
        assert m.call(10, page << 12, (0x8000 | type_ << 8) << 32 | 8 << 16) == (0 if good else EINVAL), type_
