"""Domain0's share of a CPU (native/host_share.h), in simulated time: in proportion to the weights, nothing saved up, no long turns."""

import pytest

from xenproc.native import ffi, lib

MS, S = 1_000_000, 1_000_000_000
PERIOD, BREATH = 28 * MS, 2 * MS


def simulated(weight, domains, wants, length=20 * S):
    """Return (got by the host, turns) of a host that uses all that it is given while wants(now), and of each breath a quarter."""
    s = ffi.new("struct xp_host_share *", {"weight": weight})
    now = got = 0
    turns, rest = [], PERIOD - BREATH
    while now < length:
        now += rest
        lib.xp_host_share_domains(s, rest, domains)
        used = BREATH // 4 if wants(now) else 0
        lib.xp_host_share_host(s, BREATH, used)
        lib.xp_host_share_domains(s, BREATH - used, domains)
        now, got = now + BREATH, got + used
        rest = PERIOD - BREATH
        turn = lib.xp_host_share_turn(s)
        if turn:
            used = turn if wants(now) else 0
            lib.xp_host_share_host(s, turn, used)
            lib.xp_host_share_domains(s, turn - used, domains)
            now, got = now + turn, got + used
            turns.append((now, turn))
            rest = max(MS, lib.xp_host_share_next(s, domains, PERIOD) - BREATH)
    return got / now, turns


@pytest.mark.parametrize(("weight", "domains"), [(256, 512), (256, 1024), (512, 512), (100, 1000), (1024, 512)])
def test_a_host_that_always_wants_gets_its_weight(weight, domains):
    got, turns = simulated(weight, domains, lambda now: True)
    assert got == pytest.approx(weight / (weight + domains), rel=0.1)
    assert max(turn for _, turn in turns) <= lib.XP_HOST_TURN_NS


def test_a_light_host_gets_its_breaths_and_no_turn():
    got, turns = simulated(1, 1024, lambda now: True)
    assert turns == [] and got == pytest.approx(BREATH / 4 / PERIOD, rel=0.01)


def test_a_host_that_wants_nothing_gets_no_turn():
    assert simulated(256, 512, lambda now: False) == (0, [])


def test_nothing_is_saved_up():
    """Ten seconds of sleep are worth no more than a breath's period."""
    _, turns = simulated(256, 1024, lambda now: now > 10 * S)
    first = [turn for at, turn in turns if at < 10 * S + 100 * MS]
    assert turns[0][0] > 10 * S and sum(first) < 0.3 * 100 * MS


def test_one_unused_breath_is_no_end_of_its_wants():
    """The kernel may let the chosen domain have a whole breath though somebody else wants it: several in a row say more."""
    s = ffi.new("struct xp_host_share *", {"weight": 256, "wants": True, "lead": -8 * 4 * MS})
    for _ in range(3):
        lib.xp_host_share_host(s, BREATH, 0)
        assert s.wants and lib.xp_host_share_turn(s) > 0
    lib.xp_host_share_host(s, BREATH // 2, BREATH // 2 + 100_000)
    lib.xp_host_share_host(s, BREATH, 0)
    assert s.wants, "used again: counted anew"
    for _ in range(3):
        lib.xp_host_share_host(s, BREATH, 0)
    assert not s.wants and s.lead >= 0 and lib.xp_host_share_turn(s) == 0


@pytest.mark.parametrize("short", [20_000, 100_000, 400_000])
def test_short_breaths_count_by_their_time(short):
    """A guest that wakes each ms cuts breaths: as many short ones as there were whole ones to be are no end of the host's wants."""
    s = ffi.new("struct xp_host_share *", {"weight": 256, "wants": True, "lead": -8 * 4 * MS})
    for _ in range((lib.XP_HOST_UNWANTED_NS - 1) // short):
        lib.xp_host_share_host(s, short, 0)
        assert s.wants and lib.xp_host_share_turn(s) > 0
    lib.xp_host_share_host(s, short, 0)
    assert not s.wants


def test_short_breaths_that_it_uses_are_wants():
    """Whole ones never come: what it uses of the short ones adds up, a moment of a kernel's thread is none."""
    s = ffi.new("struct xp_host_share *", {"weight": 256})
    lib.xp_host_share_host(s, 50_000, 10_000)
    assert not s.wants
    for _ in range(3):
        lib.xp_host_share_host(s, 50_000, 50_000)
    assert s.wants


def test_contention_begins_without_debts():
    s = ffi.new("struct xp_host_share *", {"weight": 300, "wants": True, "seen_ns": 3, "seen_used_ns": 1, "lead": -8 * S, "used_ns": 7})
    lib.xp_host_share_anew(s)
    assert (s.wants, s.seen_ns, s.seen_used_ns, s.lead, s.weight, s.used_ns) == (False, 0, 0, 0, 300, 7)


def test_the_domains_have_time_between_two_turns():
    s = ffi.new("struct xp_host_share *", {"weight": 60000, "wants": True, "lead": -8 * S})
    assert lib.xp_host_share_turn(s) == lib.XP_HOST_TURN_NS
    assert lib.xp_host_share_next(s, 1, PERIOD) == lib.XP_HOST_DOMAINS_MIN_NS
    s.lead = 8 * S
    assert (lib.xp_host_share_turn(s), lib.xp_host_share_next(s, 1, PERIOD)) == (0, PERIOD)
