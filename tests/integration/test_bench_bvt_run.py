"""The experiments of bench bvt, each for a moment: they measure what they say and leave nothing."""

import os

import pytest
from helpers import require

from xenproc.bench import bvt
from xenproc.bench.case import BenchError


@pytest.fixture
def cpu():
    """The CPU that domains are scheduled on."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        require(False, "real-time scheduling classes")
    os.sched_setscheduler(0, *before)
    return sorted(os.sched_getaffinity(0))[-1]


def test_shares_and_lag(cpu):
    found = bvt.shares("auto", [cpu], [1, 2], 700)
    assert 0 < found["lag_ms"] < 50 and 0 <= found["jitter_ms"] < 50 and found["share_error"] < 0.2
    found = bvt.shares("auto", [cpu], [2, 1, 1], 700, blocker=1)
    assert 0 <= found["blocker_over_bound"] < 10


def test_wake_ups_beside_hogs(cpu):
    for more in ({"warp": "200ms"}, {"scheduler": "rr"}):
        assert 0 < bvt.wakes("auto", cpu, 2, 0.005, 150, **more)["p99_ms"] < 1000
    assert 0 < bvt.bare(cpu, 1, 0.005, 150)["p99_ms"] < 1000


def test_work_and_cost(cpu):
    assert bvt.work("auto", "bvt", [cpu], 3, 200)["pieces"] > 100
    assert 0 < bvt.busy_cost("auto", cpu, 2, 300)["pct"] < 50
    assert 0 <= bvt.idle_cost("auto", cpu, 5, 200)["pct"] < 50


def test_a_bare_process_that_fails_is_said(monkeypatch, cpu):
    monkeypatch.setattr(bvt.sys, "executable", "/bin/false")
    with pytest.raises(BenchError, match="a bare real-time process"):
        bvt.bare(cpu, 0, 0.005, 100)


def test_without_contention_there_is_nothing_to_measure(own_machine, cpu):
    with pytest.raises(BenchError, match=r"not contended within 0\.05 s"):
        bvt.contention(own_machine(scheduler="bvt", cpus=1), 0.05)
