"""Round robin behind the scheduler's interface: turns, idle CPUs, who is asked to decide. In simulated time."""

import pytest

from xenproc.native import ffi, lib

MS = 1_000_000


class Machine:
    """A scheduler and its entities by number; what it says about CPUs is done at once."""

    def __init__(self, nr_cpus, nr):
        self.sched = ffi.new("struct xp_sched *")
        assert lib.xp_sched_init(self.sched, lib.xp_sched_class_named(b"rr"), nr_cpus, ffi.NULL) == 0
        self.entities = ffi.new("struct xp_sched_entity[]", nr)
        for i in range(nr):
            assert lib.xp_sched_add(self.sched, self.entities + i, ffi.NULL, 0) == 0
        self.slices = {}

    def decide(self, cpu, now):
        while cpu >= 0:
            choice = lib.xp_sched_decide(self.sched, cpu, now)
            self.slices[cpu] = choice.slice_ns
            cpu = choice.also

    def wake(self, who, now):
        self.decide(lib.xp_sched_wake(self.sched, self.entities + who, now), now)

    def sleep(self, who, now):
        self.decide(lib.xp_sched_sleep(self.sched, self.entities + who, now, True), now)

    def running(self):
        cpus = [self.sched.cpu[i].current for i in range(self.sched.nr_cpus)]
        return [int(e - self.entities) if e != ffi.NULL else None for e in cpus]


@pytest.fixture
def machine():
    made = []

    def make(nr_cpus, nr):
        made.append(Machine(nr_cpus, nr))
        return made[-1]

    yield make
    for m in made:
        lib.xp_sched_free(m.sched)


def test_turns_of_ten_milliseconds(machine):
    m = machine(1, 3)
    for who in range(3):
        m.wake(who, 0)
    seen = []
    for turn in range(6):
        seen += m.running()
        assert m.slices[0] == 10 * MS
        m.decide(0, 10 * MS * (turn + 1) - 1)
        assert m.running() == seen[-1:], "not before its slice is over"
        m.decide(0, 10 * MS * (turn + 1))
    assert seen == [0, 1, 2, 0, 1, 2]


def test_one_alone_is_left_alone_until_another_comes(machine):
    m = machine(1, 2)
    m.wake(0, 0)
    assert m.slices[0] == lib.XP_SCHED_FOREVER
    m.wake(1, 3 * MS)
    assert (m.running(), m.slices[0]) == ([0], 7 * MS)
    m.sleep(0, 4 * MS)
    assert (m.running(), m.slices[0]) == ([1], lib.XP_SCHED_FOREVER)
    m.sleep(1, 5 * MS)
    assert m.running() == [None]


def test_every_cpu_hears_of_the_first_who_waits(machine):
    m = machine(3, 4)
    for who in range(3):
        m.wake(who, who)
    assert m.running() == [0, 1, 2]
    assert set(m.slices.values()) == {lib.XP_SCHED_FOREVER}
    m.wake(3, 10)
    assert m.slices == {0: 10 * MS - 10, 1: 10 * MS - 9, 2: 10 * MS - 8}


def test_who_wakes_finds_an_idle_cpu_its_own_if_it_can(machine):
    m = machine(4, 4)
    for who in range(4):
        m.wake(who, 0)
    for who in (3, 1, 2):
        m.sleep(who, 1)
    m.wake(2, 2)
    assert m.running() == [0, None, 2, None]
    first, second = (lib.xp_sched_wake(m.sched, m.entities + who, 3) for who in (1, 3))
    assert (first, second) == (1, 3), "the second is not sent to a CPU that the first was sent to"
    m.decide(first, 3)
    m.decide(second, 3)
    assert m.running() == [0, 1, 2, 3]


def test_who_is_removed_is_gone_and_may_come_again(machine):
    m = machine(1, 2)
    m.wake(0, 0)
    m.wake(1, 0)
    assert lib.xp_sched_remove(m.sched, m.entities, 1) == 0
    assert lib.xp_sched_remove(m.sched, m.entities, 1) == -1
    m.decide(0, 1)
    assert (m.running(), m.sched.nr_entities, m.sched.queue.nr) == ([1], 1, 0)
    assert lib.xp_sched_add(m.sched, m.entities, ffi.NULL, 2) == 0
    m.wake(0, 2)
    m.decide(0, 10 * MS)
    assert m.running() == [1]
    m.decide(0, 10 * MS + 1)
    assert m.running() == [0]


def test_use_and_weight_change_nobodys_turn(machine):
    m = machine(1, 3)
    for who in range(3):
        m.wake(who, 0)
    lib.xp_sched_charge(m.sched, m.entities + 1, 50 * MS, 1)
    assert lib.xp_sched_adjust(m.sched, m.entities + 2, ffi.new("struct xp_sched_params *", {"weight": 60000}), 1) == 0
    assert lib.xp_sched_adjust(m.sched, m.entities + 2, ffi.new("struct xp_sched_params *"), 1) == -22
    assert (m.entities[1].charged_ns, m.entities[2].params.weight) == (50 * MS, 60000)
    m.decide(0, 10 * MS)
    assert m.running() == [1]


def test_what_cannot_be_is_refused():
    sched = ffi.new("struct xp_sched *")
    rr = lib.xp_sched_class_named(b"rr")
    assert lib.xp_sched_class_named(b"credit") == ffi.NULL
    for nr_cpus, settings in [(0, {}), (1, {"mcu_ns": -1}), (1, {"ctx_allow_ns": 5}), (1, {"slice_ns": 1 << 40}), (1 << 20, {})]:
        assert lib.xp_sched_init(sched, rr, nr_cpus, ffi.new("struct xp_sched_settings *", settings)) == -22
    for bad in (
        {"weight": 0}, {"weight": 65536}, {"warp_ns": -1}, {"warp_ns": lib.XP_SCHED_WARP_MAX_NS + 1}, {"warp_limit_ns": -1},
        {"warp_limit_ns": 5, "warp_period_ns": 5}, {"warp_period_ns": 5}, {"warp_limit_ns": 1, "warp_period_ns": 1 << 62},
    ):
        assert lib.xp_sched_check(ffi.new("struct xp_sched_params *", {"weight": 1, **bad})) == -22, bad
    assert lib.xp_sched_check(ffi.new("struct xp_sched_params *", (65535, 5, 10, 11))) == 0
