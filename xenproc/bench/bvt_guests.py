"""What the domains of `bench bvt` run, and the same as bare processes: `python -m xenproc.bench.bvt_guests hog|sleeper ...`."""

import json
import os
import random
import sys
import time
from typing import Any


def until(moment_ns: int) -> None:
    """Sleep until a moment of the monotonic clock."""
    while (left := moment_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def hog(g: Any, start_ns: int = 0) -> None:
    """Compute from then on until the end."""
    until(start_ns)
    while True:
        for _ in range(10_000):
            pass


def compute(seconds: float) -> None:
    """Compute for so long, by the process's own clock."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def naps(g: Any, start_ns: int, seed: int) -> None:
    """Compute and sleep, each for a random time of up to 20 ms, from then on until the end; first compute for long enough to be seen."""
    until(start_ns)
    compute(0.3)
    chance = random.Random(seed)
    while True:
        compute(chance.uniform(0.0001, 0.02))
        time.sleep(chance.uniform(0.0001, 0.02))


def sleeper(g: Any, n: int, period_s: float, work_s: float) -> list[int]:
    """Sleep and wake n times, at fixed moments, and compute for work_s each time; return how long each kept waiting for a CPU, in ns."""
    late = []
    at = time.monotonic_ns() + 50_000_000
    for _ in range(n):
        until(at)
        used = time.process_time_ns()
        compute(work_s)
        late.append(max(0, time.monotonic_ns() - at - (time.process_time_ns() - used)))
        at += round(period_s * 1e9)
    return late


def counter(g: Any, start_ns: int, end_ns: int) -> int:
    """Return how many pieces of work were done between two moments of the monotonic clock; computes from a little before them."""
    until(start_ns - 300_000_000)
    done = 0
    while True:
        for _ in range(2_000):
            pass
        now = time.monotonic_ns()
        if now > end_ns:
            return done
        done += now > start_ns


def main() -> None:
    """Run as a bare process, on one CPU: `hog CPU`, or `sleeper CPU N PERIOD WORK` in a real-time class, printing its result."""
    what, cpu, *rest = sys.argv[1:]
    os.sched_setaffinity(0, [int(cpu)])
    if what == "sleeper":
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        json.dump(sleeper(None, int(rest[0]), float(rest[1]), float(rest[2])), sys.stdout)
    else:
        hog(None)


if __name__ == "__main__":
    main()
