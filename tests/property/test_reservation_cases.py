"""memory_op's changing calls, each refusal by itself, and what histories do not reach: lists' edges, windows that fail, steps."""

import pytest
from model import reservation as model
from native.hvtest_real import ffi, lib
from property.reservation_lockstep import CMD, EXCHANGE, Lockstep


@pytest.fixture
def both():
    machine = Lockstep()
    machine.create(1)
    machine.create(2)
    yield machine
    machine.compare()
    machine.close()


def gone(both, domid, *pages):
    """Pages of a domain that its process has let go of."""
    mfns = [both.own[domid] + page for page in pages]
    for mfn in mfns:
        both.leave(domid, mfn)
    return mfns


# ---- more ----


@pytest.mark.parametrize("kind", ["increase", "populate"])
@pytest.mark.parametrize(
    ("asked", "done"),
    [
        ({}, 2), ({"order": 9}, 0), ({"order": 10}, 0), ({"order": 1 << 31}, 0), ({"whom": 2}, 0), ({"whom": 77}, 0), ({"whom": 1}, 2),
        ({"nr_extents": 0}, 0), ({"nr_extents": 1 << 26}, 0), ({"nr_extents": 1 << 63}, 0), ({"mem_flags": 12}, 0), ({"mem_flags": 1}, 0),
        ({"mem_flags": 13}, 0), ({"mem_flags": 63}, 2), ({"mem_flags": 255}, 2), ({"mem_flags": model.EXACT_NODE | 1 << 8}, 2),
        ({"mem_flags": 2 << 8}, 2), ({"mem_flags": model.EXACT_NODE | 2 << 8}, 0),
        ({"mem_flags": model.EXACT_NODE | model.VNODE | 2 << 8}, 2), ({"order": 3}, 2), ({"order": 4}, 1), ({"order": 5}, 0),
    ],
)
def test_more(both, kind, asked, done):
    """Each argument at its edge; three times the start is the limit."""
    assert both.reservation(1, kind, [100, 200], **asked) == done


def test_on_demand_is_not_for_those_who_know_machine_frames(both):
    assert both.reservation(1, "populate", [100], mem_flags=model.ON_DEMAND) == 0
    assert both.reservation(1, "increase", [100], mem_flags=model.ON_DEMAND) == 1, "the flag means nothing there"


def test_the_limit(both):
    assert both.reservation(1, "increase", None, 30) == 20
    assert both.reservation(1, "increase", None, 1) == 0
    both.set_max(1, 5)
    assert both.reservation(1, "increase", None, 1) == 0, "below what it has"
    both.set_max(1, 31)
    assert both.reservation(1, "increase", None, 2) == 1


def test_pages_that_others_hold_still_count(both):
    mfns = gone(both, 1, 5, 6)
    both.hold(mfns[0])
    both.set_max(1, 10)
    assert both.reservation(1, "decrease", mfns) == 2
    assert both.reservation(1, "increase", None, 2) == 1
    both.let_go(0)
    assert both.reservation(1, "increase", None, 1) == 1


def test_the_machine_is_full(both):
    both.set_max(1, 1000)
    done = both.reservation(1, "increase", None, 200)
    assert 100 < done < 200
    assert both.reservation(2, "increase", None, 1) == 0
    mfns = gone(both, 1, 5)
    assert both.reservation(1, "decrease", mfns) == 1
    assert both.reservation(2, "populate", [7]) == 1, "what went is to be had"


def test_what_comes_is_clear(both):
    mfns = gone(both, 1, 5)
    both.real.memory(mfns[0])[:] = b"\xa5" * 4096
    both.reservation(1, "decrease", mfns)
    both.set_max(2, 1000)
    both.reservation(2, "increase", None, 200)
    assert lib.hvtest_frame_record(both.real.t, mfns[0]).owner == 2
    assert bytes(both.real.memory(mfns[0])) == bytes(4096)


@pytest.mark.parametrize("kind", ["increase", "populate"])
def test_a_window_that_takes_a_part_only(both, kind):
    """What the process may have been shown of an extent stays its domain's; the rest is free; the list is as it was."""
    t, free = both.real.t, lib.hvtest_nr_pages(both.real.t, 1)
    for shown in (0, 1, 3):
        listed = both._list(1)
        listed[0] = 500
        op = ffi.new("struct xen_memory_reservation *", {"extent_start": both._where(1), "nr_extents": 1, "extent_order": 2,
                                                         "domid": model.SELF})
        steps = {"increase": 4, "populate": 4}[kind]       # struct and number in, frames taken, number out: then pages shown
        lib.hvtest_fail_at(steps + shown)
        assert lib.hvtest_memory_op(t, 1, CMD[kind], op, ffi.sizeof("struct xen_memory_reservation")) == 0
        assert ffi.string(lib.hvtest_failed()) == b"window_give"
        lib.hvtest_fail_at(-1)
        assert lib.hvtest_nr_pages(t, 1) == free + shown and listed[0] == 500
        assert lib.hvtest_audit(t) == 0
        free += shown
    for mfn in range(both.real.nr_frames):      # the model is told
        record = lib.hvtest_frame_record(t, mfn)
        if record.owner == 1 and both.model.frames[mfn].owner is None:
            assert lib.hvtest_shown(t, 1, mfn)
            both.model.take(both.model.domains[1], mfn, 0, 1 << 60)
            both.model.m2p[mfn] = lib.hvtest_m2p(t, mfn)


# ---- less ----


def test_less(both):
    mfns = gone(both, 1, 4, 5, 6)
    assert both.reservation(1, "decrease", mfns) == 3
    assert both.real.t.news == 1, "somebody should clear them"
    assert both.reservation(1, "decrease", mfns) == 0, "they are not its any more"


def test_a_page_that_the_process_still_has(both):
    mfns = [both.own[1] + page for page in (4, 5, 6)]
    assert both.reservation(1, "decrease", mfns) == 0
    both.leave(1, mfns[0])
    both.leave(1, mfns[2])
    assert both.reservation(1, "decrease", mfns) == 1, "up to the one that is there"


@pytest.mark.parametrize("what", ["another's", "free", "nobody's", "shared_info", "outside", "the largest"])
def test_pages_that_cannot_be_given_up(both, what):
    t = both.real.t
    mfn = {
        "another's": both.own[2] + 3, "free": 150, "nobody's": 0, "outside": 160, "the largest": model.NOTHING,
        "shared_info": next(m for m in range(160) if lib.hvtest_frame_record(t, m).flags & 2),
    }[what]
    assert both.reservation(1, "decrease", [mfn]) == 0


def test_an_extent_that_is_refused_half_way(both):
    """As in Xen: what came before the refused page in it is gone."""
    first = (both.own[1] + 5) & ~3
    for mfn in (first, first + 1, first + 3):
        both.leave(1, mfn)
    assert both.reservation(1, "decrease", [first], order=2) == 0
    assert not both.model.owns(1, first) and both.model.owns(1, first + 3)


def test_a_page_table_stays_its_owners_until_it_is_none(both):
    (mfn,) = gone(both, 1, 5)
    both.hold(mfn, lib.XP_FT_L1)
    assert both.reservation(1, "decrease", [mfn]) == 1
    assert lib.hvtest_reserved(both.real.t, 1) == 10
    both.let_go(0)
    assert lib.hvtest_reserved(both.real.t, 1) == 9


# ---- lists ----


@pytest.mark.parametrize("kind", ["increase", "populate", "decrease"])
@pytest.mark.parametrize(("where", "done"), [("the edge", 2), ("outside", 0), ("another's", 0), ("wraps", 0)])
def test_lists(both, kind, where, done):
    """A list is as good as far as it lies in the domain's own memory."""
    last = both.own[1] + 9
    (mfn,) = gone(both, 1, 5)
    words = ffi.cast("uint64_t *", lib.hvtest_frame(both.real.t, last))
    words[510], words[511] = mfn, mfn + 1
    both.leave(1, mfn + 1)
    at = {"the edge": lib.HVTEST_BASE + (last << 12) + 510 * 8, "outside": 8, "another's": lib.HVTEST_BASE + (both.own[2] << 12),
          "wraps": (1 << 64) - 8}[where]
    shared = lib.hvtest_frame_record(both.real.t, last + 1)
    assert shared.owner == 1 and shared.flags & 2, "behind the last page lies one that is not the guest's to name"
    op = ffi.new("struct xen_memory_reservation *", {"extent_start": at, "nr_extents": 4, "domid": model.SELF})
    before = set(both._owned(1))
    assert lib.hvtest_memory_op(both.real.t, 1, CMD[kind], op, ffi.sizeof("struct xen_memory_reservation")) == done
    for frame in before - both._owned(1):
        both.model.drop(frame)
    for i, frame in enumerate(sorted(both._owned(1) - before)):
        both.model.take(both.model.domains[1], frame, 0, 1 << 60)
        if kind == "populate":
            both.model.m2p[frame] = mfn + i


@pytest.mark.parametrize("cmd", [0, 1, 6, 11, 5, 12])
@pytest.mark.parametrize("va", [0, 1 << 63, (1 << 64) - 1])
def test_arguments_that_are_not_there(both, cmd, va):
    assert lib.hvtest_raw_memory_op(both.real.t, 1, cmd, va) == (0 if cmd in (0, 1, 6) else -14)


def test_commands_that_there_are_not(both):
    for cmd in (9, 16, 99, 1 << 32, 11 | 1 << 6):
        assert lib.hvtest_raw_memory_op(both.real.t, 1, cmd, lib.HVTEST_BASE) == model.ENOSYS


@pytest.mark.parametrize("cmd", [7, 23, 15])
def test_page_numbers_are_not_the_hypervisors_to_translate(both, cmd):
    """XENMEM_add_to_physmap, _batch, remove_from_physmap of a paravirtual domain: refused as on Xen, in its order of checks."""
    address = lib.HVTEST_BASE + (lib.hvtest_domain(both.real.t, 1) and both.real.t.first_mfn[1] << 12)
    args = memoryview(both.real.memory(both.real.t.first_mfn[1])).cast("B").cast("H")

    def call(domid, space):
        args[0], args[1], args[2], args[3] = (domid, space, 1, 0) if cmd == 23 else (domid, 0, space, 0)
        return lib.hvtest_raw_memory_op(both.real.t, 1, cmd, address)

    assert [call(0x7FF0, space) for space in (0, 1, 2)] == [-13] * 3
    assert call(999, 0) == -3
    assert call(999, 3 if cmd == 23 else 4) == {7: model.ENOSYS, 23: -95, 15: -3}[cmd]
    assert lib.hvtest_raw_memory_op(both.real.t, 1, cmd, 0) == -14


# ---- exchange ----


@pytest.mark.parametrize(
    ("asked", "result"),
    [
        ({}, 0), ({"in_order": 10}, model.EPERM), ({"out_order": 10}, model.EPERM), ({"nr_exchanged": 5}, model.EINVAL),
        ({"nr_exchanged": 4}, 0), ({"nr_exchanged": 1}, 0), ({"out_domid": 1}, model.EINVAL),
        ({"in_domid": 2, "out_domid": 2}, model.EPERM),
        ({"in_domid": 77, "out_domid": 77}, model.ESRCH), ({"in_domid": 1, "out_domid": 1}, 0),
        ({"in_nr_extents": 3}, model.EINVAL),
        ({"in_nr_extents": 1 << 60, "in_order": 9}, model.EINVAL), ({"out_nr_extents": 1 << 60, "out_order": 9}, model.EINVAL),
        ({"out_mem_flags": 12}, model.ENOMEM), ({"out_mem_flags": 13}, model.ENOMEM), ({"out_mem_flags": 30}, 0),
    ],
)
def test_exchange(both, asked, result):
    assert both.exchange(1, gone(both, 1, 4, 5, 6, 7), [40, 41, 42, 43], **asked) == result


def test_for_one_piece_and_back(both):
    """Four scattered pages for four in a row, and those for scattered ones."""
    assert both.exchange(1, gone(both, 1, 3, 5, 7, 9), [100], out_order=2) == 0
    first = both._list(1, out=True)[0]
    assert [lib.hvtest_m2p(both.real.t, first + i) for i in range(4)] == [100, 101, 102, 103]
    for mfn in range(first, first + 4):
        both.leave(1, mfn)
    assert both.exchange(1, [first], [7, 6, 5, 4], in_order=2) == 0


@pytest.mark.parametrize("what", ["twice", "held", "typed", "there", "another's"])
def test_pages_that_cannot_be_exchanged(both, what):
    mfns = gone(both, 1, 4, 5)
    if what == "twice":
        mfns[1] = mfns[0]
    elif what in ("held", "typed"):
        both.hold(mfns[1], lib.XP_FT_L1 if what == "typed" else 0)
    else:
        mfns[1] = both.own[1] + 6 if what == "there" else both.own[2] + 4
    assert both.exchange(1, mfns, [40, 41]) == model.EINVAL, "the second; the first is done"
    assert both.exchange(1, [both.own[1] + 5, mfns[1]], [44], out_order=1) == model.EINVAL, "a chunk is done whole or not at all"


def test_a_page_named_twice_in_a_chunk(both):
    (mfn,) = gone(both, 1, 4)
    assert both.exchange(1, [mfn, mfn], [40], out_order=1) == model.EINVAL


def test_the_machine_is_too_full_for_an_exchange(both):
    both.set_max(1, 1000)
    both.reservation(1, "increase", None, 200)
    assert both.exchange(1, gone(both, 1, 5), [40]) == model.ENOMEM


def test_a_list_of_what_comes_that_is_not_there(both):
    """Nothing is exchanged."""
    mfns = gone(both, 1, 4, 5)
    both._list(1)[0], both._list(1)[1] = mfns
    for start in (0, lib.HVTEST_BASE + (both.own[2] << 12)):
        op = ffi.new("struct xen_memory_exchange *")
        for side in (getattr(op, "in"), op.out):
            side.extent_start, side.nr_extents, side.domid = both._where(1), 2, model.SELF
        op.out.extent_start = start
        assert lib.hvtest_memory_op(both.real.t, 1, EXCHANGE, op, ffi.sizeof("struct xen_memory_exchange")) == model.EFAULT
        assert op.nr_exchanged == 0
        both.compare()


def test_an_exchange_that_the_window_takes_a_part_of(both):
    """The pages that were to go stay; what may have been shown is the domain's; both lists are as they were."""
    t = both.real.t
    mfns = gone(both, 1, 4, 5)
    both._list(1)[0], both._list(1)[1] = mfns
    outs = both._list(1, out=True)
    outs[0], outs[1] = 70, 71
    op = ffi.new("struct xen_memory_exchange *")
    for side, where in ((getattr(op, "in"), both._where(1)), (op.out, both._where(1, out=True))):
        side.extent_start, side.nr_extents, side.domid = where, 2, model.SELF
    op.out.nr_extents, op.out.extent_order = 1, 1
    for n in range(100):
        lib.hvtest_fail_at(n)
        op.nr_exchanged = 0
        ret = lib.hvtest_memory_op(t, 1, EXCHANGE, op, ffi.sizeof("struct xen_memory_exchange"))
        what = lib.hvtest_failed()
        lib.hvtest_fail_at(-1)
        assert lib.hvtest_audit(t) == 0
        if what == ffi.NULL:
            break
        assert ret == (model.ENOMEM if ffi.string(what) in (b"window_give", b"frames_alloc_extent") else model.EFAULT), what
        assert (outs[0], outs[1]) == (70, 71) and op.nr_exchanged == 0
        assert all(lib.hvtest_frame_record(t, mfn).owner == 1 for mfn in mfns)
    assert n > 8 and ret == 0
    for mfn in range(both.real.nr_frames):      # the model is told
        record, frame = lib.hvtest_frame_record(t, mfn), both.model.frames[mfn]
        if record.owner == 1 and frame.owner is None:
            both.model.take(both.model.domains[1], mfn, 0, 1 << 60)
        if mfn in mfns:
            both.model.drop(mfn)
        both.model.m2p[mfn] = lib.hvtest_m2p(t, mfn)


def test_of_two_pages_that_come_apart_one_cannot_be_shown(both):
    """The memory is full but for two pages that are not next to each other."""
    t, pair = both.real.t, (both.own[1] + 5) & ~1
    both.set_max(2, 1000)
    both.reservation(2, "increase", None, 200)
    last = max(mfn for mfn in both.model.pages(2) if mfn % 2 == 0)
    for mfn in (last, last - 4):
        both.leave(2, mfn)
        assert both.reservation(2, "decrease", [mfn]) == 1
    for mfn in (pair, pair + 1):
        both.leave(1, mfn)
    ins, outs, op = both._list(1), both._list(1, out=True), ffi.new("struct xen_memory_exchange *")
    (ins[0], outs[0], outs[1]), side = (pair, 70, 71), getattr(op, "in")
    side.extent_start, side.nr_extents, side.extent_order, side.domid = both._where(1), 1, 1, model.SELF
    op.out.extent_start, op.out.nr_extents, op.out.domid = both._where(1, out=True), 2, model.SELF
    failures = []
    for n in range(100):
        lib.hvtest_fail_at(n)
        ret = lib.hvtest_memory_op(t, 1, EXCHANGE, op, ffi.sizeof("struct xen_memory_exchange"))
        what = lib.hvtest_failed()
        lib.hvtest_fail_at(-1)
        assert lib.hvtest_audit(t) == 0
        if what == ffi.NULL:
            break
        failures.append(ffi.string(what))
        assert ret < 0 and (outs[0], outs[1]) == (70, 71)
        mine = sorted(mfn for mfn in (last - 4, last) if lib.hvtest_frame_record(t, mfn).owner == 1)
        assert mine == sorted(mfn for mfn in (last - 4, last) if lib.hvtest_shown(t, 1, mfn)), "what was shown is its, the rest is free"
        for mfn in mine:        # so that the next try has two pages again
            ins[1] = mfn
            lib.hvtest_drop(t, 1, mfn)
            give = ffi.new("struct xen_memory_reservation *", {"extent_start": both._where(1) + 8, "nr_extents": 1, "domid": model.SELF})
            assert lib.hvtest_memory_op(t, 1, CMD["decrease"], give, ffi.sizeof("struct xen_memory_reservation")) == 1
    assert ret == 0 and failures.count(b"window_give") == 2
    for mfn, pfn in zip((outs[0], outs[1]), (70, 71), strict=True):     # the model is told
        both.model.take(both.model.domains[1], mfn, 0, 1 << 60)
        both.model.m2p[mfn] = pfn
    for mfn in (pair, pair + 1):
        both.model.drop(mfn)


# ---- long calls ----


class Big:
    """A machine with room for extents of 2 MiB; domain 1's page 0 holds arguments, pages 10 to 19 lists."""

    def __init__(self):
        self.t = lib.hvtest_create(8192)
        self.first = lib.hvtest_domain_create(self.t, 1, 40, {"max_grant_frames": 1})
        lib.hvtest_set_max(self.t, 1, 5000)
        self.words = ffi.cast("uint64_t *", lib.hvtest_frame(self.t, self.first + 10))
        self.list = lib.HVTEST_BASE + ((self.first + 10) << 12)
        self.op = ffi.cast("struct xen_memory_reservation *", lib.hvtest_frame(self.t, self.first))

    def shown(self):
        return {mfn for mfn in range(8192) if lib.hvtest_shown(self.t, 1, mfn)}

    def steps(self, cmd, between=lambda step: None):
        """Run a call whose argument is in place, in many steps; `between` is called between them. Returns (result, steps)."""
        lib.hvtest_slow(60_000)
        ret, steps = lib.hvtest_memory_steps(self.t, 1, cmd, 1), 1
        while ret == lib.XP_CALL_AGAIN:
            between(steps)
            assert lib.hvtest_audit(self.t) == 0
            assert all(lib.hvtest_frame_record(self.t, mfn).owner == 1 for mfn in self.shown()), "shown, and not its own"
            ret, steps = lib.hvtest_continue(self.t, 1, 1), steps + 1
        assert lib.hvtest_audit(self.t) == 0
        return ret, steps

    def close(self):
        lib.hvtest_slow(0)
        lib.hvtest_destroy(self.t)


@pytest.fixture
def big():
    machine = Big()
    yield machine
    machine.close()


def test_no_step_is_long_and_nothing_is_lost_between_them(big):
    """400 pages one by one, there and back, with as many turns for others as there are steps."""
    for i in range(400):
        big.words[i] = i
    for kind in ("populate", "decrease"):
        big.op[0] = ffi.new("struct xen_memory_reservation *", {"extent_start": big.list, "nr_extents": 400, "domid": model.SELF})[0]
        ret, steps = big.steps(CMD[kind])
        assert (ret, lib.hvtest_nr_pages(big.t, 1)) == (400, 440 if kind == "populate" else 40)
        assert steps > 100
        for i in range(400):
            lib.hvtest_drop(big.t, 1, big.words[i])


@pytest.mark.parametrize("mischief", ["none", "order", "count", "list", "domain", "gives up", "gives up and takes"])
def test_what_a_guest_changes_while_large_extents_come(big, mischief):
    """Two extents of 512; between the steps nothing of it can hurt anybody else, and no frame is lost to the machine."""
    arg = ffi.new("struct xen_memory_reservation *", {"extent_start": big.list, "nr_extents": 2, "extent_order": 9, "domid": model.SELF})
    big.op[0] = arg[0]
    big.words[0], big.words[1] = 1000, 2000

    def between(step):
        if mischief == "order":
            big.op.extent_order = step % 10
        elif mischief == "count":
            big.op.nr_extents = 1 << 20 if step % 2 else 1
        elif mischief == "list":
            big.op.extent_start, big.words[0], big.words[1] = big.list + 8 * step, 1 << 50, 3
        elif mischief == "domain":
            big.op.domid = 9
        elif mischief.startswith("gives up") and big.words[0] != 1000:
            call, mfn = big.t.call, big.words[0] + 64 * step + 3
            lib.hvtest_drop(big.t, 1, mfn)
            big.words[8] = mfn
            big.op.extent_start, big.op.nr_extents, big.op.extent_order = big.list + 64, 1, 0
            lib.hvtest_memory_steps(big.t, 1, CMD["decrease"], 99)
            if mischief.endswith("takes"):
                lib.hvtest_memory_steps(big.t, 1, CMD["populate"], 99)
            big.t.call, big.op[0] = call, arg[0]

    ret, steps = big.steps(CMD["populate"], between)
    if mischief == "none":
        assert ret == 2 and lib.hvtest_nr_pages(big.t, 1) == 40 + 1024 == len(big.shown()) and steps >= 8
        assert [lib.hvtest_m2p(big.t, big.words[1] + i) for i in (0, 63, 64, 511)] == [2000, 2063, 2064, 2511]


@pytest.mark.parametrize("mischief", ["none", "orders", "list", "gives up"])
def test_what_a_guest_changes_while_much_is_exchanged(big, mischief):
    """512 pages for as many, in pieces of every size."""
    if mischief == "none":
        orders = [(0, 9), (9, 0), (4, 4), (0, 0)]
    else:
        orders = [(0, 9)]
    big.op[0] = ffi.new("struct xen_memory_reservation *", {"extent_start": big.list, "nr_extents": 512, "domid": model.SELF})[0]
    for i in range(512):
        big.words[i] = i
    assert big.steps(CMD["populate"])[0] == 512
    mfns = [big.words[i] for i in range(512)]
    exchange = ffi.cast("struct xen_memory_exchange *", big.op)
    outs, out_list = big.words + 1024, big.list + 8192
    for in_order, out_order in orders:
        for mfn in mfns:
            lib.hvtest_drop(big.t, 1, mfn)
        if in_order == 9:
            mfns = mfns[:1]
        elif in_order:
            mfns = mfns[:: 1 << in_order]
        for i, mfn in enumerate(mfns):
            big.words[i] = mfn
        for i in range(512 >> out_order):
            outs[i] = 3000 + (i << out_order)
        side = getattr(exchange, "in")
        side.extent_start, side.nr_extents, side.extent_order, side.domid = big.list, 512 >> in_order, in_order, model.SELF
        exchange.out.extent_start, exchange.out.nr_extents, exchange.out.extent_order = out_list, 512 >> out_order, out_order
        exchange.out.mem_flags, exchange.out.domid, exchange.nr_exchanged = 0, model.SELF, 0

        def between(step, side=side):
            if mischief == "orders":
                exchange.out.extent_order, side.extent_order = step % 4, step % 4
                exchange.out.nr_extents = side.nr_extents = 512 >> step % 4
            elif mischief == "list":
                outs[0], outs[1] = 5 * step, 1 << 40
            elif mischief == "gives up":
                for i in range(512):
                    lib.hvtest_drop(big.t, 1, outs[0] + i)

        ret, _ = big.steps(EXCHANGE, between)
        if mischief == "none":
            assert (ret, exchange.nr_exchanged) == (0, 512 >> in_order)
            mfns = [outs[i] + k for i in range(512 >> out_order) for k in range(1 << out_order)]
            assert [lib.hvtest_m2p(big.t, mfn) for mfn in mfns] == list(range(3000, 3512))
            assert set(mfns) <= big.shown() and len(big.shown()) == 552
