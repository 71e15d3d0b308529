"""A handle on a domain, as Domain0's program holds it."""
# Tour B:100

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from xenproc.dom0 import scheduling
from xenproc.dom0.client import DEFAULT_TIMEOUT, Client
from xenproc.errors import DomainCrashed, NoSuchDomain, Timeout, XenprocError
from xenproc.units import pages


@dataclass(frozen=True)
class CrashReport:
    """How a domain crashed. What only the domain itself says (address, traceback) is its claim."""

    detail: str
    signal: str | None = None
    fault_address: str | None = None
    rip: str | None = None
    traceback: str | None = None
    last_hypercalls: list[dict[str, int | None]] = field(default_factory=list)
    console: str = ""

    def __str__(self) -> str:
        lines = [self.detail]
        if self.fault_address:
            lines.append(f"at address {self.fault_address}, instruction {self.rip}")
        if self.traceback:
            lines.append(self.traceback.rstrip())
        if self.last_hypercalls:
            calls = ", ".join(
                f"{call['nr']}({call['arg0']:#x}) = {'?' if call['result'] is None else call['result']}"
                for call in self.last_hypercalls[:5]
            )
            lines.append(f"last hypercalls, newest first: {calls}")
        if self.console:
            lines.append("console: " + self.console.rstrip().replace("\n", "\n         "))
        return "\n".join(lines)


@dataclass(frozen=True)
class Exit:
    """How a domain ended."""

    reason: str
    result: Any = None
    crash: CrashReport | None = None
    console: str = ""

    @property
    def crashed(self) -> bool:
        """Did it crash?"""
        return self.crash is not None


def exit_of(record: dict[str, Any]) -> Exit:
    """Return an Exit from the hypervisor's record."""
    reason, crash, result = record["reason"], record.get("crash"), None
    console = record["console"].encode("latin-1").decode("utf-8", "replace")
    if "result_bytes" in record:
        result = bytes.fromhex(record["result_bytes"])
    elif "result_json" in record:
        try:
            result = json.loads(record["result_json"])
        except (ValueError, RecursionError):        # a guest wrote it
            reason, crash = "crash", crash or {"detail": "the domain reported a result that is no JSON"}
    report = None
    if crash is not None:
        names = CrashReport.__dataclass_fields__
        report = CrashReport(**{key: value for key, value in crash.items() if key in names}, console=console)
    return Exit(reason, result, report, console)


class Console:
    """A domain's console output."""

    def __init__(self, domain: "Domain") -> None:
        self._domain = domain
        self._pos = 0

    def read(self) -> str:
        """Return what was printed since the last read (at most the last 16 KiB are kept)."""
        data = self._fetch()
        return data.decode("utf-8", "replace")

    def _fetch(self) -> bytes:
        end, tail = self._domain._last_words or (0, b"")
        if self._domain._last_words is None:
            reply = self._domain._client.call("console", domid=self._domain.domid, pos=self._pos)
            end, tail = reply["pos"], reply["text"].encode("latin-1")
        start, self._pos = max(0, self._pos - (end - len(tail))), end
        return tail[start:]


class Domain:
    """A domain. Made by Hypervisor.create."""

    def __init__(self, client: Client, domid: int, name: str, pid: int, enforced: dict[str, Any]) -> None:
        self._client = client
        self._exit: Exit | None = None
        self._last_words: tuple[int, bytes] | None = None       # console: end position and tail, once it is known to be dead
        self.domid = domid
        self.name = name
        self.pid = pid
        self.enforced = enforced
        self.console = Console(self)

    def __repr__(self) -> str:
        try:
            state = self.state
        except XenprocError as error:       # a repr is for looking at, also when things are broken
            state = f"({error})"
        return f"<Domain {self.domid} {self.name!r} {state}>"

    @property
    def state(self) -> str:
        """"running", "paused", "shutdown", "dying" or "dead"."""
        if self._exit is not None:
            return "dead"
        return self._client.call("state", domid=self.domid)

    def join(self, timeout: float | None = DEFAULT_TIMEOUT) -> Exit:
        """Wait for its end and return how it ended, crash or not.

        Raises Timeout if it still runs after `timeout` seconds (None: no limit).
        """
        if self._exit is None:
            # The hypervisor keeps the time; the margin is for its answer.
            margin = None if timeout is None else timeout + DEFAULT_TIMEOUT
            record = self._client.call("wait", timeout=margin, domid=self.domid, limit=timeout)
            if record is None:
                raise Timeout(f"domain {self.domid} ({self.name!r}) still runs after {timeout} s")
            self._last_words = record["console_end"], record["console"].encode("latin-1")
            self._exit = exit_of(record)
        return self._exit

    def wait(self, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
        """Wait for its end and return what its guest returned.

        Raises DomainCrashed with the crash report, Timeout as join.
        """
        end = self.join(timeout)
        if end.crash is not None:
            raise DomainCrashed(f"domain {self.domid} ({self.name!r}) crashed: {end.crash}", vars(end.crash))
        return end.result

    def pause(self) -> None:
        """Stop its process until unpause."""
        self._client.call("pause", domid=self.domid, stop=True)

    def unpause(self) -> None:
        """Let it run again."""
        self._client.call("pause", domid=self.domid, stop=False)

    def shutdown(self, reason: str = "poweroff") -> None:
        """Ask it to end by itself; the guest sees it with g.shutdown_request()."""
        self._client.call("shutdown", domid=self.domid, reason=reason)

    def set_memory(self, memory: int | str) -> None:
        """Set its memory target ("16M"; at most its maxmem): it cannot grow beyond, and its balloon, if at work, goes there.

        Returns at once, as `xl mem-set`; `memory` says what it has. Raises ConfigError, NoSuchDomain.
        """
        self._client.call("set_memory", domid=self.domid, nr_pages=pages(memory, "memory"))

    @property
    def memory(self) -> int:
        """What its reservation of machine memory is now, in bytes; 0 once it is gone."""
        rows = self._client.call("list_domains")
        return next((row["memory_kb"] * 1024 for row in rows if row["domid"] == self.domid), 0)

    def sched_bvt(self, weight: int | None = None, warp: scheduling.Warp | None = None, force: bool = False) -> dict[str, Any]:
        """Set its weight and warp, and return what they are, in Xen's names too, with its virtual times.

        weight: 1 to 65535; CPU time is in proportion to it. warp: as in Hypervisor.create. What cannot be honoured together with
        what others were given is refused with the reason; force overrides. Raises ConfigError, NoSuchDomain.
        """
        return self._client.call("sched_bvt", domid=self.domid, **scheduling.request(weight, warp, force))

    def virq(self, virq: int) -> None:
        """Raise a virtual interrupt in it (VIRQ_DEBUG, ...), which its guest sees if it has bound it (g.events.bind_virq)."""
        self._client.call("virq", domid=self.domid, virq=int(virq))

    def destroy(self, timeout: float | None = DEFAULT_TIMEOUT) -> Exit:
        """End it at once, and wait until everything it had is given back. A domain that has ended already is fine."""
        if self._exit is None and self.state != "dead":
            with contextlib.suppress(NoSuchDomain):     # it ended between the two questions
                self._client.call("destroy", domid=self.domid)
        return self.join(timeout)
