"""Domain0's share and its model in lock-step, every call in any order; and how far it may be from what is fair."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model.host_share import MS, UNITS, Host

from xenproc.native import ffi, lib

WEIGHTS = st.one_of(st.sampled_from([1, 256, 65535]), st.integers(1, 65535))
# A domains' turn; a breath, often cut short; the part of it that the host used: none, all, or about the eighth that matters.
TURNS = st.one_of(st.integers(0, 30 * MS), st.integers(0, 2 * 10**9))
GOT = st.one_of(st.integers(1, 300_000), st.just(1_960_000), st.integers(1, 5 * MS))
PARTS = st.one_of(st.sampled_from([0, 0, 124, 125, 126, 1000]), st.integers(0, 1000))


class HostShareMachine(RuleBasedStateMachine):
    @initialize(weight=WEIGHTS)
    def start(self, weight):
        self.c = ffi.new("struct xp_host_share *", {"weight": weight})
        self.model = Host(weight)

    @rule(ns=TURNS, weight=st.one_of(WEIGHTS, st.just(0)))
    def domains(self, ns, weight):
        lib.xp_host_share_domains(self.c, ns, weight)
        self.model.domains(ns, weight)

    @rule(got=GOT, part=PARTS, times=st.integers(1, 30))
    def host(self, got, part, times):
        for _ in range(times):
            lib.xp_host_share_host(self.c, got, got * part // 1000)
            self.model.host(got, got * part // 1000)

    @rule(weight=WEIGHTS)
    def adjust(self, weight):
        self.c.weight = self.model.weight = weight

    @rule()
    def anew(self):
        lib.xp_host_share_anew(self.c)
        self.model.anew()

    @rule(weight=WEIGHTS, period=st.integers(MS, 28 * MS))
    def after(self, weight, period):
        assert lib.xp_host_share_next(self.c, weight, period) == self.model.next(weight, period)

    @invariant()
    def same(self):
        if not hasattr(self, "c"):
            return
        assert (self.c.wants, self.c.lead, self.c.used_ns) == (self.model.wants, self.model.lead, self.model.used)
        assert lib.xp_host_share_turn(self.c) == self.model.turn()

    @invariant()
    def no_more_owed_than_it_wanted_and_never_much(self):
        if not hasattr(self, "c") or self.c.wants:
            return
        assert self.c.lead >= 0
        assert lib.xp_host_share_turn(self.c) == 0


HostShareMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestHostShare = HostShareMachine.TestCase


def test_it_is_never_owed_more_than_the_most():
    """Ten minutes in which it wants a CPU and has none."""
    s = ffi.new("struct xp_host_share *", {"weight": 256, "wants": True})
    for _ in range(20_000):
        lib.xp_host_share_domains(s, 30 * MS, 256)
    assert -s.lead // UNITS * 256 == lib.XP_HOST_OWED_MAX_NS
