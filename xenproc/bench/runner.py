"""Runs limits, peers and our own cases in interleaved rounds: a shared machine's mood hits them all alike.

Owns the order of things and the list of what could not be measured, each with its reason. Nothing here
knows what a case does (case.py). 1. At most one case is awake at a time. 2. A case that fails is stopped,
listed, and the others go on. 3. No case spins with more parties than its placement has CPUs, unless it is
there to show just that.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from xenproc.bench.case import BenchError, Case, Sample
from xenproc.bench.placement import Placement
from xenproc.errors import XenprocError

AIM_S = 0.02
FIRST_N = 64
MOST_N = 1_000_000

Progress = Callable[[int, int, str], None]


@dataclass
class Entry:
    """One case under one placement, and how to report it."""

    name: str
    kind: str
    case: Case
    placement: Placement
    mode: str = "block"
    unit: str = "us"
    spinners: int = 0
    crowded: bool = False
    n: int | None = None
    rounds: int | None = None

    @property
    def key(self) -> str:
        """What tells this entry from all others of a run."""
        return f"{self.name}/{self.mode}/{self.placement.name}"


@dataclass
class Run:
    """What was measured: for each key its samples in order of rounds."""

    entries: list[Entry]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    started_s: float = 0.0
    ended_s: float = 0.0


def run(entries: list[Entry], rounds: int, progress: Progress | None = None, seed: int = 1) -> Run:
    """Start every entry, measure all of them in each of `rounds` rounds in shuffled order, stop them."""
    keys = [entry.key for entry in entries]
    if len(set(keys)) != len(keys):
        raise ValueError(f"two entries share a key: {sorted(key for key in keys if keys.count(key) > 1)}")
    result = Run(entries, started_s=time.time())
    tell = progress or (lambda done, total, text: None)
    order = random.Random(seed)
    alive: list[Entry] = []
    lengths: dict[str, int] = {}
    try:
        for number, entry in enumerate(entries):
            tell(number, len(entries), f"starting {entry.key}")
            if _attempt(result, alive, entry, partial(_start, entry, lengths)):
                alive.append(entry)
                result.samples[entry.key] = []
        total = sum(min(rounds, entry.rounds or rounds) for entry in alive)
        done = 0
        for number in range(rounds):
            due = [entry for entry in alive if number < (entry.rounds or rounds)]
            order.shuffle(due)
            for entry in due:
                tell(done, total, f"round {number + 1} of {rounds}: {entry.key}")
                _attempt(result, alive, entry, partial(_round, result, entry, lengths))
                done += 1
        tell(total, total, "done")
    finally:
        for entry in reversed(entries):
            _stop(result, entry)
    result.ended_s = time.time()
    return result


def _start(entry: Entry, lengths: dict[str, int]) -> None:
    """Start a case, warm it up, and find how many operations make a round of AIM_S."""
    seats = entry.placement.seats()
    if entry.spinners > seats and not entry.crowded:
        raise BenchError(
            f"{entry.spinners} parties that poll need as many CPUs; {entry.placement.name} has {seats}"
        )
    entry.case.start(entry.placement)
    if entry.n:
        entry.case.round(entry.n)
        lengths[entry.key] = entry.n
        return
    # The largest guess: a try that something else got in the way of guesses low, and so does a short one.
    n = best = FIRST_N
    for guess in range(3):
        before = time.perf_counter()
        sample = entry.case.round(n)
        took = sample.took_s or time.perf_counter() - before
        if sample.hist is not None:
            # What most operations take, whatever held up a few of them.
            took = min(took, sample.middle() * 1e-9 * n * (1 if sample.fast is None else 2))
        n = max(1, min(MOST_N, int(n * AIM_S / took))) if took > 0 else MOST_N
        best = n if guess == 0 else max(best, n)
    lengths[entry.key] = best


def _round(result: Run, entry: Entry, lengths: dict[str, int]) -> None:
    sample = entry.case.round(lengths[entry.key])
    sample.middle()
    result.samples[entry.key].append(sample)


def _attempt(result: Run, alive: list[Entry], entry: Entry, action: Callable[[], None]) -> bool:
    """Do the action; if it fails, list the entry as missing and stop it. Returns whether it went well."""
    try:
        action()
        return True
    except (BenchError, XenprocError, OSError, ImportError) as error:
        result.missing[entry.key] = str(error) or type(error).__name__
        result.samples.pop(entry.key, None)
        if entry in alive:
            alive.remove(entry)
        _stop(result, entry)
        return False


def _stop(result: Run, entry: Entry) -> None:
    try:
        entry.case.stop()
    except (BenchError, XenprocError, OSError) as error:
        result.missing.setdefault(entry.key, f"measured, but could not be stopped: {error}")
