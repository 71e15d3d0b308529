"""The CPU scheduler as Domain0 asks for it: which one, on which CPUs; and how it does (native/cpu.h)."""
# Tour H:260

import errno
import os
from typing import Any

from xenproc.errors import ConfigError, EnvironmentLacks
from xenproc.native import check, ffi, lib

SCHEDULERS = ("bvt", "rr")
DISPATCHES = ("class", "stop")


def host_cpus(cpus: Any) -> list[int]:
    """Return the host's CPUs that domains are scheduled on: `cpus` of them, these ones (a list), or all (None).

    Raises ConfigError.
    """
    ours = sorted(os.sched_getaffinity(0))
    if cpus is None:
        return ours
    if isinstance(cpus, int) and not isinstance(cpus, bool) and 0 < cpus <= len(ours):
        return ours[:cpus]
    if isinstance(cpus, list) and cpus and set(cpus) <= set(ours):
        return sorted(set(cpus))
    raise ConfigError(f"cpus: expected 1 to {len(ours)}, or some of {ours}, got {cpus!r}")


def start(core: Any, scheduler: str | None, cpus: Any, dispatch: str | None = None) -> list[int]:
    """Schedule domains from now on, and return the CPUs; scheduler None: none, the host's kernel alone does.

    dispatch None: by the better way that is allowed.

    Raises ConfigError, EnvironmentLacks.
    """
    if dispatch is not None and dispatch not in DISPATCHES:
        raise ConfigError(f"dispatch: expected one of {', '.join(DISPATCHES)} or None, got {dispatch!r}")
    if scheduler is None:
        return []
    if scheduler not in SCHEDULERS:
        raise ConfigError(f"scheduler: expected one of {', '.join(SCHEDULERS)} or None, got {scheduler!r}")
    hosts = host_cpus(cpus)
    ret = lib.xp_cpus_start(core, scheduler.encode(), ffi.NULL if dispatch is None else dispatch.encode(), hosts, len(hosts))
    if ret == -errno.EPERM:
        raise EnvironmentLacks(
            "dispatch: real-time classes are refused here: run as root, or with CAP_SYS_NICE, or take dispatch='stop'"
        )
    check(ret, "xp_cpus_start")
    return hosts


def info(core: Any) -> dict[str, Any] | None:
    """Return what the scheduler did so far, or None if there is none."""
    out = ffi.new("struct xp_cpus_info *")
    lib.xp_cpus_info(core, out)
    if not out.on:
        return None
    nobody = ffi.new("struct xp_spent_info *")
    lib.xp_domain_spent_info(core, 0, nobody)
    return {
        "name": ffi.string(out.scheduler).decode(), "dispatch": ffi.string(out.dispatch).decode(),
        "cpus": out.nr_cpus, "contended": bool(out.contended), "waiting": out.nr_waiting, "watches": bool(out.watches),
        "contentions": out.nr_contended, "switches": out.nr_switches, "blocks": out.nr_blocks, "wakes": out.nr_wakes,
        "slices": out.nr_slices, "strayed": out.nr_strayed, "stalls": out.nr_stalls,
        "leaks": out.nr_leaks, "stalled_ns": out.stalled_ns, "ran_ns": out.ran_ns,
        "host_ns": out.host_ns,
        "uncharged_ns": nobody.hypervisor_ns,
    }
