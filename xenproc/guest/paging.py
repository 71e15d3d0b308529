"""Address spaces of a guest: page tables in its own frames, changed by batched requests, used through an MMU in C.

    space = AddressSpace(g)
    space.map(0x400000, pages.mfns)
    space.load()
    space.write(0x400000, b"hello")

As the paper's guests do, changes are queued and sent in batches; whatever needs them sends them first. For one thread at a time.
Source: PAPER 3.3.3 and 4.2; native/mmu.h; Xen's public headers for the calls.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xenproc.errors import ConfigError, HypercallError, PageFault
from xenproc.guest.gnttab import GrantError, Mapping
from xenproc.guest.memory import OutOfMemory
from xenproc.guest.queue import UpdateQueue
from xenproc.guest.tablewrites import DirectWrites
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

PRESENT, WRITABLE, USER, ACCESSED, DIRTY = 1, 2, 4, 0x20, 0x40
_EMPTY = bytes(PAGE_SIZE)
_FULL = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
_PIN, _UNPIN, _NEW_BASEPTR, _INVLPG = 0, 4, 5, 7
# mode: (number, bytes of an entry, [index shift of level 1, 2, ...], index bits of the top level)
_MODES = {
    "x86_32": (0, 4, (12, 22), 10),
    "x86_32p": (1, 8, (12, 21, 30), 2),
    "x86_64": (2, 8, (12, 21, 30, 39), 9),
}


class AddressSpace:
    """Page tables of the domain's paging mode, with an MMU to use them.

    writes: "queued" (requests, in batches) or "direct" (stores, by vm_assist's writable page tables). sets, ways: of the TLB
    (entries = sets * ways, powers of two). Counters: `space.mmu.tlb` (nr_hits, nr_misses, nr_flushes).
    """

    queue: UpdateQueue
    mmu: Any
    link: Any
    _fault: Any
    _writes: str

    def __init__(
        self, g: "Guest", sets: int = 64, ways: int = 4, timeout: float = 5.0, beside: "AddressSpace | None" = None,
        writes: str = "queued",
    ) -> None:
        """beside: another space, whose queue and MMU (a processor has one) this one uses, too."""
        self._g = g
        self.mode = g.paging
        number, self._size, self._shifts, self._top_bits = _MODES[self.mode]
        if writes not in ("queued", "direct"):
            raise ConfigError(f"writes: expected queued or direct, got {writes!r}")
        self._writes = writes if beside is None else beside._writes
        self._tables: dict[tuple[int, int], Any] = {}       # (level, index of what it covers) -> Pages
        self._grants: dict[int, tuple[int, int, int, int]] = {}     # page of another domain's -> (domid, ref, handle, window address)
        self._shares = beside is not None
        if beside is None:
            self._processor(number, sets, ways, timeout)
        else:
            self.queue, self.mmu, self.link, self._fault = beside.queue, beside.mmu, beside.link, beside._fault
        try:
            self._root()
        except (OutOfMemory, HypercallError):
            for page in self._tables.values():
                page.free()
            self._tables.clear()
            raise

    def _processor(self, number: int, sets: int, ways: int, timeout: float) -> None:
        g = self._g
        mmu = lib.xp_mmu_new(number, ffi.cast("void *", g.window_base), len(g.memory.m2p), sets, ways)
        if mmu == ffi.NULL:
            raise ConfigError(f"TLB: expected powers of two that memory holds, got {sets} sets of {ways} ways")
        self.mmu = ffi.gc(mmu, lib.xp_mmu_free)
        self._fault = ffi.new("struct xp_fault_info *")
        self._connect(timeout)

    def _connect(self, timeout: float) -> None:
        """Make the queue, and have the MMU set A and D bits through the hypervisor."""
        self.queue = UpdateQueue(self._g) if self._writes == "queued" else DirectWrites(self._g)
        self.link = ffi.new("struct xp_mmu_link *")
        scratch = ffi.cast("void *", self.queue.scratch)
        lib.xp_mmu_connect(self.mmu, self.link, self._g.hypercalls.core, scratch, int(timeout * 1e9))
        self.link.shadow = self._g.shadow
        if isinstance(self.queue, DirectWrites):
            self.queue.connect(self.link, self._size)

    def _root(self) -> None:
        """Make the top-level table and pin it."""
        self.top = self._table(len(self._shifts), 0)
        if self.mode == "x86_32p":
            self._branch(3, 3 << self._shifts[2])           # what the hypervisor's part hangs on
            self.queue.flush()
        self.queue.extended(_PIN + len(self._shifts) - 1, self.top)

    # ---- tables ----

    def _key(self, level: int, va: int) -> tuple[int, int]:
        top = len(self._shifts)
        return level, 0 if level == top else (va & ((1 << 48) - 1)) >> self._shifts[level]

    def _table(self, level: int, va: int) -> int:
        """Return the frame of the table of this level for va, made if there is none."""
        key = self._key(level, va)
        if key not in self._tables:
            page = self._g.memory.alloc(1)
            page.view[:] = bytes(PAGE_SIZE)
            self._tables[key] = page
        return int(self._tables[key].mfn)

    def _entry(self, level: int, va: int) -> int:
        """Return the machine address of va's entry in its table of this level."""
        bits = self._top_bits if level == len(self._shifts) else 10 if self._size == 4 else 9
        index = va >> self._shifts[level - 1] & ((1 << bits) - 1)
        return (self._table(level, va) << PAGE_SHIFT) + index * self._size

    def _branch(self, level: int, va: int) -> None:
        """Make the table below va's entry of this level, and the entry."""
        flags = PRESENT if self.mode == "x86_32p" and level == 3 else _FULL
        fresh = self._key(level - 1, va) not in self._tables
        below = self._table(level - 1, va)
        if fresh:
            self.queue.put(self._entry(level, va), below << PAGE_SHIFT | flags)

    # ---- mapping ----

    def map(self, va: int, mfns: Iterable[int], flags: int = _FULL) -> None:
        """Map frames one after the other from va on; queued. Raises ConfigError, OutOfMemory, HypercallError (of the queue)."""
        self._check(va)
        for mfn in mfns:
            if va in self._grants:
                raise ConfigError(f"{va:#x} shows a page of domain {self._grants[va][0]}: expected unmap first")
            for level in range(len(self._shifts), 1, -1):
                self._branch(level, va)
            self.queue.put(self._entry(1, va), mfn << PAGE_SHIFT | flags)
            va += PAGE_SIZE

    def map_grant(self, va: int, refs: int | Iterable[int], domid: int, readonly: bool = False, user: bool = True) -> None:
        """Map pages that `domid` granted to us, from va on, at once, all or none; `unmap` ends that.

        What is mapped there is replaced, but for other grants. Raises ConfigError, OutOfMemory, HypercallError, GrantError.
        """
        self._check(va)
        wanted = [refs] if isinstance(refs, int) else list(refs)
        pages = [va + i * PAGE_SIZE for i in range(len(wanted))]
        for page in pages:
            if page in self._grants:
                raise ConfigError(f"{page:#x} shows a page of domain {self._grants[page][0]}: expected unmap first")
            for level in range(len(self._shifts), 1, -1):
                self._branch(level, page)
        self.queue.flush()
        try:
            mapping = self._g.grants.map(domid, wanted, readonly, [self._entry(1, page) for page in pages], user)
        except GrantError:
            self.unmap(va, len(pages))                      # what was there is gone, and tables may be empty
            raise
        for i, page in enumerate(pages):
            self._grants[page] = (domid, wanted[i], mapping.handles[i], mapping.addresses[i])
            lib.xp_mmu_flush_page(self.mmu, page)

    def _end_grants(self, pages: list[int]) -> None:
        """Unmap pages of others."""
        if pages:
            self.queue.flush()
            domids, refs, handles, addresses = zip(*(self._grants.pop(page) for page in pages), strict=True)
            entries = [self._entry(1, page) for page in pages]
            Mapping(self._g.grants, domids[0], list(refs), list(handles), list(addresses), entries).unmap()

    def unmap(self, va: int, nr: int = 1) -> None:
        """Take nr pages away and forget them in the TLB; tables left empty are ours to use again. Raises as protect, GrantError."""
        self._end_grants([page for page in range(va, va + nr * PAGE_SIZE, PAGE_SIZE) if page in self._grants])
        self.protect(va, nr, lambda entry: 0)

    def protect(self, va: int, nr: int, change: Any) -> None:
        """Change nr entries: `change` gets each as it is and returns what it shall be. Raises ConfigError, HypercallError."""
        self._check(va)
        self.queue.flush()
        pages = range(va, va + nr * PAGE_SIZE, PAGE_SIZE)
        changes = {page: change(self._peek(page)) for page in pages if self._key(1, page) in self._tables}
        for page, entry in changes.items():
            self.queue.put(self._entry(1, page), entry)
        empty = self._unhook_empty(changes)
        self.queue.flush()
        for key in empty:
            self._tables.pop(key).free()
        for page in pages:
            lib.xp_mmu_flush_page(self.mmu, page)

    def _unhook_empty(self, changes: dict[int, int]) -> list[tuple[int, int]]:
        """Queue the end of tables that changes of level-1 entries leave without any; return them, to be freed when that is sent.

        Of the top level, and of what PAE's hole hangs on, none.
        """
        empty: list[tuple[int, int]] = []
        for level in range(1, len(self._shifts)):
            images = {key: bytearray(self._tables[key].view)
                      for key in {self._key(level, page) for page, entry in changes.items() if not entry}}
            for page, entry in changes.items() if images else ():
                if self._key(level, page) in images:
                    at = self._entry(level, page) % PAGE_SIZE
                    images[self._key(level, page)][at : at + self._size] = entry.to_bytes(self._size, "little")
            gone = {key for key, image in images.items() if image == _EMPTY and not (self.mode == "x86_32p" and key == (2, 3))}
            empty += sorted(gone)
            changes = {page: 0 for page in {self._key(level, page): page for page in changes}.values()
                       if self._key(level, page) in gone}
            for page in changes:
                self.queue.put(self._entry(level + 1, page), 0)
        return empty

    def entry(self, va: int) -> int:
        """Return the level-1 entry for va as it is in memory, 0 if there is no table; sends what is queued first."""
        self.queue.flush()
        return self._peek(va) if self._key(1, va) in self._tables else 0

    def _peek(self, va: int) -> int:
        """Return the entry as it is in memory, whatever is queued."""
        at = self._g.window_base + self._entry(1, va)
        return int(ffi.cast("uint32_t *" if self._size == 4 else "uint64_t *", at)[0])

    def _check(self, va: int) -> None:
        if va % PAGE_SIZE:
            raise ConfigError(f"virtual address: expected a multiple of {PAGE_SIZE}, got {va:#x}")

    # ---- using it ----

    def load(self, told: bool = False) -> None:
        """Make it the current address space: the hypervisor's base pointer (unless it was `told`) and the MMU's. Raises HypercallError."""
        if not told:
            self.queue.extended(_NEW_BASEPTR, self.top)
        check(lib.xp_mmu_switch(self.mmu, self.top, 0), "switch")

    def read(self, va: int, nr: int, user: bool = False) -> bytes:
        """Return nr bytes at va. Raises PageFault, HypercallError (of the queue, or where A and D bits cannot be set)."""
        self.queue.flush()
        out = ffi.new("uint8_t[]", nr)
        self._done(lib.xp_mmu_load(self.mmu, va, out, nr, lib.XP_PF_U if user else 0, self._fault), "read")
        return bytes(ffi.buffer(out, nr))

    def write(self, va: int, data: bytes, user: bool = False) -> None:
        """Store data at va. An access that faults changes nothing. Raises as read."""
        self.queue.flush()
        self._done(lib.xp_mmu_store(self.mmu, va, data, len(data), lib.XP_PF_U if user else 0, self._fault), "write")

    def _done(self, ret: int, access: str) -> None:
        if ret == -14:
            f = self._fault
            raise PageFault(f.va, f.error_code, f.vector, access)
        if ret < 0:
            raise HypercallError(-ret, "set_ad", self._g.domid)

    def free(self, then: "AddressSpace | None" = None) -> None:
        """Let go of the tables. Current ones cannot go: `then` is made current before. Raises HypercallError, GrantError."""
        self._end_grants(list(self._grants))
        if then is None:
            self.queue.extended(_UNPIN, self.top)
        else:
            self.queue.extended(_NEW_BASEPTR, then.top, _UNPIN, self.top)
            check(lib.xp_mmu_switch(self.mmu, then.top, 0), "switch")
        for page in self._tables.values():
            page.free()
        self._tables.clear()
        if not self._shares:
            self.queue.free()
