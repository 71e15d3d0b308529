"""Grant tables, case by case: rights of several handles, hostile granters, deaths, long batches; compared with the model."""

from errno import EINVAL, ENOSYS

import pytest
from grant_lockstep import ALL_PAGES, COPY, GET_VERSION, MAP, QUERY_SIZE, SET_VERSION, SETUP_TABLE, UNMAP, Lockstep, maps, unmaps
from model import grant as model
from native.hvtest_real import Real, ffi, lib


@pytest.fixture
def both():
    pair = Lockstep()
    for domid in range(3):
        pair.create(domid, {"max_grant_frames": 2, "max_maptrack": 100})
        if domid != 2:
            pair.setup_table(domid, model.SELF, 1)
    yield pair
    pair.compare()
    pair.close()


def test_a_writable_mapping_is_lowered_when_only_readers_are_left(both):
    mfn = both.own[1][2]
    both.write_entry(1, 0, 1, 2, mfn)
    both.write_entry(1, 1, 1, 2, mfn)
    for ref, flags in ((0, 6), (1, 2), (0, 2), (1, 6)):
        assert maps(both, 2, 1, ref, flags) == model.OKAY
    assert both.model.domains[2].window[mfn] == model.RW
    assert unmaps(both, 2, 1) == unmaps(both, 2, 2) == model.OKAY
    assert both.model.domains[2].window[mfn] == model.RO
    assert both.real.entry(1, 0).flags == 1 | model.READING
    assert unmaps(both, 2, 0) == model.OKAY
    assert unmaps(both, 2, 3) == model.EAGAIN
    both.drop(2, mfn)
    assert unmaps(both, 2, 3) == model.OKAY
    assert both.real.entry(1, 1).flags == 1


def test_a_page_dropped_early_is_shown_again(both):
    mfn = both.own[1][2]
    both.write_entry(1, 0, 1, 2, mfn)
    for flags in (2, 6):
        assert maps(both, 2, 1, 0, flags) == model.OKAY
        both.drop(2, mfn)
    assert maps(both, 2, 1, 0, 6) == model.OKAY
    assert both.model.domains[2].window[mfn] == model.RW


def test_own_frames_granted_to_oneself_stay_in_the_window(both):
    mfn = both.own[1][2]
    both.write_entry(1, 0, 1, 1, mfn)
    assert maps(both, 1, 1, 0, 6) == maps(both, 1, 1, 0, 2) == model.OKAY
    assert unmaps(both, 1, 1) == unmaps(both, 1, 0) == model.OKAY
    assert both.model.domains[1].window[mfn] == model.RW


def test_an_entry_in_use_cannot_be_turned_to_another(both):
    """The granter rewrites the entry: later uses are of the first one's frame, by the first one's user."""
    both.write_entry(1, 0, 1, 2, both.own[1][2])
    assert maps(both, 2, 1, 0, 6) == model.OKAY
    both.write_entry(1, 0, 1 | 8, 0, both.own[1][3])
    assert maps(both, 0, 1, 0) == model.GENERAL_ERROR
    assert maps(both, 2, 1, 0) == model.OKAY
    assert both.real.uses(2)[1][4] == both.own[1][2]
    both.write_entry(1, 0, 4, 0, 0)
    assert maps(both, 2, 1, 0, 6) == model.OKAY
    assert maps(both, 2, 1, 0) == model.OKAY            # a writer is there already


def test_a_page_table_is_never_written_by_way_of_a_grant(both):
    mfn = both.own[1][2]
    both.write_entry(1, 0, 1, 2, mfn)
    both.set_type(mfn, 5, 1)
    assert maps(both, 2, 1, 0) == model.GENERAL_ERROR
    assert both.real.entry(1, 0).flags == 1
    assert maps(both, 2, 1, 0, 6) == model.OKAY
    here, there = {"gmfn": mfn, "domid": model.SELF, "offset": 0}, {"ref": 0, "domid": 1, "offset": 0}
    assert both.copy(1, {**here, "gmfn": both.own[1][3]}, here, 1, 0) == model.GENERAL_ERROR
    assert both.copy(2, {**here, "gmfn": both.own[2][2]}, there, 1, 2) == model.GENERAL_ERROR
    both.set_type(mfn, 0, 0)
    assert maps(both, 2, 1, 0) == model.OKAY
    assert both.frame(mfn).type == model.WRITABLE and both.frame(mfn).type_count == 1


def test_a_granter_dies_and_its_frames_wait_for_the_mapper(both):
    mfn = both.own[1][2]
    both.write_entry(1, 0, 1, 2, mfn)
    assert maps(both, 2, 1, 0) == maps(both, 2, 1, 0, 6) == model.OKAY
    both.destroy(1)
    both.compare()
    assert both.zombies == {1} and both.frame(mfn).ref_count == 2
    assert maps(both, 2, 1, 0) == model.BAD_DOMAIN
    use = ffi.new("struct xp_grant_use *")
    assert lib.xp_grant_next(lib.hvtest_domain(both.real.t, 2), ffi.new("uint32_t *"), use) and use.granter_dying
    assert unmaps(both, 2, 0) == model.OKAY
    both.drop(2, mfn)
    assert unmaps(both, 2, 1) == model.OKAY
    assert both.real.reap(1)


def test_a_mapper_dies_and_everything_is_free_again(both):
    for ref in range(4):
        both.write_entry(1, ref, 1, 2, both.own[1][2])
        assert maps(both, 2, 1, ref, 2 if ref % 2 else 6) == model.OKAY
    both.destroy(2)
    both.compare()
    assert [both.real.entry(1, ref).flags for ref in range(4)] == [1, 1, 1, 1]


def test_a_teardown_of_many_mappings_goes_in_bounded_steps():
    real = Real(64)
    real.create(1, max_evtchns=1, max_direct=0, max_grant_frames=1, max_maptrack=0)
    real.create(2, max_evtchns=1, max_direct=0, max_grant_frames=1, max_maptrack=2000)
    frame_list = lib.HVTEST_BASE + ((real.t.first_mfn[1] + 1) << 12)
    assert real.grant_one(1, SETUP_TABLE, "setup_table", {"dom": 1, "nr_frames": 1, "frame_list": frame_list})[0] == 0
    entry = real.entry(1, 0)
    entry.flags, entry.domid, entry.frame = 1, 2, real.t.first_mfn[1] + 1
    for _ in range(20):
        ret, got = real.grant(2, MAP, "map_grant_ref", [{"flags": 2, "dom": 1}] * 100)
        assert ret == 0 and all(arg.status == 0 for arg in got)
    assert real.grant(2, MAP, "map_grant_ref", [{"flags": 2, "dom": 1}])[1][0].status == model.NO_DEVICE_SPACE
    assert lib.hvtest_frame_record(real.t, entry.frame).ref_count == 2001
    lib.hvtest_domain_kill(real.t, 2)
    steps = 0
    while lib.hvtest_domain_teardown(real.t, 2) == 1:
        steps += 1
        assert lib.hvtest_audit(real.t) == 0
    assert steps >= 2000 // 512
    assert entry.flags == 1
    real.close()


def test_a_long_batch_is_continued():
    """More arguments than one step does: the call yields in between, and each argument is done once."""
    real = Real(64)
    for domid in (1, 2):
        real.create(domid, max_evtchns=1, max_direct=0, max_grant_frames=1, max_maptrack=300)
    frame_list = lib.HVTEST_BASE + ((real.t.first_mfn[1] + 1) << 12)
    assert real.grant_one(1, SETUP_TABLE, "setup_table", {"dom": 1, "nr_frames": 1, "frame_list": frame_list})[0] == 0
    entry = real.entry(1, 0)
    entry.flags, entry.domid, entry.frame = 1, 2, real.t.first_mfn[1] + 2
    maps = real._array("map_grant_ref", [{"flags": 2, "dom": 1}] * 100)
    assert lib.hvtest_grant_steps(real.t, 2, MAP, maps, 32, 100, 1) == lib.XP_CALL_AGAIN
    assert len(real.uses(2)) == 64
    assert lib.hvtest_continue(real.t, 2, 1) == 0
    assert len(real.uses(2)) == 100
    copies = real._array("copy", [{"source__u__ref": 0, "source__domid": 1, "flags": 1, "dest__domid": model.SELF,
                                   "dest__u__gmfn": real.t.first_mfn[2] + 1, "len": 8, "dest__offset": 8 * i} for i in range(40)])
    assert lib.hvtest_grant_steps(real.t, 2, COPY, copies, 40, 40, 2) == lib.XP_CALL_AGAIN
    assert lib.hvtest_continue(real.t, 2, 1) == 0
    lib.hvtest_drop(real.t, 2, entry.frame)
    unmaps = real._array("unmap_grant_ref", [{"handle": i} for i in range(100)])
    assert lib.hvtest_grant_steps(real.t, 2, UNMAP, unmaps, 24, 100, 1) == lib.XP_CALL_AGAIN
    assert lib.hvtest_continue(real.t, 2, 1) == 0
    assert real.uses(2) == [] and entry.flags == 1
    real.close()


@pytest.mark.parametrize("cmd", [3, 9, 11, 12, 13, 0xFFF])
def test_operations_that_are_not_here(both, cmd):
    assert lib.hvtest_raw(both.real.t, 1, True, [cmd, lib.HVTEST_BASE, 1]) == -ENOSYS


@pytest.mark.parametrize("args", [(0x1000, 0, 1), (0, 0, 0x80000000), (0x80000000 | 5, 0, 0)])
def test_arguments_of_the_call_itself(both, args):
    assert lib.hvtest_raw(both.real.t, 1, True, list(args)) == -EINVAL


@pytest.mark.parametrize("cmd", [SETUP_TABLE, QUERY_SIZE])
@pytest.mark.parametrize("count", [0, 2])
def test_one_argument_and_no_more(both, cmd, count):
    assert lib.hvtest_raw(both.real.t, 1, True, [cmd, lib.HVTEST_BASE, count]) == -EINVAL


def test_arguments_that_are_not_the_callers_memory(both):
    foreign = lib.HVTEST_BASE + (both.own[2][0] << 12)
    end = lib.HVTEST_BASE + ((both.own[1][0] + ALL_PAGES) << 12)
    for va in (0, foreign, end, end - 1, (1 << 64) - 1):
        for cmd in (MAP, UNMAP, SETUP_TABLE, COPY, QUERY_SIZE, SET_VERSION, GET_VERSION):
            assert lib.hvtest_raw(both.real.t, 1, True, [cmd, va, 1]) == -14, (cmd, va)


def test_no_arguments_are_done_at_once(both):
    for cmd in (MAP, UNMAP, COPY):
        assert lib.hvtest_raw(both.real.t, 1, True, [cmd, 0, 0]) == 0


# ---- transfer ----


def offered(both, ref=9):
    """Domain 2 accepts a page of domain 1's; which page that will be."""
    both.setup_table(2, model.SELF, 1)
    both.write_entry(2, ref, model.ACCEPT, 1, 0)
    both.drop(1, both.own[1][4])
    return both.own[1][4]


def test_a_page_changes_hands(both):
    mfn = offered(both)
    both.real.memory(mfn)[:] = both.model.frames[mfn].data[:] = b"\x77" * 4096
    assert both.transfer(1, mfn, 2, 9) == model.OKAY
    both.compare()
    assert both.transfer(1, mfn, 2, 9) == model.BAD_PAGE, "it is not its any more"


def test_a_page_that_somebody_reads_is_not_transferred(both):
    """A reader holds no type, only the frame."""
    mfn = offered(both)
    both.write_entry(1, 8, 5, 2, mfn)
    assert maps(both, 2, 1, 8, model.HOST_MAP | model.MAP_READONLY) == model.OKAY
    assert both.transfer(1, mfn, 2, 9) == model.BAD_PAGE
    both.compare()


def test_a_receiver_takes_as_many_as_it_may_have(both):
    """Two more than it was made with, to the page."""
    for i in range(2):
        mfn = offered(both, 9 + i) if i == 0 else both.own[1][3]
        if i:
            both.write_entry(2, 10, model.ACCEPT, 1, 0)
            both.drop(1, mfn)
        assert both.transfer(1, mfn, 2, 9 + i) == model.OKAY
    mfn = both.own[1][2]
    both.write_entry(2, 11, model.ACCEPT, 1, 0)
    both.drop(1, mfn)
    assert both.transfer(1, mfn, 2, 11) == model.GENERAL_ERROR
    assert both.real.entry(2, 11).flags == model.ACCEPT, "the offer stands"
    both.compare()


@pytest.mark.parametrize("flags", [0, 1, 3, model.ACCEPT | model.COMMITTED, model.ACCEPT | model.COMPLETED, model.ACCEPT | 4 | 8, 0x102])
def test_what_is_no_offer(both, flags):
    mfn = offered(both)
    both.write_entry(2, 9, flags, 1, 0)
    assert both.transfer(1, mfn, 2, 9) == model.GENERAL_ERROR
    both.compare()


@pytest.mark.parametrize("user", [0, 2, 3, 0x7FF0])
def test_an_offer_to_somebody_else(both, user):
    mfn = offered(both)
    both.write_entry(2, 9, model.ACCEPT, user, 0)
    assert both.transfer(1, mfn, 2, 9) == model.GENERAL_ERROR


@pytest.mark.parametrize(("what", "status"), [("shared_info", model.BAD_PAGE), ("outside", model.BAD_PAGE), ("another's", model.BAD_PAGE),
                                             ("a page table", model.BAD_PAGE), ("still there", model.EAGAIN)])
def test_pages_that_are_not_transferred(both, what, status):
    mfn = offered(both)
    if what == "a page table":
        both.set_type(mfn, 5, 1)
    mfn = {"shared_info": next(m for m, f in both.model.frames.items() if f.hv and f.owner == 1), "outside": 1 << 40,
           "another's": both.own[2][2], "a page table": mfn, "still there": both.own[1][3]}[what]
    assert both.transfer(1, mfn, 2, 9) == status


@pytest.mark.parametrize("dom", [9, 4095, model.SELF, 0x7FF2])
def test_receivers_that_there_are_not(both, dom):
    assert both.transfer(1, offered(both), dom, 9) == model.BAD_DOMAIN


@pytest.mark.parametrize("ref", [512, 1 << 20, 0xFFFFFFFF])
def test_offers_beyond_the_table(both, ref):
    assert both.transfer(1, offered(both), 2, ref) == model.GENERAL_ERROR


def test_a_receiver_without_a_table(both):
    both.create(3, {"max_grant_frames": 1, "max_maptrack": 1})
    assert both.transfer(1, offered(both), 3, 0) == model.GENERAL_ERROR
