"""bench bvt: lag, shares and overruns from a record agree with what a simulated machine knows of itself; its figures make sense."""

import pytest
from simulated import MCU, MS, C, Machine, S, Task, naps

from xenproc.bench import bvt, bvt_lag
from xenproc.bench.case import BenchError


def recorded(m):
    """A simulated machine's history as the records of a real one: all charges of a moment, wakes and sleeps."""
    steps = [(0, "wake", who, 0, 0) for who, task in enumerate(m.tasks) if task.got]
    for cpu, who, start, end in m.history:
        steps.append((start, "decide", who, cpu, start))
        steps.append((end, "charge", who, end - start, end))
    return sorted(steps, key=lambda step: step[0])


@pytest.mark.parametrize("weights", [(1, 2, 4), (256, 256), (5, 1, 1, 1)])
def test_lag_of_a_record_is_the_lag_there_was(weights):
    with Machine([Task(weight) for weight in weights]) as m:
        m.run(2 * S)
    found = bvt_lag.lags(recorded(m), dict(enumerate(weights)))
    assert found == pytest.approx({i: max(0, task.most_behind) for i, task in enumerate(m.tasks)}, abs=1000)
    got = bvt_lag.received(recorded(m), dict(enumerate(weights)))
    assert sum(got.values()) <= 2 * S and abs(got[0] / sum(got.values()) * sum(weights) / weights[0] - 1) < 0.05


def test_a_schedule_that_is_not_fair_is_seen():
    """Turns of 50 ms: 1:2:4 lag far behind what is allowed."""
    steps = [(0, "wake", who, 0, 0) for who in range(3)]
    at = 0
    for _ in range(10):
        for who, weight in enumerate((1, 2, 4)):
            at += 50 * MS * weight
            steps.append((at, "charge", who, 50 * MS * weight, at))
    assert max(bvt_lag.lags(steps, {0: 1, 1: 2, 2: 4}).values()) > 10 * (C + MCU)


def test_who_sleeps_is_owed_nothing():
    steps = [(0, "wake", 0, 0, 0), (0, "wake", 1, 0, 0), (4, "charge", 0, 4, 4), (8, "charge", 1, 4, 8), (8, "sleep", 1, 1, 8)]
    steps += [(8 + 4 * i, "charge", 0, 4, 8 + 4 * i) for i in range(1, 50)]
    steps += [(300, "wake", 1, 0, 300), (304, "charge", 0, 4, 304), (308, "charge", 1, 4, 308), (312, "charge", 0, 1, 312)]
    assert bvt_lag.lags(steps, {0: 1, 1: 1})[1] == pytest.approx(2)


def test_turns_that_outlast_their_slices():
    steps = [
        (0, "decide", 1, 0, 0), (0, "slice", 1, 0, 100), (130, "decide", 2, 0, 130), (130, "slice", 2, 0, 50),
        (150, "sleep", 2, 1, 150), (150, "decide", 1, 0, 150), (150, "slice", 1, 0, 10), (155, "decide", 2, 0, 155),
    ]
    assert bvt_lag.overruns(steps) == [0, 30]


def test_time_used_out_of_turn():
    steps = [
        (0, "decide", 1, 0, 0), (10, "charge", 1, 10, 10), (10, "decide", 2, 0, 10), (30, "charge", 2, 27, 30), (30, "sleep", 2, 1, 30),
        (40, "charge", 2, 9, 40), (40, "decide", 1, 0, 40), (45, "charge", 1, 6, 45),
    ]
    assert bvt_lag.out_of_turn(steps) == 7
    assert bvt_lag.out_of_turn(steps[:2]) == 0


def test_what_failed_once_is_not_tried_again():
    tries = []

    def do(ms):
        tries.append(ms)
        raise OSError("no room")

    experiment = bvt.Experiment(do)
    for _ in range(2):
        with pytest.raises(BenchError, match="no room"):
            bvt.Figure(experiment, "x").round(7)
    assert tries == [7]
    assert bvt.Figure(bvt.Experiment(lambda ms: {"x": ms / 2}), "x").round(8).middle() == 4


def test_the_ninety_ninth_of_a_hundred():
    assert bvt.p99([i * MS for i in range(100)]) == 99
    assert bvt.p99([5 * MS]) == 5
    with Machine([Task(256, naps(MS, 5 * MS)), Task(256)]) as m:
        m.run(S)
    assert bvt.p99(m.tasks[0].waits) < 2
