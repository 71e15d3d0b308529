"""Grant tables, version 1, in plain Python: what native/grant*.c and maptrack.c must do, said as simply as it can be.

Memory is a dictionary of frames, a table a dictionary of entries that the domain and the hypervisor both write, a window a
dictionary of what the process could touch. Statuses are Xen's GNTST_*; checks stand in Xen's order.
"""
# Tour T:030

from dataclasses import dataclass, field
from errno import EBUSY, EINVAL, ENOSYS, EPERM, ESRCH

OKAY, GENERAL_ERROR, BAD_DOMAIN, BAD_GNTREF, BAD_HANDLE, BAD_VIRT_ADDR = 0, -1, -2, -3, -4, -5
NO_DEVICE_SPACE, PERMISSION_DENIED, BAD_PAGE, BAD_COPY_ARG, EAGAIN = -7, -8, -9, -10, -12
TYPE_MASK, PERMIT, READONLY, READING, WRITING, SUB_PAGE = 3, 1, 4, 8, 16, 0x100
DEVICE_MAP, HOST_MAP, MAP_READONLY, APPLICATION_MAP, CONTAINS_PTE = 1, 2, 4, 8, 16
ACCEPT, COMMITTED, COMPLETED = 2, 4, 8
SOURCE_GREF, DEST_GREF = 1, 2
SELF = 0x7FF0
PAGE = 4096
PER_FRAME = 512
RO, RW = 1, 2
PRESENT, MAY_WRITE, USER, ACCESSED, DIRTY = 1, 2, 4, 0x20, 0x40    # of an entry
WRITABLE = 6


@dataclass(eq=False)
class Frame:
    """A frame of a domain; refs: the owner's own and one for each use."""

    owner: int
    refs: int = 1
    allocated: bool = True
    hv: bool = False                # made by the hypervisor: never granted, never copied
    type: int = 0
    writers: int = 0                # type count
    data: bytearray = field(default_factory=lambda: bytearray(PAGE))


@dataclass(eq=False)
class Entry:
    """A word of shared memory, in effect."""

    flags: int = 0
    domid: int = 0
    frame: int = 0


@dataclass(eq=False)
class Pins:
    """Uses in force of an entry."""

    readers: int = 0
    writers: int = 0
    mfn: int = 0
    user: int = 0


@dataclass(eq=False)
class Mapping:
    """What a handle stands for."""

    granter: "Domain"
    ref: int
    flags: int
    mfn: int
    entry: bool = False             # made with an entry in the page tables

    @property
    def readonly(self) -> bool:
        return bool(self.flags & MAP_READONLY)


@dataclass(eq=False)
class Domain:
    """What a domain grants and maps."""

    domid: int
    max_grant_frames: int
    max_maptrack: int
    table: list[int] = field(default_factory=list)      # its frames
    entries: dict[int, Entry] = field(default_factory=dict)
    pins: dict[int, Pins] = field(default_factory=dict)
    handles: dict[int, Mapping] = field(default_factory=dict)
    freed: list[int] = field(default_factory=list)      # handles, last freed last
    fresh: int = 0                                      # the lowest handle never used
    window: dict[int, int] = field(default_factory=dict)
    dying: bool = False
    max_pages: int = 0
    tables: tuple[int, int] = (0, 0)                    # its page tables: one for addresses below 4 MiB, and the one above it

    def nr_frames(self) -> int:
        return max(len(self.table), 1)

    def entry(self, ref: int) -> Entry:
        return self.entries.setdefault(ref, Entry())


class Machine:
    """All domains and frames."""

    def __init__(self) -> None:
        self.domains: dict[int, Domain] = {}
        self.frames: dict[int, Frame] = {}

    # ---- domains ----

    def create(self, domid: int, own: list[int], hv: list[int], tables: tuple[int, int], max_grant_frames: int,
               max_maptrack: int) -> None:
        d = self.domains[domid] = Domain(domid, max_grant_frames, max_maptrack, tables=tables)
        for mfn in own + hv:
            self.frames[mfn] = Frame(domid, hv=mfn in hv)
        for level, mfn in enumerate(tables, 1):
            self.frames[mfn] = Frame(domid, refs=2, type=level, writers=1)
        d.window = dict.fromkeys(own, RW) | dict.fromkeys(tables, RO)

    def destroy(self, domid: int) -> None:
        """Its process dies: all it maps is let go of, its table goes, then its frames but for those in use."""
        d = self.domains.pop(domid)
        d.dying = True
        for handle in sorted(d.handles):
            m = d.handles.pop(handle)
            self._unpin(m.granter, m.ref, m.mfn, m.readonly)
        for slot in range(PAGE // 4):
            self.write_entry(d, slot, 0)
        for mfn in d.tables:
            self.frames[mfn].type = self.frames[mfn].writers = 0
            self._put(mfn)
        d.table.clear()
        for mfn, frame in list(self.frames.items()):
            if frame.owner == domid and frame.allocated:
                frame.allocated = False
                self._put(mfn)

    def zombies(self, domid: int) -> int:
        """Frames of a dead domain that others still use."""
        return sum(frame.owner == domid for frame in self.frames.values())

    def _find(self, caller: Domain, domid: int) -> Domain | None:
        return self.domains.get(caller.domid if domid == SELF else domid)

    @staticmethod
    def _may_control(caller: Domain, target: Domain) -> bool:
        return caller is target or caller.domid == 0

    def _put(self, mfn: int) -> None:
        self.frames[mfn].refs -= 1
        if self.frames[mfn].refs == 0:
            del self.frames[mfn]

    # ---- uses ----

    @staticmethod
    def _claim(entry: Entry, user: int, readonly: bool, fresh: bool, mapping: bool) -> int:
        mask = TYPE_MASK | (SUB_PAGE if mapping else 0)
        if fresh and (entry.flags & mask != PERMIT or entry.domid != user):
            return GENERAL_ERROR
        if not readonly and entry.flags & READONLY:
            return GENERAL_ERROR
        entry.flags |= READING if readonly else READING | WRITING
        return OKAY

    @staticmethod
    def _clear_stale(granter: Domain, ref: int, pins: Pins, readonly: bool) -> None:
        entry = granter.entry(ref)
        if not readonly and pins.writers == 0:
            entry.flags &= ~WRITING
        if pins.readers == pins.writers == 0:
            entry.flags &= ~READING

    def _may_write(self, mfn: int) -> bool:
        frame = self.frames[mfn]
        return frame.type == WRITABLE or frame.writers == 0

    def _own(self, d: Domain, mfn: int) -> bool:
        frame = self.frames.get(mfn)
        return frame is not None and frame.owner == d.domid and frame.allocated and not frame.hv

    def _pin(self, granter: Domain, ref: int, user: int, readonly: bool, mapping: bool) -> tuple[int, int]:
        """One more use: (status, mfn)."""
        if ref >= granter.nr_frames() * PER_FRAME:
            return BAD_GNTREF, 0
        if not granter.table:
            return GENERAL_ERROR, 0
        pins = granter.pins.get(ref, Pins())
        used = pins.readers + pins.writers > 0
        if used and pins.user != user:
            return GENERAL_ERROR, 0
        claims = not used or (not readonly and pins.writers == 0)
        entry = granter.entry(ref)
        if claims and (status := self._claim(entry, user, readonly, not used, mapping)) != OKAY:
            return status, 0
        mfn = pins.mfn if used else entry.frame
        status = BAD_PAGE if not self._own(granter, mfn) else OKAY if readonly or self._may_write(mfn) else GENERAL_ERROR
        if status != OKAY:
            if claims:
                self._clear_stale(granter, ref, pins, readonly)
            return status, 0
        frame = self.frames[mfn]
        frame.refs += 1
        if not readonly:
            frame.type = WRITABLE
            frame.writers += 1
        granter.pins[ref] = Pins(pins.readers + readonly, pins.writers + (not readonly), mfn, user)
        return OKAY, mfn

    def _unpin(self, granter: Domain, ref: int, mfn: int, readonly: bool) -> None:
        if not granter.dying or granter.table:
            pins = granter.pins[ref]
            pins.readers -= readonly
            pins.writers -= not readonly
            self._clear_stale(granter, ref, pins, readonly)
            if pins.readers + pins.writers == 0:
                del granter.pins[ref]
        if not readonly:
            frame = self.frames[mfn]
            frame.writers -= 1
            frame.type = WRITABLE if frame.writers else 0
        self._put(mfn)

    # ---- windows ----

    @staticmethod
    def _others(d: Domain, handle: int) -> list[Mapping]:
        """Other handles on the same frame."""
        return [m for h, m in d.handles.items() if h != handle and m.mfn == d.handles[handle].mfn]

    def _show(self, d: Domain, handle: int) -> None:
        m = d.handles[handle]
        if m.granter is not d:
            writable = not m.readonly or any(not other.readonly for other in self._others(d, handle))
            already = d.window.get(m.mfn)
            d.window[m.mfn] = RW if writable else RO
            if already == RW:
                d.window[m.mfn] = RW

    # ---- page tables: 32-bit, one level-1 table; its entries lie in its frame ----

    @staticmethod
    def slot(d: Domain, address: int, is_pte: bool) -> int | None:
        """The entry for an address, or at one."""
        if is_pte:
            return address % PAGE // 4 if address // PAGE == d.tables[0] and address % 4 == 0 else None
        return address // PAGE if address < 1 << 22 else None

    def read_entry(self, d: Domain, slot: int) -> int:
        return int.from_bytes(self.frames[d.tables[0]].data[4 * slot : 4 * slot + 4], "little")

    def write_entry(self, d: Domain, slot: int, entry: int) -> None:
        """A new one; it has what it needs, and what the old one held is dropped."""
        old = self.read_entry(d, slot)
        self.frames[d.tables[0]].data[4 * slot : 4 * slot + 4] = entry.to_bytes(4, "little")
        if old & PRESENT:
            self._hold(old, -1)

    def _hold(self, entry: int, by: int) -> None:
        frame = self.frames[entry // PAGE]
        if entry & MAY_WRITE:
            frame.writers += by
            frame.type = WRITABLE if frame.writers else 0
        frame.refs += by
        if frame.refs == 0:
            del self.frames[entry // PAGE]

    @staticmethod
    def _pte(mfn: int, flags: int) -> int:
        entry = mfn * PAGE | PRESENT | ACCESSED | DIRTY | (flags >> 16) % 8 << 9
        return entry | (0 if flags & MAP_READONLY else MAY_WRITE) | (USER if flags & APPLICATION_MAP else 0)

    def mmu_update(self, d: Domain, slot: int, entry: int) -> int:
        """The guest changes an entry: of its own frames alone."""
        if entry & PRESENT:
            frame = self.frames.get(entry // PAGE)
            if frame is None or frame.owner != d.domid or not frame.allocated:
                return -EPERM
            if entry & MAY_WRITE and not self._may_write(entry // PAGE):
                return -EBUSY
            self._hold(entry, 1)
        self.write_entry(d, slot, entry)
        return 0

    # ---- grant_table_op ----

    def map_grant_ref(self, d: Domain, flags: int, ref: int, dom: int, host_addr: int = 0) -> tuple[int, dict]:
        """One map: (status, what it tells)."""
        if not flags & (DEVICE_MAP | HOST_MAP):
            return BAD_GNTREF, {}
        is_pte = bool(flags & CONTAINS_PTE)
        in_tables = bool(flags & HOST_MAP) and (host_addr != 0 or is_pte)
        if not in_tables and flags & (APPLICATION_MAP | CONTAINS_PTE):
            return GENERAL_ERROR, {}
        granter = self.domains.get(dom)
        if granter is None:
            return BAD_DOMAIN, {}
        if not d.freed and d.fresh >= d.max_maptrack:
            return NO_DEVICE_SPACE, {}
        status, mfn = self._pin(granter, ref, d.domid, bool(flags & MAP_READONLY), True)
        if status != OKAY:
            return status, {}
        slot = self.slot(d, host_addr, is_pte) if in_tables else None
        if in_tables and slot is None:
            self._unpin(granter, ref, mfn, bool(flags & MAP_READONLY))
            return GENERAL_ERROR, {}
        if d.freed:
            handle = d.freed.pop()
        else:
            handle, d.fresh = d.fresh, d.fresh + 1
        d.handles[handle] = Mapping(granter, ref, flags & 31, mfn, in_tables)
        self._show(d, handle)
        if slot is not None:
            self._hold(self._pte(mfn, flags), 1)
            self.write_entry(d, slot, self._pte(mfn, flags))
        return OKAY, {"handle": handle, "dev_bus_addr": mfn * PAGE}

    def _entry_to_end(self, d: Domain, m: Mapping, host_addr: int, new_addr: int) -> tuple[int | None, int | None]:
        """The entry that maps the frame, and the one that shall take its place."""
        slot = self.slot(d, host_addr, bool(m.flags & CONTAINS_PTE))
        rights = PRESENT if m.readonly else PRESENT | MAY_WRITE
        if slot is None or self.read_entry(d, slot) // PAGE != m.mfn or self.read_entry(d, slot) % 4 != rights:
            return None, None
        if new_addr == 0:
            return slot, None
        source = None if m.flags & CONTAINS_PTE else self.slot(d, new_addr, False)
        return (None, None) if source in (None, slot) else (slot, source)

    def unmap_and_replace(self, d: Domain, handle: int, host_addr: int, new_addr: int) -> int:
        m = d.handles.get(handle)
        return GENERAL_ERROR if m and not m.entry else self.unmap_grant_ref(d, handle, 0, host_addr, new_addr)

    def unmap_grant_ref(self, d: Domain, handle: int, dev_bus_addr: int, host_addr: int = 0, new_addr: int = 0) -> int:
        m = d.handles.get(handle)
        if m is None:
            return BAD_HANDLE
        if dev_bus_addr not in (0, m.mfn * PAGE):
            return GENERAL_ERROR
        parts, slot, source = m.flags & (HOST_MAP | DEVICE_MAP), None, None
        if m.entry:
            parts &= (HOST_MAP if host_addr else 0) | (DEVICE_MAP if dev_bus_addr else 0)
        if m.entry and parts & HOST_MAP:
            slot, source = self._entry_to_end(d, m, host_addr, new_addr)
            if slot is None:
                return GENERAL_ERROR
        last = parts == m.flags & (HOST_MAP | DEVICE_MAP)
        others = self._others(d, handle)
        if m.granter is not d and last:
            if not others and m.mfn in d.window:
                return EAGAIN
            if others and not m.readonly and all(other.readonly for other in others) and m.mfn in d.window:
                d.window[m.mfn] = RO
        if source is not None:
            entry = self.read_entry(d, source)
            self.frames[d.tables[0]].data[4 * source : 4 * source + 4] = bytes(4)
            self.write_entry(d, slot, entry)
        elif slot is not None:
            self.write_entry(d, slot, 0)
        if not last:
            m.flags &= ~parts
            return OKAY
        del d.handles[handle]
        d.freed.append(handle)
        self._unpin(m.granter, m.ref, m.mfn, m.readonly)
        return OKAY

    def copy(self, d: Domain, source: dict, dest: dict, length: int, flags: int) -> int:
        """source, dest: {"ref" or "gmfn", "domid", "offset"}."""
        sides = []
        for ptr, by_ref in ((source, flags & SOURCE_GREF), (dest, flags & DEST_GREF)):
            if ptr["domid"] != SELF and not by_ref:
                return PERMISSION_DENIED
            sides.append(self._find(d, ptr["domid"]))
            if sides[-1] is None:
                return BAD_DOMAIN
        mfns: list[int] = []
        pinned: list[tuple[Domain, int, int, bool]] = []
        status = OKAY
        for side, ptr, by_ref, readonly in ((sides[0], source, flags & SOURCE_GREF, True),
                                            (sides[1], dest, flags & DEST_GREF, False)):
            if by_ref:
                status, mfn = self._pin(side, ptr["ref"], d.domid, readonly, False)
                if status == OKAY:
                    pinned.append((side, ptr["ref"], mfn, readonly))
            else:
                mfn = ptr["gmfn"]
                status = BAD_PAGE if not self._own(d, mfn) else \
                    OKAY if readonly or self._may_write(mfn) else GENERAL_ERROR
            if status != OKAY:
                break
            mfns.append(mfn)
        if status == OKAY and max(source["offset"], dest["offset"]) + length > PAGE:
            status = BAD_COPY_ARG
        if status == OKAY:
            data = bytes(self.frames[mfns[0]].data[source["offset"] : source["offset"] + length])
            self.frames[mfns[1]].data[dest["offset"] : dest["offset"] + length] = data
        for use in reversed(pinned):
            self._unpin(*use)
        return status

    def reserved(self, d: Domain) -> int:
        """Pages that count against its limit."""
        return sum(frame.owner == d.domid and not frame.hv for frame in self.frames.values())

    def transfer(self, d: Domain, mfn: int, domid: int, ref: int) -> int:
        """A page of d's becomes another's, if that has an entry which accepts it."""
        if not self._own(d, mfn) or self.frames[mfn].refs != 1 or self.frames[mfn].writers:
            return BAD_PAGE
        if mfn in d.window:
            return EAGAIN
        e = self.domains.get(domid)
        if e is None:
            return BAD_DOMAIN
        if self.reserved(e) >= e.max_pages or ref >= len(e.table) * PER_FRAME:
            return GENERAL_ERROR
        entry = e.entry(ref)
        if entry.flags != ACCEPT or entry.domid != d.domid:
            return GENERAL_ERROR
        self.frames[mfn].owner = e.domid
        e.window[mfn] = RW
        entry.flags, entry.frame = ACCEPT | COMMITTED | COMPLETED, mfn
        return OKAY

    def setup_table(self, d: Domain, dom: int, nr_frames: int, list_is_writable: bool, new: list[int]) -> int:
        """new: the frames that the real thing took for it."""
        target = self._find(d, dom)
        if target is None:
            return BAD_DOMAIN
        if not self._may_control(d, target):
            return PERMISSION_DENIED
        if nr_frames > target.max_grant_frames:
            return GENERAL_ERROR
        if nr_frames > 0 and not list_is_writable:
            return BAD_VIRT_ADDR
        self.grow(target, new)
        for mfn in target.table[:nr_frames]:
            target.window.setdefault(mfn, RW)
        return OKAY

    def grow(self, d: Domain, new: list[int]) -> None:
        for mfn in new:
            assert mfn not in self.frames, "a frame in use was taken for a table"
            self.frames[mfn] = Frame(d.domid, hv=True)
            d.table.append(mfn)

    def query_size(self, d: Domain, dom: int, out: dict) -> int:
        target = self._find(d, dom)
        if target is None:
            return BAD_DOMAIN
        if not self._may_control(d, target):
            return PERMISSION_DENIED
        out.update(nr_frames=target.nr_frames(), max_nr_frames=target.max_grant_frames)
        return OKAY

    def set_version(self, d: Domain, version: int) -> int:
        return 0 if version == 1 else -ENOSYS if version == 2 else -EINVAL

    def get_version(self, d: Domain, dom: int) -> int:
        target = self._find(d, dom)
        return -ESRCH if target is None else 0 if self._may_control(d, target) else -EPERM
