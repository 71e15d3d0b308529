"""What Borrowed Virtual Time promises, in simulated time: lag, shares, wake-ups, warp, several CPUs, a year."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import FOREVER, MCU, MS, US, C, Machine, S, Task, hog, naps

from xenproc.native import ffi, lib

UNITS = 8
NO_WARP = st.just((0, 0, 0))
WEIGHTS = st.one_of(st.sampled_from([1, 2, 4, 256, 65535]), st.integers(1, 65535))


def random_naps(seed, run_ns, sleep_ns):
    rng = random.Random(seed)
    while True:
        yield rng.randrange(1, run_ns), rng.randrange(1, sleep_ns)


@st.composite
def sleepers(draw, weights, warps=NO_WARP):
    turns = random_naps(draw(st.integers()), draw(st.sampled_from([MCU, C, 10 * C])), draw(st.sampled_from([MS, 20 * MS])))
    return Task(draw(weights), turns, draw(warps))


def lags(tasks):
    """In units of what is allowed."""
    return [task.most_behind / (C + MCU) for task in tasks]


# ---- shares ----

@given(weights=st.lists(WEIGHTS, min_size=2, max_size=12))
@settings(max_examples=30, deadline=None)
def test_no_hog_is_ever_behind_by_more_than_the_allowance_and_an_mcu(weights):
    tasks = [Task(weight) for weight in weights]
    with Machine(tasks) as m:
        m.run(2 * S)
    assert max(lags(tasks)) <= 1.0
    assert sum(task.got for task in tasks) == 2 * S


def test_one_two_four_on_one_cpu():
    tasks = [Task(weight) for weight in (1, 2, 4)]
    with Machine(tasks) as m:
        m.run(10 * S)
    assert max(lags(tasks)) <= 0.8
    for task in tasks:
        assert abs(task.got / (10 * S) * 7 / task.weight - 1) < 0.001


@pytest.mark.parametrize("who", range(3))
@pytest.mark.parametrize("run_ns", [MCU, C, 10 * C])
def test_one_two_four_while_one_of_them_sleeps_at_random(who, run_ns):
    tasks = [Task(weight, random_naps(who, run_ns, 20 * MS) if i == who else hog()) for i, weight in enumerate((1, 2, 4))]
    with Machine(tasks) as m:
        m.run(10 * S)
    assert max(lags(tasks)) <= 1.0
    assert len(tasks[who].waits) > 20


@given(hogs=st.lists(WEIGHTS, max_size=6), others=st.lists(sleepers(WEIGHTS), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_who_wakes_may_take_an_allowance_from_the_others_and_no_more(hogs, others):
    """Whoever wakes may be set back to one allowance behind the mean; the ideal would set it to the mean."""
    tasks = [*map(Task, hogs), *others]
    with Machine(tasks) as m:
        m.run(S // 2)
    assert max(lags(tasks)) <= 1 + len(others)


@given(tasks=st.lists(sleepers(st.just(256)), min_size=2, max_size=6), hogs=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_equal_weights_are_within_one_allowance_whoever_sleeps_and_wakes(tasks, hogs):
    tasks += [Task(256) for _ in range(hogs)]
    with Machine(tasks) as m:
        m.run(S)
    assert max(lags(tasks)) <= 1.0


def overtaken(m):
    """Nobody runs on when the first in the queue was due, but to the end of an mcu."""
    for cpu, who in enumerate(m.running):
        e = m.sched.cpu[cpu].current
        if who is None or m.ends[cpu] == FOREVER:
            continue
        assert e.evt <= max(m.sched.cpu[cpu].horizon, m.started.get(who, e.evt)) + UNITS * MCU // e.params.weight + 1


@given(
    tasks=st.lists(sleepers(WEIGHTS, st.sampled_from([(0, 0, 0), (20 * MS, 0, 0), (50 * MS, 2 * MS, 20 * MS)])), min_size=2, max_size=6),
    nr_cpus=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_nobody_runs_past_the_moment_that_another_is_due(tasks, nr_cpus):
    with Machine(tasks, nr_cpus, check=overtaken) as m:
        m.started = {}
        m.run(S // 2)


@given(weights=st.lists(WEIGHTS, min_size=2, max_size=8))
@settings(max_examples=20, deadline=None)
def test_nobody_starves(weights):
    """A wait is at most what its lag and its lead, an allowance of the lightest, are worth at its share."""
    tasks = [Task(weight) for weight in weights]
    with Machine(tasks) as m:
        m.run(2 * S)
    for task in tasks:
        lead = C * task.weight / min(weights)
        bound = (lead + C + 2 * MCU) * sum(weights) / task.weight
        assert (task.waited_since is None or 2 * S - task.waited_since <= bound) and task.longest <= bound


# ---- waking ----

@pytest.mark.parametrize("hogs", [1, 4, 127])
def test_who_is_within_its_share_waits_for_what_it_used_while_svt_stood_still(hogs):
    """And for an mcu. svt moves when the last of the hogs has had its turn; in between the sleeper's use counts against it."""
    tasks = [Task(256, naps(20 * US, 5 * MS, S)), *[Task(256) for _ in range(hogs)]]
    with Machine(tasks) as m:
        m.run(4 * S)
    assert len(tasks[0].waits) > 500
    used = 20 * US * (hogs * C // (5 * MS) + 1)
    assert max(tasks[0].waits) <= used + 2 * MCU


def test_round_robin_lets_it_wait_for_everybody():
    tasks = [Task(256, naps(20 * US, 5 * MS, 3 * MS)), *[Task(256) for _ in range(4)]]
    with Machine(tasks, kind="rr") as m:
        m.run(3 * S)
    assert max(tasks[0].waits) > 30 * MS


def test_many_who_wake_at_once_wait_for_each_other():
    tasks = [*[Task(256, naps(20 * US, 10 * MS, 3 * MS)) for _ in range(10)], Task(256), Task(256)]
    with Machine(tasks) as m:
        m.run(2 * S)
    assert max(max(task.waits) for task in tasks[:10]) <= 11 * MCU


def test_one_that_uses_more_than_its_share_waits_like_the_others():
    tasks = [Task(256, naps(4 * MS, MS)), *[Task(256) for _ in range(3)]]
    with Machine(tasks) as m:
        m.run(5 * S)
    assert sorted(tasks[0].waits)[len(tasks[0].waits) // 2] > MS
    assert abs(tasks[0].got / (5 * S / 4) - 1) < 0.05


# ---- warp ----

def warped(warp):
    """A third of the CPU is its share, it wants a fifth in bursts of 10 ms."""
    return [Task(256, naps(10 * MS, 40 * MS, 7 * MS), warp), Task(256), Task(256)]


def test_warp_changes_order():
    runs = {}
    for warp in ((0, 0, 0), (20 * MS, 0, 0)):
        tasks = warped(warp)
        with Machine(tasks) as m:
            m.run(5 * S)
        turns = [(start, end) for _, who, start, end in m.history if who == 0]
        gaps = sum(b[0] > a[1] and b[0] < a[1] + 30 * MS for a, b in itertools.pairwise(turns))
        runs[warp[0]] = (gaps, max(tasks[0].waits), [task.got for task in tasks])
    assert runs[0][0] > 50, "without it, it is interrupted in every burst"
    assert runs[20 * MS][:2] == (0, 0), "with it, it begins at once and is not interrupted"


@given(
    weights=st.lists(st.sampled_from([128, 256, 512]), min_size=2, max_size=5),
    warps=st.lists(st.sampled_from([(0, 0, 0), (10 * MS, 0, 0), (100 * MS, 0, 0), (100 * MS, MS, 20 * MS)]), min_size=5, max_size=5),
    nr_cpus=st.sampled_from([1, 1, 2]),
)
@settings(max_examples=20, deadline=None)
def test_warp_never_changes_shares(weights, warps, nr_cpus):
    if max(weights) * nr_cpus > sum(weights):
        return
    tasks = [Task(weight, hog(), warp) for weight, warp in zip(weights, warps, strict=False)]
    with Machine(tasks, nr_cpus) as m:
        m.run(10 * S)
    for task in tasks:
        # What may be borrowed, by itself or by the others.
        borrowed = max(w for w, _, _ in warps) * task.weight / 256 + 2 * (C + MCU)
        assert abs(task.got - 10 * S * nr_cpus * task.weight / sum(weights)) <= borrowed


def test_the_limit_of_warp_counts_across_slices():
    """A warped hog has its limit of CPU time in a period, however often it is interrupted, then the others run."""
    tasks = [Task(256, naps(MS, 100 * US), (1000 * MS, 10 * MS, 100 * MS)), Task(256)]
    with Machine(tasks) as m:
        at = {}
        m.check = lambda m: at.setdefault(not m.entities[0].warped, m.now)
        m.run(100 * MS)
        assert m.entities[0].warp_used_ns in range(10 * MS, 10 * MS + MCU + 1)
    assert 10 * MS <= at[True] <= 12 * MS
    assert tasks[0].got < 60 * MS


def test_a_period_later_it_warps_again():
    tasks = [Task(256, hog(), (1000 * MS, 10 * MS, 100 * MS)), Task(256)]
    with Machine(tasks) as m:
        seen = []
        m.check = lambda m: seen.append(m.entities[0].warped)
        m.run(S)
    changes = sum(a and not b for a, b in itertools.pairwise(seen))
    assert 8 <= changes <= 10


# ---- several CPUs ----

@pytest.mark.parametrize(("nr_cpus", "weights"), [(2, (1, 1, 2)), (2, (1, 2, 4, 1, 2, 4)), (3, (1, 1, 2, 2, 2, 1)), (2, (256,) * 7)])
def test_shares_on_several_cpus(nr_cpus, weights):
    tasks = [Task(weight) for weight in weights]
    with Machine(tasks, nr_cpus) as m:
        m.run(10 * S)
    for task in tasks:
        ideal = 10 * S * nr_cpus * task.weight / sum(weights)
        assert abs(task.got - ideal) <= 2 * (C + MCU), weights
        assert task.most_behind <= 2 * (C + MCU)


@pytest.mark.parametrize("nr_cpus", [1, 2, 4])
def test_no_more_tasks_than_cpus_are_left_alone(nr_cpus):
    tasks = [Task(w) for w in (1, 65535, 7, 256)[:nr_cpus]]
    with Machine(tasks, nr_cpus) as m:
        m.run(100 * S)
    assert all(task.got == 100 * S for task in tasks)
    assert m.decisions == nr_cpus


def test_who_had_a_cpu_that_nobody_else_wanted_does_not_pay_for_it():
    """1 and 100 on two CPUs for a minute: when a third comes, the light one goes on to get its share of what is left."""
    tasks = [Task(1), Task(100), Task(1, naps(FOREVER // 4, 0, 60 * S))]
    with Machine(tasks, 2) as m:
        m.run(60 * S)
        before = tasks[0].got
        m.run(62 * S)
    assert tasks[1].got == 62 * S, "a hundred of 102 is more than one of two CPUs: it keeps one"
    assert abs(tasks[0].got - before - S) <= 3 * C
    assert tasks[0].longest <= 3 * C


def test_two_too_heavy_on_three_cpus():
    tasks = [Task(w) for w in (1000, 1000, 1, 3)]
    with Machine(tasks, 3) as m:
        m.run(10 * S)
    assert tasks[0].got + tasks[1].got > 19.9 * S
    assert abs(tasks[3].got / tasks[2].got - 3) < 0.05


# ---- arithmetic ----

def test_a_year():
    """The lightest never stops; nothing overflows. The heaviest is charged oddly; nothing is lost."""
    year = 365 * 24 * 3600 * S
    with Machine([Task(1), Task(65535)], 1) as m:
        light, heavy = m.entities + 0, m.entities + 1
        for hour in range(365 * 24):
            lib.xp_sched_charge(m.sched, light, 3600 * S, hour * 3600 * S)
        assert light.avt == UNITS * year < 2**62
        was, paid = heavy.avt, heavy.charged_ns + heavy.ahead_ns
        for i in range(50_000):
            lib.xp_sched_charge(m.sched, heavy, 1 + i % 777_777, year)
        paid = heavy.charged_ns + heavy.ahead_ns - paid
        assert 0 <= (UNITS * paid) - (heavy.avt - was) * 65535 + 65535 < 2 * 65535
        assert heavy.ahead_ns < MCU
        choice = lib.xp_sched_decide(m.sched, 0, year)
        assert choice.next == heavy and choice.slice_ns > 3600 * S


def test_who_is_far_ahead_gets_an_mcu_and_not_nothing():
    with Machine([Task(256), Task(256)]) as m:
        for e in (m.entities + 0, m.entities + 1):
            lib.xp_sched_charge(m.sched, e, 60 * S, 0)
        m.decide(0)
        for _ in range(10):
            choice = lib.xp_sched_decide(m.sched, 0, m.now)
            assert choice.slice_ns >= MCU
            lib.xp_sched_charge(m.sched, choice.next, 7 * C, m.now)


def test_a_charge_of_nothing_is_nothing():
    with Machine([Task(256)]) as m:
        before = bytes(ffi.buffer(m.entities))
        lib.xp_sched_charge(m.sched, m.entities, 0, 5)
        lib.xp_sched_charge(m.sched, m.entities, -5, 5)
        assert bytes(ffi.buffer(m.entities)) == before


def test_short_runs_cost_what_they_are():
    """Whole mcus are charged, but not for each of many short runs."""
    with Machine([Task(256)]) as m:
        for _ in range(1000):
            lib.xp_sched_charge(m.sched, m.entities, 10 * US, 0)
        assert m.entities[0].avt == UNITS * 10 * MS // 256


@pytest.mark.parametrize("voluntary", [True, False])
def test_only_who_slept_against_its_will_keeps_its_claim(voluntary):
    with Machine([Task(256), Task(256)]) as m:
        held = m.entities + 1
        m.decide(lib.xp_sched_sleep(m.sched, held, 0, voluntary))
        m.run(S)
        before = m.tasks[1].got
        m.tasks[1].waited_since = m.now
        m.decide(lib.xp_sched_wake(m.sched, held, m.now))
        m.run(S + 100 * MS)
        got = m.tasks[1].got - before
    assert got == 100 * MS if not voluntary else abs(got - 50 * MS) <= C + MCU
