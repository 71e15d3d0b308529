"""The page frames that processes use: how many share each, by page number.

The kernel speaks of page numbers (pfn); page tables hold machine frames (mfn). The P2M leads from one to the other and the M2P back;
the balloon driver keeps both right. Invariants: a page has as many users as page-table entries name it; at none it goes back to the
domain's allocator; what the allocator lacks is asked of the hypervisor first, up to the domain's limit.
"""
# Tour G:130

from typing import Any

from xenproc.guest.memory import OutOfMemory, Pages
from xenproc.native import ffi
from xenproc.units import PAGE_SIZE

_ZEROS = bytes(PAGE_SIZE)
_MORE = 32                      # pages that are asked of the hypervisor at once


class Frames:
    """Reference counts of pages, and the pages."""

    def __init__(self, g: Any) -> None:
        self._memory = g.memory
        self._balloon = g.balloon
        self._users: dict[int, int] = {}
        self.nr_deflated = 0

    def reserve(self, nr: int) -> None:
        """Have `nr` pages free if they can be had: the balloon is let down for them. Raises HypercallError."""
        missing = nr - self._memory.nr_free
        if missing > 0:
            self.nr_deflated += self._balloon.deflate(max(missing, _MORE))

    def alloc(self) -> int:
        """Return the number of a page with one user, not cleared. Raises OutOfMemory."""
        self.reserve(1)
        pfn = self._memory.number_of(self._memory.alloc(1).mfn)
        if pfn is None:
            raise OutOfMemory("a page without a number")
        self._users[pfn] = 1
        return int(pfn)

    def users(self, pfn: int) -> int:
        """How many share a page."""
        return self._users[pfn]

    def get(self, pfn: int) -> None:
        """One user more."""
        self._users[pfn] += 1

    def put(self, *pfns: int) -> None:
        """One user less of each; those without any go back to the allocator."""
        gone = []
        for pfn in pfns:
            self._users[pfn] -= 1
            if not self._users[pfn]:
                del self._users[pfn]
                gone.append(self.mfn(pfn))
        if gone:
            self._memory.add(gone)

    @property
    def nr_used(self) -> int:
        """How many pages have users."""
        return len(self._users)

    # ---- the two tables ----

    def mfn(self, pfn: int) -> int:
        """The machine frame of a page (P2M)."""
        return int(self._memory.p2m[pfn])

    def pfn(self, mfn: int) -> int:
        """What we call a machine frame (M2P)."""
        return int(self._memory.m2p[mfn])

    def address(self, pfn: int) -> int:
        """Where a page lies in the window."""
        return int(self._memory.address_of(self.mfn(pfn)))

    def fill(self, pfn: int, data: bytes = b"") -> None:
        """Make a page's bytes `data`, zeros behind it."""
        ffi.memmove(ffi.cast("void *", self.address(pfn)), data.ljust(PAGE_SIZE, b"\0") if data else _ZEROS, PAGE_SIZE)

    def copy(self, pfn: int, source: int) -> None:
        """Make a page's bytes those of another."""
        ffi.memmove(ffi.cast("void *", self.address(pfn)), ffi.cast("void *", self.address(source)), PAGE_SIZE)


__all__ = ["Frames", "OutOfMemory", "Pages"]
