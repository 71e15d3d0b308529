"""`xenproc bench bvt`: shares, lag and wake-ups under Borrowed Virtual Time on real processes, and what the scheduler costs.

Each experiment has a hypervisor of its own, on one of the host's CPUs or on two, so that nothing else of the run is awake beside it. Its
figures are read from the record of every decision, the domains' own clocks, and the kernel's count of CPU time.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import xenproc
from xenproc.bench import bvt_guests, bvt_lag
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.placement import Placement, resolve, usable
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite
from xenproc.dom0 import registry, schedule
from xenproc.dom0.trace import Recording
from xenproc.errors import XenprocError
from xenproc.native import lib

MS, S = 1_000_000, 1_000_000_000
MEASURE_MS = 10_000
BOUND_NS = lib.XP_SCHED_ALLOWANCE_NS + lib.XP_SCHED_MCU_NS
WARP = "200ms"
IDLE_MEMORY = "64K"
LIMIT_S = 120.0
Values = dict[str, float]


class Experiment:
    """Something that is done once and gives several numbers; what went wrong is said again to each who asks."""

    def __init__(self, do: Callable[[int], Values]) -> None:
        """do: measures for so many ms."""
        self.do = do
        self._found: Values | None = None
        self._error: str | None = None

    def value(self, name: str, ms: int) -> float:
        """Return one of its numbers. Raises BenchError."""
        if self._found is None and self._error is None:
            try:
                self._found = self.do(ms)
            except (BenchError, XenprocError, OSError) as error:
                self._error = str(error) or type(error).__name__
        if self._found is None:
            raise BenchError(self._error or "nothing was measured")
        return self._found[name]


class Figure:
    """One number of an experiment as a case."""

    isolation = None

    def __init__(self, experiment: Experiment, name: str) -> None:
        self.experiment = experiment
        self.name = name

    def start(self, placement: Placement) -> None:
        """Nothing to make."""

    def round(self, n: int) -> Sample:
        """Do the experiment, for n ms, or read what it gave."""
        return Sample(1, value=self.experiment.value(self.name, n))

    def stop(self) -> None:
        """Nothing to end."""


@contextlib.contextmanager
def machine(isolation: str, scheduler: str | None, cpus: list[int], memory: str = "256M") -> Iterator[Any]:
    """A hypervisor for one experiment."""
    hv = xenproc.Hypervisor(memory, isolation=isolation, scheduler=scheduler, cpus=cpus, preload=["xenproc.bench.bvt_guests"])
    try:
        yield hv
    finally:
        hv.close()


def hogs(hv: Any, weights: list[int], guest: Callable[..., Any] = bvt_guests.hog) -> list[Any]:
    """Create a domain for each weight, and wait until CPUs are contended."""
    made = [hv.create(guest, weight=weight, memory="1M", timeout=LIMIT_S) for weight in weights]
    contention(hv)
    return made


def contention(hv: Any, limit_s: float = 20) -> None:
    """Wait until more domains want to run than there are CPUs. Raises BenchError."""
    end = time.monotonic() + limit_s
    while not hv.info()["scheduler"]["contended"]:
        if time.monotonic() > end:
            raise BenchError(f"CPUs were not contended within {limit_s} s")
        time.sleep(0.01)


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process, all its threads."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def wait(ms: float) -> None:
    """Let so much time pass: what is measured is what happens meanwhile."""
    time.sleep(ms / 1000)


# ---- shares and lag ----

def shares(isolation: str, cpus: list[int], weights: list[int], ms: int, blocker: int | None = None) -> Values:
    """Hogs of these weights, one of which may sleep at random: lag and shares from the record of every charge."""
    with machine(isolation, "bvt", cpus) as hv:
        client = registry.connect(hv.pid)
        try:
            with Recording(client, ("sched",)) as recording:
                # All begin at once: one who comes later is set back to where the last of the others is.
                start = time.monotonic_ns() + len(weights) * 100 * MS
                doms = [
                    hv.create(bvt_guests.naps, start, i, weight=weight, memory="1M") if i == blocker
                    else hv.create(bvt_guests.hog, start, weight=weight, memory="1M")
                    for i, weight in enumerate(weights)
                ]
                contention(hv)
                end = time.monotonic() + ms / 1000
                while (left := end - time.monotonic()) > 0:
                    wait(1000 * min(left, 0.2))
                    recording.collect()
        finally:
            client.close()
    if recording.lost:
        raise BenchError(f"{recording.lost} records were lost")
    of = {dom.domid: weight for dom, weight in zip(doms, weights, strict=True)}
    steps = schedule.of_recording(recording).steps
    lag, got, over = bvt_lag.lags(steps, of), bvt_lag.received(steps, of), bvt_lag.overruns(steps)
    if not over or not all(got.values()):
        raise BenchError("nobody's slice was ever over")
    total = sum(got.values())
    # How far what was carried out is from what was decided: slices that end late, CPU time used out of turn.
    jitter = over[-1] + bvt_lag.out_of_turn(steps)
    return {
        "lag_ms": max(lag.values()) / MS,
        "jitter_ms": jitter / MS,
        "lag_over_bound": max(lag.values()) / (BOUND_NS + jitter),
        "blocker_over_bound": lag[doms[blocker].domid] / (BOUND_NS + jitter) if blocker is not None else 0.0,
        "share_error": max(abs(got[domid] / total * sum(weights) / weight - 1) for domid, weight in of.items()),
    }


# ---- wake-ups ----

def p99(late: list[int]) -> float:
    """Return the 99th percentile, in ms."""
    return sorted(late)[min(len(late) - 1, len(late) * 99 // 100)] / MS


def work_s(nr_hogs: int, period_s: float) -> float:
    """Return for how long the sleeper computes at each wake-up: half its share, at most 0.2 ms."""
    return min(0.0002, period_s / (nr_hogs + 1) / 2)


def wakes(isolation: str, cpu: int, nr_hogs: int, period_s: float, ms: int, scheduler: str = "bvt", warp: str | None = None) -> Values:
    """A sleeper beside hogs on one CPU: how long it waits for the CPU, from the moment it is to wake until it has done a little."""
    with machine(isolation, scheduler, [cpu]) as hv:
        hogs(hv, [256] * nr_hogs)
        given = {} if warp is None else {"warp": warp}
        late = hv.create(bvt_guests.sleeper, max(20, int(ms / 1000 / period_s)), period_s, work_s(nr_hogs, period_s), memory="1M",
                         timeout=LIMIT_S, **given)
        return {"p99_ms": p99(late.wait(LIMIT_S))}


def bare(cpu: int, nr_hogs: int, period_s: float, ms: int) -> Values:
    """The same without any of ours: a process in a real-time class beside ordinary ones."""
    def command(*args: object) -> list[str]:
        return [sys.executable, "-m", "xenproc.bench.bvt_guests", *map(str, args)]

    others = [subprocess.Popen(command("hog", cpu)) for _ in range(nr_hogs)]
    try:
        n = max(20, int(ms / 1000 / period_s))
        sleeper = command("sleeper", cpu, n, period_s, work_s(nr_hogs, period_s))
        done = subprocess.run(sleeper, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode:
            raise BenchError(f"a bare real-time process: {done.stderr.strip().splitlines()[-1:]}")
        return {"p99_ms": p99(json.loads(done.stdout))}
    except subprocess.TimeoutExpired as error:
        raise BenchError(str(error)) from None
    finally:
        for process in others:
            process.kill()
            process.wait()


# ---- throughput and cost ----

def work(isolation: str, scheduler: str | None, cpus: list[int], nr: int, ms: int) -> Values:
    """Many domains that compute at the same time: pieces of work in all of them together."""
    with machine(isolation, scheduler, cpus) as hv:
        made: list[Any] = []
        start = time.monotonic_ns() + nr * 60 * MS + S
        for _ in range(nr):
            made.append(hv.create(bvt_guests.counter, start, start + ms * MS, memory="64K", cpus=cpus, timeout=LIMIT_S))
        if time.monotonic_ns() > start:
            raise BenchError(f"{nr} domains were not there in time")
        return {"pieces": float(sum(dom.wait(LIMIT_S) for dom in made))}


def throughput(isolation: str, cpus: list[int], nr: int, ms: int) -> Values:
    """Ours beside the host's kernel alone, twice each in turn."""
    def both() -> tuple[float, float]:
        return work(isolation, "bvt", cpus, nr, ms // 2)["pieces"], work(isolation, None, cpus, nr, ms // 2)["pieces"]

    first, second = both(), both()
    return {"ratio": (first[0] + second[0]) / (first[1] + second[1])}


def busy_cost(isolation: str, cpu: int, nr: int, ms: int) -> Values:
    """The hypervisor's whole process, while so many hogs share a CPU."""
    with machine(isolation, "bvt", [cpu]) as hv:
        hogs(hv, [256] * nr)
        return {"pct": _cost(hv.pid, ms)}


def idle_cost(isolation: str, cpu: int, nr: int, ms: int) -> Values:
    """The same while all sleep."""
    with machine(isolation, "bvt", [cpu], memory="512M") as hv:
        for _ in range(nr):
            hv.create(_asleep, memory=IDLE_MEMORY, timeout=LIMIT_S)
        wait(1000)
        return {"pct": _cost(hv.pid, ms)}


def _asleep(g: Any) -> None:
    g.shutdown_request(timeout=None)


def _cost(pid: int, ms: int) -> float:
    before, begin = cpu_ns(pid), time.monotonic_ns()
    wait(ms)
    return 100 * (cpu_ns(pid) - before) / (time.monotonic_ns() - begin)


# ---- the suite ----

def suite(plan: Plan) -> Suite:
    """Return the entries and their targets. --trips: ms that each experiment measures."""
    made = Suite(plan)
    cpus, how = usable(), plan.isolation
    # The last CPU is the domains'; this process and whatever else runs here keep the others.
    cpu = cpus[-1]
    ms = plan.trips or MEASURE_MS

    def add(name: str, experiment: Experiment, number: str, unit: str = "", kind: str = "own", **bound: float) -> str:
        entry = Entry(name, kind, Figure(experiment, number), resolve("free"), unit=unit, n=ms, rounds=1)
        made.add(entry)
        made.ratios.append(Ratio(name, ((entry.key, None),), **bound))
        return entry.key

    one = Experiment(lambda n: shares(how, [cpu], [1, 2, 4], n))
    add("lag_over_bound_max", one, "lag_over_bound", at_most=1.0)
    add("share_error_max", one, "share_error", at_most=0.01)
    add("lag_ms", one, "lag_ms", "ms")
    add("jitter_ms", one, "jitter_ms", "ms")
    blocking = Experiment(lambda n: shares(how, [cpu], [1, 2, 4], n, blocker=1))
    add("lag_blocking_over_bound", blocking, "blocker_over_bound", at_most=1.0)
    two = Experiment(lambda n: shares(how, cpus[:2], [4, 4, 2, 2, 1, 1], n))
    throughput_128 = Experiment(lambda n: throughput(how, cpus[:2], 128, n))
    if len(cpus) > 1:
        add("lag_over_bound_two_cpus", two, "lag_over_bound", at_most=1.0)
        add("jitter_two_cpus_ms", two, "jitter_ms", "ms")
        add("share_error_two_cpus", two, "share_error", at_most=0.01)
        add("throughput_128", throughput_128, "ratio", at_least=0.99)
    else:
        made.missing["throughput_128"] = made.missing["lag_over_bound_two_cpus"] = "this host has one CPU"
    fifo = add("wake_p99_fifo_ms", Experiment(lambda n: bare(cpu, 4, 0.005, n)), "p99_ms", "ms", kind="peer")
    warp = add("wake_p99_warp_ms", Experiment(lambda n: wakes(how, cpu, 4, 0.005, n, warp=WARP)), "p99_ms", "ms", at_most=1.0)
    made.ratios.append(Ratio("wake_p99_warp_over_fifo", ((warp, fifo),), at_most=2.0))
    add("wake_p99_plain_ms", Experiment(lambda n: wakes(how, cpu, 4, 0.005, n)), "p99_ms", "ms")
    add("wake_p99_rr_ms", Experiment(lambda n: wakes(how, cpu, 4, 0.005, n, scheduler="rr")), "p99_ms", "ms")
    add("wake_p99_128_ms", Experiment(lambda n: wakes(how, cpu, 127, 0.01, n, warp=WARP)), "p99_ms", "ms", at_most=2.0)
    add("wake_p99_128_plain_ms", Experiment(lambda n: wakes(how, cpu, 127, 0.01, n)), "p99_ms", "ms")
    add("dispatcher_cpu_pct", Experiment(lambda n: busy_cost(how, cpu, 8, n)), "pct", "%", at_most=0.5)
    # At the defaults of --domains and --trips: 1,000 for a minute.
    add("dispatcher_idle_pct", Experiment(lambda n: idle_cost(how, cpu, 2 * plan.domains, 6 * n)), "pct", "%", at_most=0.1)
    return made
