"""What tests of benchmark cases share: a hypervisor for them, and a case's whole life around one measurement."""

import pytest

from xenproc.bench import domains


@pytest.fixture(scope="module")
def bench_machine():
    """A hypervisor that is there for all tests of a module: `machine = bench_machine`."""
    machine = domains.Machine()
    machine.acquire()
    yield machine
    machine.release()


def measured(case, n, placement):
    """Start a case, measure once, end it, and once more: that is harmless. Return the sample."""
    try:
        case.start(placement)
        return case.round(n)
    finally:
        case.stop()
        case.stop()
