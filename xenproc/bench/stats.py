"""Intervals that hold for any distribution: of a median, and of a ratio measured in the same rounds. Pure.

Operations within a round are not independent of each other (one placement of caches, one mood of the
machine), rounds nearly are: so a round counts as one observation, and two cases are compared round by
round, never pool by pool.
"""

from collections.abc import Sequence
from statistics import median

FEWEST = 6


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return order statistics that enclose the distribution's median with at least that confidence.

    None where so few values cannot say it (fewer than 6 for 95%).
    """
    ordered = sorted(values)
    rank = _rank(len(ordered), confidence)
    return None if rank is None else (ordered[rank], ordered[-1 - rank])


def paired_ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return over/under for each round; both were measured in the same rounds, in order.

    Raises ValueError if their lengths differ or something divides by zero.
    """
    if len(over) != len(under):
        raise ValueError(f"a ratio needs the same rounds of both: {len(over)} and {len(under)}")
    if not all(under):
        raise ValueError("a ratio over zero: the lower case measured nothing in some round")
    return [a / b for a, b in zip(over, under, strict=True)]


def summary(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the median of values and its 95% interval (or None)."""
    return median(values), median_interval(values)


def _rank(n: int, confidence: float) -> int | None:
    """The largest k for which the k-th smallest and k-th largest value enclose the median, from 0.

    The number of values below the median is binomial(n, 1/2): each tail beyond rank k weighs P(X <= k).
    """
    tail, chance, rank = 0.0, 0.5**n, None
    for k in range((n + 1) // 2):
        tail += chance
        if 2 * tail > 1 - confidence:
            break
        rank = k
        chance = chance * (n - k) / (k + 1)
    return rank
