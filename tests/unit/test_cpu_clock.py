"""The clock of another process's CPU time: exact when it has been counted (native/cpu_class.h)."""

import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from helpers import require

from xenproc.native import ffi, lib

READS = 100
STEP_NS = 400_000       # well below a tick of the kernel's: 1 to 10 ms


@pytest.fixture
def spinner():
    """The pid of a process that computes on another CPU than this thread's, which is pinned meanwhile, and gives it to nobody."""
    own = os.sched_getaffinity(0)
    require(len(own) > 1, "two CPUs")
    here, there = sorted(own)[:2]
    child = subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{there}]); print(flush=True)\nwhile True: pass"],
                             stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        try:
            os.sched_setscheduler(child.pid, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            require(False, "real-time scheduling classes")
        os.sched_setaffinity(0, [here])
        yield child.pid
    finally:
        os.sched_setaffinity(0, own)
        child.kill()
        child.wait()
        child.stdout.close()


def spread(pid, count):
    """Return by how many ns CPU time read and time passed differ from one read to the next, in the middle of many."""
    found = []
    for _ in range(READS):
        until = time.monotonic_ns() + STEP_NS
        while time.monotonic_ns() < until:
            pass
        count()
        found.append(time.monotonic_ns() - time.clock_gettime_ns((~pid << 3) | 2))
    steps = sorted(abs(b - a) for a, b in pairwise(found))
    return steps[len(steps) // 2]


def test_counted_it_is_exact(spinner):
    """What is read follows what was used from one read to the next; uncounted, it stands still between two ticks."""
    process = ffi.new("struct xp_classed *")
    assert lib.xp_class_open(process, spinner, -1) == 0
    try:
        before = os.sched_getscheduler(spinner)
        exact, plain = spread(spinner, lambda: lib.xp_class_count(process)), spread(spinner, lambda: None)
    finally:
        lib.xp_class_close(process)
    assert os.sched_getscheduler(spinner) == before
    assert exact < 100_000, exact
    assert plain > 2 * exact, (exact, plain)


def test_one_that_is_gone_is_nobody():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ffi.new("struct xp_classed *")
    assert lib.xp_class_open(process, child.pid, -1) == 0
    child.communicate(b"")
    lib.xp_class_count(process)
    lib.xp_class_close(process)
