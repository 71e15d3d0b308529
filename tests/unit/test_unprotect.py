"""A page that ceases to be a table must be writable again: where that fails, its domain is told why it ends, and nothing is lost."""

import pytest
from tables import L1, LEVELS, PIN, UNPIN, X32, X32P, X64, Machine, ffi, lib


@pytest.fixture(params=[X32, X32P, X64])
def m(request):
    machine = Machine(request.param)
    yield machine
    machine.close()


def fails(m, n, do):
    """Do something whose n-th fallible step fails; return that step's name."""
    lib.hvtest_fail_at(n)
    result = do()
    name = lib.hvtest_failed()
    lib.hvtest_fail_at(-1)
    return result, None if name == ffi.NULL else ffi.string(name).decode()


def reason(m):
    d = lib.hvtest_domain(m.t, 1)
    return ffi.string(d.crash_reason).decode() if d.crashed else None


def test_when_its_last_use_ends(m):
    leaf = m.space()[LEVELS[m.mode] - 1]
    assert m.ext((PIN[L1], leaf)) == (0, 1)
    result, failed = fails(m, 1, lambda: m.ext((UNPIN, leaf)))     # the first is the copy of the arguments
    assert (result, failed) == ((0, 1), "window_protect")
    assert m.record(leaf) == (0, 0, 1, 1) and m.shown(leaf) == 1
    assert reason(m) == f"frame {leaf:#x} cannot be made writable again: error 12"


def test_when_its_validation_fails(m):
    leaf = m.space()[LEVELS[m.mode] - 1]
    m.table(leaf)[5] = 1 << 12 | 1                                  # a frame of the hypervisor's
    result, failed = fails(m, 2, lambda: m.ext((PIN[L1], leaf)))
    assert result[0] == -1 and failed == "window_protect" and m.record(leaf) == (0, 0, 1, 1)
    assert reason(m).startswith(f"frame {leaf:#x} cannot")


def test_of_a_process_that_is_gone_nothing_is_said(m):
    leaf = m.space()[LEVELS[m.mode] - 1]
    m.ext((PIN[L1], leaf))
    m.t.dead[1] = True
    assert m.ext((UNPIN, leaf)) == (0, 1) and reason(m) is None and m.record(leaf) == (0, 0, 1, 1)


def test_a_table_that_cannot_be_protected_is_none(m):
    leaf = m.space()[LEVELS[m.mode] - 1]
    result, failed = fails(m, 1, lambda: m.ext((PIN[L1], leaf)))
    assert result == (-12, 0) and failed == "window_protect" and m.record(leaf) == (0, 0, 1, 1)
    assert m.shown(leaf) == 2 and reason(m) is None
