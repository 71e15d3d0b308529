"""A domain's memory: its frames, found through the P2M, handed out in runs of consecutive machine frames; the two tables.

The P2M (what machine frame is behind each of our page numbers) is ours to write; the M2P, its inverse over the whole machine, is
the hypervisor's and read-only.

`Pages` is what everything else is built on: an address in the window, the machine frames behind it, and memoryviews without a
copy. Invariant: a frame is in at most one Pages at a time.
"""
# Tour G:050

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from xenproc.abi import Hypercall, XenMem
from xenproc.errors import ConfigError, XenprocError
from xenproc.native import ffi
from xenproc.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.hypercall import Hypercalls

INVALID = (1 << 64) - 1     # of either table: a page number without a frame, a frame without a page number


class OutOfMemory(XenprocError, MemoryError):
    """The domain's reservation has no run of frames of that length left."""


class Pages:
    """Consecutive frames of this domain's own memory."""

    def __init__(self, memory: "Memory", mfn: int, nr: int) -> None:
        self.memory = memory
        self.mfn = mfn
        self.nr = nr
        self.address = memory.address_of(mfn)

    @property
    def mfns(self) -> list[int]:
        """The machine frame numbers, in order."""
        return list(range(self.mfn, self.mfn + self.nr))

    @property
    def view(self) -> memoryview:
        """The bytes themselves, writable, not a copy. Do not use it after free()."""
        return memoryview(ffi.buffer(ffi.cast("char *", self.address), self.nr * PAGE_SIZE))

    def array(self, dtype: Any = "u1") -> Any:
        """Return a NumPy array over the pages, without copying. Needs numpy."""
        import numpy

        return numpy.frombuffer(self.view, dtype=dtype)

    def free(self) -> None:
        """Give the frames back to the domain's allocator. Twice is harmless."""
        if self.nr:
            self.memory.release(self.mfn, self.nr)
            self.nr = 0

    def __enter__(self) -> "Pages":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.free()


class Memory:
    """The allocator of a domain's frames: first fit over runs of consecutive machine frames."""

    def __init__(self, window_base: int, mfns: list[int]) -> None:
        self.window_base = window_base
        self._lock = threading.Lock()
        self._runs = _runs(sorted(mfns))
        self.nr_free = len(mfns)
        self._p2m: memoryview | None = None
        self._m2p: memoryview | None = None
        self._calls: Hypercalls | None = None
        self._holes: list[int] = []         # page numbers without a page
        self.absent: list[int] = []         # frames of ours that this process has let go of and nobody has taken: balloon.py

    def attach(self, calls: "Hypercalls", p2m: int, nr_pages: int) -> None:
        """Say where the tables are: the P2M at address `p2m` with `nr_pages` entries, the M2P where the hypervisor says."""
        self._calls = calls
        self._p2m = _words(p2m, nr_pages)

    @property
    def p2m(self) -> memoryview:
        """The machine frame of each of this domain's page numbers (format "Q"; INVALID: none); ours, not a copy."""
        assert self._p2m is not None
        return self._p2m

    @property
    def m2p(self) -> memoryview:
        """What the owner of each machine frame calls it (format "Q"; INVALID: nothing); the hypervisor's, read-only, live.

        Entries of others' frames are theirs to choose. NumPy: `numpy.asarray(g.memory.m2p)`. A frame outside the
        machine is an IndexError. Raises HypercallError at its first use.
        """
        if self._m2p is None:
            assert self._calls is not None
            with self._calls.struct("struct xen_machphys_mapping") as (address, mapping):
                self._calls.call(Hypercall.memory_op, XenMem.machphys_mapping, address, op="machphys_mapping")
                self._m2p = _words(mapping.v_start, mapping.max_mfn + 1).toreadonly()
        return self._m2p

    def address_of(self, mfn: int) -> int:
        """Return the address of a machine frame in this domain's window."""
        return self.window_base + (mfn << PAGE_SHIFT)

    def window(self, size: int) -> memoryview:
        """Return the whole window as numbers of `size` (4 or 8) bytes, by machine address / size. Touch our own frames only."""
        nr = len(self.m2p) * PAGE_SIZE
        return memoryview(ffi.buffer(ffi.cast("char *", self.window_base), nr)).cast("B").cast("I" if size == 4 else "Q")

    def alloc(self, nr: int = 1) -> Pages:
        """Return `nr` consecutive frames, not cleared. Raises OutOfMemory, ConfigError if nr < 1."""
        if nr < 1:
            raise ConfigError(f"pages: expected 1 or more, got {nr}")
        with self._lock:
            for i, (first, length) in enumerate(self._runs):
                if length >= nr:
                    if length == nr:
                        del self._runs[i]
                    else:
                        self._runs[i] = (first + nr, length - nr)
                    self.nr_free -= nr
                    return Pages(self, first, nr)
            free = self.nr_free
        raise OutOfMemory(f"{nr} consecutive frames asked for, {free} are free in all: give the domain more memory")

    def release(self, mfn: int, nr: int) -> None:
        """Take frames back (called by Pages.free)."""
        with self._lock:
            self._runs = _merge([*self._runs, (mfn, nr)])
            self.nr_free += nr


    # ---- page numbers ----

    def grow_p2m(self, nr: int) -> None:
        """Make the P2M `nr` entries long, the new ones INVALID. It moves: to private memory, as the builder's is full."""
        old = self.p2m
        if nr > len(old):
            new = memoryview(ffi.buffer(ffi.new("uint64_t[]", nr))).cast("Q")
            new[: len(old)] = old
            for pfn in range(len(old), nr):
                new[pfn] = INVALID
            self._p2m = new

    def number_of(self, mfn: int) -> int | None:
        """Return what we call a machine frame: by the M2P, or where that does not know, by our own list. None: nothing."""
        pfn = self.m2p[mfn]
        if pfn < len(self.p2m) and self.p2m[pfn] == mfn:
            return pfn
        try:
            return self.p2m.tolist().index(mfn)
        except ValueError:
            return None

    def forget(self, mfns: Iterable[int]) -> None:
        """These frames go: their page numbers are free."""
        for mfn in mfns:
            pfn = self.number_of(mfn)
            if pfn is not None:
                self.p2m[pfn] = INVALID
                self._holes.append(pfn)

    def numbers(self, nr: int, most: int) -> list[int]:
        """Take `nr` page numbers that have no page; the P2M grows, to `most` at once, where there are not so many."""
        missing = nr - len(self._holes)
        if missing > 0:
            end = len(self.p2m)
            self.grow_p2m(max(end + missing, most))
            self._holes += range(end, len(self.p2m))
        pfns, self._holes = self._holes[:nr], self._holes[nr:]
        return pfns

    def unused(self, pfns: list[int]) -> None:
        """Give page numbers back that have got no page."""
        self._holes += pfns

    # ---- frames that come and go ----

    def take(self, nr: int) -> list[tuple[int, int]]:
        """Take up to `nr` free frames for good, as (first, length) runs, shortest first; for whoever gives them away."""
        taken: list[tuple[int, int]] = []
        with self._lock:
            self._runs.sort(key=lambda run: (run[1], run[0]), reverse=True)
            while nr > 0 and self._runs:
                first, length = self._runs.pop()
                if length > nr:
                    self._runs.append((first, length - nr))
                    first, length = first + length - nr, nr
                taken.append((first, length))
                nr -= length
                self.nr_free -= length
            self._runs.sort()
        return taken

    def add(self, mfns: list[int]) -> None:
        """Add frames that the domain has got."""
        with self._lock:
            self._runs = _merge([*self._runs, *_runs(sorted(mfns))])
            self.nr_free += len(mfns)


def _words(address: int, nr: int) -> memoryview:
    return memoryview(ffi.buffer(ffi.cast("char *", address), nr * 8)).cast("Q")


def _runs(mfns: list[int]) -> list[tuple[int, int]]:
    """Return ascending frame numbers as (first, length) runs. Runs at every start of a domain, so without a tuple a frame."""
    runs = []
    first, previous = -1, -2
    for mfn in mfns:
        if mfn != previous + 1:
            if first >= 0:
                runs.append((first, previous + 1 - first))
            first = mfn
        previous = mfn
    if first >= 0:
        runs.append((first, previous + 1 - first))
    return runs


def _merge(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same frames in as few runs as there are, in order."""
    merged: list[tuple[int, int]] = []
    for first, length in sorted(runs):
        if merged and merged[-1][0] + merged[-1][1] == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((first, length))
    return merged
