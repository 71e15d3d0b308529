"""Histograms of nanoseconds, recorded in C (native/hist.h), in memory that a forked party may share.

Owns the memory of one `struct xp_hist`, anonymous and shared: a party forked later records into it.
"""

import array
import mmap
from collections.abc import Iterator

from xenproc.native import ffi, lib

_SIZE = ffi.sizeof("struct xp_hist")


class Hist:
    """A histogram from 1 ns to 10 s with three significant digits, in HdrHistogram's bucket layout."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self.c = ffi.from_buffer("struct xp_hist *", self._memory)
        lib.xp_hist_clear(self.c)

    def __len__(self) -> int:
        return self.c.total

    @property
    def max_ns(self) -> int:
        """The largest value recorded, exact; 0 while empty."""
        return self.c.max

    @property
    def min_ns(self) -> int:
        """The smallest value recorded, exact; 0 while empty."""
        return self.c.min if self.c.total else 0

    @property
    def over(self) -> int:
        """How many values lay above 10 s and are counted there."""
        return self.c.over

    def clear(self) -> None:
        """Forget everything."""
        lib.xp_hist_clear(self.c)

    def record(self, ns: int) -> None:
        """Record one value in ns."""
        lib.xp_hist_record(self.c, ns)

    def record_many(self, ns: array.array) -> None:
        """Record an array('q') of values in ns; negative ones count as 0."""
        lib.xp_hist_record_many(self.c, ffi.from_buffer("int64_t[]", ns), len(ns))

    def merge(self, other: "Hist") -> None:
        """Add all of another histogram's counts."""
        lib.xp_hist_merge(self.c, other.c)

    def copy(self) -> "Hist":
        """Return a histogram of its own with the same counts."""
        new = Hist()
        new.merge(self)
        return new

    def percentile(self, percent: float) -> int:
        """Return HdrHistogram's value in ns at percent (0..100), at most the exact maximum; 0 while empty."""
        return lib.xp_hist_percentile(self.c, percent)

    def quantile(self, percent: float) -> float:
        """Return the value in ns at percent, interpolated within its step; 0 while empty."""
        return lib.xp_hist_quantile(self.c, percent)

    def mean(self) -> float:
        """Return the mean in ns of the steps' middles; 0 while empty."""
        return lib.xp_hist_mean(self.c)

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """Yield (lowest, highest, count) of each step that holds something, ascending."""
        counts = memoryview(ffi.buffer(self.c.count)).cast("Q")
        for index, count in enumerate(counts):
            if count:
                yield lib.xp_hist_lowest(index), lib.xp_hist_highest(index), count

    def pack(self) -> dict:
        """Return the histogram as plain JSON values, small enough for a guest's report."""
        return {
            "min": self.min_ns,
            "max": self.max_ns,
            "over": self.over,
            "steps": [[low, count] for low, _, count in self.steps()],
        }

    @classmethod
    def unpack(cls, packed: dict) -> "Hist":
        """Return the histogram that pack() described; it came from another process, so it is checked.

        Raises ValueError for anything that pack() cannot have said.
        """
        hist = cls()
        numbers = [packed["min"], packed["max"], packed["over"]]
        numbers += [number for step in packed["steps"] for number in step]
        if not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            raise ValueError("a packed histogram holds something that is not a count or a time")
        for low, count in packed["steps"]:
            if low > lib.XP_HIST_HIGHEST:
                raise ValueError(f"a packed histogram holds a step at {low} ns, above {lib.XP_HIST_HIGHEST}")
            hist.c.count[_index(low)] += count
            hist.c.total += count
        hist.c.over = packed["over"]
        if hist.c.total:
            hist.c.min, hist.c.max = packed["min"], packed["max"]
        return hist


def _index(ns: int) -> int:
    bucket = max(ns, 2047).bit_length() - 11
    return (bucket << 10) + (ns >> bucket)
