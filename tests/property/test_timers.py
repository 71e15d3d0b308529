"""The queue of deadlines and its model in lock-step; more timers than the heap begins with, deadlines that meet."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from model.timers import Timers

from xenproc.native import ffi, lib

NR = 200        # the heap begins with room for 64
WHO = st.integers(0, NR - 1)
WHEN = st.one_of(st.integers(0, 20), st.integers(0, 2**63 - 2))


class TimerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.queue = ffi.new("struct xp_timers *")
        self.timers = ffi.new("struct xp_timer[]", NR)
        for i in range(NR):
            lib.xp_timer_init(self.timers + i, i % 4, ffi.NULL)
        self.model = Timers()

    def teardown(self):
        lib.xp_timers_free(self.queue)

    @rule(who=WHO, when=WHEN)
    def set(self, who, when):
        assert lib.xp_timer_set(self.queue, self.timers + who, when) == 0
        self.model.set(who, when)

    @rule(first=WHO, when=WHEN, step=st.integers(-3, 3))
    def set_many(self, first, when, step):
        for i in range(first, NR):
            self.set(i, max(0, min(when + (i - first) * step, 2**63 - 2)))

    @rule(who=WHO)
    def cancel(self, who):
        lib.xp_timer_cancel(self.queue, self.timers + who)
        self.model.cancel(who)

    @rule(now=WHEN)
    def take(self, now):
        self.take_one(now)

    @rule(now=WHEN)
    def take_all(self, now):
        while self.take_one(now):
            pass

    def take_one(self, now):
        may = self.model.may_be_taken(now)
        taken = lib.xp_timers_take(self.queue, now)
        if taken == ffi.NULL:
            assert not may
            return False
        who = taken - self.timers
        assert who in may
        self.model.cancel(who)
        return True

    @invariant()
    def the_same(self):
        assert self.queue.heap.nr == len(self.model.deadlines)
        assert lib.xp_timers_next(self.queue) == self.model.next()
        queued = {i for i in range(NR) if self.timers[i].node.at != lib.XP_HEAP_OFF}
        assert queued == set(self.model.deadlines)
        assert {self.timers[i].node.at for i in queued} == set(range(len(queued))), "each has a place of its own"


TestTimers = TimerMachine.TestCase
TestTimers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_kind_and_owner_stay():
    """A timer set, taken and set again is still who it was."""
    queue, timer = ffi.new("struct xp_timers *"), ffi.new("struct xp_timer *")
    lib.xp_timer_init(timer, lib.XP_TIMER_PERIODIC, queue)
    for deadline in (5, 3, 9):
        assert lib.xp_timer_set(queue, timer, deadline) == 0
        assert lib.xp_timers_take(queue, deadline - 1) == ffi.NULL
        assert lib.xp_timers_take(queue, deadline) == timer
    assert (timer.kind, timer.owner) == (lib.XP_TIMER_PERIODIC, queue)
    lib.xp_timers_free(queue)
