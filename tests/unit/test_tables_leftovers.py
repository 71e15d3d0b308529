"""What generated mutants (scripts/mutants) survived everywhere else: descriptors that end at the hole, assists, grants without an entry."""

import pytest
from tables import BASE, ENOSYS, FULL, HV, SELF, X32, X32P, Machine, P, every_machine, lib, top

DEVICE_MAP, HOST_MAP = 1, 2
m = every_machine


@pytest.mark.parametrize("mode", [X32, X32P])
def test_a_limit_in_pages_is_cut_below_the_hole(mode):
    """From each base: it ends below the hole, in the last page that is below it as a whole."""
    m = Machine(mode)
    hole, (page,) = {X32: 0xFC000000, X32P: 0xF5800000}[mode], m.own(1, skip=20)
    for below in (0x1000, 0x1001, 0x1FFF, 0x2000, 0x2FFE, 0x2FFF, 0x3000):
        base = hole - below
        high = base >> 24 << 24 | 1 << 23 | 0xF << 16 | 0xF2 << 8 | base >> 16 & 0xFF
        assert m.call(10, page << 12, high << 32 | (base & 0xFFFF) << 16 | 0xFFFF) == 0, hex(base)
        got = m.words(page)[0]
        assert (got & 0xFFFF | got >> 32 & 0xF0000) == below // 4096 - 1, hex(base)
    m.close()


def test_a_gdt_has_the_entries_that_were_said(m):
    m.words(m.first[1])[0] = m.own(1, skip=20)[0]
    for entries in (5, 512):
        assert m.call(2, m.va(), entries) == 0 and m.mm().gdt_entries == entries and m.mm().nr_gdt == 1


def test_only_the_assist_of_page_tables_hooks_them_again(m):
    m.assist()
    spaces = m.space()
    assert m.ext((BASE, spaces[0])) == (0, 1)
    assert m.pt_write(m.ptr(spaces[top(m) - 1], 9), 0) == 1
    for command in (0, 1):
        assert m.call(21, command, 0) == 0 and m.mm().nr_unhooked == 1
    assert m.call(21, 7, 2) == ENOSYS and m.mm().nr_unhooked == 1
    assert m.assist() == 0 and m.mm().nr_unhooked == 0


def test_the_templates_tables_are_the_hypervisors(m):
    entries = [lib.hvtest_hole(m.t, m.mode, slot) for slot in range(16)]
    tables = {(entry & (1 << 52) - 1) >> 12 for entry in entries if entry & P}
    assert tables and all(m.record(mfn)[3] & HV for mfn in tables)


def test_a_grant_without_an_entry_writes_none(m):
    """Neither when it is mapped nor when it ends: what would be its place is entry 0 of frame 0."""
    spaces = m.space()
    assert m.ext((BASE, spaces[0])) == (0, 1)
    m.domain(2)
    m.grants(2)
    page, l1, was, mark = m.own(1, domid=2)[0], spaces[top(m) - 1], m.words(0)[0], 0x5A00
    m.words(0)[0] = mark
    handle = m.grant_map(1, 2, 1, page, DEVICE_MAP)
    assert handle >= 0 and m.words(0)[0] == mark
    m.drop(1, page)
    assert m.grant_unmap(1, handle) == 0 and m.words(0)[0] == mark
    handle = m.grant_map(1, 2, 1, page, HOST_MAP, 9 << 12)
    m.drop(1, page)
    assert m.grant_unmap(1, handle, 9 << 12) == 0 and m.table(l1)[9] == 0 and m.words(0)[0] == mark
    m.words(0)[0] = was
    m.end(2)
    assert m.table(l1)[0] & FULL == FULL


def test_a_batch_of_several_chunks(m):
    """Read where it stands, in consecutive frames, a chunk at a time."""
    spaces, (leaf, *frames) = m.space(), m.own(7, skip=20)
    assert m.ext((BASE, spaces[0])) == (0, 1)
    nr, l1 = 1200, spaces[top(m) - 1]
    for i in range(nr):
        frame, word = divmod(2 * i, 512)
        m.words(frames[frame])[word], m.words(frames[frame])[word + 1] = m.ptr(l1, 10 + i % 400), leaf << 12 | P
    assert m.call(1, m.va() + (frames[0] - m.first[1] << 12), nr, 0, SELF) == 0
    assert m.record(leaf)[2] == 1 + 400 and all(m.table(l1)[10 + i] == leaf << 12 | P for i in range(400))
