"""Descriptor pages: set_gdt and update_descriptor, what is mended and what is refused, in all paging modes."""

import pytest
from tables import ALLOCATED, EFAULT, EINVAL, L1, NONE, PIN, SEG, VALIDATED, VARIANTS, X32, X32P, X64, Machine, kind, top


@pytest.fixture(params=VARIANTS, ids=kind)
def m(request):
    machine = Machine(*request.param)
    yield machine
    machine.close()


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
