"""A process's page tables: an AddressSpace that can be copied for fork, everything in one batch and one pin.

Entries of processes' pages carry OWNED, a bit that hardware leaves to software. The others are the kernel's: its stack, for ring 1
only. While nobody else knows a table it is a page like any other and written by plain stores; the pin has it validated whole.
Source: PAPER 3.3.3 and A.4 (batching, pinning); Linux' Xen port builds tables for fork the same way.
"""
# Tour G:140

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from xenproc.errors import HypercallError
from xenproc.guest.memory import OutOfMemory
from xenproc.guest.minikernel.bare import BareQueue
from xenproc.guest.paging import ACCESSED, DIRTY, PRESENT, USER, WRITABLE, AddressSpace
from xenproc.native import lib
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

OWNED = 1 << 9
_TABLE = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
KERNEL_PAGE = PRESENT | WRITABLE | ACCESSED | DIRTY
_PIN = 0


class UserSpace(AddressSpace):
    """Page tables of one process. validated False: ones that the hypervisor knows nothing of (bare.py), for comparison."""

    def __init__(
        self, g: "Guest", validated: bool = True, beside: "UserSpace | None" = None,
        of: "UserSpace | None" = None, stack: tuple[int, int] = (0, 0),
    ) -> None:
        """of: the space to copy, stack: what the copy has of its own (see copy)."""
        self.validated = validated
        self._of = of
        self._stack = stack
        self._window: memoryview = beside._window if beside else g.memory.window(4 if g.paging == "x86_32" else 8)
        super().__init__(g, beside=beside)
        self._of = None

    def _connect(self, timeout: float) -> None:
        if self.validated:
            super()._connect(timeout)
        else:
            self.queue, self.link = BareQueue(self._g, self._size), None   # A and D bits are written directly

    def _root(self) -> None:
        if self._of is None:
            super()._root()
        else:
            self._copy(self._of)

    # ---- one entry ----

    def slot(self, va: int) -> int:
        """The machine address of va's entry, 0 if its table is not there."""
        table = self._tables.get((1, va >> self._shifts[1]))
        return (table.mfn << PAGE_SHIFT) + (va >> PAGE_SHIFT & (PAGE_SIZE // self._size - 1)) * self._size if table else 0

    def entry(self, va: int) -> int:
        """Return va's entry as it is in memory, 0 if there is no table; sends what is queued first."""
        self.queue.flush()
        at = self.slot(va)
        return self._window[at // self._size] if at else 0

    def insert(self, va: int, entry: int) -> None:
        """Queue an entry where none is present; its table is made if there is none. Raises OutOfMemory."""
        at = self.slot(va)
        if at:
            self.queue.put(at, entry)
        else:
            self.map(va, [entry >> PAGE_SHIFT], entry & (PAGE_SIZE - 1))

    def change(self, va: int, entry: int) -> None:
        """Queue a change of va's entry, whose table exists, and forget it in the TLB."""
        self.queue.put(self.slot(va), entry)
        lib.xp_mmu_flush_page(self.mmu, va)

    def remove(self, pages: list[int]) -> None:
        """Take the entries of pages away, and the tables that are left empty. Sent at once: then the frames are free for others."""
        for va in pages:
            self.change(va, 0)
        empty = self._unhook_empty(dict.fromkeys(pages, 0))
        self.queue.flush()
        for key in empty:
            self._tables.pop(key).free()

    def owned(self, first: int = 0, end: int = 1 << 32) -> Iterator[tuple[int, int]]:
        """Yield (va, entry) of a process's pages, read from the tables themselves; what is queued is sent first."""
        self.queue.flush()
        for (level, index), page in sorted(self._tables.items()):
            start = index << self._shifts[1]
            if level == 1 and start < end and start + (1 << self._shifts[1]) > first:
                for i, entry in self._present(page):
                    if first <= start + i * PAGE_SIZE < end:
                        yield start + i * PAGE_SIZE, entry

    def _words(self, page: Any) -> memoryview:
        return memoryview(page.view).cast("B").cast("I" if self._size == 4 else "Q")

    def _present(self, page: Any) -> list[tuple[int, int]]:
        return [(i, entry) for i, entry in enumerate(self._words(page).tolist()) if entry & OWNED]

    # ---- fork ----

    @property
    def nr_tables(self) -> int:
        """How many frames it takes."""
        return len(self._tables)

    def copy(self, stack: tuple[int, int]) -> tuple["UserSpace", list[int]]:
        """Return a copy and the entries of the pages that both have now, read-only in both.

        stack: (address, machine frame) of the page that the kernel has for itself in the copy. Nothing has happened if it raises
        OutOfMemory or HypercallError.
        """
        self.queue.flush()
        copied = UserSpace(self._g, self.validated, beside=self, of=self, stack=stack)
        shared = []
        for (level, _), page in self._tables.items():
            if level == 1:
                at = page.mfn << PAGE_SHIFT
                for i, entry in self._present(page):
                    shared.append(entry)
                    if entry & WRITABLE:
                        self.queue.put(at + i * self._size, entry & ~WRITABLE)
        self.queue.flush()
        lib.xp_mmu_flush(self.mmu)
        return copied, shared

    def _copy(self, of: "UserSpace") -> None:
        """Make the tables of a copy of `of`: allocated all before the first is filled, then pinned."""
        try:
            for key in of._tables:
                self._tables[key] = self._g.memory.alloc(1)
            for (level, index), page in self._tables.items():
                page.view[:] = bytes(PAGE_SIZE) if level > 1 else self._read_only(of._tables[level, index])
            top = len(self._shifts)
            for level, index in self._tables:
                if level < top:
                    self._link_table(level, index << self._shifts[level])
            va, mfn = self._stack
            self._store(self._entry(1, va), mfn << PAGE_SHIFT | KERNEL_PAGE)
            self.top = self._table(top, 0)
            self.queue.extended(_PIN + top - 1, self.top)
        except (OutOfMemory, HypercallError):
            for page in self._tables.values():
                page.free()
            self._tables.clear()
            raise

    def _read_only(self, page: Any) -> bytes:
        words = self._words(page)
        return array(words.format, [entry & ~WRITABLE if entry & OWNED else 0 for entry in words.tolist()]).tobytes()

    def _link_table(self, level: int, va: int) -> None:
        flags = PRESENT if self.mode == "x86_32p" and level == 2 else _TABLE
        self._store(self._entry(level + 1, va), self._table(level, va) << PAGE_SHIFT | flags)

    def _store(self, entry: int, value: int) -> None:
        """Write an entry of a table that nothing uses yet."""
        self._window[entry // self._size] = value
