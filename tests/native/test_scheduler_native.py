"""Random histories through the scheduler's core under sanitizers: its own books agree after every call."""

import re

import cc
import pytest

SOURCES = ["scheduler.c", "heap.c", "bvt.c", "round_robin.c"]


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    out = tmp_path_factory.mktemp("scheduler") / "scheduler_walk-address"
    return cc.compile([cc.HERE / "scheduler_walk.c", *SOURCES], cc.SANITIZERS["address"], out)


@pytest.mark.parametrize("seed", range(6))
def test_the_books_agree(walk, seed):
    said = re.fullmatch(r"decided (\d+) preempted (\d+)\n", cc.run(walk, seed, 20_000))
    assert said is not None
    assert int(said[1]) > 3_000 and int(said[2]) > 100, "it was not idle"
