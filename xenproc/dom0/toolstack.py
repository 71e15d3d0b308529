"""Domain0: starts a hypervisor and builds domains through its control interface.

    with xenproc.Hypervisor(memory="256M") as hv:
        dom = hv.create(guest, name="hello", memory="8M")
        print(dom.wait())

The hypervisor is a process of its own and ends with this one, however this one ends.
"""
# Tour B:010

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from xenproc import wire
from xenproc.dom0 import registry, scheduling
from xenproc.dom0.client import DEFAULT_TIMEOUT, Client, result_of
from xenproc.dom0.domain import Domain
from xenproc.dom0.payload import pack
from xenproc.errors import ConfigError, EnvironmentLacks
from xenproc.units import pages

START_TIMEOUT = 30.0
ISOLATION = ("auto", "enforced", "cooperative")


class Hypervisor:
    """A hypervisor's process and the right to build domains on it."""

    def __init__(
        self,
        memory: int | str = "256M",
        *,
        isolation: str = "auto",
        spin: bool = True,
        preload: list[str] | tuple[str, ...] = (),
        register: bool = True,
        scheduler: str | None = None,
        cpus: int | Iterable[int] | None = None,
        dispatch: str | None = None,
    ) -> None:
        """Start one.

        memory: machine memory, bytes or "256M", backed at once. isolation: "enforced" fails where the kernel cannot
        enforce it, "cooperative" does without, "auto" takes what there is (see info()). spin: may the dispatcher spin
        briefly before it sleeps. preload: modules that guests find imported already. register: let `xenproc list` and
        other processes of this user find it (dom0/registry.py). scheduler: who shares out the CPUs among domains when there are
        more that want to run than CPUs: "bvt" (Borrowed Virtual Time), "rr" (round robin), or None: the host's kernel. cpus: on
        how many of the host's CPUs, or on which; default all. dispatch: how decisions are carried out, "class" (real-time classes, needs
        CAP_SYS_NICE) or "stop" (whoever waits is stopped, needs nothing); default the first where it is allowed.

        Raises ConfigError (a bad argument) or EnvironmentLacks (no room, no namespaces, ...), before anything is touched.
        """
        nr_frames = pages(memory, "memory")
        if isolation not in ISOLATION:
            raise ConfigError(f"isolation: expected one of {', '.join(ISOLATION)}, got {isolation!r}")
        self._names = itertools.count(1)
        self._client, self._process = _start({
            "nr_frames": nr_frames,
            "isolation": isolation,
            "may_spin": spin and (os.cpu_count() or 1) > 1,
            "preload": list(preload),
            "scheduler": scheduler,
            "dispatch": dispatch,
            "cpus": cpus if cpus is None or isinstance(cpus, int) else sorted(set(cpus)),
            "sys_path": [os.path.abspath(path) for path in sys.path if os.path.exists(path or ".")],
        }, register)
        self.pid = self._process.pid

    # ---- domains ----

    def create(
        self,
        guest: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        memory: int | str = "4M",
        maxmem: int | str | None = None,
        private_memory: int | str = "1G",
        limits: dict[str, int] | None = None,
        paging: str = "x86_64",
        shadow: bool | str = False,
        cpus: Iterable[int] | None = None,
        weight: int | None = None,
        warp: scheduling.Warp | None = None,
        without: Iterable[str] = (),
        cmdline: str = "",
        timeout: float | None = 2 * DEFAULT_TIMEOUT,
        **kwargs: Any,
    ) -> Domain:
        """Build a domain and run `guest(g, *args, **kwargs)` in it; returns once it is locked down and runs.

        guest: any callable, lambdas and closures too. name: default "domainN". memory: its reservation of machine memory;
        maxmem: what it may grow to. private_memory: what its process may allocate besides (an address-space limit).
        limits: max_evtchns, max_grant_frames, max_maptrack, max_direct, max_board. cpus: host CPUs it may run on (as
        xl.cfg's cpus); default all; with a scheduler at least its own (docs/scheduling.md). weight, warp: its share of the CPUs where
        there is a scheduler, 256 unless said, and how far it may borrow virtual time: "20ms" of CPU time, or (that, limit,
        period) (docs/bvt.md). paging: how its page tables are read: "x86_64", "x86_32p" (PAE) or "x86_32" (two levels). shadow: they
        are not validated; the hypervisor walks shadows of them, made of frames beside the reservation, as many as xl gives
        (docs/page-tables.md); "keep": also of those that are stored into all the time.

        Raises ConfigError, EnvironmentLacks (not enough memory, ...), Timeout, HypervisorGone.
        """
        nr_pages = pages(memory, "memory")
        plan: dict[str, Any] = {
            "name": name if name is not None else f"domain{next(self._names)}",
            "nr_pages": nr_pages,
            "max_pages": nr_pages if maxmem is None else pages(maxmem, "maxmem"),
            "private_memory": pages(private_memory, "private_memory") * 4096,
            "limits": limits or {},
            "paging": paging,
            "shadow": shadow,
            "cmdline": cmdline,
            "without": sorted(without),
            "cpus": None if cpus is None else sorted(set(cpus)),
            "schedule": scheduling.request(weight, warp),
        }
        payload = pack(guest, args, kwargs)
        try:
            # The hypervisor keeps the time, and takes back what is not ready by then; the margin is for its answer.
            margin = None if timeout is None else timeout + DEFAULT_TIMEOUT
            made = self._client.call("create", [payload], margin, plan=plan, limit=timeout)
        finally:
            os.close(payload)
        return Domain(self._client, made["domid"], plan["name"], made["pid"], made["enforced"])

    def domains(self) -> list[dict[str, Any]]:
        """Return a dict for each domain with the columns of `xenproc list`, Domain0 first."""
        return self._client.call("list_domains")

    def info(self) -> dict[str, Any]:
        """Return machine memory, isolation and counters."""
        return self._client.call("info")

    def audit(self) -> int:
        """Return how many invariants of frames, tables, grants and events are broken: 0. For tests: all domains wait meanwhile."""
        return self._client.call("audit")

    def sched_bvt(self, weight: int | None = None) -> dict[str, Any]:
        """Set Domain0's own weight, that of the host's ordinary processes on the CPUs that domains run on, and return what it is.

        weight: 1 to 65535, 256 at the start (docs/scheduling.md). A domain's: Domain.sched_bvt. Raises ConfigError.
        """
        return self._client.call("sched_bvt", domid=0, **scheduling.request(weight))

    def wall_clock(self) -> int:
        """Return the machine's wall clock: ns since 1970 (at the start: the host's)."""
        return self._client.call("wall_clock")

    def set_wall_clock(self, wall_ns: int) -> None:
        """Set every domain's wall clock, in ns since 1970; real time goes on as before. Only Domain0 can.

        Raises HypercallError (EINVAL: before the machine's start would be before 1970).
        """
        self._client.call("set_wall_clock", wall_ns=wall_ns)

    # ---- its end ----

    def close(self, timeout: float = 2 * DEFAULT_TIMEOUT) -> None:
        """Destroy every domain and end the hypervisor. Twice is harmless."""
        self._client.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "Hypervisor":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _start(config: dict[str, Any], register: bool) -> tuple[Client, subprocess.Popen]:
    """Start the hypervisor's process and hand it its configuration."""
    ours, theirs = wire.pair()
    me = os.pidfd_open(os.getpid())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(config["sys_path"])}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "xenproc.hv", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=env, start_new_session=True,
        )
        theirs.close()
        with registry.listener(process.pid) if register else contextlib.nullcontext() as listener:
            wire.send(ours, config, [me, listener.fileno()] if listener else [me])
    except EnvironmentLacks:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(me)
    ours.settimeout(START_TIMEOUT)
    try:
        reply, _ = wire.receive(ours)
        result_of(reply)
    except TimeoutError:
        process.kill()
        process.wait()
        raise EnvironmentLacks(f"the hypervisor's process did not start within {START_TIMEOUT} s") from None
    except (EOFError, ConnectionError):
        raise EnvironmentLacks(f"the hypervisor's process ended at its start with status {process.wait()}") from None
    except BaseException:
        process.wait()
        raise
    return Client(ours), process
