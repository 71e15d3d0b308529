"""What a process may do where: regions of its address space, page-aligned, in order, never overlapping. Pure.

A page need not exist to be in a region: it comes when it is touched (vm.py), filled from the region's image or with zeros.
"""
# Tour G:160

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xenproc.units import PAGE_SIZE

READ, WRITE = 1, 2


@dataclass(frozen=True)
class Region:
    """start to end (not included), the rights, and where the bytes come from: `image` as if it lay at `origin`."""

    start: int
    end: int
    rights: int
    image: bytes = b""
    origin: int = 0

    def bytes_of(self, va: int) -> bytes:
        """What a page is filled with at first."""
        at = va - self.origin
        return self.image[at : at + PAGE_SIZE] if self.image else b""


class Regions:
    """The regions of one address space."""

    def __init__(self, regions: list[Region] | None = None) -> None:
        self._list: list[Region] = list(regions or [])

    def __iter__(self) -> Iterator[Region]:
        return iter(self._list)

    def find(self, va: int) -> Region | None:
        """The region that an address is in."""
        return next((region for region in self._list if region.start <= va < region.end), None)

    def add(self, region: Region) -> None:
        """Add one where none is; it grows together with neighbours of its kind."""
        self._list.append(region)
        self._list.sort(key=lambda each: each.start)
        merged: list[Region] = []
        for each in self._list:
            if merged and merged[-1].end == each.start and replace(merged[-1], start=each.start, end=each.end) == each:
                each = replace(merged.pop(), end=each.end)
            merged.append(each)
        self._list = merged

    def cut(self, start: int, end: int) -> list[Region]:
        """Take out what lies between two addresses and return it, in pieces."""
        kept, taken = [], []
        for region in self._list:
            low, high = max(region.start, start), min(region.end, end)
            if low >= high:
                kept.append(region)
                continue
            taken.append(replace(region, start=low, end=high))
            if region.start < low:
                kept.append(replace(region, end=low))
            if high < region.end:
                kept.append(replace(region, start=high))
        self._list = kept
        return taken

    def covers(self, start: int, end: int) -> bool:
        """Is every page between two addresses in some region?"""
        while start < end:
            region = self.find(start)
            if region is None:
                return False
            start = region.end
        return True

    def room(self, length: int, low: int, high: int) -> int | None:
        """The lowest address between low and high where `length` bytes are free."""
        for region in self._list:
            if region.end <= low or region.start >= high:
                continue
            if region.start - low >= length:
                break
            low = region.end
        return low if low + length <= high else None
