"""What a benchmark is: a plan from the command line in, entries to run and ratios to form out. Pure but for the host's CPUs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from xenproc.bench import limits, peers
from xenproc.bench.case import BenchError
from xenproc.bench.party import PairCase
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.errors import EnvironmentLacks

# Blocking waits are measured at both, polling where two can run.
AUTO = {"poll": ("two",), "adaptive": ("one", "two"), "block": ("one", "two")}


@dataclass(frozen=True)
class Plan:
    """What was asked for. mode None: all that the targets need."""

    mode: str | None = None
    rounds: int = 20
    trips: int | None = None
    size: int = 16
    batch: int = 32
    rate: int = 10_000
    placement: str = "auto"
    isolation: str = "auto"
    cooperative: bool = False
    domains: int = 500
    sets: int = 64
    ways: int = 4

    def wants(self, mode: str) -> bool:
        """Is this way of waiting part of the run?"""
        return self.mode in (None, mode)


@dataclass
class Suite:
    """Entries in the order they are started, the ratios asked of them, and what cannot be measured here."""

    plan: Plan
    entries: list[Entry] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    paper: dict[str, tuple[str, float, float]] = field(default_factory=dict)    # row -> (table, native Linux, Xen), us

    def places(self, mode: str) -> Iterator[Placement]:
        """Yield the placements of one way of waiting; nothing if the plan leaves it out."""
        if not self.plan.wants(mode):
            return
        if self.plan.placement != "auto":
            yield resolve(self.plan.placement)
            return
        for name in AUTO[mode]:
            try:
                yield resolve(name)
            except EnvironmentLacks as error:
                self.missing[f"placement {name}"] = str(error)

    def add(self, entry: Entry) -> None:
        """Append an entry; the plan's number of operations is its."""
        if entry.n is None:
            entry.n = self.plan.trips
        self.entries.append(entry)

    def add_cache_line(self) -> None:
        """The limit of polling: two lines as a ring has them, and one."""
        for place in self.places("poll"):
            for same in (False, True):
                ends = limits.CacheLine(same)
                self.add(Entry(ends.name, "limit", PairCase(ends), place, "poll", spinners=2))

    def add_semaphore(self) -> None:
        """The limit of blocking."""
        for place in self.places("block"):
            self.add(Entry("semaphore", "limit", PairCase(limits.Semaphore()), place))

    def add_peers(self, names: tuple[str, ...], modes: tuple[str, ...] = ("poll", "block")) -> None:
        """Round trips of the peers, each way of waiting."""
        for mode in modes:
            for place in self.places(mode):
                for name in names:
                    case = PairCase(peers.PEERS[name](mode, max(self.plan.size, 16)), strides=mode == "poll")
                    spinners = 2 if mode == "poll" else 0
                    self.add(Entry(name, "peer", case, place, mode, spinners=spinners))

    def pairs(self, over: str, under: str, mode: str) -> tuple[tuple[str, str], ...]:
        """The keys of two entries at each placement where both are in the run."""
        keys = {entry.key for entry in self.entries}
        names = [place.name for place in self.places(mode)]
        found = ((f"{over}/{mode}/{name}", f"{under}/{mode}/{name}") for name in names)
        return tuple((a, b) for a, b in found if a in keys and b in keys)

    def ratio(self, name: str, over: str, under: str, mode: str, **bound: float) -> None:
        """Ask for over/under; the worst placement stands for all, and each stands beside it if there are several."""
        pairs = self.pairs(over, under, mode)
        if not pairs:
            if self.plan.wants(mode):
                self.missing[name] = f"{over} and {under} are not both part of this run"
            return
        self.ratios.append(Ratio(name, pairs, **bound))
        if len(pairs) > 1:
            for pair in pairs:
                self.ratios.append(Ratio(f"{name}_{pair[0].rpartition('/')[2]}", (pair,), **bound))

    def number(self, name: str, of: str, mode: str, scale: float = 1.0, **bound: float) -> None:
        """Ask for one entry's own number, the worst placement's."""
        keys = {entry.key for entry in self.entries}
        wanted = (f"{of}/{mode}/{place.name}" for place in self.places(mode))
        found = tuple((key, None) for key in wanted if key in keys)
        if found:
            self.ratios.append(Ratio(name, found, scale=scale, **bound))
        elif self.plan.wants(mode):
            self.missing[name] = f"{of} is not part of this run"


def check(plan: Plan) -> None:
    """Refuse a plan that no suite can run. Raises BenchError, ConfigError or EnvironmentLacks."""
    if plan.rounds < 1 or (plan.trips is not None and plan.trips < 1):
        raise BenchError("rounds and trips: expected 1 or more")
    if not 1 <= plan.batch <= 64:
        raise BenchError(f"batch: expected 1 to 64 requests, got {plan.batch}")
    if plan.size < 16 or plan.size % 8 or plan.size > 1024:
        raise BenchError(f"size: expected 16 to 1024 bytes in eights, got {plan.size}")
    if plan.placement != "auto":
        resolve(plan.placement)
