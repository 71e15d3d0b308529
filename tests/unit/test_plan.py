"""A plan that Domain0 asks for, checked without a machine: what depends on how the machine is scheduled."""

import os

import pytest

from xenproc.errors import ConfigError
from xenproc.hv.plan import LIMITS, check_plan


def plan(cpus):
    return {"name": "a", "nr_pages": 64, "cpus": cpus}


@pytest.fixture
def three(monkeypatch):
    """A host of three CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})


@pytest.mark.parametrize("cpus", [[0], [1, 2], [2]])
@pytest.mark.usefixtures("three")
def test_less_than_the_schedulers_cpus_is_refused(cpus):
    with pytest.raises(ConfigError, match=r"^cpus: expected at least \[0, 1\], got \[.*\]: the machine's scheduler runs a domain on any"):
        check_plan(plan(cpus), [], [0, 1])


@pytest.mark.parametrize("cpus", [None, [0, 1], [0, 1, 2]])
@pytest.mark.usefixtures("three")
def test_all_of_them_or_more_is_not(cpus):
    assert check_plan(plan(cpus), [], [0, 1]) == LIMITS


@pytest.mark.parametrize("cpus", [None, [0], [1, 2], [0, 1, 2]])
@pytest.mark.usefixtures("three")
def test_without_a_scheduler_any_of_the_hosts_will_do(cpus):
    assert check_plan(plan(cpus), []) == LIMITS


@pytest.mark.usefixtures("three")
def test_what_the_host_has_not_is_said_first():
    with pytest.raises(ConfigError, match=r"^cpus: expected some of \[0, 1, 2\], got \[7\]"):
        check_plan(plan([7]), [], [0, 1])
