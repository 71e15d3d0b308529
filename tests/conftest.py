"""What every test of this suite gets: the ledger, hypervisors that are checked afterwards, deadlines, what a host must have.

Fixtures: `hv` (a hypervisor of 64 MiB shared by the session, checked and empty after each test), `fresh_hv` (one of its own, for
tests that break it), `own_machine` (a function that starts one with other arguments). Helpers to import: tests/helpers.py.
"""
# Tour T:010

import gc
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))      # tests import their helpers by name: ledger, model.frames

import ledger
from helpers import machine_is_free

import xenproc

MACHINE = "64M"
GRACE_S = 2.0


# ---- the ledger ----


@pytest.fixture(scope="session", autouse=True)
def session_ledger():
    """Nothing is left when everything is over, the session's own fixtures included; yields what tests were blamed for."""
    ledger.adopt_orphans()
    gc.collect()
    before = ledger.Ledger.now()
    blamed: set[str] = set()
    yield blamed
    gc.collect()
    left = [line for line in ledger.settle(before, ignore=blamed) if not line.startswith("descriptor")]
    ledger.clear_processes(before)
    assert not left, "left behind by the session:\n  " + "\n  ".join(left)


@pytest.fixture(autouse=True)
def test_ledger(session_ledger):
    """Nothing is left after a test. Yields what there was before it."""
    before = ledger.Ledger.now()
    yield before
    if ledger.Ledger.now().left_since(before):
        gc.collect()                # a cycle of the test's own may hold something
    left = ledger.settle(before)
    if left:
        ledger.clear_processes(before)
        session_ledger.update(left)
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


# ---- hypervisors ----


def _destroy_all(hv: xenproc.Hypervisor) -> list[str]:
    names = []
    for row in hv.domains()[1:]:
        names.append(row["name"])
        try:
            hv._client.call("destroy", domid=row["domid"])
        except xenproc.NoSuchDomain:
            pass            # it has ended by itself meanwhile
    return names


@pytest.fixture(scope="session")
def _shared_machine():
    with xenproc.Hypervisor(memory=MACHINE) as hv:
        hv.create(lambda g: None).wait()        # what is made at the first use is made
        machine_is_free(hv)
        yield hv


@pytest.fixture
def free_machine(_shared_machine, test_ledger):
    """The check: what a test has made in the shared hypervisor is gone, every frame free again, the audit 0."""
    hv = _shared_machine
    objects = hv.info()["kernel_objects"]
    yield hv
    ending = time.monotonic() + GRACE_S         # a peer that nobody waited for may be on its last lines
    while hv.domains()[1:] and time.monotonic() < ending:
        time.sleep(0.01)
    running = _destroy_all(hv)
    machine_is_free(hv, objects)
    assert not running, f"the test has left domains running: {', '.join(running)}"


@pytest.fixture
def hv(free_machine):
    """A hypervisor of 64 MiB, shared by the tests: empty before and after each. Do not break it."""
    return free_machine


@pytest.fixture
def own_machine(test_ledger):
    """A function that starts a hypervisor for this test alone; ended with it, however it ended."""
    started: list[xenproc.Hypervisor] = []

    def start(memory: int | str = MACHINE, **kwargs: Any) -> xenproc.Hypervisor:
        hv = xenproc.Hypervisor(memory, **kwargs)
        started.append(hv)
        return hv

    yield start
    for hv in started:
        hv.close()


@pytest.fixture
def fresh_hv(own_machine):
    """A hypervisor of 64 MiB for this test alone, which may do to it what it likes."""
    return own_machine()
