"""What the runner runs: limits, peers and our own alike are started once, measured in rounds, stopped."""

from dataclasses import dataclass
from typing import Protocol

from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement

POLL_STRIDE = 32


class BenchError(Exception):
    """A case could not be measured; the message says why and goes under `missing`."""


@dataclass
class Sample:
    """One round of one case: either histograms of latencies or one number.

    `hist` holds every single operation, each with the cost of its two time stamps. Where operations are so
    short that this cost counts, `fast` holds the means of POLL_STRIDE operations in a row, and medians are
    taken from it.
    """

    n: int
    hist: Hist | None = None
    fast: Hist | None = None
    value: float | None = None

    def middle(self) -> float:
        """Return what this round stands for in ratios: the median in ns, or the number itself."""
        if self.value is not None:
            return self.value
        hist = self.fast if self.fast is not None and len(self.fast) else self.hist
        if hist is None or not len(hist):
            raise BenchError("a round ended without a single measurement")
        return hist.quantile(50)


class Case(Protocol):
    """A thing that can be measured again and again; raises BenchError or OSError when it cannot."""

    def start(self, placement: Placement) -> None:
        """Make the parties, pinned where the placement says, and leave them asleep."""

    def round(self, n: int) -> Sample:
        """Measure n operations and put the parties to sleep again."""

    def stop(self) -> None:
        """End the parties and leave nothing behind; also after a failed start or round, and twice."""
