"""`xenproc bench kernel`: rows of the paper's Tables 3 to 5 in the small guest kernel, beside the same programs as Linux processes.

On one CPU, as the paper measured. The paper's columns stand beside: other machines, other times, the same questions. `fork` with
validated tables is compared with the same kernel on tables that nobody validates (xenproc/guest/minikernel/bare.py): the same Python,
the same traps, but table writes are plain stores and there are no pins and no base pointers. Both in turns within one domain: from one
domain to the next a shared machine's mood changes more than the two differ.
"""

import subprocess
import sys

from xenproc.bench.case import BenchError, Sample
from xenproc.bench.domains import DomainCase, Machine
from xenproc.bench.kernel_guest import ROWS, fork_pair_client, kernel_client
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite

DOMAIN_MEMORY = "8M"
LIMIT_S = 60.0
FORKS = 72                      # of each kind of tables, in one domain
# Row -> (where it stands, native Linux on one CPU, XenoLinux), µs. PAPER A.6 to A.8.
PAPER = {
    "null_call": ("Table 3", 0.45, 0.46), "sig_inst": ("Table 3", 0.68, 0.69), "sig_hndl": ("Table 3", 2.49, 1.75),
    "fork": ("Table 3", 110, 198), "exec": ("Table 3", 530, 768),
    "switch_2p_0k": ("Table 4", 0.77, 1.97), "switch_2p_16k": ("Table 4", 0.91, 2.22), "switch_2p_64k": ("Table 4", 1.06, 2.67),
    "switch_8p_16k": ("Table 4", 1.03, 3.07), "switch_8p_64k": ("Table 4", 24.3, 28.7), "switch_16p_16k": ("Table 4", 3.61, 7.08),
    "switch_16p_64k": ("Table 4", 37.6, 39.4),
    "mmap": ("Table 5", 68.0, 139), "prot_fault": ("Table 5", 1.06, 1.40), "page_fault": ("Table 5", 1.42, 2.73),
}


class Native:
    """A row as Linux processes: a Python of its own, which answers lines."""

    isolation = None

    def __init__(self, row: str) -> None:
        self.row = row
        self._process: subprocess.Popen[str] | None = None
        self._cpu = "-"

    def start(self, placement: Placement) -> None:
        """Start that Python."""
        cpu = placement.cpu(0)
        self._cpu = "-" if cpu is None else str(cpu)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "xenproc.bench.kernel_native"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def round(self, n: int) -> Sample:
        """Have it measure n operations."""
        assert self._process is not None and self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(f"{self.row} {n} {self._cpu}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().split()
        except OSError as error:
            raise BenchError(f"{self.row} as Linux processes: {error}") from None
        if len(answer) != 2:
            raise BenchError(f"{self.row} as Linux processes: it ended with {self._process.wait(LIMIT_S)}")
        return _positive(Sample(n, value=float(answer[0]), took_s=float(answer[1])))

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            with self._process as process:
                assert process.stdin
                process.stdin.close()
                process.wait(LIMIT_S)
            self._process = None


class GuestRow(DomainCase):
    """A row in the guest kernel: a domain a round."""

    def round(self, n: int) -> Sample:
        """Make the domain, let it do n operations, see it off."""
        return _positive(super().round(n))


def _positive(sample: Sample) -> Sample:
    """A switch is a difference; one that is none was not measured."""
    if not (sample.value or 0) > 0:
        raise BenchError(f"a switch took {sample.value} us once pipes were taken off: too noisy a machine to tell")
    return sample


def suite(plan: Plan) -> Suite:
    """Return the entries, the ratios and the paper's figures."""
    made = Suite(plan, paper=PAPER)
    if not plan.wants("block"):
        return made
    machine = Machine(plan.isolation, memory="64M")
    place = resolve("one" if plan.placement == "auto" else plan.placement)

    def add(name: str, row: str, **options: bool) -> None:
        made.add(Entry(name, "own", GuestRow(machine, kernel_client, memory=DOMAIN_MEMORY, row=row, **options), place))

    for row in ROWS:
        add(row, row)
        made.add(Entry(f"linux_{row}", "peer", Native(row), place))
    add("null_call_hypervisor", "null_call", fast=False)
    add("fork_not_validated", "fork", validated=False)
    add("page_fault_not_validated", "page_fault", validated=False)

    def ratio(name: str, over: str, under: str, **bound: float) -> None:
        made.ratios.append(Ratio(name, ((f"{over}/block/{place.name}", f"{under}/block/{place.name}"),), **bound))

    pair = DomainCase(machine, fork_pair_client, memory=DOMAIN_MEMORY)
    made.add(Entry("fork_pair", "own", pair, place, unit="x", n=FORKS))
    made.ratios.append(Ratio("fork_validated_over_not", ((f"fork_pair/block/{place.name}", None),), at_most=1.3))
    ratio("page_fault_validated_over_not", "page_fault", "page_fault_not_validated")
    ratio("null_call_hypervisor_over_fast", "null_call_hypervisor", "null_call")
    for row in ROWS:
        ratio(f"{row}_over_linux", row, f"linux_{row}")
    return made
