"""Histogram, clock and measuring loops in C: against sorting, and both ends at once, plain and under the sanitizers."""

import pytest

from native import cc

SOURCES = ["benchloops.c", "hist.c", "tick.c", "direct.c", "gtrace.c", "trace.c", "sem.c", "spin.c"]


@pytest.fixture(params=["plain", "address", "thread"])
def driver(request, tmp_path):
    """The driver, built with one sanitizer."""
    name = "bench_loops-tsan" if request.param == "thread" else "bench_loops"
    flags = cc.SANITIZERS[request.param]
    return cc.compile([*SOURCES, cc.HERE / "bench_loops.c"], flags, tmp_path / name)


@pytest.mark.parametrize("seed", [1, 2])
def test_percentiles_of_random_values(driver, seed):
    assert "50000 values" in cc.run(driver, "hist", seed, 50_000)


def test_both_ends_of_every_loop(driver):
    assert "200 round trips of 6 kinds" in cc.run(driver, "loops", 200)
