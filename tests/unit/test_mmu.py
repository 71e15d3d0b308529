"""The MMU's edges: ends of pages and of address spaces, what a TLB keeps and what flushes it, memory that is not there."""

import mmap
import signal
import subprocess
import sys

import pytest
from model.mmu import ACCESSED, DIRTY, NX, PRESENT, PSE, RW, USER

from xenproc.native import ffi, lib

X86_32, PAE, X86_64 = 0, 1, 2
ALL = PRESENT | RW | USER
TOP = 1


class Machine:
    """Memory with tables from frame 1 on; the page of each mapped address is made as it is needed."""

    def __init__(self, mode=X86_64, frames=64, sets=64, ways=4):
        self.mode, self.size = mode, 4 if mode == X86_32 else 8
        self.shifts = {X86_32: (22, 12), PAE: (30, 21, 12), X86_64: (39, 30, 21, 12)}[mode]
        self.memory = mmap.mmap(-1, frames * 4096)
        self.mmu = lib.xp_mmu_new(mode, ffi.from_buffer(self.memory), frames, sets, ways)
        assert self.mmu != ffi.NULL
        self.used = TOP
        self.fault = ffi.new("struct xp_fault_info *")
        assert lib.xp_mmu_switch(self.mmu, TOP, 0) == 0

    def entry(self, at, value=None):
        if value is not None:
            self.memory[at:at + self.size] = value.to_bytes(self.size, "little")
        return int.from_bytes(self.memory[at:at + self.size], "little")

    def slots(self, va, top=TOP):
        """Where the entries of va lie, from the top; tables are made on the way."""
        found, frame = [], top
        for level, shift in enumerate(self.shifts):
            entries = {X86_32: 1024, PAE: 512 if level else 4, X86_64: 512}[self.mode]
            at = (frame << 12) + (va >> shift) % entries * self.size
            found.append(at)
            if shift != 12:
                if not self.entry(at):
                    self.used += 1
                    self.entry(at, self.used << 12 | (PRESENT if self.mode == PAE and not level else ALL))
                frame = self.entry(at) >> 12 & 0xFFFFF
        return found

    def map(self, va, frame, bits=ALL, top=TOP):
        at = self.slots(va, top)[-1]
        self.entry(at, frame << 12 | bits)
        return at

    def load(self, va, length, access=0):
        data = ffi.new("char[]", length + 1)
        ret = lib.xp_mmu_load(self.mmu, va, data, length, access, self.fault)
        return bytes(ffi.buffer(data, length)) if ret == 0 else self.why(ret)

    def store(self, va, data, access=0):
        ret = lib.xp_mmu_store(self.mmu, va, data, len(data), access, self.fault)
        return None if ret == 0 else self.why(ret)

    def why(self, ret):
        assert ret == -14
        return self.fault.vector, self.fault.va, self.fault.error_code

    def frame(self, frame):
        return self.memory[frame * 4096:(frame + 1) * 4096]


def test_a_store_that_faults_on_its_second_page_has_no_effect():
    m = Machine()
    first = m.map(0x7000, 40)
    assert m.store(0x7FFC, b"12345678") == (lib.XP_VECTOR_page_fault, 0x8000, lib.XP_PF_W)
    assert not any(m.frame(40)) and not m.entry(first) & (ACCESSED | DIRTY)
    second = m.map(0x8000, 41)
    assert m.store(0x7FFC, b"12345678") is None
    assert m.frame(40)[-4:] == b"1234" and m.frame(41)[:4] == b"5678"
    assert m.entry(first) & DIRTY and m.entry(second) & DIRTY


def test_bits_as_hardware_sets_them():
    m = Machine()
    at = m.map(0, 40)
    upper = m.slots(0)[:-1]
    assert m.load(0, 1) == b"\0"
    assert m.entry(at) & (ACCESSED | DIRTY) == ACCESSED
    assert all(m.entry(slot) & (ACCESSED | DIRTY) == ACCESSED for slot in upper)
    assert m.store(0, b"x") is None                  # a TLB hit that must walk again, for D
    assert m.entry(at) & DIRTY and m.mmu.nr_walks == 2
    assert m.store(1, b"y") is None and m.mmu.nr_walks == 2 and m.mmu.nr_ad == 5


@pytest.mark.parametrize("mode", [X86_32, PAE])
def test_the_top_of_32_bits(mode):
    m = Machine(mode)
    m.map(0xFFFFF000, 40)
    m.map(0, 41)
    assert m.load(0xFFFFFFFF, 1) == b"\0"
    assert m.load(0xFFFFFFF8, 8) == bytes(8)
    assert m.load(0xFFFFFFF9, 8) == (lib.XP_VECTOR_protection, 0xFFFFFFF9, 0)
    assert m.load(1 << 32, 1) == (lib.XP_VECTOR_protection, 1 << 32, 0)


def test_the_top_of_64_bits_and_the_gap():
    m = Machine()
    m.map((1 << 64) - 4096, 40)
    m.map(0, 41)
    m.map((1 << 47) - 4096, 42)
    m.map(0xFFFF << 48 | 1 << 47, 43)
    assert m.load((1 << 64) - 8, 8) == bytes(8)
    assert m.load((1 << 64) - 7, 8) == (lib.XP_VECTOR_protection, (1 << 64) - 7, 0)
    assert m.load((1 << 47) - 1, 1) == b"\0"
    assert m.load((1 << 47) - 1, 2) == (lib.XP_VECTOR_protection, (1 << 47) - 1, 0)
    assert m.load(1 << 47, 1) == (lib.XP_VECTOR_protection, 1 << 47, 0)
    assert m.load(0xFFFF << 48 | 1 << 47, 1) == b"\0"


def test_over_the_gap_in_one_access():
    m = Machine()
    one = ffi.new("char[8]")
    assert lib.xp_mmu_load(m.mmu, 0x1000, one, (1 << 64) - 0x2000, 0, m.fault) == -14
    assert (m.fault.vector, m.fault.va) == (lib.XP_VECTOR_protection, 0x1000)
    assert lib.xp_mmu_load(m.mmu, 0x1000, one, (1 << 64) - 0x800, 0, m.fault) == -14      # round to where it began
    assert (m.fault.vector, m.fault.va) == (lib.XP_VECTOR_protection, 0x1000)


def test_nothing_is_nothing():
    m = Machine()
    assert m.load(1 << 50, 0) == b"" and m.store(1 << 50, b"") is None


RIGHTS = [
    (ALL, 0, None), (ALL, "U", None), (ALL, "W", None), (PRESENT, 0, None), (PRESENT, "W", "PW"), (PRESENT, "U", "PU"),
    (PRESENT | USER, "UW", "PUW"), (PRESENT | RW, "UW", "PUW"), (0, "UW", "UW"), (0, "I", "I"), (ALL | NX, 0, None),
    (ALL | NX, "I", "PI"), (ALL | NX, "UI", "PUI"), (ALL | 1 << 52, 0, None),
]


def bits(letters):
    return sum(getattr(lib, f"XP_PF_{letter}") for letter in letters or "")


@pytest.mark.parametrize(("flags", "access", "code"), RIGHTS)
def test_error_codes(flags, access, code):
    m = Machine()
    m.map(0x5000, 40, flags)
    got = ffi.new("uint64_t *")
    ret = lib.xp_mmu_translate(m.mmu, 0x5123, bits(access), got, m.fault)
    if code is None:
        assert ret == 0 and got[0] == 40 * 4096 + 0x123
    else:
        assert m.why(ret) == (lib.XP_VECTOR_page_fault, 0x5123, bits(code))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_superpages_and_frames_beyond_memory_are_reserved_bits(level):
    m = Machine()
    m.map(0x5000, 40)
    at = m.slots(0x5000)[level]
    m.entry(at, m.entry(at) | PSE)
    assert m.load(0x5000, 1) == (lib.XP_VECTOR_page_fault, 0x5000, bits("PR")) and m.fault.level == 4 - level
    m.entry(at, 64 << 12 | ALL)
    assert m.load(0x5000, 1) == (lib.XP_VECTOR_page_fault, 0x5000, bits("PR")) and m.fault.maddr == at
    for code in ("PRI", "PRUI"):
        access = bits(code) & ~bits("PR")
        assert m.load(0x5000, 1, access) == (lib.XP_VECTOR_page_fault, 0x5000, bits(code))


def test_rights_of_all_levels_count_together():
    m = Machine()
    m.map(0x5000, 40)
    at = m.slots(0x5000)[1]
    m.entry(at, m.entry(at) & ~RW)
    assert m.store(0x5000, b"x") == (lib.XP_VECTOR_page_fault, 0x5000, bits("PW"))


# ---- the TLB ----

def counters(m):
    return list(m.mmu.tlb.nr_flushes)


def test_the_tlb_keeps_what_the_tables_said():
    m = Machine()
    at = m.map(0x5000, 40)
    m.memory[41 * 4096:41 * 4096 + 3] = b"new"
    assert m.load(0x5000, 3) == bytes(3)
    m.entry(at, 41 << 12 | ALL)
    assert m.load(0x5000, 3) == bytes(3)
    lib.xp_mmu_flush_page(m.mmu, 0x6000)
    assert m.load(0x5000, 3) == bytes(3)
    lib.xp_mmu_flush_page(m.mmu, 0x5FFF)
    assert m.load(0x5000, 3) == b"new"
    m.entry(at, 40 << 12 | ALL)
    lib.xp_mmu_flush(m.mmu)
    assert m.load(0x5000, 3) == bytes(3)
    assert counters(m)[lib.XP_TLB_asked] == 1 and counters(m)[lib.XP_TLB_page] == 2
    assert (m.mmu.tlb.nr_hits, m.mmu.tlb.nr_misses) == (2, 3)


def test_tags_survive_a_switch_and_the_rest_does_not():
    m = Machine()
    m.map(0x5000, 40)
    m.used = 10
    m.map(0x5000, 41, top=10)
    m.memory[40 * 4096], m.memory[41 * 4096] = 1, 2
    for top, tag, walks in ((1, 2, 1), (10, 3, 2), (1, 2, 2), (10, 3, 2), (1, 0, 3), (10, 0, 4), (1, 0, 5), (1, 2, 5)):
        assert lib.xp_mmu_switch(m.mmu, top, tag) == 0
        assert m.load(0x5000, 1)[0] == (1 if top == 1 else 2)
        assert m.mmu.nr_walks == walks, (top, tag)
    assert counters(m)[lib.XP_TLB_switch] == 4
    assert lib.xp_mmu_switch(m.mmu, 1, 4096) == -22 and lib.xp_mmu_switch(m.mmu, 1, 1) == -22


def test_the_hypervisor_says_flush():
    m = Machine()
    generation = ffi.new("uint32_t *", 7)
    lib.xp_mmu_watch(m.mmu, generation)
    at = m.map(0x5000, 40)
    m.load(0x5000, 1)
    m.entry(at, 0)
    assert m.load(0x5000, 1) == b"\0"
    generation[0] += 1
    assert m.load(0x5000, 1) == (lib.XP_VECTOR_page_fault, 0x5000, 0)
    assert counters(m)[lib.XP_TLB_generation] == 2


def test_as_many_ways_as_a_set_has():
    m = Machine(sets=2, ways=2)
    for page in range(3):
        m.map(0x2000 * page, 40)
        m.load(0x2000 * page, 1)
    assert m.mmu.tlb.nr_evicted == 1
    walks = m.mmu.nr_walks
    m.load(0x2000, 1), m.load(0x4000, 1)
    assert m.mmu.nr_walks == walks
    m.load(0, 1)
    assert m.mmu.nr_walks == walks + 1


@pytest.mark.parametrize(("mode", "offset", "sets", "ways"), [
    (3, 0, 64, 4), (X86_64, 8, 64, 4), (X86_64, 0, 0, 4), (X86_64, 0, 63, 4), (X86_64, 0, 1 << 17, 1), (X86_64, 0, 64, 0),
    (X86_64, 0, 64, 17)])
def test_what_is_no_mmu(mode, offset, sets, ways):
    memory = mmap.mmap(-1, 8192)
    base = ffi.cast("char *", ffi.from_buffer(memory)) + offset
    assert lib.xp_mmu_new(mode, base, 1, sets, ways) == ffi.NULL


def test_nothing_is_mapped_before_the_first_switch():
    memory = mmap.mmap(-1, 8192)
    mmu = lib.xp_mmu_new(X86_64, ffi.from_buffer(memory), 2, 1, 1)
    fault = ffi.new("struct xp_fault_info *")
    assert lib.xp_mmu_load(mmu, 0, ffi.new("char[8]"), 8, 0, fault) == -14
    assert fault.vector == lib.XP_VECTOR_machine_check and mmu.nr_faults[fault.vector] == 1
    lib.xp_mmu_free(mmu)


def test_a_no_of_the_tlb_is_one_behind_the_first_way_too():
    m = Machine(sets=1, ways=2)
    m.map(0x1000, 40, PRESENT)
    m.map(0x2000, 41)
    m.load(0x1000, 1), m.load(0x2000, 1)
    assert m.store(0x1000, b"x") == (lib.XP_VECTOR_page_fault, 0x1000, bits("PW"))
    m.load(0x2000, 1)
    assert m.load(0x1000, 1, bits("U")) == (lib.XP_VECTOR_page_fault, 0x1000, bits("PU"))


def test_the_ways_go_in_turn():
    m = Machine(sets=1, ways=4)
    for page in range(7):
        m.map(0x1000 * page, 40)
        m.load(0x1000 * page, 1)
    walks = m.mmu.nr_walks
    for page in (3, 4, 5, 6):
        m.load(0x1000 * page, 1)
    assert m.mmu.nr_walks == walks and m.mmu.tlb.nr_evicted == 3


@pytest.mark.parametrize("flush", [lib.xp_mmu_flush, lambda mmu: lib.xp_mmu_switch(mmu, TOP, 0)])
def test_a_flush_forgets_every_set_and_way(flush):
    m = Machine(frames=80, sets=8, ways=4)
    for page in range(32):
        m.map(0x1000 * page, 40)
        m.load(0x1000 * page, 1)
    assert m.mmu.tlb.nr_evicted == 0
    for page in range(32):
        m.map(0x1000 * page, 41)
    m.memory[41 * 4096] = 41
    flush(m.mmu)
    assert all(m.load(0x1000 * page, 1) == b"\x29" for page in range(32))


def with_bits(m, va, extra=ACCESSED):
    """All entries of va have A: the quick walk of nearly always."""
    for at in m.slots(va):
        if m.mode != PAE or at != m.slots(va)[0]:
            m.entry(at, m.entry(at) | extra)


@pytest.mark.parametrize("mode", [X86_32, PAE, X86_64])
def test_the_quick_walk_refuses_what_the_long_one_does(mode):
    m = Machine(mode)
    m.map(0x5000, 40)
    with_bits(m, 0x5000)
    assert m.load(0x5000, 1) == b"\0" and m.mmu.nr_ad == 0
    assert m.store(0x5000, b"x") is None             # the page was read while clean: D is owed
    assert m.entry(m.slots(0x5000)[-1]) & DIRTY and m.mmu.nr_ad == 1
    far = 0x5000 | (1 << 50 if mode == X86_64 else 1 << 33)
    assert m.load(far, 1) == (lib.XP_VECTOR_protection, far, 0)
    lib.xp_mmu_flush(m.mmu)
    assert m.load(far, 1) == (lib.XP_VECTOR_protection, far, 0)
    above = m.slots(0x5000)[-2]
    m.entry(above, m.entry(above) | PSE)
    lib.xp_mmu_flush(m.mmu)
    assert m.load(0x5000, 1) == (lib.XP_VECTOR_page_fault, 0x5000, bits("PR"))
    m.entry(above, m.entry(above) & ~PSE)
    if mode == PAE:
        m.entry(m.slots(0x5000)[-1], m.entry(m.slots(0x5000)[-1]) | 1 << 52)
        assert m.load(0x5000, 1) == (lib.XP_VECTOR_page_fault, 0x5000, bits("PR"))


def test_without_nx_a_fetch_is_a_read():
    m = Machine(X86_32)
    assert m.load(0x5000, 1, bits("I")) == (lib.XP_VECTOR_page_fault, 0x5000, 0)
    m = Machine(PAE)
    assert m.load(0x5000, 1, bits("I")) == (lib.XP_VECTOR_page_fault, 0x5000, bits("I"))


# ---- tables of level 1 that a walk found before ----

REGIONS = {X86_32: 1 << 22, PAE: 1 << 21, X86_64: 1 << 21}


def two_in_a_region(mode, **tlb):
    """Pages 0 and 1 of one table; `other` is an entry above it that leads to a second table, with frame 42 as page 1."""
    m = Machine(mode, **tlb)
    m.map(0, 40)
    m.map(0x1000, 41)
    m.used += 1
    other = m.used << 12 | ALL | ACCESSED
    m.entry((m.used << 12) + m.size, 42 << 12 | ALL | ACCESSED)
    for frame in (40, 41, 42):
        m.memory[frame * 4096] = frame
    for va in (0, 0x1000):
        m.entry(m.slots(va)[-1], m.entry(m.slots(va)[-1]) | ACCESSED)
    for at in m.slots(0)[:-1]:
        if m.entry(at) & USER:
            m.entry(at, m.entry(at) | ACCESSED)
    return m, m.slots(0)[-2], other


@pytest.mark.parametrize("mode", [X86_32, PAE, X86_64])
def test_the_second_page_of_a_region_is_a_short_walk(mode):
    m, above, other = two_in_a_region(mode)
    assert m.load(0, 1) == b"\x28" and (m.mmu.nr_walks, m.mmu.nr_short) == (1, 0)
    m.entry(above, other)                            # nobody flushed: what was found is used
    assert m.load(0x1000, 1) == b"\x29" and (m.mmu.nr_walks, m.mmu.nr_short) == (2, 1)
    m.map(REGIONS[mode], 42)
    assert m.load(REGIONS[mode], 1) == b"\x2a" and m.mmu.nr_short == 1


FLUSHES = {
    "all": lambda m: lib.xp_mmu_flush(m.mmu),
    "this page": lambda m: lib.xp_mmu_flush_page(m.mmu, 0x1000),
    "a page far away": lambda m: lib.xp_mmu_flush_page(m.mmu, 1 << 30),
    "the base pointer": lambda m: lib.xp_mmu_switch(m.mmu, TOP, 0),
    "another tag": lambda m: lib.xp_mmu_switch(m.mmu, TOP, 2),
    "the hypervisor": lambda m: m.generation.__setitem__(0, 8),
    "another watch": lambda m: lib.xp_mmu_watch(m.mmu, ffi.NULL),
}


@pytest.mark.parametrize("how", FLUSHES)
@pytest.mark.parametrize("mode", [X86_32, PAE, X86_64])
def test_whatever_flushes_forgets_tables_too(mode, how):
    m, above, other = two_in_a_region(mode)
    m.generation = ffi.new("uint32_t *", 7)
    lib.xp_mmu_watch(m.mmu, m.generation)
    m.load(0, 1)
    m.entry(above, other)
    FLUSHES[how](m)
    assert m.load(0x1000, 1) == b"\x2a" and m.mmu.nr_short == 0


def test_a_short_walk_minds_what_the_entries_above_deny():
    m, above, _ = two_in_a_region(X86_64)
    m.entry(above, m.entry(above) & ~(RW | USER) | NX)
    for va in (0, 0x1000):
        m.entry(m.slots(va)[-1], m.entry(m.slots(va)[-1]) | DIRTY)
    assert m.load(0, 1) == b"\x28"
    walks = m.mmu.nr_walks
    assert m.load(0x1000, 1) == b"\x29" and m.mmu.nr_short == 1 and m.mmu.nr_walks == walks + 1
    assert m.store(0x1000, b"x") == (lib.XP_VECTOR_page_fault, 0x1000, bits("PW"))
    assert m.load(0x1000, 1, bits("U")) == (lib.XP_VECTOR_page_fault, 0x1000, bits("PU"))
    assert m.load(0x1000, 1, bits("I")) == (lib.XP_VECTOR_page_fault, 0x1000, bits("PI"))
    m.entry(above, m.entry(above) & ~NX | ALL)       # more rights need no flush: the tables decide about a no
    assert m.store(0x1000, b"x") is None


def test_a_short_walk_minds_its_own_entry():
    m, _, _ = two_in_a_region(X86_64)
    m.load(0, 1)
    at = m.slots(0x1000)[-1]
    for entry, code in ((0, ""), (64 << 12 | ALL | ACCESSED, "PR"), (42 << 12 | PRESENT | ACCESSED, None)):
        m.entry(at, entry)
        if code is None:
            assert m.store(0x1000, b"x") == (lib.XP_VECTOR_page_fault, 0x1000, bits("PW"))
        else:
            assert m.load(0x1000, 1) == (lib.XP_VECTOR_page_fault, 0x1000, bits(code))
    m.entry(at, 42 << 12 | ALL)                      # without A and D: the long walk sets them
    assert m.load(0x1000, 1) == b"\x2a" and m.entry(at) & (ACCESSED | DIRTY) == ACCESSED
    assert m.store(0x1000, b"x") is None and m.entry(at) & DIRTY


# ---- memory that is not there ----

MISSING = """
import mmap, os, sys, tempfile
from xenproc.native import ffi, lib
with tempfile.TemporaryFile() as file:
    file.truncate(8 * 4096)
    memory = mmap.mmap(file.fileno(), 8 * 4096)
    file.truncate(6 * 4096)                         # frames 6 and 7 are SIGBUS now
    page = ffi.new("struct xp_call_page *")
    if sys.argv[1] != "unhandled":
        assert lib.xp_faults_install(page, ffi.NULL, 0) == 0
    def entry(frame, index, value):
        memory[frame * 4096 + index * 4:frame * 4096 + index * 4 + 4] = value.to_bytes(4, "little")
    entry(1, 0, 2 << 12 | 7), entry(1, 1, 6 << 12 | 7)
    entry(2, 0, 7 << 12 | 7), entry(2, 1, 3 << 12 | 7), entry(2, 2, 6 << 12 | 7)
    mmu = lib.xp_mmu_new(0, ffi.from_buffer(memory), 8, 4, 2)
    lib.xp_mmu_switch(mmu, 1, 0)
    fault, data = ffi.new("struct xp_fault_info *"), ffi.new("char[8192]")
    def is_missing(ret, maddr):
        assert ret == -14 and fault.vector == lib.XP_VECTOR_machine_check, (ret, fault.vector)
        assert fault.maddr == maddr, hex(fault.maddr)
    for turn in range(3):                            # more than once: the handler stays
        is_missing(lib.xp_mmu_load(mmu, 0x10, data, 8, 0, fault), 0x7010)
        for length in (1, 2, 4, 8, 100):
            is_missing(lib.xp_mmu_store(mmu, 0x10, data, length, 0, fault), 0x7010)
        is_missing(lib.xp_mmu_load(mmu, 0x401008, data, 8, 0, fault), 0x6004)     # a table of the walk
        is_missing(lib.xp_mmu_load(mmu, 0x1FFF, data, 2, 0, fault), 0x6000)       # the second page of two
        assert lib.xp_mmu_load(mmu, 0x1FFF, data, 1, 0, fault) == 0
    lib.xp_mmu_switch(mmu, 7, 0)
    is_missing(lib.xp_mmu_load(mmu, 0, data, 1, 0, fault), 0x7000)
    print("alive")
    sys.stdout.flush()
    memory[7 * 4096]                                 # anything else is the crash that it was
"""


def play(how):
    return subprocess.run([sys.executable, "-c", MISSING, how], capture_output=True, text=True, timeout=30)


def test_a_missing_page_is_an_error_and_no_crash():
    done = play("handled")
    assert done.stdout == "alive\n", done.stderr
    assert done.returncode == -signal.SIGBUS


def test_without_the_handler_it_is_one():
    done = play("unhandled")
    assert (done.stdout, done.returncode) == ("", -signal.SIGBUS), done.stderr
