"""`xenproc wallclock`, as a person types it."""

import json
import re
import time

import click
import pytest

from xenproc.cli import main as entry
from xenproc.cli.wallclock import parse, show

NS = 10**9


@pytest.fixture
def xen(hv, capsys):
    """A function that runs a command on this test's hypervisor and returns (status, stdout, stderr)."""

    def run(*args):
        with pytest.raises(SystemExit) as leave:
            entry.main([*args, "--hv", str(hv.pid)])
        return leave.value.code, *capsys.readouterr()

    yield run
    hv.set_wall_clock(time.time_ns())


def test_it_is_shown(xen):
    status, out, _ = xen("wallclock")
    assert status == 0 and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC\n", out)
    assert abs(json.loads(xen("wallclock", "--json")[1])["wall_clock_ns"] - time.time_ns()) < 60 * NS


def test_it_is_set(xen, hv):
    assert xen("wallclock", "--set", "2003-10-19T12:00")[1].startswith("2003-10-19 12:00:0")
    xen("wallclock", "--set", "+3600")
    assert xen("wallclock")[1].startswith("2003-10-19 13:00:")
    xen("wallclock", "--set", "-7200")
    assert xen("wallclock")[1].startswith("2003-10-19 11:00:")
    xen("wallclock", "--set", "now")
    assert abs(hv.wall_clock() - time.time_ns()) < 60 * NS


def test_what_cannot_be_is_refused(xen, hv):
    before = hv.wall_clock()
    status, _, err = xen("wallclock", "--set", "soon")
    assert status == 2 and "expected now, +SECONDS" in err
    status, _, err = xen("wallclock", "--set", "1969-12-31T00:00")
    assert status == 1 and "xenproc:" in err
    assert abs(hv.wall_clock() - before) < 60 * NS


@pytest.mark.parametrize(("text", "expected"), [
    ("+1.5", 1_500_000_007), ("-0.000000007", 0), ("@12", 12 * NS), ("1970-01-01T00:00:01", NS), ("1970-01-01T01:00:00+01:00", 0),
])
def test_times_are_read(text, expected):
    assert parse(text, 7) == expected


@pytest.mark.parametrize("text", ["", "+", "@x", "2003-13-01", "+1e999"])
def test_nonsense_is_not(text):
    with pytest.raises(click.BadParameter):
        parse(text, 0)


def test_times_are_shown():
    assert show(1_066_564_800_123_456_789) == "2003-10-19 12:00:00.123 UTC"
