"""Domain0's share of a CPU (native/host_share.h) in plain Python: what each got is kept as two virtual times, its wants as a list."""

from __future__ import annotations

from dataclasses import dataclass, field

MS = 1_000_000
UNITS = 8                       # of virtual time: a ns at weight 1


@dataclass
class Host:
    """The host of one CPU."""

    weight: int
    wants: bool = False
    host_time: int = 0          # virtual times, in units
    domains_time: int = 0
    used: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)      # (got, used) that do not say yet whether it wants more

    def anew(self) -> None:
        self.wants, self.seen, self.host_time, self.domains_time = False, [], 0, 0

    @property
    def lead(self) -> int:
        return self.host_time - self.domains_time

    def nothing_saved_up(self) -> None:
        behind = UNITS * 200 * MS // self.weight if self.wants else 0
        self.host_time = max(self.host_time, self.domains_time - behind)

    def domains(self, ns: int, weight: int) -> None:
        if weight:
            self.domains_time += UNITS * ns // weight
            self.nothing_saved_up()

    def host(self, got: int, used: int) -> None:
        self.seen.append((got, used))
        all_got, all_used = (sum(column) for column in zip(*self.seen, strict=True))
        if all_used * 8 > max(all_got, MS):
            self.wants, self.seen = True, []
        elif all_got >= 7.5 * MS:
            self.wants, self.seen = False, []
        self.used += used
        self.host_time += UNITS * used // self.weight
        self.nothing_saved_up()

    def owed(self) -> int:
        return max(0, -self.lead) // UNITS * self.weight

    def turn(self) -> int:
        ns = self.owed() if self.wants else 0
        return 0 if ns < MS // 2 else min(ns, 5 * MS)

    def next(self, weight: int, period: int) -> int:
        """After a turn that was cut to 5 ms: the domains' part beside one turn, and none of it for what it is behind by even so."""
        if not self.turn():
            return period
        beside = max(0, 5 * MS - max(0, self.owed() - 5 * MS))
        return min(period, max(MS, beside * weight // self.weight))
