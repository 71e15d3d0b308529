"""Page tables at their edges: orders of events, linear tables' roles, counts that are full, the hole entry by entry, the audit itself.

What a generated mutant (scripts/mutants) survived in the other tests of page tables is met here.
"""

import pytest
from native.hvtest_real import Real
from tables import (
    BASE,
    EBUSY,
    EFAULT,
    EINVAL,
    ENOMEM,
    EPERM,
    FLUSH,
    FULL,
    FULL_COUNT,
    INVLPG,
    L1,
    L2,
    NONE,
    PCD,
    PIN,
    PINNED,
    PSE,
    PWT,
    RW,
    SEG,
    SELF,
    UNPIN,
    VALIDATED,
    VARIANTS,
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
    kind,
    lib,
    top,
)

HOLES = {X32: range(1008, 1024), X32P: range(428, 512), X64: range(256, 272)}
m = every_machine


# ---- order: protected, then read; read for the last time, then writable again ----


def bad_descriptor():
    """A task state segment, present: refused in every mode."""
    return 0x0000890000000067


@pytest.mark.parametrize("what", ["leaf table", "tree", "descriptors"])
def test_what_a_guest_writes_until_the_protection_holds_is_seen(m, what):
    """The last moment at which a guest can write is just before its page is protected: nothing may have been read by then."""
    tables = m.space()
    l1, segment = tables[top(m) - 1], m.own(1, skip=14)[0]
    frame, bad = (segment, bad_descriptor()) if what == "descriptors" else (l1, 0xFFFFF000 | P)
    before = m.records()
    lib.hvtest_race(m.t, (frame << 12) + 64, bad)
    if what == "descriptors":
        m.words(m.first[1])[0] = segment
        assert m.call(2, m.va(), 512) == EINVAL
    else:
        table, level = (l1, L1) if what == "leaf table" else (tables[0], top(m))
        assert m.ext((PIN[level], table)) == (EPERM, 0)
    assert m.records() == before and m.shown(frame) == 2
    lib.hvtest_race(m.t, 0, 0)


def test_a_table_is_writable_again_only_when_nothing_refers_to_it(m):
    tables = m.space()
    l1 = tables[top(m) - 1]
    lib.hvtest_race(m.t, (l1 << 12) + 4088, 0)
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1)
    at = m.t.race.at_protect
    assert (at.type, at.type_count, at.flags & VALIDATED) == (NONE, 0, 0)
    leaves = m.own(4, skip=6)
    m.table(l1)
    assert m.ext((UNPIN, tables[0])) == (0, 1)
    at = m.t.race.at_lift
    assert (at.type, at.type_count, at.flags & VALIDATED) == (NONE, 0, 0)
    assert all(m.record(mfn)[:3] == (NONE, 0, 1) for mfn in leaves)
    lib.hvtest_race(m.t, 0, 0)


def test_no_window_is_asked_about_a_page_that_was_given_up(m):
    frame = m.own(1, skip=12)[0]
    assert m.ext((PIN[L1], frame)) == (0, 1)
    lib.hvtest_drop(m.t, 1, frame)
    m.words(m.first[1])[256] = frame
    op = ffi.new("struct xen_memory_reservation *", {"extent_start": m.va(1, 2048), "nr_extents": 1, "domid": SELF})
    assert lib.hvtest_memory_op(m.t, 1, 1, op, ffi.sizeof("struct xen_memory_reservation")) == 1
    asked = m.t.protections
    assert m.ext((UNPIN, frame)) == (0, 1)
    assert m.t.protections == asked


# ---- linear tables: either looked into, or looking ----


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v[0] != X32P], ids=kind)
def test_who_is_looked_into_looks_into_nobody(variant):
    m = Machine(*variant)
    a, b, c, e = m.own(4, skip=10)
    lin = P | U
    assert m.ext(*((PIN[top(m)], mfn) for mfn in (a, b, c, e))) == (0, 4)
    assert m.update((m.ptr(a, 1), b << 12 | lin)) == (0, 1)
    assert m.update((m.ptr(b, 1), c << 12 | lin)) == (EINVAL, 0)  # b is looked into, c is nothing yet
    assert m.update((m.ptr(c, 1), a << 12 | lin)) == (EINVAL, 0)  # a looks
    assert m.update((m.ptr(a, 2), c << 12 | lin)) == (0, 1)
    assert m.update((m.ptr(a, 1), 0), (m.ptr(a, 2), 0)) == (0, 2)
    assert m.update((m.ptr(b, 1), c << 12 | lin)) == (0, 1)  # all roles are given back
    assert m.update((m.ptr(b, 1), 0), (m.ptr(c, 1), a << 12 | lin), (m.ptr(c, 1), 0)) == (0, 3)
    m.close()


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v[0] != X32P], ids=kind)
def test_a_walk_may_end_too_high_through_a_linear_entry(variant):
    m = Machine(*variant)
    tables = m.space()
    m.table(tables[0])[7] = tables[0] << 12 | P | U
    assert m.ext((BASE, tables[0])) == (0, 1)
    shift = 22 if m.mode == X32 else 39
    leaf = m.own(1, skip=20)[0]
    before = m.records()
    # The entry that stands for level 1 lies in a table of level 2, and would be judged as one of that.
    assert m.map_va(7 << shift, leaf << 12 | FULL) == EINVAL
    assert m.map_va(7 << shift, 0) == EINVAL
    assert m.records() == before
    m.close()


# ---- the hole ----


@pytest.mark.parametrize("mode", [X32, X32P, X64])
def test_the_hole_shows_the_m2p_for_reading_and_nothing_else(mode):
    """Each table of the hypervisor's, entry by entry: present, user, accessed, never writable; the leaves are the M2P in order.

    The machine's M2P needs more than one level-1 table of each mode.
    """
    m = Machine(mode, frames=540_000)
    levels, size = top(m), m.size()
    seen, shown = [], []

    def look(entry, level):
        assert entry & 0xFFF == P | U | A and entry >> 52 == 0
        mfn = entry >> 12
        assert lib.hvtest_frame_record(m.t, mfn).owner == 0x7FF2
        if level == 0:
            shown.append(mfn)
            return
        seen.append(mfn)
        for below in m.table(mfn)[: 4096 // size]:
            if below:
                look(below, level - 1)

    for slot in range(len(HOLES[m.mode])):
        entry = lib.hvtest_hole(m.t, m.mode, slot)
        if entry:
            look(entry, (levels if m.mode != X32P else 2) - 1)
    assert shown == list(range(shown[0], shown[0] + len(shown))) and shown and len(set(seen)) == len(seen)
    assert len(shown) == -(-540_000 // 512)
    first = m.first[1]  # it is the M2P: of the domain's first frame there is its number
    assert m.words(shown[first // 512])[first % 512] == 0 and m.words(shown[first // 512])[first % 512 + 1] == 1
    m.close()


def test_each_slot_of_the_hole_is_fixed_and_its_neighbours_are_not(m):
    tables = m.space()
    carrier = tables[-1] if m.mode == X32P else tables[0]
    hole = HOLES[m.mode]
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1)
    entries = [m.table(carrier)[i] for i in hole]
    assert entries == [lib.hvtest_hole(m.t, m.mode, i) for i in range(len(hole))]
    for i in hole:
        assert m.update((m.ptr(carrier, i), 0)) == (EINVAL, 0), i
    for i in (hole[0] - 1, hole[-1] + 1):
        if i < 4096 // m.size():
            assert m.update((m.ptr(carrier, i), 0)) == (0, 1), i
    if m.mode == X32P:
        for table, slot, error in ((tables[0], 2, 0), (tables[0], 3, EINVAL), (tables[0], 4, EINVAL), (tables[0], 511, EINVAL),
                                   (tables[1], 430, 0)):
            assert m.update((m.ptr(table, slot), 0))[0] == error, slot
    elif m.mode == X64:
        assert m.update((m.ptr(tables[1], 260), 0), (m.ptr(tables[2], 260), 0), (m.ptr(tables[3], 511), 0)) == (0, 3)
    assert [m.table(carrier)[i] for i in hole] == entries


# ---- counts that are full ----


@pytest.fixture
def full(m):
    """Return a function that fills a frame's count of references for a while."""
    filled = []

    def fill(mfn, field="ref_count", value=FULL_COUNT):
        record = lib.hvtest_record(m.t, mfn)
        filled.append((record, field, getattr(record, field)))
        setattr(record, field, value)

    yield fill
    for record, field, value in reversed(filled):
        setattr(record, field, value)


def test_no_count_wraps(m, full):
    tables = m.space()
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1)
    l1, above = tables[top(m) - 1], tables[top(m) - 2]
    leaf, fresh, seg = m.own(3, skip=20)
    branch = P if m.mode == X32P and above == tables[0] else FULL
    for mfn in (leaf, fresh, l1, seg, tables[0]):
        full(mfn)
    before = m.records()
    for bits in (P, FULL):
        assert m.update((m.ptr(l1, 20), leaf << 12 | bits)) == (EBUSY, 0)
    assert m.update((m.ptr(above, 5), fresh << 12 | branch)) == (EINVAL, 0)  # not a table yet
    assert m.update((m.ptr(above, 5), l1 << 12 | branch)) == (EINVAL, 0)  # one already
    assert m.update((leaf << 12, 1)) == (EINVAL, 0)
    assert m.ext((BASE, tables[0])) == (EINVAL, 0)
    assert m.ext((16, leaf)) == (EINVAL, 0)
    m.words(m.first[1])[0] = seg
    assert m.call(2, m.va(), 512) == EINVAL
    assert m.call(10, leaf << 12, 0) == EINVAL
    if m.mode != X32P:
        other = m.own(1, skip=24)[0]
        full(tables[0], value=m.record(tables[0])[2] - 0)
        assert m.ext((PIN[top(m)], other)) == (0, 1)
        assert m.update((m.ptr(other, 9), tables[0] << 12 | P | U)) == (EINVAL, 0)
        assert m.ext((UNPIN, other)) == (0, 1)
    assert m.records() == before


# ---- accessed and dirty, set by the hypervisor for a walker ----


def set_ad(m, *entries):
    for i, (maddr, bits) in enumerate(entries):
        m.words(m.first[1])[2 * i], m.words(m.first[1])[2 * i + 1] = maddr, bits
    return lib.hvtest_set_ad(m.t, 1, m.va(), len(entries))


def test_accessed_and_dirty_are_set_where_that_is_harmless(m):
    tables = m.space()
    l1, plain, stranger = tables[top(m) - 1], m.own(1, skip=20)[0], m.domain(2) + 1
    m.table(l1)[0] &= ~(A | D)
    m.table(l1)[1] &= ~(A | D)
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1)
    carrier, hole = (tables[-1] if m.mode == X32P else tables[0]), HOLES[m.mode][0]
    m.table(plain)[0] = plain << 12 | P
    entry = m.table(l1)[0]
    assert set_ad(m, (m.ptr(l1, 0), A)) == 0 and m.table(l1)[0] == entry | A
    assert set_ad(m, (m.ptr(l1, 0), D), (m.ptr(l1, 1), A | D)) == 0
    assert m.table(l1)[0] == entry | A | D and m.table(l1)[1] & 0xFFF == FULL
    was = m.records(), m.table(l1).tobytes()
    for maddr, bits in [(m.ptr(l1, 0), RW), (m.ptr(l1, 0), A | P), (m.ptr(l1, 0), 1 << 63), (m.ptr(l1, 0) + 1, A),
                        (m.ptr(l1, 0) + m.size() // 2, A), (m.ptr(l1, 30), A), (m.ptr(plain, 0), A), (stranger << 12, A), (1 << 45, A),
                        (m.ptr(carrier, hole), A), (0, A)]:
        assert set_ad(m, (maddr, bits)) == EINVAL, (hex(maddr), hex(bits))
    assert (m.records(), m.table(l1).tobytes()) == was
    many = [(m.ptr(l1, i % 4), A) for i in range(16)]
    assert set_ad(m, *many) == 0 and set_ad(m, *many, many[0]) == EINVAL and set_ad(m) == 0
    assert lib.hvtest_set_ad(m.t, 1, 8, 1) == EFAULT
    other = m.own(1, skip=30)[0]
    m.table(other)[0] = other << 12 | P
    if m.ext((PIN[top(m)], other), steps=1)[0] == lib.XP_CALL_AGAIN:  # not validated yet: none of its entries counts
        assert set_ad(m, (m.ptr(other, 0), A)) == EINVAL and m.table(other)[0] == other << 12 | P
        lib.hvtest_continue(m.t, 1, 1 << 20)
    copy_matters = m.update((m.ptr(l1, 0, 2), entry & ~(A | D)))  # what counts has the bits, too
    assert copy_matters == (0, 1) and m.table(l1)[0] == entry | A | D
    m.end(2)


# ---- flushes as a walker sees them ----


def test_the_generation_counts_whole_flushes(m):
    tables = m.space()
    calls = m.own(1, skip=25)[0]
    lib.hvtest_calls(m.t, 1, calls)
    for op, more in (((FLUSH, 0), 1), ((INVLPG, 0), 0), ((BASE, tables[0]), 1)):
        was = lib.hvtest_generation(m.t, 1)
        assert m.ext(op) == (0, 1) and lib.hvtest_generation(m.t, 1) == was + more, op
    # A page's flush leaves a TLB that may hold others; a whole one does not.
    l1 = tables[top(m) - 1]
    for op, stale in (((INVLPG, 0), True), ((FLUSH, 0), False)):
        m.update((m.ptr(l1, 0), 0), (m.ptr(l1, 0), m.own(1, skip=6)[0] << 12 | FULL), (m.ptr(l1, 0), 0))
        m.ext(op)
        was = m.mm().nr_flushes[3]
        fresh = m.own(1, skip=26)[0]
        assert m.ext((PIN[L1], fresh), (UNPIN, fresh)) == (0, 2)
        assert m.mm().nr_flushes[3] - was == stale


# ---- the audit, which other tests rely on, finds each kind of wrong count ----


def test_the_audit_sees_a_wrong_count(m):
    tables = m.space()
    segment = m.own(1, skip=14)[0]
    m.words(m.first[1])[0] = segment
    assert m.call(2, m.va(), 512) == 0 and m.ext((BASE, tables[0]), (PIN[top(m)], tables[0])) == (0, 2)
    leaf, unused = m.own(2, skip=6)[0], m.own(1, skip=30)[0]
    assert m.record(segment)[0] == SEG and m.record(leaf)[0] == WRITABLE
    if m.mode == X64:
        assert m.ext((15, tables[0])) == (0, 1)
    assert lib.hvtest_mm_audit(m.t) == 0
    for mfn in (*tables, segment, leaf, unused):
        record = lib.hvtest_record(m.t, mfn)
        wrong = [("type_count", -1), ("ref_count", -1), ("type_count", 1), ("ref_count", 1)]
        for field, by in wrong[record.type == NONE :]:
            setattr(record, field, getattr(record, field) + by)
            assert lib.hvtest_mm_audit(m.t) > 0, (mfn, field, by)
            setattr(record, field, getattr(record, field) - by)
        record.flags ^= PINNED
        assert lib.hvtest_mm_audit(m.t) > 0, mfn
        record.flags ^= PINNED
        record.type, kept = (L2 if record.type == NONE else NONE), record.type
        assert lib.hvtest_mm_audit(m.t) > 0, mfn
        record.type = kept
    assert lib.hvtest_mm_audit(m.t) == 0


# ---- arguments at their limits; facts ----


def test_how_many_is_too_many(m):
    for call in (1, 26):
        assert m.call(call, 8, (1 << 31) - 1, 0, SELF) == EFAULT  # as many as may be
        assert [m.call(call, 8, nr, 0, SELF) for nr in (1 << 31, 1 << 32, (1 << 32) + 1)] == [EINVAL] * 3


def test_which_assists_there_are(m):
    known = {one for one in range(40) if m.call(21, 0, one) == 0}
    assert known - {2} == {0, 1, 3}  # 2: writable page tables
    assert m.mm().assists == sum(1 << one for one in known)
    assert all(m.call(21, 1, one) == 0 for one in known)
    assert m.mm().assists == 0


@pytest.mark.parametrize("mode", [X32, X32P, X64])
def test_what_the_table_of_modes_says(mode):
    """Against the ABI's addresses, the formats in Intel's manual and Xen's rules for guests without devices, written down again here."""
    words = ffi.new("uint64_t[8]")
    assert lib.hvtest_mode(mode, words) and not lib.hvtest_mode(3, words)
    reserved, usual = 0x7FF << 52, G | PSE | PWT | PCD
    assert list(words) == {
        X32: [0xFC000000, 1 << 32, 0xFC000000, 0xFFFFF000, usual, usual, 0, 0],
        X32P: [0xF5800000, 1 << 32, 0xF5800000, 0xFFFFFFFFFF000, *[reserved | usual] * 2, 0xFFF0000000000000 | 0x1E6, 0],
        X64: [0xFFFF800000000000, 0xFFFF880000000000, 0xFFFF800000000000, 0xFFFFFFFFFF000, *[reserved | usual] * 4],
    }[mode]


def test_the_template_needs_frames_that_follow_the_m2p():
    """Every allocation may fail; and what was allocated elsewhere could not be shown in one run."""
    nr, failures = 0, 0
    while True:
        real = Real(64)
        lib.hvtest_fail_at(nr)
        ret = lib.hvtest_tables(real.t, True, 0)
        failed = lib.hvtest_failed()
        lib.hvtest_fail_at(-1)
        real.close()
        if failed == ffi.NULL:
            break
        assert ret == ENOMEM
        nr, failures = nr + 1, failures + 1
    assert ret == 0 and failures == 6  # below each mode's top level
    real = Real(64)  # the M2P gets the last frame, and what comes next is the first that is free
    assert real.create(1, 20) == 1 and real.create(2, 40) == 22 and real.destroy(1)
    assert lib.hvtest_tables(real.t, True, 0) == ENOMEM
    assert real.destroy(2)
    real.close()


def test_a_pae_top_level_table_is_none_to_look_through():
    m = Machine(X32P)
    a, b = m.space()[0], m.own(1, skip=12)[0]
    m.table(b)[3] = m.table(a)[3]
    assert m.ext((PIN[3], a)) == (0, 1)
    for to in (a, a, b):
        before = m.records()
        assert m.update((m.ptr(a, 1), to << 12 | P)) == (EINVAL, 0)
        assert m.records() == before
    m.close()


@pytest.mark.parametrize("variant", VARIANTS, ids=kind)
def test_no_memory_for_the_copies_or_for_linear_tables(variant):
    m = Machine(*variant)
    a, b = m.own(2, skip=10)
    if m.mode == X32P:
        m.table(a)[3] = m.own(1, skip=12)[0] << 12 | P
    failed = set()
    below = m.own(1, skip=13)[0]
    for call in (lambda: m.ext((PIN[top(m)], a)), lambda: m.ext((PIN[2], b)), lambda: m.update((m.ptr(b, 3), below << 12 | P | U))):
        for n in range(100):
            before = m.records()
            lib.hvtest_fail_at(n)
            ret = call()
            name = lib.hvtest_failed()
            lib.hvtest_fail_at(-1)
            if name == ffi.NULL or ret == (0, 1):
                break
            failed.add(ffi.string(name).decode())
            if ffi.string(name) == b"copy_to":  # done, and cannot be said
                assert ret[0] == EFAULT
                break
            assert m.records() == before, name
        assert m.mm().nr_work == 0
        assert lib.hvtest_mm_audit(m.t) == 0
    assert {"copy_from", "window_protect"} <= failed and ("calloc" in failed or m.t.enforced)
    m.close()


def test_linear_tables_need_memory_once():
    m = Machine(X64)
    a, b = m.own(2, skip=10)
    assert m.ext((PIN[4], a), (PIN[4], b)) == (0, 2)
    before = m.records()
    lib.hvtest_fail_at(1)  # behind the requests
    assert m.update((m.ptr(a, 1), b << 12 | P | U)) == (ENOMEM, 0)
    assert ffi.string(lib.hvtest_failed()) == b"calloc"
    lib.hvtest_fail_at(-1)
    assert m.records() == before and m.table(a)[1] == 0
    assert m.update((m.ptr(a, 1), b << 12 | P | U)) == (0, 1)
    m.close()


def test_the_audit_sees_an_entry_to_a_foreign_frame(m):
    tables = m.space(leaves=1)
    stranger, leaf = m.domain(2), m.own(1, skip=6)[0]
    assert m.ext((PIN[top(m)], tables[0])) == (0, 1) and lib.hvtest_mm_audit(m.t) == 0
    for owner, wrong in ((2, 1), (1, 0)):
        lib.hvtest_record(m.t, leaf).owner = owner
        assert lib.hvtest_mm_audit(m.t) == wrong
    assert stranger > 0
    m.end(2)
