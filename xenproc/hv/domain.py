"""A domain as the policy thread sees it: its process, its state, how it ended.

The C core (native/domain.c) owns what is fast or shared; here is what a person asks for. Owned by hypervisor.py; states are
Xen's words: building, running, paused, shutdown, dying.
"""
# Tour H:100

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import Any

from xenproc.native import ffi, lib

REASONS = ("poweroff", "reboot", "suspend", "crash", "watchdog", "soft_reset")
CRASH = 3
CONSOLE_TAIL = 4096
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)     # signals that have an address
_C_STATES = ("building", "running", "shutdown", "dying")


@dataclass(slots=True)
class DomainRecord:
    """What the policy thread keeps of a domain."""

    domid: int
    name: str
    owner: int
    max_pages: int = 0          # what it may ever grow to
    pid: int = 0
    pidfd: int = -1
    paused: bool = False
    destroyed: bool = False
    enforced: dict[str, Any] = field(default_factory=dict)
    ended: asyncio.Future | None = None
    exit: dict[str, Any] | None = None
    zombie: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)     # it wrote to its console, or ended


def core_info(hv: Any, domid: int) -> Any:
    """Return struct xp_domain_info of a domain, or None if the core knows it no more."""
    info = ffi.new("struct xp_domain_info *")
    return info if lib.xp_domain_info(hv, domid, info) == 0 else None


def state_name(record: DomainRecord, info: Any) -> str:
    """Return the state in Xen's words."""
    if record.paused and info.state == 1:
        return "paused"
    return _C_STATES[info.state]


def console_text(hv: Any, domid: int, pos: int, limit: int = 16384) -> tuple[int, bytes]:
    """Return (new position, bytes) of a domain's console from `pos` on; a position that is gone skips to the oldest kept."""
    at = ffi.new("uint64_t *", pos)
    buffer = ffi.new("uint8_t[]", limit)
    nr = lib.xp_domain_console(hv, domid, at, buffer, limit)
    return at[0], bytes(ffi.buffer(buffer, max(nr, 0)))


def _report(hv: Any, domid: int, info: Any) -> dict[str, Any]:
    """Return what the domain said of itself: result or traceback, as data, never trusted to be more."""
    if info.report_kind < 0:
        return {}
    buffer = ffi.new("uint8_t[]", max(info.report_len, 1))
    data = bytes(ffi.buffer(buffer, max(lib.xp_domain_report(hv, domid, buffer, info.report_len), 0)))
    if info.report_kind == lib.XP_REPORT_traceback:
        return {"traceback": data.decode("utf-8", "replace")}
    if info.report_kind == lib.XP_REPORT_result_bytes:
        return {"result_bytes": data.hex()}
    return {"result_json": data.decode("utf-8", "replace")}        # not parsed here: a guest wrote it


def _death(status: os.waitid_result | None) -> dict[str, Any]:
    """Return how the kernel says the process ended."""
    if status is None:
        return {}
    if status.si_code == os.CLD_EXITED:
        return {"exit_status": status.si_status}
    try:
        name = signal.Signals(status.si_status).name
    except ValueError:
        name = f"signal {status.si_status}"
    return {"signal": name, "signo": status.si_status}


def traps(info: Any) -> dict[str, int]:
    """Return how many traps of a domain came through the hypervisor, by kind, and how many returns."""
    return {
        "page_faults": info.nr_page_faults, "system_calls": info.nr_syscalls, "others": info.nr_other_traps,
        "irets": info.nr_irets,
    }


def exit_report(hv: Any, record: DomainRecord, status: os.waitid_result | None) -> dict[str, Any]:
    """Return the exit record of a domain whose process is dead: reason, result, and the crash report if it crashed.

    Keys: domid, name, reason ("poweroff", ..., "crash", "destroyed"), result_json | result_bytes (text the guest wrote),
    crash {detail, signal, fault_address, rip, traceback, last_hypercalls}, console (its tail, bytes as latin-1), console_end.
    """
    info = core_info(hv, record.domid)
    death = _death(status)
    report = _report(hv, record.domid, info)
    console_end, tail = console_text(hv, record.domid, max(0, info.console_prod - CONSOLE_TAIL))
    record_out: dict[str, Any] = {
        "domid": record.domid,
        "name": record.name,
        "console": tail.decode("latin-1"),
        "console_end": console_end,
        "hypercalls": info.nr_calls,
    }
    said_shutdown = info.said_shutdown
    if info.crashed or not (said_shutdown or record.destroyed) or (said_shutdown and info.shutdown_reason == CRASH):
        record_out["reason"] = "crash"
        record_out["crash"] = _crash(info, death, report)
    else:
        record_out["reason"] = "destroyed" if record.destroyed and not said_shutdown else REASONS[info.shutdown_reason]
    record_out.update({key: value for key, value in report.items() if key != "traceback"})
    return record_out


def _crash(info: Any, death: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    # Where it asked for its end itself, or broke a rule, the SIGKILL that followed is ours and tells nothing.
    crash: dict[str, Any] = {} if info.said_shutdown or info.crashed else dict(death)
    reason = ffi.string(info.crash_reason).decode("utf-8", "replace")
    if reason:
        crash["detail"] = reason
    elif "traceback" in report:
        crash["detail"] = report["traceback"].rstrip().rsplit("\n", 1)[-1]
    elif "signal" in death:
        crash["detail"] = f"killed by {death['signal']}"
    else:
        crash["detail"] = f"its process ended with status {death.get('exit_status')} without a word"
    if "traceback" in report:
        crash["traceback"] = report["traceback"]
    # The address is the domain's own claim; it is worth showing only where the kernel agrees on the signal.
    if info.crash_signo in _FAULTS and info.crash_signo == death.get("signo"):
        crash["fault_address"] = hex(info.crash_addr)
        crash["rip"] = hex(info.crash_rip)
    crash["last_hypercalls"] = [
        {"nr": info.trace[i].nr, "arg0": info.trace[i].arg0, "result": info.trace[i].result if info.trace[i].answered else None}
        for i in range(info.nr_trace)
    ]
    return crash
