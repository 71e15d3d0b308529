"""Every row of `bench kernel`, in the guest kernel and as Linux processes, measured a few times; and what is not a measurement."""

import benched
import pytest
from benched import bench_machine

from xenproc.bench import domains, kernel, kernel_guest, kernel_native
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.command import text_of
from xenproc.bench.placement import resolve
from xenproc.bench.report import beside_paper
from xenproc.errors import HypercallError
from xenproc.native import check, lib

ONE = resolve("one")


machine = bench_machine


def measured(case, n):
    return benched.measured(case, n, ONE)


@pytest.mark.parametrize("options", [{}, {"validated": False}, {"fast": False}], ids=["", "not validated", "not fast"])
@pytest.mark.parametrize("row", [row for row in kernel_guest.ROWS if not row.startswith("switch")])
def test_a_row_in_the_guest_kernel(machine, row, options):
    sample = measured(kernel.GuestRow(machine, kernel_guest.kernel_client, memory=kernel.DOMAIN_MEMORY, row=row, **options), 5)
    assert 0.1 < sample.value < 1e6 and 0 < sample.took_s < 20 and sample.hist is None


def test_both_kinds_of_tables_in_one_domain(machine):
    sample = measured(domains.DomainCase(machine, kernel_guest.fork_pair_client, memory=kernel.DOMAIN_MEMORY), 12)
    assert 0.3 < sample.value < 10 and 0 < sample.took_s < 20


def switches(processes, kib):
    """[guest] A ring of processes a few times round: how often the CPU changed hands, and what the time was."""

    def guest(g):
        from xenproc.bench.kernel_guest import switch
        from xenproc.guest.minikernel.kernel import Kernel

        took, kernel = [], Kernel(g)
        kernel.run(lambda sys: took.append(switch(sys, 3 * processes, processes, kib)))
        return [kernel.sched.nr_switches, g.memory.nr_free > 1000, len(took)]

    return guest


@pytest.mark.parametrize(("processes", "kib"), kernel_guest.SWITCHES)
def test_a_ring_of_processes_switches_at_each_hop(machine, processes, kib):
    """A hop a switch, 3 rounds and as many to warm up; each child's start and end and the parent's waits come to it."""
    nr, free, one = machine.hv.create(switches(processes, kib), memory="8M").wait(30)
    rounds = 6 * processes
    assert rounds <= nr <= rounds + 4 * processes and free and one == 1


@pytest.mark.parametrize("row", ["null_call", "sig_inst", "sig_hndl", "fork", "exec", "mmap", "prot_fault", "page_fault", "pipe"])
def test_a_row_as_linux_processes(row):
    sample = measured(kernel.Native(row), 5)
    assert 0.01 < sample.value < 1e6 and 0 < sample.took_s < 20


def test_a_ring_of_linux_processes_leaves_none_behind():
    """The difference may be anything for so few; the ledger counts the processes."""
    assert isinstance(kernel_native.measure("switch_3p_16k", 9), float)


def test_both_have_the_same_rows():
    plain = {row for row in kernel_guest.ROWS if not row.startswith("switch_")}
    assert plain == set(kernel_native.PROGRAMS) and set(kernel.PAPER) == set(kernel_guest.ROWS) - {"pipe"}
    assert (kernel_guest.PAGES, kernel_guest.MMAP_PAGES, kernel_guest.MMAP_STRIDE, kernel_guest.FAULTS) == (
        kernel_native.PAGES, kernel_native.MMAP_PAGES, kernel_native.MMAP_STRIDE, kernel_native.FAULTS)


def test_what_is_no_measurement(machine):
    with pytest.raises(BenchError, match="too noisy"):
        kernel._positive(Sample(1, value=-0.5))
    with pytest.raises(BenchError, match="KeyError"):
        measured(kernel.GuestRow(machine, kernel_guest.kernel_client, row="nothing"), 5)
    with pytest.raises(BenchError, match="it ended with 1"):
        measured(kernel.Native("nothing"), 5)


def test_protection_faults_of_linux():
    assert lib.xp_bench_prot_faults(3) == 0
    with pytest.raises(HypercallError):
        check(lib.xp_bench_prot_faults(0), op="protection faults")


def test_the_papers_columns_stand_beside():
    report = {
        "bench": "kernel", "machine": {"cpus": 1, "model": "m", "kernel": "k", "commit": "c"}, "limits": {}, "ratios": {}, "missing": {},
        "results": [{"case": "fork", "p50": 300.0}], "peers": {"linux_fork/block/one": {"case": "linux_fork", "p50": 100.0}},
    }
    lines = beside_paper(report, {row: kernel.PAPER[row] for row in ("fork", "mmap")})
    assert lines == [
        {"row": "fork", "table": "Table 3", "here": 300.0, "linux": 100.0, "times": 3.0, "paper_linux": 110, "paper_xen": 198,
         "paper_times": 1.8},
        {"row": "mmap", "table": "Table 5", "here": None, "linux": None, "times": None, "paper_linux": 68.0, "paper_xen": 139,
         "paper_times": 2.04412},
    ]
    text = text_of({**report, "results": [], "peers": {}, "paper": lines})
    assert any(line.split() == ["fork", "Table", "3", "300", "100", "3", "110", "198", "1.8"] for line in text.splitlines())
