"""Who runs where (native/scheduler.h, native/bvt.h) in plain Python, from the rules: lists, searches and fractions."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

UNITS = 8                   # of virtual time in a nanosecond at weight 1
REFERENCE = 256             # the weight that warps are given at
FOREVER = (1 << 63) - 1


@dataclass
class Params:
    """As Domain0 sets them; times in ns."""

    weight: int = 256
    warp_ns: int = 0
    limit_ns: int = 0
    period_ns: int = 0


@dataclass(eq=False)
class Entity:
    """What is scheduled."""

    name: int
    params: Params
    exact: Fraction                 # avt with what is below a unit
    used_ns: int = 0                # CPU time in all
    paid_ns: int = 0                # of it, as charged: whole mcus, at least used_ns
    warp_used_ns: int = 0
    warp_since: int = 0
    warped: bool = False
    runnable: bool = False
    woken: bool = False
    claims: bool = False
    cpu: int = -1
    last_cpu: int = -1
    since: int = 0
    order: int = 0

    @property
    def avt(self) -> int:
        """Compared in whole units."""
        return floor(self.exact)

    @property
    def warp(self) -> int:
        """In units, whether it is warped or not."""
        return floor(Fraction(UNITS * self.params.warp_ns, REFERENCE))

    @property
    def evt(self) -> int:
        """What it is dispatched by."""
        return self.avt - (self.warp if self.warped else 0)


@dataclass
class Cpu:
    """One of the machine's."""

    current: Entity | None = None
    horizon: int = FOREVER
    asked: bool = False


@dataclass
class Scheduler:
    """One for all CPUs. kind: bvt or rr."""

    kind: str
    nr_cpus: int
    allowance_ns: int = 5_000_000
    mcu_ns: int = 100_000
    slice_ns: int = 10_000_000
    entities: dict[int, Entity] = field(default_factory=dict)
    svt: int = 0
    orders: int = 0

    def __post_init__(self) -> None:
        self.cpus = [Cpu() for _ in range(self.nr_cpus)]

    # ---- rules ----

    def allowance(self, e: Entity) -> int:
        """C in e's own virtual time."""
        return max(1, floor(Fraction(UNITS * self.allowance_ns, e.params.weight)))

    def due(self, e: Entity) -> int:
        """The evt at which a current one makes room for e."""
        if self.kind == "rr":
            return 0
        return e.evt + (1 if e.woken else self.allowance(e))

    def waiting(self) -> list[Entity]:
        """In the order in which they are due."""
        waiting = [e for e in self.entities.values() if e.runnable and e.cpu < 0]
        return sorted(waiting, key=lambda e: (self.due(e), e.order))

    def left(self, e: Entity, first: Entity, now: int) -> int:
        """For how long e goes on while first waits."""
        if self.kind == "rr":
            return e.since + self.slice_ns - now
        if e.evt >= self.due(first):
            return 0
        # evt is exact time minus a whole warp: whole mcus until it is there, and what is paid already.
        missing = self.due(first) - (e.exact - (e.avt - e.evt))
        return self.mcu_ns * ceil(missing * e.params.weight / UNITS / self.mcu_ns) + e.paid_ns - e.used_ns

    def advance(self) -> None:
        """svt never goes back."""
        least = min((e.avt for e in self.entities.values() if e.runnable), default=self.svt)
        self.svt = max(self.svt, least)

    def set_warp(self, e: Entity, now: int) -> None:
        """A new period if the old one is over; warped while its limit is not reached."""
        p = e.params
        if self.kind == "rr":
            return
        if now >= e.warp_since + p.period_ns:
            e.warp_since, e.warp_used_ns = now, 0
        e.warped = p.warp_ns > 0 and (p.limit_ns == 0 or e.warp_used_ns < p.limit_ns)

    def owed(self, e: Entity) -> int | None:
        """The least avt that e, which runs, can have a claim to: where CPUs are several, nobody can use two."""
        ahead = self.waiting()[:1] or [c.current for c in self.cpus if c.current not in (None, e)]
        if self.nr_cpus == 1 or not ahead:
            return None
        return max(k.avt - k.warp - self.allowance(k) for k in ahead) - self.allowance(e)

    def ask(self, home: int, now: int) -> int:
        """The CPU that must look at the queue now, or -1."""
        waiting = self.waiting()
        if not waiting:
            return -1
        unasked = [i for i, c in enumerate(self.cpus) if not c.asked]
        idle = [i for i in unasked if self.cpus[i].current is None]
        late = [i for i in unasked if self.cpus[i].current is not None and self.cpus[i].horizon > self.due(waiting[0])]
        if idle:
            found = home if home in idle else idle[0]
        elif late:
            found = min(late, key=lambda i: self.left(self.cpus[i].current, waiting[0], now))
        else:
            return -1
        self.cpus[found].asked = True
        return found

    def queue(self, e: Entity) -> None:
        """Behind its equals."""
        self.orders += 1
        e.order = self.orders

    # ---- calls ----

    def add(self, name: int, params: Params, now: int) -> None:
        """Known from now on, asleep."""
        e = self.entities[name] = Entity(name, params, Fraction(self.svt), warp_since=now)
        self.set_warp(e, now)

    def remove(self, name: int, now: int) -> int:
        """Forget it."""
        cpu = self.sleep(name, now, True)
        del self.entities[name]
        return cpu

    def adjust(self, name: int, params: Params, now: int) -> None:
        """New parameters; less than a unit is dropped."""
        e = self.entities[name]
        e.params = params
        if self.kind == "bvt":
            e.exact = Fraction(e.avt)
        self.set_warp(e, now)
        self.advance()

    def wake(self, name: int, now: int) -> int:
        """Runnable: the CPU to decide, or -1."""
        e = self.entities[name]
        if e.runnable:
            return -1
        self.come_back(e)
        self.set_warp(e, now)
        e.runnable = e.woken = True
        self.advance()
        self.queue(e)
        return self.ask(e.last_cpu, now)

    def mean(self) -> int | None:
        """By weight, of those who run or wait."""
        run = [k for k in self.entities.values() if k.runnable]
        if self.kind == "rr" or not run:
            return None
        return floor(Fraction(sum(k.avt * k.params.weight for k in run), sum(k.params.weight for k in run)))

    def come_back(self, e: Entity) -> None:
        """Sleep of one's own will is not saved up."""
        mean = self.mean()
        least = self.svt if mean is None else max(self.svt, mean - self.allowance(e))
        if not e.runnable and not e.claims and e.avt < least:
            e.exact = Fraction(least)

    def room(self, name: int) -> int:
        """What others may spend for it now."""
        e = self.entities[name]
        if self.kind == "rr":
            return 10**9
        before, mean = e.exact, self.mean()
        self.come_back(e)
        avt, e.exact = e.avt, before
        units = (avt if mean is None else mean) + self.allowance(e) - avt
        return min(10**9, max(0, floor(Fraction(units * e.params.weight, UNITS))))

    def sleep(self, name: int, now: int, voluntary: bool) -> int:
        """Blocked: the CPU it left, or -1."""
        e = self.entities[name]
        if not e.runnable:
            return -1
        e.runnable = e.woken = False
        e.claims = not voluntary
        self.advance()
        return self.leave(e)

    def leave(self, e: Entity) -> int:
        """Off its CPU."""
        cpu = e.cpu
        if cpu >= 0:
            self.cpus[cpu].current, self.cpus[cpu].asked = None, True
            e.cpu, e.last_cpu = -1, cpu
        return cpu

    def charge(self, name: int, ran_ns: int, now: int) -> None:
        """It used so much: whole mcus, of which none is paid twice."""
        e = self.entities[name]
        if ran_ns <= 0:
            return
        e.used_ns += ran_ns
        if self.kind == "rr":
            return
        self.come_back(e)
        if e.warped:
            e.warp_used_ns += ran_ns
        paid = max(e.paid_ns, self.mcu_ns * ceil(Fraction(e.used_ns, self.mcu_ns)))
        e.exact += Fraction(UNITS * (paid - e.paid_ns), e.params.weight)
        e.paid_ns = paid
        if e.cpu >= 0:
            owed = self.owed(e)
            if owed is not None and e.avt < owed:
                e.exact = Fraction(owed)
        self.set_warp(e, now)
        self.advance()

    def decide(self, cpu: int, now: int) -> tuple[int | None, int, int]:
        """(who runs, for how long, which CPU to decide too)."""
        c = self.cpus[cpu]
        waiting = self.waiting()
        c.asked = False
        if waiting and (c.current is None or self.left(c.current, waiting[0], now) <= 0):
            old, chosen = c.current, waiting[0]
            if old is not None:
                self.leave(old)
                self.queue(old)
                c.asked = False
            chosen.cpu, chosen.since, chosen.woken = cpu, now, False
            c.current = chosen
            waiting = self.waiting()
        c.horizon = self.due(waiting[0]) if waiting else FOREVER
        e = c.current
        if e is None:
            return None, FOREVER, self.ask(-1, now)
        slices = [self.left(e, waiting[0], now)] if waiting else [FOREVER]
        if e.warped and e.params.limit_ns > 0:
            slices.append(e.params.limit_ns - e.warp_used_ns)
        return e.name, max(self.mcu_ns, min(slices)), self.ask(-1, now)
