"""Where the two parties of a measurement run: a latency without its placement is noise.

Pure but for reading which CPUs this process may use and how they are wired (/sys), and for `pin`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from xenproc.errors import ConfigError, EnvironmentLacks

_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Placement:
    """The CPUs of the client and of the server; without CPUs the scheduler chooses."""

    name: str
    cpus: tuple[int, int] | None = None

    def cpu(self, side: int) -> int | None:
        """Return the CPU of side 0 (client) or 1 (server), or None where the scheduler chooses."""
        return None if self.cpus is None else self.cpus[side]

    def seats(self) -> int:
        """Return how many parties can run at the same time."""
        return len(usable()) if self.cpus is None else len(set(self.cpus))


def usable() -> list[int]:
    """Return the CPUs this process may run on, ascending."""
    return sorted(os.sched_getaffinity(0))


def pin(cpu: int | None) -> None:
    """Keep the calling process on one CPU; None changes nothing."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def resolve(text: str) -> Placement:
    """Return the placement that "one", "two", "free" or "A,B" (CPU numbers) names on this host.

    Raises ConfigError for anything else or a CPU that may not be used, EnvironmentLacks for "two" on one CPU.
    """
    cpus = usable()
    if text == "free":
        return Placement("free")
    if text == "one":
        return Placement("one", (cpus[0], cpus[0]))
    if text == "two":
        if len(cpus) < 2:
            raise EnvironmentLacks(f"placement two: needs 2 CPUs, this process may use {len(cpus)}")
        return Placement("two", _near_pair(cpus))
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"placement: expected one, two, auto, free or two CPU numbers 'A,B', got {text!r}")
    pair = (int(parts[0]), int(parts[1]))
    for cpu in pair:
        if cpu not in cpus:
            allowed = ",".join(map(str, cpus))
            raise ConfigError(f"placement: this process may use the CPUs {allowed}, got {cpu}")
    return Placement(f"{pair[0]},{pair[1]}", pair)


def _wiring(cpu: int) -> tuple[str, str, str]:
    """What tells a CPU's neighbours: (package, last-level cache's CPUs, hardware threads of its core)."""

    def read(path: str) -> str:
        try:
            return (_TOPOLOGY / f"cpu{cpu}" / path).read_text().strip()
        except OSError:
            return ""

    package = read("topology/physical_package_id")
    return package, read("cache/index3/shared_cpu_list"), read("topology/thread_siblings_list") or str(cpu)


def _near_pair(cpus: list[int]) -> tuple[int, int]:
    """The first two CPUs of different cores behind one cache; else of different cores; else any."""
    wiring = {cpu: _wiring(cpu) for cpu in cpus}
    first = cpus[0]
    others = [cpu for cpu in cpus[1:] if wiring[cpu][2] != wiring[first][2]]
    near = [cpu for cpu in others if wiring[cpu][:2] == wiring[first][:2]]
    return first, (near or others or cpus[1:])[0]
