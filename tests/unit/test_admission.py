"""Admission: what can be honoured together, and the numbers in the reason why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import MCU, MS, C, Machine, S, Task

from xenproc.hv.admission import Claim, refusal, share


def claims(*weights):
    return [Claim(i + 1, weight) for i, weight in enumerate(weights)]


@pytest.mark.parametrize(("nr_cpus", "weights"), [(1, (1, 2, 4)), (2, (1, 65535)), (2, (1, 1, 2)), (3, (5, 5, 5, 1)), (2, (7,)), (1, ())])
def test_weights_that_can_be_honoured(nr_cpus, weights):
    assert refusal(claims(*weights), nr_cpus) is None


@pytest.mark.parametrize(
    ("nr_cpus", "weights", "words"),
    [
        (2, (1, 2, 4), "a weight of 4 beside 3 of the others is 1.14 of 2 CPUs for domain 3, and nobody can use more than one: at most 3"),
        (2, (100, 1, 1), "domain 1"),
        (4, (10, 10, 10, 1, 31), "at most 10"),
    ],
)
def test_weights_that_cannot(nr_cpus, weights, words):
    reason = refusal(claims(*weights), nr_cpus)
    assert reason is not None and words in reason


@given(nr_cpus=st.integers(1, 3), weights=st.lists(st.integers(1, 1000), min_size=1, max_size=6))
def test_what_is_admitted_is_what_they_get(nr_cpus, weights):
    """The core gives whoever is admitted its share; one who is refused would not get it, whoever decides."""
    every = claims(*weights)
    if refusal(every, nr_cpus) is not None:
        assert max(weights) * nr_cpus > sum(weights)
        return
    tasks = [Task(weight) for weight in weights]
    with Machine(tasks, nr_cpus) as m:
        m.run(S)
    for task, claim in zip(tasks, every, strict=True):
        wanted = S if len(weights) <= nr_cpus else S * share(claim, every, nr_cpus)
        # Ahead: by an allowance of the lightest.
        assert wanted - 2 * (C + MCU) <= task.got <= wanted + 2 * (C + MCU) * max(1, claim.weight / min(weights))


def test_a_warp_within_its_share():
    others = claims(256, 256, 256)
    assert refusal([*others, Claim(9, 256, 20 * MS, 10 * MS, 50 * MS)], 1) is None
    assert refusal([*others, Claim(9, 256, 20 * MS)], 1) is None, "no limit: it warps for what it is given"
    reason = refusal([*others, Claim(9, 256, 20 * MS, 10 * MS, 30 * MS)], 1)
    assert reason == (
        "domain 9 would warp for 10 ms in each 30 ms, 33.3% of a CPU; its weight of 256 gives it 25.0%, and warp changes no share"
    )
    assert refusal([*others, Claim(9, 256, 20 * MS, 10 * MS, 30 * MS)], 2) is None


def test_a_new_weight_can_break_an_old_warp():
    old = Claim(1, 256, 20 * MS, 10 * MS, 30 * MS)
    assert refusal([old, Claim(2, 256)], 1) is None
    assert "domain 1" in refusal([old, Claim(2, 2560)], 1)
