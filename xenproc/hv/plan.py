"""What may be asked of a new domain: a plan from Domain0, checked whole before anything is touched, and put before the C core."""

import errno
import os
from collections.abc import Iterable, Sequence
from typing import Any

from xenproc.errors import ConfigError, EnvironmentLacks
from xenproc.hv.domain import DomainRecord
from xenproc.native import check, ffi, lib

MAX_DOMAINS = 4096
MIN_FRAMES = 8          # what the builder uses, and a little for the guest
MAX_CMDLINE = 1023      # of start_info's 1024
PAGING_MODES = {"x86_32": 0, "x86_32p": 1, "x86_64": 2}    # native/paging.h
LIMITS = {"max_evtchns": 1024, "max_grant_frames": 32, "max_maptrack": 1024, "max_direct": 64, "max_board": 64}
LIMIT_CEILING = {"max_evtchns": 4096, "max_grant_frames": 64, "max_maptrack": 65536, "max_direct": 4096, "max_board": 4096}
# What Domain0 may leave out for one domain, to see what it is for (native/lockdown.h; window and seal: guest/boot.py).
DEFENCES = frozenset({
    "window", "seal", "limits", "memory", "uid", "capabilities", "no_dump", "landlock", "descriptors", "seccomp",
    "charging",         # by us: native/cpu_spent.h
})


def check_plan(plan: dict[str, Any], domains: Iterable[DomainRecord], scheduled: Sequence[int] = ()) -> dict[str, int]:
    """Return the limits of a domain to be made beside `domains`.

    scheduled: the host's CPUs that the machine's scheduler shares out; none: there is no scheduler.
    Raises ConfigError: what, expected, got.
    """
    name = plan["name"]
    if not isinstance(name, str) or not 0 < len(_bytes(name)) < 64 or "\0" in name or name == "Domain-0":
        raise ConfigError(f"name: expected 1 to 63 bytes without NUL and not Domain-0, got {name!r}")
    if any(record.name == name and not record.zombie for record in domains):
        raise ConfigError(f"name: a domain called {name!r} exists already")
    cpus = plan.get("cpus")
    if cpus is not None and not (cpus and set(cpus) <= os.sched_getaffinity(0)):
        raise ConfigError(f"cpus: expected some of {sorted(os.sched_getaffinity(0))}, got {cpus}")
    if cpus is not None and not set(scheduled) <= set(cpus):
        raise ConfigError(
            f"cpus: expected at least {list(scheduled)}, got {cpus}: the machine's scheduler runs a domain on any of its CPUs; "
            "leave cpus= to Hypervisor(), or the scheduler out"
        )
    unknown = set(plan.get("without", ())) - DEFENCES
    if unknown:
        raise ConfigError(f"without: expected some of {', '.join(sorted(DEFENCES))}, got {', '.join(sorted(unknown))}")
    limits = {**LIMITS, **plan.get("limits", {})}
    for key, value in limits.items():
        ceiling = LIMIT_CEILING.get(key)
        if ceiling is None:
            raise ConfigError(f"limits: unknown limit {key!r}; there are {', '.join(LIMITS)}")
        if not isinstance(value, int) or not 0 <= value <= ceiling:
            raise ConfigError(f"limits: {key}: expected 0 to {ceiling}, got {value!r}")
    cmdline = plan.get("cmdline", "")
    if not isinstance(cmdline, str):
        raise ConfigError(f"cmdline: expected text, got {cmdline!r}")
    if len(_bytes(cmdline)) > MAX_CMDLINE or "\0" in cmdline:
        raise ConfigError(f"cmdline: expected at most {MAX_CMDLINE} bytes without NUL, got {len(_bytes(cmdline))}")
    paging = plan.get("paging", "x86_64")
    if paging not in PAGING_MODES:
        raise ConfigError(f"paging: expected one of {', '.join(PAGING_MODES)}, got {paging!r}")
    if plan.get("shadow", False) not in (True, False, "keep"):
        raise ConfigError(f"shadow: expected True, False or keep, got {plan['shadow']!r}")
    nr_pages, max_pages = plan["nr_pages"], plan.get("max_pages", plan["nr_pages"])
    if nr_pages < MIN_FRAMES:
        raise ConfigError(f"memory: expected at least {MIN_FRAMES} frames ({MIN_FRAMES * 4} KiB), got {nr_pages}")
    if max_pages < nr_pages:
        raise ConfigError(f"maxmem: expected at least the reservation of {nr_pages} frames, got {max_pages}")
    return limits


def shadow_pages(nr_pages: int) -> int:
    """Return the frames for shadows that xl gives a domain with one virtual CPU: 1 MiB, and 8 KiB for each of its MiB; 2 MiB at most."""
    return min(256 + 2 * (nr_pages // 256), 512)            # XP_SHADOW_POOL_MAX


def create_in_core(core: Any, domid: int, plan: dict[str, Any], limits: dict[str, int]) -> None:
    """Make the domain in the C core: its frames taken, no process yet. Raises EnvironmentLacks, HypercallError."""
    nr_pages = plan["nr_pages"]
    core_plan = ffi.new("struct xp_domain_plan *")
    name, cmdline = ffi.new("char[]", plan["name"].encode()), ffi.new("char[]", plan.get("cmdline", "").encode())
    core_plan.name, core_plan.cmdline = name, cmdline
    core_plan.paging = PAGING_MODES[plan.get("paging", "x86_64")]
    core_plan.shadow_pages = shadow_pages(nr_pages) if plan.get("shadow", False) else 0
    core_plan.shadow_keeps = plan.get("shadow", False) == "keep"
    core_plan.nr_pages, core_plan.max_pages = nr_pages, plan.get("max_pages", nr_pages)
    for key, value in limits.items():
        setattr(core_plan.limits, key, value)
    ret = lib.xp_domain_create(core, domid, core_plan)
    if ret == -errno.ENOMEM:
        info = ffi.new("struct xp_hv_info *")
        lib.xp_hv_info(core, info)
        raise EnvironmentLacks(
            f"memory: domain {plan['name']!r} asks for {nr_pages} frames and 2 of overhead, {info.nr_free} of "
            f"{info.nr_frames} are free"
        )
    check(ret, "xp_domain_create", domid)
    if "charging" in plan.get("without", ()):
        check(lib.xp_domain_exempt(core, domid), "xp_domain_exempt", domid)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
