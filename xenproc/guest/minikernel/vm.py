"""A process's memory: regions and the page tables that carry them out. Pages come when they are touched; fork copies none.

Invariants: an entry names a page that has this entry as one of its users; a page with several users is writable through none of
them; a write to one of those copies it, or, when the others have gone, makes it writable again. PROT_NONE keeps the page and takes
the entry's USER bit away. What fails leaves everything as it was. Source: PAPER A.4; xv6's vm.c for the shape.
"""
# Tour G:170

import errno
from collections import Counter
from dataclasses import replace

from xenproc.guest.minikernel.frames import Frames
from xenproc.guest.minikernel.process import STACK, STACK_TOP
from xenproc.guest.minikernel.region import READ, WRITE, Region, Regions
from xenproc.guest.minikernel.space import KERNEL_PAGE, OWNED, UserSpace
from xenproc.guest.paging import ACCESSED, DIRTY, PRESENT, USER, WRITABLE
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

DATA = 0x0040_0000              # a program's data, its heap behind it
MMAP, MMAP_END = 0x1000_0000, 0x3000_0000
KERNEL = 0x3FFF_F000            # one page of the kernel's, its stack: not for ring 3; beside the process's, to need no tables more
_WRITE_FAULT = 2                # of an error code


class BadAddress(Exception):
    """No such address, or not for that: SIGSEGV for a process, EFAULT for a system call's argument."""


class Refused(Exception):
    """A system call cannot do that; `errno` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


def pages_up(address: int) -> int:
    """The next page's beginning, or this one's."""
    return (address + PAGE_SIZE - 1) & -PAGE_SIZE


def flags_of(rights: int) -> int:
    """A page-table entry's flags; A and D at once, so that no walk stops to set them."""
    if not rights & READ:
        return PRESENT | ACCESSED | OWNED
    return PRESENT | ACCESSED | OWNED | USER | (WRITABLE | DIRTY if rights & WRITE else 0)


class Vm:
    """An address space. counters: "demand", "copied", "reused" and "forked" pages, over all processes of a kernel."""

    def __init__(self, frames: Frames, space: UserSpace, regions: Regions, brk: int, counters: Counter[str]) -> None:
        self.frames = frames
        self.space = space
        self.regions = regions
        self.brk_start = self.brk = brk
        self.counters = counters

    @classmethod
    def fresh(cls, frames: Frames, space: UserSpace, stack_pfn: int, image: bytes, bss: int, counters: Counter[str]) -> "Vm":
        """Fill an empty space: the program's data, its stack, the kernel's page. Raises OutOfMemory."""
        end = pages_up(DATA + max(len(image) + bss, 1))
        regions = Regions([Region(DATA, end, READ | WRITE, image, DATA), Region(STACK, STACK_TOP, READ | WRITE)])
        space.map(KERNEL, [frames.mfn(stack_pfn)], KERNEL_PAGE)
        return cls(frames, space, regions, end, counters)

    def push(self, args: list[bytes]) -> int:
        """Put a program's arguments on its stack, which is empty: their number, their addresses, 0, the strings. Return the stack's end.

        Raises Refused (E2BIG: more than fits in a page), OutOfMemory; then nothing has happened.
        """
        strings, at, addresses = b"\0".join([*args, b""]), STACK_TOP - sum(len(arg) + 1 for arg in args), []
        for arg in args:
            addresses.append(at)
            at += len(arg) + 1
        words = b"".join(word.to_bytes(4, "little") for word in (len(args), *addresses, 0))
        end = (STACK_TOP - len(strings) - len(words)) & -16
        if end < STACK_TOP - PAGE_SIZE:
            raise Refused(errno.E2BIG)
        region = self.regions.find(STACK)
        assert region is not None
        self._demand(region, STACK_TOP - PAGE_SIZE)
        pfn = self.frames.pfn(self.space.entry(STACK_TOP - PAGE_SIZE) >> PAGE_SHIFT)
        self.frames.fill(pfn, (words.ljust(STACK_TOP - len(strings) - end, b"\0") + strings).rjust(PAGE_SIZE, b"\0"))
        return end

    # ---- faults ----

    def fault(self, va: int, error_code: int) -> None:
        """Do what a page fault asks for. Raises BadAddress, OutOfMemory."""
        page, wanted = va & -PAGE_SIZE, WRITE if error_code & _WRITE_FAULT else READ
        region = self.regions.find(page)
        if region is None or not region.rights & READ or not region.rights & wanted:
            raise BadAddress(f"{va:#x}")
        entry = self.space.entry(page)
        if not entry & PRESENT:
            self._demand(region, page)
        elif wanted == WRITE and not entry & WRITABLE:
            self._unshare(region, page, self.frames.pfn(entry >> PAGE_SHIFT))
        # Else the TLB was behind: it has forgotten the page by now.

    def _demand(self, region: Region, page: int) -> None:
        pfn = self.frames.alloc()
        try:
            self.frames.fill(pfn, region.bytes_of(page))
            self.frames.reserve(3)
            self.space.insert(page, self.frames.mfn(pfn) << PAGE_SHIFT | flags_of(region.rights))
        except MemoryError:
            self.frames.put(pfn)
            raise
        self.counters["demand"] += 1

    def _unshare(self, region: Region, page: int, old: int) -> None:
        """A write to a page that cannot be written by its entry, though by its region."""
        if self.frames.users(old) == 1:
            self.counters["reused"] += 1
            self.space.change(page, self.frames.mfn(old) << PAGE_SHIFT | flags_of(region.rights))
            return
        new = self.frames.alloc()
        self.frames.copy(new, old)
        self.space.change(page, self.frames.mfn(new) << PAGE_SHIFT | flags_of(region.rights))
        self.frames.put(old)
        self.counters["copied"] += 1

    # ---- fork and the end ----

    def fork(self, stack_pfn: int) -> "Vm":
        """Return a copy whose pages are shared until one of the two writes. Raises OutOfMemory: nothing has happened then."""
        self.frames.reserve(self.space.nr_tables)
        space, shared = self.space.copy((KERNEL, self.frames.mfn(stack_pfn)))
        for entry in shared:
            self.frames.get(self.frames.pfn(entry >> PAGE_SHIFT))
        self.counters["forked"] += len(shared)
        copied = Vm(self.frames, space, Regions(list(self.regions)), self.brk_start, self.counters)
        copied.brk = self.brk
        return copied

    def destroy(self, then: UserSpace) -> None:
        """Give everything back; `then` is the current space afterwards."""
        pfns = [self.frames.pfn(entry >> PAGE_SHIFT) for _, entry in self.space.owned()]
        self.space.free(then)
        self.frames.put(*pfns)

    # ---- what processes ask for ----

    def mmap(self, length: int, rights: int) -> int:
        """Return where a new region of zeros begins. Raises Refused (EINVAL, ENOMEM)."""
        if length <= 0 or rights & ~(READ | WRITE):
            raise Refused(errno.EINVAL)
        start = self.regions.room(pages_up(length), MMAP, MMAP_END)
        if start is None:
            raise Refused(errno.ENOMEM)
        self.regions.add(Region(start, start + pages_up(length), rights))
        return start

    def munmap(self, start: int, length: int) -> None:
        """Take away what there is between two addresses. Raises Refused (EINVAL)."""
        end = self._range(start, length)
        self.regions.cut(start, end)
        gone = list(self.space.owned(start, end))
        self.space.remove([va for va, _ in gone])
        self.frames.put(*(self.frames.pfn(entry >> PAGE_SHIFT) for _, entry in gone))

    def mprotect(self, start: int, length: int, rights: int) -> None:
        """Change the rights of regions. Raises Refused: EINVAL, ENOMEM (some page is in none)."""
        end = self._range(start, length)
        if rights & ~(READ | WRITE):
            raise Refused(errno.EINVAL)
        if not self.regions.covers(start, end):
            raise Refused(errno.ENOMEM)
        for region in self.regions.cut(start, end):
            self.regions.add(replace(region, rights=rights))
        for va, entry in self.space.owned(start, end):
            pfn = self.frames.pfn(entry >> PAGE_SHIFT)
            flags = flags_of(rights)
            if self.frames.users(pfn) > 1:
                flags &= ~WRITABLE              # still shared: the write will be noticed
            self.space.change(va, entry >> PAGE_SHIFT << PAGE_SHIFT | flags)

    def sbrk(self, change: int) -> int:
        """Move the heap's end; return where it was. Raises Refused (ENOMEM)."""
        old, new = self.brk, self.brk + change
        if not self.brk_start <= new <= MMAP:
            raise Refused(errno.ENOMEM)
        top, wanted = pages_up(old), pages_up(new)
        if wanted > top:
            self.regions.add(Region(top, wanted, READ | WRITE))
        elif wanted < top:
            self.munmap(wanted, top - wanted)
        self.brk = new
        return old

    def _range(self, start: int, length: int) -> int:
        if start % PAGE_SIZE or length <= 0 or start < 0 or start + length > STACK_TOP:
            raise Refused(errno.EINVAL)
        return start + pages_up(length)
