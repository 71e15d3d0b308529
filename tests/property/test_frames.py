"""The frame table in lock-step with its model, and what its audit sees when the table is broken on purpose."""

import subprocess
from pathlib import Path

import pytest
from cffi import FFI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from model.frames import Frames

ROOT = Path(__file__).resolve().parents[2]
CDEF = """
typedef struct { uint64_t v; } xp_mfn_t;
struct xp_frames;
struct xp_frame { uint32_t ref_count, type_count; uint16_t owner; uint8_t type, flags; uint32_t next; };
struct xp_frames *shim_new(uint64_t nr);
void shim_free(struct xp_frames *f);
uint32_t shim_zombies(const struct xp_frames *f, uint32_t owner);
uint32_t shim_given_up(const struct xp_frames *f, uint32_t owner);
uint64_t shim_nr_free(const struct xp_frames *f);
uint64_t shim_nr_dirty(const struct xp_frames *f);
struct xp_frame *shim_frame(const struct xp_frames *f, uint64_t mfn);
int xp_frames_alloc_run(struct xp_frames *f, uint16_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first);
int xp_frames_alloc(struct xp_frames *f, uint16_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *mfns);
int xp_frames_alloc_extent(struct xp_frames *f, uint16_t owner, uint32_t order, uint64_t limit, xp_mfn_t *first);
int xp_frame_get(struct xp_frames *f, xp_mfn_t mfn);
int xp_frame_put(struct xp_frames *f, xp_mfn_t mfn);
int xp_frame_release(struct xp_frames *f, xp_mfn_t mfn, uint16_t owner);
uint32_t xp_frames_take_dirty(struct xp_frames *f, xp_mfn_t *mfns, uint32_t max);
void xp_frames_give_clean(struct xp_frames *f, const xp_mfn_t *mfns, uint32_t nr);
uint64_t xp_frames_audit(struct xp_frames *f);
"""
ALLOCATED, HV, DIRTY, ZOMBIE, NOBODY = 1, 2, 16, 32, 0x7FFF
SIZES = [1, 2, 7, 40, 40, 40]
XEN = 0x7FF2
OWNERS = st.sampled_from([0, 1, 2, 4095])
NRS = st.integers(0, 6) | st.integers(0, 42)
MFNS = st.integers(0, 45)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """(ffi, lib) of frames.c alone."""
    path = tmp_path_factory.mktemp("frames") / "frames.so"
    subprocess.run(["gcc", "-std=c11", "-O1", "-g", "-shared", "-fPIC", f"-I{ROOT / 'native'}", "-fsanitize=undefined",
                    "-fno-sanitize-recover=all", ROOT / "tests/native/frames_shim.c", ROOT / "native/frames.c", "-o", path],
                   check=True)
    ffi = FFI()
    ffi.cdef(CDEF)
    return ffi, ffi.dlopen(str(path))


def machine_for(table, seen):
    ffi, lib = table

    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.f = None

        @initialize(nr=st.sampled_from(SIZES))
        def begin(self, nr):
            self.model = Frames(nr)
            self.f = lib.shim_new(nr)
            self.extra: list[int] = []      # references that somebody beside the owner holds

        def teardown(self):
            if self.f is not None:
                lib.shim_free(self.f)

        def note(self, what, ret):
            seen[what, ret] = seen.get((what, ret), 0) + 1

        @rule(owner=OWNERS | st.sampled_from([4096, XEN, 0x7FF1]), nr=NRS, hv=st.booleans(), run=st.booleans())
        def alloc(self, owner, nr, hv, run):
            mfns = ffi.new("xp_mfn_t[]", max(nr, 1))
            mfns[0].v = 12345
            may = self.model.may_alloc(owner, nr, run)
            ret = (lib.xp_frames_alloc_run if run else lib.xp_frames_alloc)(self.f, owner, nr, HV * hv, mfns)
            self.note("run" if run else "alloc", ret)
            assert ret == (0 if may else -12)
            if run and ret:
                assert mfns[0].v == 12345, "first is untouched"
            if ret == 0:
                got = [mfns[0].v + i for i in range(nr)] if run else [mfns[i].v for i in range(nr)]
                self.model.alloc(owner, got, hv)

        @rule(owner=OWNERS | st.sampled_from([4096, XEN]), order=st.integers(0, 5), limit=st.integers(0, 45))
        def extent(self, owner, order, limit):
            first = ffi.new("xp_mfn_t *", {"v": 12345})
            may = self.model.may_alloc_extent(owner, order, limit)
            ret = lib.xp_frames_alloc_extent(self.f, owner, order, limit, first)
            self.note("extent", ret)
            assert ret == (0 if may else -12)
            if ret:
                assert first.v == 12345, "untouched"
            else:
                assert first.v % (1 << order) == 0 and first.v + (1 << order) <= limit
                self.model.alloc(owner, list(range(first.v, first.v + (1 << order))), False)

        def owned(self, data):
            """A frame that somebody owns, most of the time."""
            mine = [mfn for mfn, frame in enumerate(self.model.frames) if frame.owner is not None]
            if mine and data.draw(st.integers(0, 5)):
                return data.draw(st.sampled_from(mine))
            return data.draw(MFNS | st.integers(2**62, 2**64 - 1))

        @rule(data=st.data())
        def get(self, data):
            mfn = self.owned(data)
            ret = lib.xp_frame_get(self.f, {"v": mfn})
            self.note("get", ret)
            assert ret == self.model.get(mfn)
            if ret == 0:
                self.extra.append(mfn)

        @precondition(lambda self: self.f is not None and self.extra)
        @rule(data=st.data())
        def put(self, data):
            mfn = self.extra.pop(data.draw(st.integers(0, len(self.extra) - 1)))
            ret = lib.xp_frame_put(self.f, {"v": mfn})
            self.note("put", ret)
            assert ret == self.model.put(mfn)

        @rule(data=st.data(), owner=OWNERS | st.just(XEN), right=st.booleans())
        def release(self, data, owner, right):
            mfn = self.owned(data)
            if right and mfn < self.model.nr and self.model.frames[mfn].owner is not None:
                owner = self.model.frames[mfn].owner
            ret = lib.xp_frame_release(self.f, {"v": mfn}, owner)
            self.note("release", ret)
            assert ret == self.model.release(mfn, owner)

        @rule(most=st.integers(0, 5))
        def take_dirty(self, most):
            mfns = ffi.new("xp_mfn_t[]", 8)
            nr = lib.xp_frames_take_dirty(self.f, mfns, most)
            self.note("take_dirty", min(nr, 1))
            self.model.take_dirty([mfns[i].v for i in range(nr)], most)

        @precondition(lambda self: self.f is not None and self.model.scrubbing)
        @rule()
        def give_clean(self):
            mfns = list(self.model.scrubbing)
            lib.xp_frames_give_clean(self.f, ffi.new("xp_mfn_t[]", [{"v": mfn} for mfn in mfns]), len(mfns))
            self.model.give_clean(mfns)

        @invariant()
        def same(self):
            if self.f is None:
                return
            assert lib.xp_frames_audit(self.f) == 0
            assert lib.shim_nr_free(self.f) == self.model.nr_free
            assert lib.shim_nr_dirty(self.f) == len(self.model.dirty)
            for owner in (0, 1, 2, 4095):
                assert lib.shim_zombies(self.f, owner) == self.model.zombies(owner)
                assert lib.shim_given_up(self.f, owner) == self.model.zombies(owner, of_hv=False)
            for mfn, frame in enumerate(self.model.frames):
                real = lib.shim_frame(self.f, mfn)
                flags = ALLOCATED * frame.allocated | HV * frame.hv | DIRTY * frame.dirty | ZOMBIE * frame.zombie if mfn else 0
                owner = NOBODY if frame.owner is None else frame.owner
                assert (real.ref_count, real.owner, real.flags) == (frame.refs, owner, flags), mfn

    return Machine


def test_in_lock_step(table):
    seen: dict[tuple[str, int], int] = {}
    outcomes = [("alloc", 0), ("alloc", -12), ("run", 0), ("run", -12), ("extent", 0),
                ("extent", -12), ("get", 0), ("get", -22), ("put", 0), ("put", 1),
                ("release", 0), ("release", -22), ("take_dirty", 0), ("take_dirty", 1)]
    for times in (1, 3, 10):        # the rarest outcomes may want more histories
        run_state_machine_as_test(machine_for(table, seen), settings=settings(
            max_examples=150 * times, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)))
        if all(outcome in seen for outcome in outcomes):
            break
    for outcome in outcomes:
        assert seen.get(outcome, 0) > 0, f"{outcome} was never reached: {seen}"
    accepted = sum(n for (_, ret), n in seen.items() if ret >= 0)
    assert accepted >= 0.3 * sum(seen.values()), seen


def test_a_count_that_is_full_is_refused(table):
    _, lib = table
    f = lib.shim_new(8)
    first = table[0].new("xp_mfn_t *")
    assert lib.xp_frames_alloc_run(f, 1, 1, 0, first) == 0
    lib.shim_frame(f, first.v).ref_count = 0xFFFFFFFF
    assert lib.xp_frame_get(f, first[0]) == -22
    lib.shim_free(f)


@pytest.mark.parametrize(
    "breakage",
    [
        lambda frame: setattr(frame, "ref_count", 0),
        lambda frame: setattr(frame, "owner", NOBODY),
        lambda frame: setattr(frame, "type_count", 9),
        lambda frame: setattr(frame, "flags", frame.flags | DIRTY),
    ],
    ids=["count", "owner", "type count", "dirty"],
)
def test_the_audit_sees_a_broken_frame(table, breakage):
    ffi, lib = table
    f = lib.shim_new(8)
    mfns = ffi.new("xp_mfn_t[]", 3)
    assert lib.xp_frames_alloc(f, 1, 3, 0, mfns) == 0
    assert lib.xp_frames_audit(f) == 0
    breakage(lib.shim_frame(f, mfns[1].v))
    assert lib.xp_frames_audit(f) > 0
    lib.shim_free(f)
