"""`xenproc bench idle`: what idle domains cost: the others' time, the hypervisor's memory, their own.

Two machines: one with hundreds of idle domains (each asleep in a hypercall), one with none.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median

from xenproc.bench import event, hypercall
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.domains import Machine
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite
from xenproc.errors import XenprocError
from xenproc.guest.boot import WINDOW_BASE

FEW = 100
LOOKED_AT = 25
CROWD_MEMORY = "256M"


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    crowd = Machine(plan.isolation, spin=False, memory=CROWD_MEMORY)
    alone = Machine(plan.isolation, spin=False)
    census = Census(crowd, plan.domains)
    free = resolve("free")
    for name, unit, number, bound in (
        ("hv_kb_per_domain", "kB", census.hv_kb, {"at_most": 20}),
        ("hv_descriptors_per_domain", "", census.hv_descriptors, {}),
        ("hv_page_tables_kb_per_domain", "kB", census.hv_page_tables_kb, {}),
        ("domain_mb", "MB", census.domain_mb, {"at_most": 5}),
    ):
        entry = Entry(name, "own", CensusCase(census, number), free, unit=unit, n=1, rounds=1)
        made.add(entry)
        made.ratios.append(Ratio(name, ((entry.key, None),), **bound))
    for machine, suffix in ((crowd, f"_idle{plan.domains}"), (alone, "")):
        event.add(made, machine, f"event{suffix}", ("block",))
        hypercall.add(made, machine, f"hypercall{suffix}", ("block",))
    for name in ("event", "hypercall"):
        made.ratio(f"idle{plan.domains}_{name}", f"{name}_idle{plan.domains}", name, "block", at_most=1.1)
    return made


class Census:
    """The hypervisor at 100 idle domains and at all of them, and what each says of itself; counted once."""

    def __init__(self, machine: Machine, domains: int) -> None:
        self.machine = machine
        self.domains = domains
        self.few = min(FEW, max(1, domains // 5))
        self._at: dict[int, dict[str, float]] = {}

    def take(self) -> None:
        """Fill the machine with idle domains, looking at the hypervisor twice."""
        if self._at:
            return
        if self.domains < 2:
            raise BenchError(f"domains: expected at least 2 idle ones, got {self.domains}")
        for nr in (self.few, self.domains):
            self.machine.populate(nr)
            self._at[nr] = self._look()

    def _look(self) -> dict[str, float]:
        status = Path(f"/proc/{self.machine.hv.pid}/status").read_text()
        found = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.endswith(" kB")}
        objects = self.machine.hv.info()["kernel_objects"]
        return {
            "kb": float(found["RssAnon"]),
            "page_tables_kb": float(found["VmPTE"]),
            "descriptors": float(objects["descriptors"]),
        }

    def _per_domain(self, what: str) -> float:
        return (self._at[self.domains][what] - self._at[self.few][what]) / (self.domains - self.few)

    def hv_kb(self) -> float:
        """kB of the hypervisor's private memory a domain."""
        return self._per_domain("kb")

    def hv_page_tables_kb(self) -> float:
        """kB of the hypervisor's page tables a domain (the kernel's memory, on our account)."""
        return self._per_domain("page_tables_kb")

    def hv_descriptors(self) -> float:
        """Descriptors (pidfd, userfaultfd, eventfd, sockets) the hypervisor holds a domain."""
        return self._per_domain("descriptors")

    def domain_mb(self) -> float:
        """MB of an idle domain's process: its proportional share (PSS) of what it maps, less its own frames."""
        step = max(1, len(self.machine.idle) // LOOKED_AT)
        return median(own_kb(domain.pid) for domain in self.machine.idle[::step]) / 1000


def own_kb(pid: int) -> float:
    """Return the PSS in kB of all a domain's mappings but the window on machine memory. Raises BenchError."""
    total, counted = 0, True
    try:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            first = line.split(None, 1)[0]
            if "-" in first and not first.endswith(":"):
                counted = int(first.partition("-")[0], 16) < WINDOW_BASE or int(first.partition("-")[0], 16) >= 1 << 46
            elif first == "Pss:" and counted:
                total += int(line.split()[1])
    except (OSError, ValueError, IndexError) as error:
        raise BenchError(f"/proc/{pid}/smaps of a domain cannot be read: {error}") from None
    if not total:
        raise BenchError(f"/proc/{pid}/smaps of a domain shows no memory (not our user's, or not allowed)")
    return total


class CensusCase:
    """One number of a census as a case."""

    def __init__(self, census: Census, number: Callable[[], float]) -> None:
        self.census = census
        self.number = number
        self._started = False

    @property
    def isolation(self) -> str | None:
        """What the machine's hypervisor enforces."""
        return self.census.machine.isolation

    def start(self, placement: Placement) -> None:
        """Start the machine and take the census, unless that is done."""
        self.census.machine.acquire()
        self._started = True
        try:
            self.census.take()
        except XenprocError as error:
            raise BenchError(f"{len(self.census.machine.idle)} idle domains, then {error}") from None

    def round(self, n: int) -> Sample:
        """Read the number."""
        return Sample(1, value=self.number())

    def stop(self) -> None:
        """Let go of the machine."""
        if self._started:
            self._started = False
            self.census.machine.release()
