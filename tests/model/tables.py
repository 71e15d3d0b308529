"""Frame types and page-table validation in plain Python: Xen's rules, recursive, one frame an object, exceptions for refusals.

Written from Xen's rules and the x86 formats, not from native/: the facts of the three paging modes are stated again below.
What a guest's memory holds is the model's own: `words` of each frame, entries of the mode's size.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

P, RW, U, PWT, PCD, A, D, PSE, G = 1, 2, 4, 8, 16, 32, 64, 128, 256
NONE, L1, L2, L3, L4, SEG, WRITABLE, L2_HOLE = range(8)
EPERM, ENOMEM, EFAULT, EBUSY, EINVAL, ENOSYS, EOPNOTSUPP = -1, -12, -14, -16, -22, -38, -95
OKAY, GENERAL_ERROR, BAD_HANDLE, BAD_PAGE, EAGAIN = 0, -1, -4, -9, -12      # GNTST_*
MASK64 = 0x000FFFFFFFFFF000
RESERVED64 = 0x7FF0000000000000
ODD = bytes(i & 1 for i in range(256))


@dataclass(frozen=True)
class Mode:
    """A paging mode: entries a table and shift by level, the hole's slots, and at which level they are."""

    levels: int
    bits: int                                   # of an entry
    nr: dict[int, int]
    shift: dict[int, int]
    hole_level: int
    hole: range                                 # slots
    hole_va: tuple[int, int]
    va_bits: int

    def forbidden(self, level: int) -> int:
        """Return the bits that a guest's present entry must not have."""
        if self.levels == 3 and level == 3:
            return RESERVED64 | 1 << 63 | RW | U | A | D | PSE | G
        return (0 if self.bits == 32 else RESERVED64) | G | PSE | PWT | PCD

    def mfn(self, entry: int) -> int:
        """Return the frame that an entry names."""
        return (entry & (0xFFFFF000 if self.bits == 32 else MASK64)) >> 12


MODES = [
    Mode(2, 32, {1: 1024, 2: 1024}, {1: 12, 2: 22}, 2, range(1008, 1024), (0xFC000000, 1 << 32), 32),
    Mode(3, 64, {1: 512, 2: 512, 3: 4}, {1: 12, 2: 21, 3: 30}, 2, range(428, 512), (0xF5800000, 1 << 32), 32),
    Mode(4, 64, {i: 512 for i in range(1, 5)}, {1: 12, 2: 21, 3: 30, 4: 39}, 4, range(256, 272),
         (0xFFFF800000000000, 0xFFFF880000000000), 48),
]


class Refused(Exception):
    """An operation is refused with this error."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


@dataclass
class Frame:
    """A frame's record."""

    owner: "Domain | None" = None
    hv: bool = False
    type: int = NONE
    count: int = 0
    refs: int = 0
    pinned: bool = False
    validated: bool = False
    looks_into: int = 0                         # entries that name other tables of its level
    looked_into: int = 0                        # such entries of others that name it


@dataclass
class Mapping:
    """What a handle stands for: a frame of another domain, mapped with an entry in page tables, or in the window alone."""

    granter: "Domain"
    mfn: int
    writes: bool
    entry: bool
    is_pte: bool


@dataclass
class Domain:
    """A domain: its frames, its base pointers, its descriptor frames, what it maps of others."""

    domid: int
    mode: Mode
    mfns: list[int]
    base: int = 0
    user_base: int = 0
    gdt: list[int] = field(default_factory=list)
    handles: dict[int, Mapping] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)      # of others' frames: pages that its process let go of
    writable: bool = False                      # writable page tables are on
    unhooked: list[tuple[int, int, int, int]] = field(default_factory=list)     # (table, directory, slot, entry), oldest first

    def shows(self, mfn: int) -> int:
        """Return what its window has of another's frame: 0 nothing, 1 for reading, 2 for writing."""
        uses = [m.writes for m in self.handles.values() if m.mfn == mfn]
        return 0 if not uses or mfn in self.dropped else 1 + any(uses)


def level_of(type_: int) -> int:
    """Return a table type's level."""
    return 2 if type_ == L2_HOLE else type_


def is_table(type_: int) -> bool:
    """Say whether a type is a page table's."""
    return type_ in (L1, L2, L3, L4, L2_HOLE)


class Tables:
    """The machine: frames, what is in them, and the operations on page tables."""

    def __init__(self, nr: int, hole_entries: dict[int, int]) -> None:
        self.frames = [Frame() for _ in range(nr)]
        self.words: dict[int, array[int]] = {}
        self.hole_entries = hole_entries        # the hypervisor's own, by slot
        self.named: dict[tuple[int, int], tuple[int, int]] = {}     # by level and table: the slot that named it last

    # ---- what entries hold ----

    def own(self, d: Domain, mfn: int) -> Frame | None:
        """Return the frame if it is the domain's."""
        return self.frames[mfn] if mfn < len(self.frames) and self.frames[mfn].owner is d else None

    def carries_hole(self, d: Domain, type_: int) -> bool:
        """Say whether tables of the type have the hypervisor's slots."""
        return type_ == L2_HOLE if d.mode.levels == 3 else type_ == d.mode.levels

    def entries(self, d: Domain, mfn: int, type_: int) -> Iterator[tuple[int, int]]:
        """Return (slot, entry) of each present entry that is the guest's."""
        words, nr = self.words[mfn], d.mode.nr[level_of(type_)]
        hole = d.mode.hole if self.carries_hole(d, type_) else range(0)
        present = words.tobytes()[:: words.itemsize].translate(ODD)     # the low byte of each entry: tables are nearly empty
        i = present.find(1)
        while 0 <= i < nr:
            if i not in hole:
                yield i, words[i]
            i = present.find(1, i + 1)

    def linear(self, d: Domain, level: int) -> bool:
        """Say whether entries of this level may name a table of the same level."""
        return level >= 2 and (d.mode.levels, level) != (3, 3)

    def take(self, d: Domain, mfn: int, type_: int, slot: int, entry: int) -> None:
        """Take what a new entry needs."""
        level = level_of(type_)
        if not entry & P:
            return
        if entry & d.mode.forbidden(level):
            raise Refused(EINVAL)
        to = d.mode.mfn(entry)
        frame = self.own(d, to)
        if level == 1:
            if frame is None:
                raise Refused(EPERM)
            if entry & RW:
                if frame.count and frame.type != WRITABLE:
                    raise Refused(EBUSY)
                frame.type, frame.count = WRITABLE, frame.count + 1
            frame.refs += 1
        elif frame is not None and frame.type == type_ and self.linear(d, level):
            if entry & RW:
                raise Refused(EINVAL)
            if to != mfn:
                if not frame.validated or self.frames[mfn].looked_into or frame.looks_into:
                    raise Refused(EINVAL)
                self.frames[mfn].looks_into += 1
                frame.looked_into += 1
                frame.count += 1
                frame.refs += 1
        else:
            self.named[level, to] = mfn, slot
            below = L2_HOLE if (d.mode.levels, level, slot) == (3, 3, 3) else level - 1
            self.get_table(d, to, below)

    def drop(self, d: Domain, mfn: int, type_: int, entry: int) -> None:
        """Drop what an old entry held."""
        if not entry & P:
            return
        to = d.mode.mfn(entry)
        frame = self.frames[to]
        if level_of(type_) == 1:
            if entry & RW:
                self.put_type(frame)
            frame.refs -= 1
        elif frame.type == type_:
            if to != mfn:
                self.frames[mfn].looks_into -= 1
                frame.looked_into -= 1
                self.put_table(d, to)
        else:
            self.put_table(d, to)

    def put_type(self, frame: Frame) -> None:
        """One user of the type less."""
        frame.count -= 1
        if frame.count == 0:
            frame.type, frame.validated = NONE, False

    # ---- tables ----

    def get_table(self, d: Domain, mfn: int, type_: int) -> None:
        """One more user of a table; the first one has it validated."""
        frame = self.own(d, mfn)
        if frame is None or frame.hv:
            raise Refused(EINVAL)
        if frame.count:
            if frame.type != type_ or not frame.validated:
                raise Refused(EINVAL)
            frame.count += 1
            frame.refs += 1
            return
        frame.type, frame.count = type_, 1
        frame.refs += 1
        taken: list[int] = []
        try:
            for slot, entry in self.entries(d, mfn, type_):
                self.take(d, mfn, type_, slot, entry)
                taken.append(entry)
            if (d.mode.levels, type_) == (3, L3) and not self.words[mfn][3] & P:    # the last of its four, which the hole hangs on
                raise Refused(EINVAL)
        except Refused:
            for entry in reversed(taken):
                self.drop(d, mfn, type_, entry)
            self.put_type(frame)
            frame.refs -= 1
            raise
        frame.validated = True
        if self.carries_hole(d, type_):
            for i, slot in enumerate(d.mode.hole):
                self.words[mfn][slot] = self.hole_entries.get(i, 0)

    def put_table(self, d: Domain, mfn: int) -> None:
        """One user less; the last one drops what its entries hold."""
        frame = self.frames[mfn]
        if frame.count == 1:
            for _, entry in reversed(list(self.entries(d, mfn, frame.type))):
                self.drop(d, mfn, frame.type, entry)
        self.put_type(frame)
        frame.refs -= 1

    # ---- mmu_update ----

    def update(self, d: Domain, ptr: int, value: int) -> None:
        """Do one request."""
        size = d.mode.bits // 8
        cmd, at, mfn = ptr % size, ptr % 4096 // size, ptr >> 12
        value &= (1 << d.mode.bits) - 1
        if cmd > 3:
            raise Refused(ENOSYS)
        frame = self.own(d, mfn)
        if frame is None:
            raise Refused(EINVAL)
        if cmd == 1:
            return
        if frame.count and is_table(frame.type):
            self.change(d, mfn, at, value, keep=cmd == 2)
        elif frame.hv or (frame.count and frame.type != WRITABLE):
            raise Refused(EINVAL)
        else:
            self.words[mfn][at] = value

    def change(self, d: Domain, mfn: int, slot: int, new: int, keep: bool) -> None:
        """Change an entry of a validated table."""
        type_ = self.frames[mfn].type
        level = level_of(type_)
        fixed = self.carries_hole(d, type_) and slot in d.mode.hole
        if fixed or slot >= d.mode.nr[level] or (d.mode.levels, type_, slot) == (3, L3, 3):
            raise Refused(EINVAL)
        old = self.words[mfn][slot]
        if keep:
            new |= old & (A | D)
        if new & old & P and d.mode.mfn(new) == d.mode.mfn(old) and not (new ^ old) & RW:
            if new & d.mode.forbidden(level):
                raise Refused(EINVAL)
            self.words[mfn][slot] = new
            return
        self.take(d, mfn, type_, slot, new)
        self.words[mfn][slot] = new
        self.drop(d, mfn, type_, old)

    def find(self, d: Domain, va: int) -> tuple[int, int]:
        """Return where the level-1 entry for an address is: (frame, slot)."""
        canonical = va >> 32 == 0 if d.mode.va_bits == 32 else va >> 47 in (0, (1 << 17) - 1)
        if not d.base or not canonical or d.mode.hole_va[0] <= va < d.mode.hole_va[1]:
            raise Refused(EINVAL)
        at = d.base
        for level in range(d.mode.levels, 1, -1):
            entry = self.words[at][(va >> d.mode.shift[level]) % d.mode.nr[level]]
            if not entry & P:
                raise Refused(EINVAL)
            at = d.mode.mfn(entry)
        if self.frames[at].type != L1:
            raise Refused(EINVAL)
        return at, (va >> 12) % d.mode.nr[1]

    def map_va(self, d: Domain, va: int, value: int) -> None:
        """update_va_mapping."""
        at, slot = self.find(d, va)
        self.change(d, at, slot, value & ((1 << d.mode.bits) - 1), keep=False)

    # ---- grants, which are all good ones: what entries and handles do. Statuses are Xen's ----

    def place(self, d: Domain, address: int, is_pte: bool) -> tuple[int, int]:
        """Return the entry for an address, or at one."""
        size = d.mode.bits // 8
        if not is_pte:
            try:
                return self.find(d, address)
            except Refused:
                raise Refused(GENERAL_ERROR) from None
        frame = self.own(d, address >> 12)
        if frame is None or frame.type != L1 or address % size:
            raise Refused(GENERAL_ERROR)
        return address >> 12, address % 4096 // size

    def hold(self, mfn: int, writes: bool) -> None:
        """One more user of a frame."""
        frame = self.frames[mfn]
        frame.refs += 1
        if writes:
            frame.type, frame.count = WRITABLE, frame.count + 1

    def let_go(self, mfn: int, writes: bool) -> None:
        """One user less."""
        if writes:
            self.put_type(self.frames[mfn])
        self.frames[mfn].refs -= 1

    def replace(self, d: Domain, place: tuple[int, int], entry: int) -> None:
        """Write a level-1 entry that has what it needs; what the old one held is dropped."""
        mfn, slot = place
        old, self.words[mfn][slot] = self.words[mfn][slot], entry
        self.drop(d, mfn, L1, old)

    def grant_map(self, d: Domain, granter: Domain, mfn: int, flags: int, host_addr: int) -> Mapping:
        """map_grant_ref of a grant of this frame to d."""
        writes, is_pte = not flags & 4, bool(flags & 16)
        frame = self.frames[mfn]
        if frame.owner is not granter or frame.hv:
            raise Refused(BAD_PAGE)
        if writes and frame.count and frame.type != WRITABLE:
            raise Refused(GENERAL_ERROR)
        m = Mapping(granter, mfn, writes, bool(host_addr or is_pte), is_pte)
        if m.entry:
            place = self.place(d, host_addr, is_pte)
            self.hold(mfn, writes)
            nx = 1 << 63 if d.mode.bits == 64 else 0
            self.replace(d, place, mfn << 12 | P | A | D | writes * RW | bool(flags & 8) * U | (flags >> 16) % 8 << 9 | nx)
        self.hold(mfn, writes)
        d.dropped.discard(mfn)
        return m

    def grant_unmap(self, d: Domain, handle: int, host_addr: int, new_addr: int = 0) -> None:
        """unmap_grant_ref or unmap_and_replace of a host mapping."""
        m = d.handles[handle]
        moved = None
        if m.entry and host_addr:
            place = self.place(d, host_addr, m.is_pte)
            entry = self.words[place[0]][place[1]]
            if d.mode.mfn(entry) != m.mfn or entry & (P | RW) != P | m.writes * RW or (new_addr and m.is_pte):
                raise Refused(GENERAL_ERROR)
            if new_addr:
                moved = self.place(d, new_addr, False)
                if moved == place:
                    raise Refused(GENERAL_ERROR)
        elif m.entry:
            return                                      # nothing is asked for
        elif new_addr:
            raise Refused(GENERAL_ERROR)
        others = [other for h, other in d.handles.items() if h != handle and other.mfn == m.mfn]
        if m.granter is not d and not others and m.mfn not in d.dropped:
            raise Refused(EAGAIN)
        if m.entry:
            entry = 0
            if moved:
                entry = self.words[moved[0]][moved[1]]
                self.words[moved[0]][moved[1]] = 0
            self.replace(d, place, entry)
        del d.handles[handle]
        if not others:
            d.dropped.discard(m.mfn)
        self.let_go(m.mfn, m.writes)

    # ---- mmuext_op ----

    def pin(self, d: Domain, mfn: int, level: int) -> None:
        """Pin a table."""
        frame = self.own(d, mfn)
        if level > d.mode.levels or frame is None or frame.pinned:
            raise Refused(EINVAL)
        self.get_table(d, mfn, level)
        frame.pinned = True

    def unpin(self, d: Domain, mfn: int) -> None:
        """Unpin it."""
        frame = self.own(d, mfn)
        if frame is None or not frame.pinned:
            raise Refused(EINVAL)
        frame.pinned = False
        self.put_table(d, mfn)

    def new_base(self, d: Domain, mfn: int) -> None:
        """Load the base pointer."""
        self.get_table(d, mfn, d.mode.levels)
        old, d.base = d.base, mfn
        if old:
            self.put_table(d, old)

    def new_user_base(self, d: Domain, mfn: int) -> None:
        """Load the user base pointer, or none."""
        if d.mode.levels != 4:
            raise Refused(EOPNOTSUPP)
        if mfn:
            self.get_table(d, mfn, 4)
        old, d.user_base = d.user_base, mfn
        if old:
            self.put_table(d, old)

    def writable(self, d: Domain, mfn: int) -> bool:
        """Say whether the hypervisor may write there for the domain."""
        frame = self.own(d, mfn)
        return frame is not None and (frame.count == 0 or frame.type == WRITABLE)

    def copy(self, d: Domain, to: int, source: int | None) -> None:
        """Clear a page, or copy one."""
        if (source is not None and self.own(d, source) is None) or not self.writable(d, to):
            raise Refused(EINVAL)
        old = self.words[to]
        self.words[to] = array(old.typecode, self.words[source] if source is not None else bytes(4096))

    # ---- set_gdt: pages of zeros or of what is present are all that histories have ----

    def set_gdt(self, d: Domain, mfns: list[int], sound: set[int]) -> None:
        """Load descriptor frames; `sound`: those whose descriptors are all good as they are."""
        taken: list[int] = []
        try:
            for mfn in mfns:
                frame = self.own(d, mfn)
                if frame is None or frame.hv or (frame.count and frame.type != SEG) or (not frame.count and mfn not in sound):
                    raise Refused(EINVAL)
                frame.type, frame.validated = SEG, True
                frame.count += 1
                frame.refs += 1
                taken.append(mfn)
        except Refused:
            self.put_gdt(taken)
            raise
        old, d.gdt = d.gdt, list(mfns)
        self.put_gdt(old)

    def put_gdt(self, mfns: list[int]) -> None:
        """Let go of descriptor frames."""
        for mfn in mfns:
            self.put_type(self.frames[mfn])
            self.frames[mfn].refs -= 1

    def check(self) -> None:
        """Count everything anew."""
        types, refs = [0] * len(self.frames), [int(frame.owner is not None) for frame in self.frames]
        domains = {frame.owner.domid: frame.owner for frame in self.frames if frame.owner}
        foreign: dict[tuple[int, int, bool], list[int]] = {}
        for d in domains.values():
            for m in d.handles.values():
                types[m.mfn] += m.writes
                refs[m.mfn] += 1
            for mfn in [m for m in (d.base, d.user_base) if m] + d.gdt:
                types[mfn] += 1
                refs[mfn] += 1
        for mfn, frame in enumerate(self.frames):
            if frame.pinned:
                types[mfn] += 1
                refs[mfn] += 1
            if frame.owner is None or not is_table(frame.type):
                continue
            for _, entry in self.entries(frame.owner, mfn, frame.type):
                to = frame.owner.mode.mfn(entry)
                if self.frames[to].owner is not frame.owner:
                    foreign.setdefault((frame.owner.domid, to, bool(entry & RW)), []).append(mfn)
                if to == mfn and level_of(frame.type) > 1:
                    continue
                writes = frame.type == L1 and entry & RW
                assert not (writes and self.frames[to].type != WRITABLE), "a writable entry to what is not writable"
                types[to] += bool(frame.type != L1 or writes)
                refs[to] += 1
        for (domid, to, writes), tables in foreign.items():
            handles = [m for m in domains[domid].handles.values() if (m.mfn, m.writes, m.entry) == (to, writes, True)]
            assert len(tables) <= len(handles), "an entry reaches a foreign frame without a grant"
        for mfn, frame in enumerate(self.frames):
            if frame.owner is not None:
                assert (frame.count, frame.refs) == (types[mfn], refs[mfn]), (mfn, frame, types[mfn], refs[mfn])
                assert (frame.count == 0) == (frame.type == NONE)
