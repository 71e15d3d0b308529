"""The core without processes: creating, tearing down, numbers used again, what Domain0 publishes, what the audit sees."""

import os

import pytest

from xenproc.native import ffi, lib

NR = 256
FREE = NR - 7        # frame 0, one for the machine-to-physical table, five for the tables that show it
EINVAL, ENOMEM, ESRCH, EEXIST, ENOSPC = -22, -12, -3, -17, -28


@pytest.fixture
def core():
    fd = os.memfd_create("xenproc-test-machine")
    os.ftruncate(fd, NR * 4096)
    error = ffi.new("int *")
    hv = lib.xp_hv_create(fd, NR, False, error)
    os.close(fd)
    assert hv != ffi.NULL, error[0]
    yield hv
    assert lib.xp_hv_audit(hv) == 0
    lib.xp_hv_destroy(hv)


def plan_of(nr_pages=16, max_pages=None, **limits):
    plan = ffi.new("struct xp_domain_plan *")
    name, cmdline = ffi.new("char[]", b"test"), ffi.new("char[]", b"")
    plan.name, plan.cmdline = name, cmdline
    plan.nr_pages, plan.max_pages = nr_pages, nr_pages if max_pages is None else max_pages
    plan.limits.max_board = limits.get("max_board", 4)
    return plan, name, cmdline


def create(hv, domid, *args, **kwargs):
    plan = plan_of(*args, **kwargs)
    return lib.xp_domain_create(hv, domid, plan[0])


def info_of(hv, domid=None):
    info = ffi.new("struct xp_hv_info *" if domid is None else "struct xp_domain_info *")
    if domid is None:
        lib.xp_hv_info(hv, info)
    else:
        assert lib.xp_domain_info(hv, domid, info) == 0
    return info


def end(hv, domid):
    assert lib.xp_domain_dying(hv, domid) == 0
    while (ret := lib.xp_domain_teardown(hv, domid)) == 1:
        pass
    assert ret == 0


def publish(hv, domid, key=b"key", value=b"value"):
    return lib.xp_domain0_publish(hv, domid, key, value, len(value))


def test_frames_come_and_go(core):
    assert info_of(core).nr_free == FREE
    assert create(core, 1) == 0
    assert info_of(core).nr_free == FREE - 18, "two of overhead"
    end(core, 1)
    info = info_of(core)
    assert (info.nr_free, info.nr_dirty) == (FREE - 18, 18)
    assert lib.xp_hv_scrub(core, 5) == 5
    assert (info_of(core).nr_free, info_of(core).nr_dirty) == (FREE - 13, 13)
    assert lib.xp_hv_scrub(core, 1000) == 13
    assert info_of(core).nr_free == FREE


@pytest.mark.parametrize(
    ("args", "expected"),
    [((1, 4), EINVAL), ((1, 5), 0), ((1, 16, 15), EINVAL), ((4096, 16), EINVAL), ((0, 16), EEXIST), ((1, FREE - 2), 0),
     ((1, FREE - 1), ENOMEM), ((1, 1 << 40), ENOMEM)],
)
def test_what_can_be_created(core, args, expected):
    before = info_of(core).nr_free
    assert create(core, *args) == expected
    if expected:
        assert info_of(core).nr_free == before
    else:
        assert create(core, args[0]) == EEXIST
        end(core, args[0])


def test_unknown_numbers(core):
    for domid in (1, 4095, 4096, 65535):
        assert lib.xp_domain_dying(core, domid) == ESRCH
        assert lib.xp_domain_teardown(core, domid) == ESRCH
        assert lib.xp_domain_start(core, domid) == ESRCH
        assert lib.xp_domain_virq(core, domid, 0) == ESRCH
        assert lib.xp_domain_give(core, domid, ffi.new("uint64_t *"), 1) == ESRCH
        assert lib.xp_domain_report(core, domid, ffi.new("uint8_t[1]"), 1) == ESRCH
        assert lib.xp_domain_console(core, domid, ffi.new("uint64_t *"), ffi.new("uint8_t[1]"), 1) == ESRCH
        assert publish(core, domid) == ESRCH


def test_a_living_domain_is_not_torn_down(core):
    create(core, 1)
    assert lib.xp_domain_teardown(core, 1) == EINVAL
    end(core, 1)


def test_what_was_published_for_a_number_does_not_pass_to_its_next_bearer(core):
    create(core, 1)
    create(core, 2)
    assert publish(core, 1) == publish(core, 1, b"other") == publish(core, 2) == 0
    assert info_of(core, 0).nr_board == 3
    assert publish(core, 1) == 0 and info_of(core, 0).nr_board == 3, "replaced, not added"
    end(core, 1)
    assert info_of(core, 0).nr_board == 1
    create(core, 1)
    assert info_of(core, 0).nr_board == 1
    end(core, 1)
    end(core, 2)
    assert info_of(core, 0).nr_board == 0


def test_what_is_refused_on_the_board(core):
    create(core, 1)
    assert publish(core, 1, b"") == publish(core, 1, b"k" * 64) == publish(core, 1, b"k", bytes(257)) == EINVAL
    assert publish(core, 1, b"k" * 63, bytes(256)) == 0
    lib.xp_domain_dying(core, 1)
    assert publish(core, 1, b"late") == ESRCH
    end(core, 1)


def m2p_of(hv):
    """The machine-to-physical table as machine memory holds it."""
    info = info_of(hv)
    assert info.nr_m2p_frames == 1
    return ffi.cast("uint64_t *", ffi.cast("uint8_t *", info.base) + info.m2p_mfn * 4096)


def test_the_machine_to_physical_table_is_kept_true(core):
    m2p, nothing = m2p_of(core), (1 << 64) - 1
    assert list(m2p[0:512]) == [nothing] * 512, "beyond the machine's end, too"
    for domid in (1, 2):
        create(core, domid, 16)
        info = info_of(core, domid)
        assert list(m2p[info.start_info_mfn : info.start_info_mfn + 16]) == list(range(16)), "in pfn order"
        assert m2p[info.call_mfn] == m2p[info.shared_info_mfn] == nothing, "the hypervisor's frames have no such number"
    start = info_of(core, 2).start_info_mfn
    end(core, 1)
    assert list(m2p[start : start + 16]) == list(range(16))
    end(core, 2)
    assert list(m2p[0:512]) == [nothing] * 512
    assert info_of(core).nr_xen == NR - FREE


def test_memory_of_the_next_is_clear(core):
    base = ffi.cast("uint8_t *", info_of(core).base)
    create(core, 1, FREE - 2)
    ffi.memmove(base + (NR - FREE) * 4096, b"\xa5" * FREE * 4096, FREE * 4096)
    end(core, 1)
    while lib.xp_hv_scrub(core, 64):
        pass
    assert bytes(ffi.buffer(base + (NR - FREE) * 4096, FREE * 4096)) == bytes(FREE * 4096)


@pytest.mark.parametrize("frames", [0, 15, 1 << 32])
def test_a_machine_that_cannot_be(frames):
    error = ffi.new("int *")
    assert lib.xp_hv_create(-1, frames, False, error) == ffi.NULL and error[0] == EINVAL


def test_a_machine_without_memory():
    error = ffi.new("int *")
    assert lib.xp_hv_create(-1, 16, False, error) == ffi.NULL and error[0] == -9
