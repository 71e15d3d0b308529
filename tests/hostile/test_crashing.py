"""Crashing and cheating guests beside a pair of well-behaved ones: the pair must not notice, and nothing is left."""

import signal

import pytest
from hostile import crashing
from hostile.witness import Witness, assert_unharmed


@pytest.fixture
def witness(hv):
    """The pair runs during the test and is judged at its end."""
    pair = Witness(hv)
    yield pair
    assert_unharmed(pair.verdict())


@pytest.mark.parametrize(
    ("guest", "signals"),
    [
        (crashing.wild_writes, {"SIGSEGV", "SIGBUS"}),
        (crashing.rubbish_on_own_pages, {"SIGABRT", "SIGSEGV", "SIGBUS"}),
        (crashing.abort, {"SIGABRT"}),
    ],
)
def test_a_crash_by_signal(hv, witness, guest, signals):
    """The report names the signal; whatever the guest did to its own pages, Domain0 gets its word from the kernel."""
    crash = hv.create(guest, memory="2M").join(60).crash
    assert crash is not None and crash.signal in signals, crash


def test_an_exception(hv, witness):
    """The traceback arrives as text, with the line that raised."""
    crash = hv.create(crashing.uncaught).join(20).crash
    assert crash is not None and crash.detail == "ValueError: a guest's own mistake"
    assert 'raise ValueError("a guest' in crash.traceback


def test_an_endless_loop(hv, witness):
    """Domain0 ends it."""
    domain = hv.create(crashing.endless_loop)
    with pytest.raises(Exception, match="still runs"):
        domain.wait(0.5)
    assert domain.destroy().reason == "destroyed"


def test_allocation_to_the_limit(hv, witness):
    """The limit is an address-space limit of its own; what fits below it was really there."""
    got = hv.create(crashing.allocate_to_the_limit, private_memory="256M").wait(60)
    assert 128 <= int(got.split()[0]) <= 256


def test_every_limit_has_a_clear_error(hv, witness):
    """Nothing is unlimited, and each refusal says what it is."""
    found = hv.create(crashing.exhaust_every_limit, memory="2M").wait(60)
    assert set(found) == {"ports", "grants", "frames", "threads", "descriptors"}
    assert "no limit" not in found.values(), found
    assert "max_grant_frames" in found["grants"] and "No space" in found["ports"], found


def test_forged_ring_indices(hv, witness):
    """The back that was lied to closes that ring with an error, and nothing else happens to it."""
    victim = hv.create(crashing.deceived_back, "cheat", name="victim")
    hv.create(crashing.forged_indices, name="cheat").join(30)
    assert victim.wait(30) == "PeerMisbehaved"


def test_forged_request_numbers(hv, witness):
    """A front gets PeerMisbehaved for a response it did not ask for."""
    victim = hv.create(crashing.deceived_front, "cheat", 5.0, name="victim")
    hv.create(crashing.forged_ids, name="cheat").join(30)
    assert victim.wait(30) == "PeerMisbehaved"


def test_forged_grant_references(hv, witness):
    """Not one of 500 guesses is mapped."""
    assert hv.create(crashing.forged_grants).wait(30) == {"refused": 500}


@pytest.mark.parametrize("guest", [crashing.flood_events, crashing.flood_hypercalls])
def test_floods(hv, witness, guest):
    """As many as one domain can make: the hypervisor answers the others in between."""
    assert hv.create(guest).wait(60) > 1000


def test_one_that_never_answers(hv, witness):
    """Whoever waits for it waits until his own deadline and no longer."""
    silent = hv.create(crashing.never_answers, name="cheat")
    assert hv.create(crashing.deceived_front, "cheat", 0.5, name="victim").wait(30) == "Timeout"
    silent.destroy()


def test_killed_from_outside(hv, witness):
    """kill -9 by the host's administrator: seen at once, reported as what it was."""
    import os

    domain = hv.create(crashing.endless_loop)
    os.kill(domain.pid, signal.SIGKILL)
    crash = domain.join(5).crash
    assert crash is not None and crash.signal == "SIGKILL"
