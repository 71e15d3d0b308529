"""The MMU in lock-step with its model: random tables, loads and stores of any length, table changes, switches, flushes.

Whole memory is compared after each step, so each A and D bit is; results and faults are compared as they come.
"""

import mmap

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from model import mmu as model

from xenproc.native import ffi, lib

FRAMES, TABLES = 26, 13                 # frames 1 to 12 are tables, three of each level, 13 to 24 data, 25 anything's
TLBS = [(1, 1), (4, 2), (256, 4)]
FLAGS = st.sampled_from([0x7, 0x7, 0x7, 0x67, 0x27, 0x5, 0x3, 0x1, 0x6, 0x0, 0x87, 0x107, 0xE07])
HIGH = st.sampled_from([0, 0, 0, 0, 0, model.NX, 1 << 52, 1 << 62])
LENGTHS = st.sampled_from([1, 2, 4, 8, 3, 7, 16, 100, 4095, 4096, 4097, 8193, 0])
OFFSETS = st.sampled_from([0, 0, 8, 1, 4088, 4092, 4094, 4095, 2048])
ACCESS = st.sampled_from([0, model.U])


def machine_for(name, seen):
    mode = model.MODES[name]
    depth = len(mode.levels)

    def indices(level):
        """A few slots of a table: its ends, the second, and the second half's first."""
        entries = mode.levels[level][1]
        return sorted({0, 1, entries // 2, entries - 1})

    @st.composite
    def addresses(draw):
        va = draw(OFFSETS)
        for level in range(depth):
            va |= draw(st.sampled_from(indices(level))) << mode.levels[level][0]
        if mode.bits == 48 and va >> 47 & 1:
            va |= 0xFFFF << 48
        return va if draw(st.integers(0, 30)) else va ^ 1 << draw(st.sampled_from([32, 47, 50, 63]))

    class Machine(RuleBasedStateMachine):
        @initialize(tlb=st.sampled_from(TLBS), data=st.data())
        def start(self, tlb, data):
            self.memory = mmap.mmap(-1, FRAMES * 4096)
            self.model = model.Mmu(mode, bytearray(FRAMES * 4096))
            self.c = lib.xp_mmu_new(mode.number, ffi.from_buffer(self.memory), FRAMES, *tlb)
            assert self.c != ffi.NULL
            self.info = ffi.new("struct xp_fault_info *")
            for frame in range(1, 3 * depth + 1):
                for index in indices((frame - 1) // 3):
                    pick, leaf = data.draw(st.integers(0, 35)), frame > 3 * (depth - 1)
                    if pick:
                        bits = data.draw(FLAGS | HIGH.map(lambda h: h | 7)) if leaf else 7
                        # One in 36 leads out of memory: a reserved bit for every kind of access to meet.
                        self.put(frame, index, FRAMES + 2 if pick == 1 else self.below(frame, pick), bits)
            self.switch(1, False)

        def below(self, frame, pick):
            """A frame that fits under a table's entry."""
            level = (frame - 1) // 3
            return TABLES + pick % 12 if level == depth - 1 else 3 * (level + 1) + 1 + pick % 3

        def put(self, frame, index, target, bits):
            level = (frame - 1) // 3
            if not mode.levels[level][3]:
                bits &= ~0x66
            at, entry = frame * 4096 + index * mode.size, (target << 12 | bits) & ((1 << 8 * mode.size) - 1)
            for memory in self.memory, self.model.memory:
                memory[at:at + mode.size] = entry.to_bytes(mode.size, "little")

        @rule(data=st.data(), frame=st.integers(1, 3 * depth), wilder=st.integers(0, 60), bits=FLAGS, high=HIGH,
              pick=st.integers(0, 11), wild=st.integers(0, 4))
        def change(self, data, frame, wilder, bits, high, pick, wild):
            """An entry changes, to a sensible frame or any; then everything is flushed."""
            index = data.draw(st.sampled_from(indices((frame - 1) // 3)))
            self.put(frame, index, wilder if wild == 0 else self.below(frame, pick), bits | high)
            self.model.flush()
            lib.xp_mmu_flush(self.c)

        @rule(top=st.integers(1, 3), tagged=st.booleans())
        def switch(self, top, tagged):
            """A base pointer; a tag goes with one of them only."""
            self.model.switch(top, top + 1 if tagged else 0)
            assert lib.xp_mmu_switch(self.c, top, top + 1 if tagged else 0) == 0

        @rule(top=st.sampled_from([0, FRAMES, 1 << 40]))
        def bad_top(self, top):
            """A table of nothing, or beyond memory."""
            self.model.switch(top, 0)
            assert lib.xp_mmu_switch(self.c, top, 0) == 0

        @rule(va=addresses())
        def flush_page(self, va):
            """One page goes; that is never wrong."""
            self.model.flush_page(va)
            lib.xp_mmu_flush_page(self.c, va)

        def both(self, what, ours, theirs):
            """The model's result or fault, and the same of C."""
            try:
                expected = ours()
            except model.Fault as fault:
                seen.add(("fault", fault.vector, fault.code))
                assert theirs() == -14
                assert (self.info.vector, self.info.va, self.info.error_code) == fault.args
                return None, None
            assert theirs() == 0, (self.info.vector, hex(self.info.va), self.info.error_code)
            seen.add(("done", what))
            return (expected,)

        @rule(va=addresses(), length=LENGTHS, access=ACCESS, fetch=st.booleans())
        def load(self, va, length, access, fetch):
            """Any length, data or code."""
            access |= model.I * fetch
            found = ffi.new("char[]", length + 1)
            got = self.both("load", lambda: self.model.load(va, length, access),
                            lambda: lib.xp_mmu_load(self.c, va, found, length, access, self.info))
            if len(got) == 1:
                assert bytes(ffi.buffer(found, length)) == bytes(got[0])

        @rule(va=addresses(), length=LENGTHS, access=ACCESS, seed=st.integers(1, 250))
        def store(self, va, length, access, seed):
            """Any length; a store into a table changes it, so a flush follows, and only within a page."""
            data = bytes((seed + i) % 251 for i in range(length))
            try:
                parts = self.model.parts(va, length) if length else []
                tables = [at for at, _ in parts if self.model.look(at, access | model.W)[0] < TABLES]
            except model.Fault:
                parts = tables = []
            if tables and len(parts) > 1:
                return
            self.both("store", lambda: self.model.store(va, data, access),
                      lambda: lib.xp_mmu_store(self.c, va, data, length, access, self.info))
            if tables:
                self.model.flush()
                lib.xp_mmu_flush(self.c)

        @rule(va=addresses(), access=st.sampled_from([0, model.U, model.W, model.W | model.U, model.I, model.I | model.U]))
        def translate(self, va, access):
            """An address, with the access's effects on the tables."""
            maddr = ffi.new("uint64_t *")
            got = self.both("translate", lambda: self.model.resolve(va, access),
                            lambda: lib.xp_mmu_translate(self.c, va, access, maddr, self.info))
            if len(got) == 1:
                assert maddr[0] == got[0]

        @invariant()
        def same_memory(self):
            """Each byte of memory, and so each A and D bit, is the same."""
            if hasattr(self, "memory"):
                assert memoryview(self.memory) == self.model.memory

        def teardown(self):
            lib.xp_mmu_free(getattr(self, "c", ffi.NULL))

    return Machine


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", model.MODES)
def test_lockstep(name):
    seen = set()
    # A reserved bit met by a fetch (25, 29) is too rare for a promise: tests/unit/test_mmu.py has it.
    # a supervisor's read is refused by nothing but an entry that is not there or has a reserved bit
    codes = {0, 2, 4, 6, 3, 5, 7, 9, 11, 13, 15} | ({16, 20, 17, 21} if model.MODES[name].nx else set())
    wanted = {("fault", 14, code) for code in codes} | {("fault", 13, 0), ("fault", 18, 0)}
    wanted |= {("done", what) for what in ("load", "store", "translate")}
    for times in (1, 3, 6):         # the rarest outcomes may want more histories
        run_state_machine_as_test(machine_for(name, seen), settings=settings(
            max_examples=150 * times, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)))
        if wanted <= seen:
            break
    assert wanted <= seen, sorted(wanted - seen)
