"""A guest is killed exactly at each fault point, listed from the source, while it works with a peer; nobody else notices.

Each point must be reached: one that is not fails here. A pair of well-behaved domains runs beside (tests/hostile/witness.py).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import machine_is_free
from hostile.witness import Witness, assert_unharmed

import xenproc
from fault import play

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import build; build.make('xenproc._native_fault', (('XP_FAULT_POINTS', None),)).compile(tmpdir='.')"


def points() -> list[str]:
    """Every fault point that the sources name."""
    found = set()
    for path in sorted((ROOT / "native").glob("*.[ch]")):
        found |= set(re.findall(r'XP_FAULT_POINT\("([^"]+)"\)', path.read_text())) if path.name != "xp.h" else set()
    for path in sorted((ROOT / "xenproc").rglob("*.py")):
        found |= set(re.findall(r'lib\.xp_fault\(b"([^"]+)"\)', path.read_text()))
    return sorted(found)


@pytest.fixture(scope="module")
def machine():
    """A hypervisor whose guests have the fault points."""
    path = os.pathsep.join([str(ROOT / "native"), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", BUILD], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=True,
                   capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XENPROC_NATIVE", "xenproc._native_fault")
        with xenproc.Hypervisor("64M") as hv:
            yield hv


def test_there_are_points():
    assert len(points()) > 30


def test_the_shipped_build_has_none():
    from xenproc.native import lib

    assert lib.xp_fault_arm(b"hypercall.submitted", 1) == -38


def test_the_piece_is_played_to_its_end_where_nobody_dies(machine):
    other = machine.create(play.partner, name="partner")
    assert machine.create(play.victim, "no such point", 1, name="victim").wait(30) == "lived"
    assert other.wait(30) == "done"
    machine_is_free(machine)


@pytest.mark.parametrize("point", points())
def test_killed_at(machine, point):
    pair = Witness(machine)
    for count in (1, 6):
        other = machine.create(play.partner, name="partner")
        end = machine.create(play.victim, point, count, name="victim").join(30)
        told = other.wait(30)
        if count == 1:
            assert end.crashed and end.crash.signal == "SIGKILL", f"{point} was not reached: {end}"
        if end.crashed:
            assert end.crash.signal == "SIGKILL", end
        else:
            assert end.result == "lived" and told == "done"
        # The very last steps come when the partner has all it wants.
        assert told in ("PeerGone", "Timeout", "ESRCH") or point.startswith(LAST) or not end.crashed, (point, count, told)
    assert_unharmed(pair.verdict())
    machine_is_free(machine)


LAST = ("event.close.", "grant.unmap.", "window.leave.", "vchan.close.")
