"""A time scale (native/timescale.h) in exact fractions: a line through (tsc, ns), with a slope of ns a tick."""

from dataclasses import dataclass
from fractions import Fraction

SLEW_NS = 10**9


@dataclass
class Scale:
    """The line."""

    tsc: int
    ns: Fraction
    slope: Fraction

    def read(self, tsc: int) -> Fraction:
        """Its value; before its beginning, that."""
        return self.ns + max(0, tsc - self.tsc) * self.slope

    def follow(self, tsc: int, ns: int, slope: Fraction) -> "Scale":
        """The line that goes on from here when true time at tsc is ns."""
        mine = self.read(tsc)
        if mine <= ns:
            return Scale(max(tsc, self.tsc), Fraction(ns), slope)
        ahead = min(mine - ns, Fraction(SLEW_NS, 2))
        return Scale(max(tsc, self.tsc), mine, slope * (1 - ahead / SLEW_NS))
