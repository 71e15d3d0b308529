"""Simulated CPUs for the scheduler's core: entities that compute and sleep as generators say, time that jumps to what comes next.

The C core decides; what each got, how long each waited, and how far each is behind its share is written down here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from xenproc.native import ffi, lib

US, MS, S = 1_000, 1_000_000, 1_000_000_000
C, MCU = 5 * MS, 100 * US
FOREVER = lib.XP_SCHED_FOREVER


def hog() -> Iterator[tuple[int, int]]:
    """Compute for ever."""
    while True:
        yield FOREVER // 4, 0


def naps(run_ns: int, sleep_ns: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """Compute, sleep, and so on; first: sleep before that."""
    yield 0, first
    while True:
        yield run_ns, sleep_ns


@dataclass
class Task:
    """One entity: turns of (ns to compute, ns to sleep then)."""

    weight: int
    turns: Iterator[tuple[int, int]] = field(default_factory=hog)
    warp: tuple[int, int, int] = (0, 0, 0)
    got: int = 0                # CPU time
    left: int = 0               # to compute in this turn
    nap: int = 0                # to sleep after it
    tag: float = 0.0            # virtual time that it has had, of the ideal
    woke: int | None = None     # since when it waits for its first moment after waking
    waited_since: int | None = None
    waits: list[int] = field(default_factory=list)      # from waking to running
    longest: int = 0            # ever waited for a CPU
    most_behind: float = float("-inf")                  # in ns of CPU time


class Machine:
    """CPUs, tasks, and an ideal that gives every one its share at every instant."""

    def __init__(self, tasks: list[Task], nr_cpus: int = 1, kind: str = "bvt", check=None):
        self.tasks, self.nr_cpus, self.check = tasks, nr_cpus, check
        self.sched = ffi.new("struct xp_sched *")
        assert lib.xp_sched_init(self.sched, lib.xp_sched_class_named(kind.encode()), nr_cpus, ffi.NULL) == 0
        self.entities = ffi.new("struct xp_sched_entity[]", len(tasks))
        self.now = 0
        self.ideal = 0.0
        self.ends = [FOREVER] * nr_cpus
        self.wakes: list[tuple[int, int]] = []
        self.decisions = self.switches = 0
        self.running: list[int | None] = [None] * nr_cpus
        self.history: list[tuple[int, int, int, int]] = []      # (cpu, who, from, to)
        for i, task in enumerate(tasks):
            params = ffi.new("struct xp_sched_params *", (task.weight, *task.warp))
            assert lib.xp_sched_add(self.sched, self.entities + i, params, 0) == 0
            self.turn(i)
        for i, task in enumerate(tasks):
            if task.left:
                self.wake(i)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *args) -> None:
        lib.xp_sched_free(self.sched)

    def turn(self, i: int) -> None:
        """The task's next turn; one without work is a sleep."""
        task = self.tasks[i]
        task.left, task.nap = next(task.turns)
        if not task.left:
            heapq.heappush(self.wakes, (self.now + task.nap, i))

    def decide(self, cpu: int) -> None:
        """As the core says, until no CPU is left to decide."""
        while cpu >= 0:
            choice = lib.xp_sched_decide(self.sched, cpu, self.now)
            self.decisions += 1
            who = None if choice.next == ffi.NULL else int(choice.next - self.entities)
            self.ends[cpu] = min(FOREVER, self.now + choice.slice_ns)
            if who != self.running[cpu]:
                self.switches += 1
                self.off(self.running[cpu])
                self.running[cpu] = who
                if who is not None:
                    task = self.tasks[who]
                    if task.woke is not None:
                        task.waits.append(self.now - task.woke)
                    task.longest = max(task.longest, self.now - task.waited_since)
                    task.woke = task.waited_since = None
            cpu = choice.also

    def off(self, who: int | None) -> None:
        """Lost its CPU; waits if it can still run."""
        if who is not None and self.entities[who].runnable:
            self.tasks[who].waited_since = self.now

    def wake(self, i: int) -> None:
        """Make it runnable."""
        task = self.tasks[i]
        if not task.left:
            task.left, task.nap = next(task.turns)
        task.woke = task.waited_since = self.now
        task.tag = max(task.tag, self.ideal)
        self.decide(lib.xp_sched_wake(self.sched, self.entities + i, self.now))

    def pass_time(self, until: int) -> None:
        """Those who run run; the ideal goes on."""
        ns = until - self.now
        self.now = until
        for cpu, who in enumerate(self.running):
            if who is not None and ns:
                self.tasks[who].got += ns
                self.tasks[who].left -= ns
                self.tasks[who].tag += ns / self.tasks[who].weight
                self.history.append((cpu, who, until - ns, until))
                lib.xp_sched_charge(self.sched, self.entities + who, ns, until)
        left = float(ns) * self.nr_cpus
        while left > 1e-6:          # whom the ideal owes more than they have had (or who want more) share it
            sleeping = [t for i, t in enumerate(self.tasks) if not self.entities[i].runnable and t.tag > self.ideal]
            weight = sum(t.weight for i, t in enumerate(self.tasks) if self.entities[i].runnable) + sum(t.weight for t in sleeping)
            if not weight:
                break
            step = min([left / weight, *[t.tag - self.ideal for t in sleeping]])
            self.ideal += step
            left -= max(step * weight, 1e-6)
        for i, task in enumerate(self.tasks):
            if self.entities[i].runnable:
                task.most_behind = max(task.most_behind, task.weight * (self.ideal - task.tag))

    def run(self, until: int) -> Machine:
        """To that moment."""
        while self.now < until:
            ends = [self.now + self.tasks[who].left for who in self.running if who is not None]
            self.pass_time(min([until, *self.ends, *ends, *[at for at, _ in self.wakes[:1]]]))
            if self.check:
                self.check(self)
            for cpu, who in enumerate(self.running):
                if who is not None and self.tasks[who].left == 0:
                    heapq.heappush(self.wakes, (self.now + self.tasks[who].nap, who))
                    self.decide(lib.xp_sched_sleep(self.sched, self.entities + who, self.now, True))
                elif self.now >= self.ends[cpu]:
                    self.decide(cpu)
            while self.wakes and self.wakes[0][0] <= self.now:
                self.wake(heapq.heappop(self.wakes)[1])
        return self
