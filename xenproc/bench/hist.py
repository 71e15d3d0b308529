"""Histograms of nanoseconds, recorded in C (native/hist.h), in memory that a forked party may share.

Owns the memory of one `struct xp_hist`, anonymous and shared: a party forked later records into it.
"""

import array
import mmap
import struct
from collections.abc import Iterator

from xenproc.native import ffi, lib

_SIZE = ffi.sizeof("struct xp_hist")
_HEAD = struct.Struct("<QQQI")
_STEP = struct.Struct("<HI")


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

    def pack(self) -> bytes:
        """Return the histogram as bytes, six for each step that holds something: small enough for a guest's result."""
        counts = memoryview(ffi.buffer(self.c.count)).cast("Q")
        steps = [(index, count) for index, count in enumerate(counts) if count]
        head = _HEAD.pack(self.min_ns, self.max_ns, self.over, len(steps))
        return head + b"".join(_STEP.pack(index, count) for index, count in steps)

    @classmethod
    def unpack(cls, data: bytes) -> tuple["Hist", bytes]:
        """Return the histogram at the start of what pack() made, and the bytes after it.

        It came from another process, so nothing in it is believed. Raises ValueError if pack() cannot have made it.
        """
        hist = cls()
        try:
            low, high, over, nr = _HEAD.unpack_from(data)
            if nr > lib.XP_HIST_LEN:
                raise ValueError(f"a packed histogram of {nr} steps; there are {lib.XP_HIST_LEN}")
            for i in range(nr):
                index, count = _STEP.unpack_from(data, _HEAD.size + i * _STEP.size)
                if index >= lib.XP_HIST_LEN:
                    raise ValueError(f"a packed histogram holds step {index} of {lib.XP_HIST_LEN}")
                hist.c.count[index] += count
                hist.c.total += count
        except struct.error as error:
            raise ValueError(f"a packed histogram is cut short: {error}") from None
        if hist.c.total:
            hist.c.min, hist.c.max, hist.c.over = low, high, over
        return hist, data[_HEAD.size + nr * _STEP.size :]
