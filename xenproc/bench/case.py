"""What the runner runs: limits, peers and our own alike are started once, measured in rounds, stopped."""

import math
import struct
from dataclasses import dataclass
from typing import Protocol

from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement

_HEAD = struct.Struct("<Qddd")


class BenchError(Exception):
    """A case could not be measured; the message says why and goes under `missing`."""


@dataclass
class Sample:
    """One round of one case: either histograms of latencies or one number.

    `hist` holds every single operation, each with the cost of its two time stamps. Where operations are so
    short that this cost counts, `fast` holds the means of many operations in a row, and medians are taken from
    it. `took_s` is how long the operations took, where that is not the whole round. `stalled` is the share of
    that time in which the sender was behind its schedule, where it has one.
    """

    n: int
    hist: Hist | None = None
    fast: Hist | None = None
    value: float | None = None
    took_s: float | None = None
    stalled: float | None = None

    def middle(self) -> float:
        """Return what this round stands for in ratios: the median in ns, or the number itself."""
        if self.value is not None:
            return self.value
        hist = self.fast if self.fast is not None and len(self.fast) else self.hist
        if hist is None or not len(hist):
            raise BenchError("a round ended without a single measurement")
        return hist.quantile(50)

    def pack(self) -> bytes:
        """Return the sample as bytes, for a guest's result."""
        numbers = (math.nan if number is None else number for number in (self.value, self.took_s, self.stalled))
        head = _HEAD.pack(self.n, *numbers)
        return head + b"".join((hist or Hist()).pack() for hist in (self.hist, self.fast))

    @classmethod
    def unpack(cls, data: bytes) -> "Sample":
        """Return what pack() made; it came from another process. Raises BenchError if it makes no sense."""
        try:
            n, *numbers = _HEAD.unpack_from(data)
            hist, rest = Hist.unpack(data[_HEAD.size :])
            fast, rest = Hist.unpack(rest)
        except (struct.error, ValueError) as error:
            raise BenchError(f"a guest returned no sample: {error}") from None
        if rest or any(math.isinf(number) or number < 0 for number in numbers):
            raise BenchError("a guest returned more than a sample, or impossible numbers")
        value, took_s, stalled = (None if math.isnan(number) else number for number in numbers)
        return cls(n, hist if len(hist) else None, fast if len(fast) else None, value, took_s, stalled)


class Case(Protocol):
    """A thing that can be measured again and again; raises BenchError or OSError when it cannot."""

    @property
    def isolation(self) -> str | None:
        """ "enforced" or "cooperative" once it has started, None where that means nothing."""

    def start(self, placement: Placement) -> None:
        """Make the parties, pinned where the placement says, and leave them asleep."""

    def round(self, n: int) -> Sample:
        """Measure n operations and put the parties to sleep again."""

    def stop(self) -> None:
        """End the parties and leave nothing behind; also after a failed start or round, and twice."""
