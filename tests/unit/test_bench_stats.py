"""Intervals against brute force, placements against the host, ratios against their bounds."""

import os
import random
from math import comb
from statistics import median

import pytest

from xenproc.bench import placement, stats
from xenproc.errors import ConfigError, EnvironmentLacks


@pytest.mark.parametrize("n", range(1, 80))
def test_rank_is_the_narrowest_that_still_holds(n):
    """The median stands between the k-th and the (n+1-k)-th value unless fewer than k fall on one side."""
    interval = stats.median_interval(list(range(n)))

    def coverage(k: int) -> float:
        return 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n

    if interval is None:
        assert coverage(1) < 0.95 and n < stats.FEWEST
        return
    k = interval[0] + 1
    assert interval == (k - 1, n - k)
    assert coverage(k) >= 0.95
    assert coverage(k + 1) < 0.95 or k + 1 > n - k


def test_the_interval_encloses_the_true_median_nineteen_times_in_twenty():
    rng = random.Random(7)
    hits = 0
    for _ in range(2000):
        low, high = stats.median_interval([rng.expovariate(1) for _ in range(15)])
        hits += low <= 0.6931 <= high
    assert hits / 2000 >= 0.94


def test_paired_ratio_cancels_what_both_rounds_share():
    rng = random.Random(3)
    mood = [rng.uniform(1, 10) for _ in range(20)]
    over = [m * 1.4 * rng.uniform(0.99, 1.01) for m in mood]
    under = [m * rng.uniform(0.99, 1.01) for m in mood]
    value, (low, high) = stats.summary(stats.paired_ratios(over, under))
    assert 1.38 < low <= value <= high < 1.42
    assert abs(median(over) / median(under) - 1.4) < 1


@pytest.mark.parametrize("over, under", [([1.0], [1.0, 2.0]), ([1.0, 1.0], [1.0, 0.0])])
def test_ratios_that_mean_nothing_are_refused(over, under):
    with pytest.raises(ValueError):
        stats.paired_ratios(over, under)


def test_one_and_two():
    cpus = placement.usable()
    assert placement.resolve("one").cpus == (cpus[0], cpus[0])
    assert placement.resolve("one").seats() == 1
    assert placement.resolve("free").cpus is None
    assert placement.resolve("free").seats() == len(cpus)
    text = f"{cpus[-1]},{cpus[0]}"
    assert placement.resolve(text).cpus == (cpus[-1], cpus[0])
    assert placement.resolve(text).name == text


@pytest.mark.skipif(len(placement.usable()) < 2, reason="this host gives one CPU")
def test_two_are_two():
    first, second = placement.resolve("two").cpus
    assert first != second and {first, second} <= set(placement.usable())


@pytest.mark.parametrize("text", ["three", "1", "0,0,0", "0,x", "0,99999", "-1,0", ""])
def test_bad_placements_say_what_was_expected(text):
    with pytest.raises(ConfigError, match="placement"):
        placement.resolve(text)


def test_two_on_one_cpu_is_the_environments_fault():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with pytest.raises(EnvironmentLacks, match="needs 2 CPUs"):
            placement.resolve("two")
    finally:
        os.sched_setaffinity(0, before)


def test_near_pair_prefers_other_cores_behind_the_same_cache(monkeypatch):
    wiring = {0: ("0", "0-3", "0,1"), 1: ("0", "0-3", "0,1"), 2: ("1", "4-7", "2"), 3: ("0", "0-3", "3")}
    monkeypatch.setattr(placement, "_wiring", wiring.__getitem__)
    assert placement._near_pair([0, 1, 2, 3]) == (0, 3)
    assert placement._near_pair([0, 1, 2]) == (0, 2)
    assert placement._near_pair([0, 1]) == (0, 1)
