"""Cases whose parties are domains: a hypervisor that several cases share, and rounds of fresh domains on it.

Owns the hypervisors of a benchmark. A round makes the server's domain, then the client's, each on its CPU from its
first line on, and ends when both have. 1. A machine is started by its first case and closed after its last.
"""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xenproc
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.placement import Placement, usable
from xenproc.errors import XenprocError

MEMORY = "64M"
DOMAIN_MEMORY = "1M"
IDLE_MEMORY = "64K"
LIMIT_S = 60.0
PRELOAD = ["xenproc.bench.guests", "xenproc.bench.kernel_guest", "xenproc.bench.mmu_guest", "xenproc.bench.mmu_ways_guest"]


def idle(g: Any) -> None:
    """A guest that sleeps in a hypercall until it is destroyed."""
    g.shutdown_request(timeout=None)


class Machine:
    """A hypervisor, with `population` idle domains on it."""

    def __init__(self, isolation: str = "auto", spin: bool = True, population: int = 0, memory: str = MEMORY) -> None:
        self.wanted = isolation
        self.spin = spin
        self.population = population
        self.memory = memory
        self.hv: Any = None
        self.isolation: str | None = None
        self.idle: list[Any] = []
        self._users = 0

    def acquire(self) -> None:
        """Start it if it does not run yet. Raises EnvironmentLacks and others of xenproc.errors."""
        if self._users == 0:
            self.hv = xenproc.Hypervisor(self.memory, isolation=self.wanted, spin=self.spin, preload=PRELOAD)
            self._users = 1
            try:
                self.isolation = self.hv.info()["isolation"]["mode"]
                self.populate(self.population)
            except BaseException:
                self.release()
                raise
            return
        self._users += 1

    def populate(self, nr: int) -> None:
        """Create idle domains until there are nr."""
        while len(self.idle) < nr:
            self.idle.append(self.hv.create(idle, name=f"idle{len(self.idle)}", memory=IDLE_MEMORY))

    def release(self) -> None:
        """Close it if nobody else uses it."""
        if self._users:
            self._users -= 1
            if self._users == 0:
                hv, self.hv, self.idle = self.hv, None, []
                hv.close()

    def pin(self, cpus: list[int]) -> None:
        """Let the hypervisor's dispatcher run on these CPUs only; its policy thread, asleep in a round, on any."""
        for task in Path(f"/proc/{self.hv.pid}/task").iterdir():
            if int(task.name) != self.hv.pid:
                os.sched_setaffinity(int(task.name), cpus)


class DomainCase:
    """A case of two domains, or of one and the hypervisor; see guests.py for what they run."""

    _serial = itertools.count(1)

    def __init__(
        self,
        machine: Machine,
        client: Callable[..., bytes],
        server: Callable[..., None] | None = None,
        grain: int = 1,
        memory: str = DOMAIN_MEMORY,
        **options: Any,
    ) -> None:
        """grain: the number of operations is rounded up to whole multiples of it. options: the guests' arguments."""
        self.machine = machine
        self.grain = grain
        self.memory = memory
        self.client = client
        self.server = server
        self.options = options
        self._started = False
        self._placement: Placement | None = None

    @property
    def isolation(self) -> str | None:
        """What the machine's hypervisor enforces."""
        return self.machine.isolation

    def start(self, placement: Placement) -> None:
        """Start the machine if it does not run yet."""
        self.machine.acquire()
        self._started = True
        self._placement = placement

    def round(self, n: int) -> Sample:
        """Make the domains, let them do n operations, and see them off."""
        number = next(self._serial)
        n = -(-n // self.grain) * self.grain
        names = f"server{number}", f"client{number}"
        domains = []
        try:
            if self.server is None:
                self.machine.pin(self._cpus(1))
                client = self._create(self.client, 0, names[1], n)
                domains.append(client)
            else:
                self.machine.pin(usable())
                server = self._create(self.server, 1, names[0], names[1], n)
                domains.append(server)
                client = self._create(self.client, 0, names[1], server.domid, n)
                domains.append(client)
            result = self._result(client)
            for domain in domains:
                if domain is not client:
                    domain.wait(LIMIT_S)
        except XenprocError as error:
            raise BenchError(f"{type(error).__name__}: {self._why(domains, error)}") from None
        finally:
            for domain in domains:
                domain.destroy()
        return Sample.unpack(result)

    def _create(self, guest: Callable[..., Any], side: int, name: str, *args: Any) -> Any:
        return self.machine.hv.create(
            guest, *args, name=name, memory=self.memory, cpus=self._cpus(side), **self.options
        )

    def _cpus(self, side: int) -> list[int]:
        cpu = self._placement.cpu(side) if self._placement else None
        return usable() if cpu is None else [cpu]

    def _result(self, client: Any) -> bytes:
        result = client.wait(LIMIT_S)
        if not isinstance(result, bytes):
            raise BenchError(f"the client's domain returned {type(result).__name__}, not a sample")
        return result

    def _why(self, domains: list[Any], error: XenprocError) -> str:
        """The first end that crashed says more than the one that waited for it in vain."""
        for domain in domains:
            if domain.state == "dead":
                end = domain.join(LIMIT_S)
                if end.crash is not None and str(end.crash.detail) not in str(error):
                    return f"{error}; the other end: {end.crash.detail}"
        return str(error)

    def stop(self) -> None:
        """Let go of the machine."""
        if self._started:
            self._started = False
            self.machine.release()
