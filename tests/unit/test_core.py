"""The core without processes: creating, tearing down, numbers used again, what Domain0 publishes, what the audit sees."""

import os

import pytest

from xenproc.native import ffi, lib

NR = 256
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
    assert info_of(core).nr_free == NR - 1
    assert create(core, 1) == 0
    assert info_of(core).nr_free == NR - 1 - 18, "two of overhead"
    end(core, 1)
    info = info_of(core)
    assert (info.nr_free, info.nr_dirty) == (NR - 1 - 18, 18)
    assert lib.xp_hv_scrub(core, 5) == 5
    assert (info_of(core).nr_free, info_of(core).nr_dirty) == (NR - 1 - 13, 13)
    assert lib.xp_hv_scrub(core, 1000) == 13
    assert info_of(core).nr_free == NR - 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [((1, 4), EINVAL), ((1, 5), 0), ((1, 16, 15), EINVAL), ((4096, 16), EINVAL), ((0, 16), EEXIST), ((1, NR - 3), 0), ((1, NR - 2), ENOMEM),
     ((1, 1 << 40), ENOMEM)],
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


def test_memory_of_the_next_is_clear(core):
    base = ffi.cast("uint8_t *", info_of(core).base)
    create(core, 1, NR - 3)
    ffi.memmove(base + 4096, b"\xa5" * (NR - 1) * 4096, (NR - 1) * 4096)
    end(core, 1)
    while lib.xp_hv_scrub(core, 64):
        pass
    assert bytes(ffi.buffer(base + 4096, (NR - 1) * 4096)) == bytes((NR - 1) * 4096)


@pytest.mark.parametrize("frames", [0, 15, 1 << 32])
def test_a_machine_that_cannot_be(frames):
    error = ffi.new("int *")
    assert lib.xp_hv_create(-1, frames, False, error) == ffi.NULL and error[0] == EINVAL


def test_a_machine_without_memory():
    error = ffi.new("int *")
    assert lib.xp_hv_create(-1, 16, False, error) == ffi.NULL and error[0] == -9
