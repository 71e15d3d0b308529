"""Random histories of memory_op by several domains, model and real thing in lock-step."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from model import reservation as model
from property.reservation_lockstep import SEEN, Lockstep

DOMIDS = (1, 2, 3)
PFNS = st.integers(0, 40) | st.just(model.NOTHING)
WHOM = st.sampled_from([model.SELF] * 12 + [1, 2, 9])
FLAGS = st.sampled_from([0] * 8 + [17, 18, 19, 30, 12, 5, model.EXACT_NODE | 3 << 8, model.EXACT_NODE | 1 << 8, model.ON_DEMAND,
                         model.EXACT_NODE | model.VNODE | 3 << 8])


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.both = Lockstep()

    def teardown(self):
        self.both.close()

    @initialize()
    def begin(self):
        for domid in DOMIDS[:2]:
            self.both.create(domid)

    def one_of(self, data):
        return data.draw(st.sampled_from(sorted(self.both.model.domains)))

    def frames(self, data, domid, most, gone):
        """Frames to name: mostly one's own beyond the first two, and let go of where asked for."""
        own = [mfn for mfn in self.both.model.pages(domid) if mfn - self.both.own[domid] not in (0, 1)]
        named = data.draw(st.lists(st.sampled_from(own), max_size=most, unique=True)) if own else []
        if data.draw(st.integers(0, 5)) == 0:
            named.append(data.draw(st.integers(0, 170) | st.just(1 << 63)))
        protected = {self.both.own[domid], self.both.own[domid] + 1}
        named = [mfn for mfn in named if mfn not in protected]
        for mfn in named:
            if mfn in self.both.model.domains[domid].window and (gone or data.draw(st.integers(0, 3)) == 0):
                self.both.leave(domid, mfn)
        return named

    @precondition(lambda self: len(self.both.model.domains) < 3 and not hasattr(self.both, "zombie"))
    @rule(max_pages=st.integers(10, 40))
    def create(self, max_pages):
        domid = next(d for d in DOMIDS if d not in self.both.model.domains)
        if self.both.model.room(4, 1 << 60):
            self.both.create(domid, max_pages=max_pages)

    @precondition(lambda self: len(self.both.model.domains) > 1 and not hasattr(self.both, "zombie"))
    @rule(data=st.data(), really=st.integers(0, 4))
    def destroy(self, data, really):
        if really == 0:
            self.both.destroy(self.one_of(data))

    @rule(data=st.data(), max_pages=st.integers(4, 50))
    def set_max(self, data, max_pages):
        self.both.set_max(self.one_of(data), max_pages)

    @rule(data=st.data(), kind=st.sampled_from(["increase", "populate"]), nr=st.integers(0, 6), order=st.integers(0, 3) | st.just(10),
          flags=FLAGS, whom=WHOM, listed=st.integers(0, 4))
    def more(self, data, kind, nr, order, flags, whom, listed):
        words = data.draw(st.lists(PFNS, min_size=nr, max_size=nr)) if listed or kind == "populate" else None
        self.both.reservation(self.one_of(data), kind, words, nr, order, flags, whom)

    @rule(data=st.data(), gone=st.booleans(), whom=WHOM, flags=FLAGS)
    def less(self, data, gone, whom, flags):
        domid = self.one_of(data)
        self.both.reservation(domid, "decrease", self.frames(data, domid, 5, gone), None, 0, flags, whom)

    @rule(data=st.data(), order=st.integers(1, 3), dropped=st.integers(0, 15))
    def less_in_one_piece(self, data, order, dropped):
        domid = self.one_of(data)
        first = data.draw(st.sampled_from(self.both.model.pages(domid))) & ~((1 << order) - 1)
        extent = range(first, first + (1 << order))
        if self.both.own[domid] in extent or self.both.own[domid] + 1 in extent:
            return
        for i, mfn in enumerate(extent):
            if mfn in self.both.model.domains[domid].window and i != dropped:
                self.both.leave(domid, mfn)
        self.both.reservation(domid, "decrease", [first], None, order)

    @rule(data=st.data(), gone=st.integers(0, 3), out_order=st.integers(0, 2), flags=FLAGS, whom=WHOM, done=st.integers(0, 7))
    def exchange(self, data, gone, out_order, flags, whom, done):
        domid = self.one_of(data)
        words = self.frames(data, domid, 6, gone > 0)
        words = words[: len(words) >> out_order << out_order] if data.draw(st.integers(0, 5)) else words
        outs = data.draw(st.lists(PFNS, min_size=len(words) >> out_order, max_size=len(words) >> out_order))
        self.both.exchange(domid, words, outs, 0, out_order, in_domid=whom, out_domid=data.draw(st.sampled_from([whom] * 9 + [1])),
                           out_mem_flags=flags, nr_exchanged=done if done in (1, 2) else 0)

    @rule(data=st.data(), orders=st.sampled_from([(1, 0), (2, 0), (2, 1), (1, 1), (1, 2)]), left=st.integers(0, 9))
    def exchange_pieces(self, data, orders, left):
        domid, (in_order, out_order) = self.one_of(data), orders
        first = data.draw(st.sampled_from(self.both.model.pages(domid))) & ~3
        if {self.both.own[domid], self.both.own[domid] + 1} & set(range(first, first + 4)):
            return
        for i, mfn in enumerate(range(first, first + 4)):
            if i != left:
                self.both.leave(domid, mfn)
        words = list(range(first, first + 4, 1 << in_order))
        self.both.exchange(domid, words, data.draw(st.lists(PFNS, min_size=4 >> out_order, max_size=4 >> out_order)), in_order, out_order)

    @rule(data=st.data(), type_=st.sampled_from([0, 0, 1]))
    def hold(self, data, type_):
        # Not what calls are made by: no answer is written into a table.
        busy = {self.both.own[domid] + i for domid in self.both.model.domains for i in range(2)}
        own = [mfn for domid in self.both.model.domains for mfn in self.both.model.pages(domid) if mfn not in busy]
        if own:
            self.both.hold(data.draw(st.sampled_from(own)), type_)

    @precondition(lambda self: self.both.held)
    @rule(data=st.data())
    def let_go(self, data):
        self.both.let_go(data.draw(st.integers(0, len(self.both.held) - 1)))
        if hasattr(self.both, "zombie") and self.both.real.reap(self.both.zombie):
            del self.both.zombie

    @invariant()
    def same(self):
        self.both.compare()


WANTED = [(kind, how) for kind in ("increase", "populate", "decrease") for how in ("all", "some", "none")] + [
    ("exchange", ret) for ret in (0, model.EINVAL, model.EPERM, model.ESRCH, model.ENOMEM)]


@pytest.mark.timeout(300)
def test_in_lock_step():
    SEEN.clear()
    for times in (1, 3, 10):
        run_state_machine_as_test(Machine, settings=settings(
            max_examples=80 * times, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)))
        if all(SEEN[pair] for pair in WANTED):
            break
    assert not [pair for pair in WANTED if not SEEN[pair]], SEEN
    done = sum(n for (_, how), n in SEEN.items() if how in ("all", "some", 0))
    assert done >= 0.3 * SEEN.total(), SEEN
