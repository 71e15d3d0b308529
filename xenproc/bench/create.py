"""`xenproc bench create`: from hv.create until the guest's first line runs, locked down, against a bare fork.

The limit is a `multiprocess.Process` until its first line, forked from a process that has imported what the warm
server has (forker.py). Both first lines read the same clock.
"""

import json
import socket
import subprocess
import sys
import time

from xenproc.bench import forker, guests
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.domains import LIMIT_S, Machine
from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry
from xenproc.bench.suite import Plan, Suite
from xenproc.errors import XenprocError

MEMORY = "4M"


def suite(plan: Plan) -> Suite:
    """Return the entries and ratios."""
    made = Suite(plan)
    place = resolve("free" if plan.placement == "auto" else plan.placement)
    machine = Machine(plan.isolation)
    made.add(Entry("fork", "limit", ForkCase(), place))
    made.add(Entry("create", "own", CreateCase(machine), place))
    made.add(Entry("create_destroy", "own", CreateCase(machine, whole=True), place))
    keys = f"create/block/{place.name}", f"fork/block/{place.name}"
    made.ratios.append(Ratio("create_over_fork", (keys,), at_most=3))
    return made


class CreateCase:
    """Creates domains one after the other; with `whole` the time until each is gone again counts too."""

    def __init__(self, machine: Machine, whole: bool = False) -> None:
        self.machine = machine
        self.whole = whole
        self._started = False
        self._cpus: list[int] | None = None

    @property
    def isolation(self) -> str | None:
        """What the machine's hypervisor enforces."""
        return self.machine.isolation

    def start(self, placement: Placement) -> None:
        """Start the machine if it does not run yet."""
        self.machine.acquire()
        self._started = True
        self._cpus = None if placement.cpus is None else sorted(set(placement.cpus))

    def round(self, n: int) -> Sample:
        """Create n domains."""
        hist = Hist()
        try:
            for _ in range(n):
                begin = time.monotonic_ns()
                domain = self.machine.hv.create(guests.born, memory=MEMORY, cpus=self._cpus)
                born = domain.wait(LIMIT_S)
                end = time.monotonic_ns() if self.whole else born
                if not isinstance(born, int) or not begin < born <= time.monotonic_ns():
                    raise BenchError(f"a guest says it was born at {born!r}")
                hist.record(end - begin)
        except XenprocError as error:
            raise BenchError(f"{type(error).__name__}: {error}") from None
        return Sample(n, hist)

    def stop(self) -> None:
        """Let go of the machine."""
        if self._started:
            self._started = False
            self.machine.release()


class ForkCase:
    """A process like the warm server that forks bare processes when told to."""

    isolation: str | None = None

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._sock: socket.socket | None = None

    def start(self, placement: Placement) -> None:
        """Start it, and wait until it has imported everything."""
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", forker.__name__, str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._sock.settimeout(LIMIT_S)
        self._hear()

    def round(self, n: int) -> Sample:
        """Fork n processes."""
        assert self._sock is not None
        self._sock.send(json.dumps({"n": n}).encode())
        hist = Hist()
        for ns in self._hear()["ns"]:
            hist.record(ns)
        return Sample(n, hist)

    def _hear(self) -> dict:
        assert self._sock is not None
        try:
            data = self._sock.recv(1 << 20)
        except TimeoutError:
            raise BenchError(f"the forking process said nothing for {LIMIT_S} s") from None
        if not data:
            raise BenchError("the forking process died")
        return json.loads(data)

    def stop(self) -> None:
        """End it."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process is not None:
            process, self._process = self._process, None
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
