"""The scheduler and its model in lock-step: BVT and round robin, one CPU and several, every call in any order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model.scheduler import FOREVER, Params, Scheduler

from xenproc.native import ffi, lib

NR = 9
WHO = st.integers(0, NR - 1)
WEIGHTS = st.one_of(st.sampled_from([1, 2, 4, 256, 65535]), st.integers(1, 65535))
WARPS = st.one_of(
    st.just((0, 0, 0)),
    st.tuples(st.integers(0, 10**8), st.just(0), st.just(0)),
    st.tuples(st.integers(1, 10**8), st.integers(1, 10**7), st.integers(1, 10**8)).map(lambda w: (w[0], w[1], w[1] + w[2])),
)
PARAMS = st.builds(lambda weight, warp: Params(weight, *warp), WEIGHTS, WARPS)
TIMES = st.one_of(st.integers(0, 3 * 10**5), st.integers(0, 2 * 10**7))


class SchedulerMachine(RuleBasedStateMachine):
    @initialize(
        kind=st.sampled_from(["bvt", "bvt", "bvt", "rr"]),
        nr_cpus=st.integers(1, 4),
        settings=st.sampled_from([(0, 0, 0), (10**6, 10**6, 10**6), (77_777, 1, 5_000), (2 * 10**7, 10**5, 10**5)]),
    )
    def start(self, kind, nr_cpus, settings):
        self.now = 0
        self.sched = ffi.new("struct xp_sched *")
        of = lib.xp_sched_class_named(kind.encode())
        assert lib.xp_sched_init(self.sched, of, nr_cpus, ffi.new("struct xp_sched_settings *", settings)) == 0
        self.entities = ffi.new("struct xp_sched_entity[]", NR)
        given = {k: v for k, v in zip(("allowance_ns", "mcu_ns", "slice_ns"), settings, strict=True) if v}
        self.model = Scheduler(kind, nr_cpus, **given)
        self.svt = 0

    def teardown(self):
        if hasattr(self, "sched"):
            lib.xp_sched_free(self.sched)

    def at(self, who):
        return self.entities + who

    def name(self, entity):
        return None if entity == ffi.NULL else int(entity - self.entities)

    def c_params(self, params):
        return ffi.new("struct xp_sched_params *", (params.weight, params.warp_ns, params.limit_ns, params.period_ns))

    @rule(who=WHO, params=PARAMS, awake=st.booleans())
    def add(self, who, params, awake):
        if who in self.model.entities:
            return
        assert lib.xp_sched_add(self.sched, self.at(who), self.c_params(params), self.now) == 0
        self.model.add(who, params, self.now)
        if awake:
            self.wake(who)

    @rule(who=WHO, params=PARAMS)
    def adjust(self, who, params):
        if who not in self.model.entities:
            return
        assert lib.xp_sched_adjust(self.sched, self.at(who), self.c_params(params), self.now) == 0
        self.model.adjust(who, params, self.now)

    @rule(who=WHO)
    def remove(self, who):
        if who not in self.model.entities:
            assert lib.xp_sched_remove(self.sched, self.at(who), self.now) == -1
            return
        cpu = lib.xp_sched_remove(self.sched, self.at(who), self.now)
        assert cpu == self.model.remove(who, self.now)
        self.decide_chain(cpu)

    @rule(who=WHO, decide=st.booleans())
    def wake(self, who, decide=True):
        if who not in self.model.entities:
            return
        cpu = lib.xp_sched_wake(self.sched, self.at(who), self.now)
        assert cpu == self.model.wake(who, self.now)
        if decide:
            self.decide_chain(cpu)

    @rule(who=WHO, voluntary=st.booleans(), decide=st.booleans())
    def sleep(self, who, voluntary, decide):
        if who not in self.model.entities:
            return
        cpu = lib.xp_sched_sleep(self.sched, self.at(who), self.now, voluntary)
        assert cpu == self.model.sleep(who, self.now, voluntary)
        if decide:
            self.decide_chain(cpu)

    @rule(who=WHO, ns=st.integers(10**6, 10**8), voluntary=st.booleans())
    def away(self, who, ns, voluntary):
        """Blocks, of its own will or not, while the others run on; then it is back."""
        self.sleep(who, voluntary, True)
        for _ in range(5):
            self.run(ns // 5, 1)
            for cpu in range(self.model.nr_cpus):
                self.decide_one(cpu)
        self.wake(who, True)

    @rule(who=WHO, ran=TIMES)
    def others_spend(self, who, ran):
        """Also for one who waits or sleeps."""
        if who in self.model.entities:
            lib.xp_sched_charge(self.sched, self.at(who), ran, self.now)
            self.model.charge(who, ran, self.now)

    @rule(ns=TIMES, share=st.sampled_from([0, 1, 1, 1, 2]))
    def run(self, ns, share):
        """Time passes; those who run use it all, half of it, or none."""
        self.now += ns
        for c in self.model.cpus:
            if c.current is not None and share:
                self.others_spend(c.current.name, ns // share)

    @precondition(lambda self: any(c.current for c in self.model.cpus))
    @rule()
    def run_out(self):
        """Until the first slice is over."""
        cpus = range(self.model.nr_cpus)
        left = [self.decide_one(cpu)[1] for cpu in cpus]
        if min(left) == FOREVER:
            return
        self.run(min(left), 1)
        self.decide_chain(left.index(min(left)))

    @rule(cpu=st.integers(0, 3))
    def decide(self, cpu):
        self.decide_chain(min(cpu, self.model.nr_cpus - 1))

    def decide_chain(self, cpu):
        for _ in range(3 * self.model.nr_cpus):
            if cpu < 0:
                return
            cpu = self.decide_one(cpu)[2]
        raise AssertionError("CPUs name each other for ever")

    def decide_one(self, cpu):
        choice = lib.xp_sched_decide(self.sched, cpu, self.now)
        decided = (self.name(choice.next), choice.slice_ns, choice.also)
        assert decided == self.model.decide(cpu, self.now)
        assert choice.slice_ns >= self.sched.set.mcu_ns
        return decided

    @invariant()
    def the_same(self):
        if not hasattr(self, "sched"):
            return
        model, s = self.model, self.sched
        assert s.svt == model.svt >= self.svt, "svt never goes back"
        assert s.weight == sum(e.params.weight for e in model.entities.values() if e.runnable)
        self.svt = s.svt
        assert s.nr_entities == len(model.entities)
        assert [self.name(s.cpu[i].current) for i in range(s.nr_cpus)] == [c.current and c.current.name for c in model.cpus]
        assert [s.cpu[i].horizon for i in range(s.nr_cpus)] == [c.horizon for c in model.cpus]
        assert s.queue.nr == len(model.waiting())
        assert s.virtual.nr == sum(e.runnable for e in model.entities.values())
        for name, e in model.entities.items():
            c = self.entities[name]
            assert lib.xp_sched_room(self.sched, self.entities + name) == model.room(name)
            assert (c.runnable, c.woken, c.cpu, c.last_cpu) == (e.runnable, e.woken, e.cpu, e.last_cpu)
            assert c.charged_ns == e.used_ns
            if model.kind == "bvt":
                assert (c.avt, c.evt, c.warped) == (e.avt, e.evt, e.warped)
                assert c.ahead_ns == e.paid_ns - e.used_ns in range(s.set.mcu_ns)
                assert 0 <= c.rest < c.params.weight


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
