"""Shadow mode and its model in lock-step: random tables, stores and accesses; whatever shadows there are, they are never seen."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from model.shadow import MODES, Fault, Guest
from shadowed import SHADOWED, Shadowed
from tables import BASE, FULL, NX, PSE, RW, UNPIN, A, D, G, P, U, kind, lib

PAGES, TABLES, FOREIGN = 40, 9, 2
ACCESSES = [0, 2, 4, 6, 16]


class Both(RuleBasedStateMachine):
    """A domain in shadow mode beside what its tables mean."""

    mode, enforced, step, pool = 0, True, 0, 16

    def __init__(self):
        super().__init__()
        self.m = None

    def teardown(self):
        if self.m is not None:
            self.m.close()

    @initialize(seed=st.integers(0, 2**32))
    def tables(self, seed):
        """Tables that name each other, mostly in order."""
        m = self.m = Shadowed(self.mode, self.enforced, self.step, PAGES, 128, self.pool)
        m.domain(2, 6)
        m.grants(1)
        m.grants(2)
        m.assist(False)
        draw = random.Random(seed)
        levels = MODES[self.mode][0]
        own = m.own(PAGES - 1)
        self.tables_of = [own[level * TABLES : (level + 1) * TABLES - 6] for level in range(levels)]    # three of each level
        self.leaves = own[levels * TABLES :] if levels < 4 else own[-4:]
        for level, tables in enumerate(self.tables_of):
            for table in tables:
                for slot in range(4):
                    below = self.tables_of[level - 1] if level else self.leaves
                    bits = P if self.mode == 1 and level == 2 else draw.choice([FULL, FULL, FULL, P | RW | U, P | U | A, 0])
                    m.table(table)[slot] = draw.choice(below) << 12 | bits if bits else 0
        kept = {m.shadow.first + i for i in range(m.shadow.nr)} | {m.real.grant_frames(1)[0]}
        self.shared = lib.hvtest_domain(m.t, 1).shared_info_mfn.v
        self.model = Guest(self.mode, {mfn: bytearray(m.bytes(mfn, 1)) for mfn in own}, fixed=kept)
        self.gone: set[int] = set()
        self.handles: dict[int, tuple[int, int]] = {}        # what is lent or borrowed: (handle, whose it is)
        self.ref = 0
        self.counts = {"access": 0, "fault": 0, "trapped": 0, "store": 0}

    # ---- what is drawn ----

    def _table(self, data):
        return data.draw(st.sampled_from([t for tables in self.tables_of for t in tables]))

    def _entry(self, data):
        frames = [*self.leaves, *(t for tables in self.tables_of for t in tables), self.m.first[2] + FOREIGN, self.m.shadow.first, 127]
        bits = data.draw(st.sampled_from([FULL, FULL, FULL, P | RW | U | A, P | RW, P | U | A, P | A | D | RW, P, G | FULL, PSE | FULL, 0]))
        if self.mode and data.draw(st.integers(0, 15)) == 0:
            bits |= NX
        return data.draw(st.sampled_from(frames)) << 12 | bits

    def _va(self, data):
        levels, _, shifts, _ = MODES[self.mode]
        slots = [data.draw(st.integers(0, 3 if level else 5)) for level in range(levels)]
        return sum(slot << shift for slot, shift in zip(slots, shifts, strict=True)) + data.draw(st.sampled_from([0, 8, 4088]))

    # ---- what is done ----

    @rule(data=st.data())
    def base(self, data):
        """A base pointer."""
        mfn = data.draw(st.sampled_from([*self.tables_of[-1], self.m.first[2], self.m.shadow.first, 0]))
        ret = self.m.base(mfn, BASE)
        good = mfn in self.model.frames and mfn not in self.model.lent
        assert ret == (0 if good else -22)
        if good:
            self.model.base = mfn

    @rule(data=st.data(), access=st.sampled_from(ACCESSES))
    @precondition(lambda self: self.m is not None and self.model.base)
    def access(self, data, access):
        """A load or a store by virtual address."""
        va, levels = self._va(data), MODES[self.mode][0]
        in_c, trapped = self.m.access(va, access)
        expected = self.model.access(va, access)
        assert in_c == expected, (hex(va), access, levels)
        self.counts["fault" if isinstance(in_c, Fault) else "access"] += 1
        self.counts["trapped"] += trapped
        if not isinstance(in_c, Fault) and access & 2 and in_c >> 12 in self.model.frames:
            value, size = self._entry(data), self.m.size()
            if trapped:
                assert self.m.pt_write(in_c, value) == 0
            else:
                self.m.table(in_c >> 12)[in_c % 4096 // size] = value
            self.model.put(in_c, value, size)

    @rule(data=st.data(), slot=st.integers(0, 6), size=st.sampled_from([0, 0, 0, 4, 8]))
    def store(self, data, slot, size):
        """A store into a table by machine address, trapped or not."""
        table, value = self._table(data), self._entry(data)
        if table not in self.model.frames:
            return
        whole = self.m.size()
        size = size or whole
        slot &= ~1 if size > whole else ~0
        at = self.m.ptr(table, slot)
        was = self.m.shadowed(table)
        ret = self.m.pt_write(at, value, size)
        assert ret == (0 if was else 2)
        if ret == 2:
            self.m.bytes_at(at, value, size)
        self.model.put(at, value, size)
        self.counts["store"] += 1

    @rule(data=st.data(), slot=st.integers(0, 6), keep=st.booleans())
    def update(self, data, slot, keep):
        """mmu_update."""
        table, value = self._table(data), self._entry(data)
        done = self.m.update((self.m.ptr(table, slot, 2 if keep else 0), value))
        if table not in self.model.frames:
            assert done == (-22, 0)
            return
        at = self.m.ptr(table, slot)
        assert done == (0, 1)
        self.model.put(at, value | (self.model.entry(at) & (A | D) if keep else 0), self.m.size())

    @rule(data=st.data())
    def unpin(self, data):
        """A table is said to be none."""
        table = self._table(data)
        assert self.m.ext((UNPIN, table)) == ((0, 1) if table in self.model.frames else (-22, 0))

    @rule(data=st.data())
    def lend(self, data):
        """Another domain may write a page: it is no table while that lasts, and refused while it is one."""
        page = data.draw(st.sampled_from([*self.leaves, *self.tables_of[0]]))
        if page in self.handles or page not in self.model.frames:
            return
        was = self.m.shadowed(page)
        self.ref += 1
        handle = self.m.grant_map(2, 1, self.ref, page, 2) if self.ref < 500 and len(self.handles) < 6 else -1
        if handle >= 0:
            assert not was
            self.handles[page] = handle, 2
            self.model.lent.add(page)

    @rule(writes=st.booleans())
    def borrow(self, writes):
        """A page of another domain's."""
        page = self.m.first[2] + FOREIGN
        if page in self.handles:
            return
        handle = self.m.grant_map(1, 2, 1, page, 2 if writes else 2 | 4)
        assert handle >= 0
        self.handles[page] = handle, 1
        self.model.borrowed[page] = writes

    @rule(data=st.data())
    @precondition(lambda self: self.m is not None and self.handles)
    def give_back(self, data):
        """A grant's end."""
        page = data.draw(st.sampled_from(sorted(self.handles)))
        handle, domid = self.handles.pop(page)
        self.m.drop(domid, page)
        assert self.m.grant_unmap(domid, handle) == 0
        self.model.borrowed.pop(page, None)
        self.model.lent.discard(page)

    @rule(data=st.data())
    def leave(self, data):
        """A page of its own goes: whoever names it is wrong from then on."""
        page = data.draw(st.sampled_from([*self.leaves[:2], *self.tables_of[0][:1]]))
        if page in self.gone or page in self.handles or data.draw(st.integers(0, 3)):
            return
        self.m.drop(1, page)
        assert self.m.give_up(page) == 1
        self.gone.add(page)
        del self.model.frames[page]

    # ---- what must hold ----

    @invariant()
    def same(self):
        """Memory is what the model says; counts are what shadows hold; what is shadowed is protected, and nothing else."""
        if self.m is None:
            return
        assert lib.hvtest_mm_audit(self.m.t) == 0
        first, kinds = self.m.first[1], [word >> 8 & 0xFF for word in self.m.snapshot()[2 : 3 * 128 : 3]]
        content, window = self.m.bytes(first, PAGES), self.m.window(1, first, PAGES)
        for mfn, expected in self.model.frames.items():
            at = mfn - first << 12
            assert content[at : at + 4096] == expected, f"frame {mfn}"
            assert (window[mfn - first] == 1) == (kinds[mfn] == SHADOWED)
        assert not set(kinds) & {1, 2, 3, 4, 7}, "nothing is a validated table"


VARIANTS = [(mode, enforced, step) for mode in (0, 1, 2) for enforced, step in ((True, 0), (False, 0), (True, 1))]


@pytest.mark.parametrize("variant", VARIANTS, ids=kind)
def test_shadows_are_never_seen(variant):
    machine = type("Machine", (Both,), {"mode": variant[0], "enforced": variant[1], "step": variant[2]})
    run_state_machine_as_test(machine, settings=settings(
        max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True))
