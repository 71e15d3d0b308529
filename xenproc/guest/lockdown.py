"""What a domain's process gives up, for good, before any of the guest's own code or data is looked at.

`prepare` runs once in the warm server and does what children inherit or share; `lockdown` runs in each child, after its
window is mapped and sealed and while it still has a single thread, and must be the last thing before the guest runs.
The steps themselves, in their order, are native/lockdown.c.
  1. Every step is either enforced and named so in the report, or refused with the host's reason; none fails in silence.
  2. A step that would leave the child with more than it should have (its uid, capabilities, descriptors) raises.
Source: credentials(7), capabilities(7), landlock(7), seccomp(2), setrlimit(2), prctl(2).
"""

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xenproc.errors import EnvironmentLacks
from xenproc.guest.filter import NR_INSNS, PID_PLACES, build_filter
from xenproc.native import ffi, lib

_PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 28, 38
# NOROOT, KEEP_CAPS locked at 0, NO_CAP_AMBIENT_RAISE, each with its lock. Not NO_SETUID_FIXUP: leaving uid 0 must clear.
_SECUREBITS = 1 | 2 | 32 | 64 | 128

# What no guest needs. Core: machine memory must not land in a file. Queued signals and so on cost kernel memory.
_LIMITS = {"CORE": 0, "FSIZE": 0, "MEMLOCK": 0, "MSGQUEUE": 0, "SIGPENDING": 32, "RTPRIO": 0, "NICE": 0}

# Landlock's file rights that came with each ABI: 13 at first, then REFER, TRUNCATE, IOCTL_DEV.
_FS_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_READING = lib.XP_LANDLOCK_READ_FILE | lib.XP_LANDLOCK_READ_DIR
_NET_SINCE, _NET_RIGHTS = 4, 3
_SCOPE_SINCE, _SCOPES = 6, lib.XP_LANDLOCK_SCOPE_SIGNAL | lib.XP_LANDLOCK_SCOPE_ABSTRACT_UNIX

_STEPS = ("threads", "limits", "memory", "uid", "capabilities", "no_new_privs", "no_dump", "death_signal", "landlock",
          "descriptors", "seccomp")


@dataclass(frozen=True)
class Plan:
    """One domain's confinement. Sizes in bytes; uid as the server's user namespace numbers it."""

    window_base: int                        # a multiple of 64 KiB
    window_end: int
    keep_fds: Sequence[int]                 # every other descriptor is closed
    uid: int | None = None                  # None: stay what the server is (no right to change, or a single uid)
    private_bytes: int = 1 << 30            # what it may map besides the window and what it has already
    max_fds: int = 256
    max_threads: int = 64
    without: frozenset[str] = frozenset()   # steps left out on Domain0's word, to see what they are for


@dataclass
class Prepared:
    """What `prepare` made in the server; read by every child."""

    parent: int                             # the hypervisor, as getppid() tells it
    landlock_abi: int                       # 0: none
    ruleset: int                            # Landlock, or -1
    vm_bytes: int
    enforced: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    programs: dict[tuple[int, int], bytes] = field(default_factory=dict)


def landlock_rights(abi: int) -> tuple[int, int, int]:
    """Return what a kernel of this Landlock ABI can handle: (file rights, network rights, scopes)."""
    files = sum(rights for since, rights in _FS_RIGHTS.items() if abi >= since)
    return files, _NET_RIGHTS if abi >= _NET_SINCE else 0, _SCOPES if abi >= _SCOPE_SINCE else 0


def prepare() -> Prepared:
    """Do once, in the warm server, what its children inherit. What the host refuses is in the result's `refused`."""
    ready = Prepared(os.getppid(), max(0, lib.xp_landlock_abi()), -1, lib.xp_vm_bytes(0, 4096))
    _note(ready, "no_new_privs", lib.xp_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    try:
        if os.getgroups():
            os.setgroups([])
        ready.enforced.append("groups")
    except OSError as error:
        ready.refused["groups"] = f"supplementary groups {os.getgroups()} stay: {error.strerror}"
    caps = ffi.new("uint64_t *")
    if lib.xp_effective_caps(caps) < 0 or caps[0]:
        _note(ready, "bounding_set", lib.xp_drop_bounding(0))
        _note(ready, "securebits", lib.xp_prctl(_PR_SET_SECUREBITS, _SECUREBITS, 0, 0, 0))
    if ready.landlock_abi:
        files, net, scopes = landlock_rights(ready.landlock_abi)
        # A layer without rules: reading is for the server's own layer (the pen's) to judge, all else is refused to domains.
        ready.ruleset = lib.xp_landlock_create(files & ~_READING, net, scopes)
        if ready.ruleset < 0:
            ready.refused["landlock"] = os.strerror(-ready.ruleset)
    else:
        ready.refused["landlock"] = "the kernel has no Landlock, or it is not among its active LSMs (boot option lsm=)"
    if ready.landlock_abi < _SCOPE_SINCE:
        ready.refused["landlock_scope"] = (
            f"Landlock ABI {ready.landlock_abi}; signals and abstract sockets need {_SCOPE_SINCE} (Linux 6.12)"
        )
    return ready


@dataclass
class Order:
    """One child's lockdown, made ready before the fork: the first touches of memory in a child are dear."""

    plan: Plan
    steps: Any                              # struct xp_lockdown *
    keeps: Any                              # what it points to
    report: dict[str, Any]                  # what there is to say if the host refuses nothing more


def order(plan: Plan, ready: Prepared) -> Order:
    """Return what `lockdown` needs, made in the server before the fork.

    Raises ValueError for a window that is none (build_filter), too many descriptors, or one below 0.
    """
    keep = sorted(set(plan.keep_fds))
    if len(keep) > lib.XP_LOCKDOWN_MAX_FDS or (keep and keep[0] < 0):
        raise ValueError(f"keep_fds: expected up to {lib.XP_LOCKDOWN_MAX_FDS} descriptors, got {keep}")
    window = (plan.window_base, plan.window_end)
    program = ready.programs.get(window)
    if program is None:
        program = ready.programs[window] = build_filter(1, *window)
    limits = dict(_LIMITS, NOFILE=plan.max_fds)
    if plan.uid is not None:
        limits["NPROC"] = plan.max_threads
    it, insns = ffi.new("struct xp_lockdown *"), ffi.from_buffer("uint8_t[]", program)
    it.uid = -1 if plan.uid is None else plan.uid
    it.parent, it.ruleset = ready.parent, ready.ruleset
    it.vm_hint, it.private_bytes = ready.vm_bytes + plan.window_end - plan.window_base, plan.private_bytes
    it.program, it.nr_insns, it.nr_pid_places = insns, NR_INSNS, len(PID_PLACES)
    it.pid_places[0:len(PID_PLACES)] = PID_PLACES
    it.nr_limits = len(limits)
    for n, (name, value) in enumerate(limits.items()):
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        it.limits[n].resource = number
        it.limits[n].value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    it.nr_keep = len(keep)
    it.skip = sum(1 << n for n, name in enumerate(_STEPS) if name in plan.without)
    it.keep[0:len(keep)] = keep
    skipped = {"uid": plan.uid is None, "memory": not plan.private_bytes, "landlock": ready.ruleset < 0}
    results = [lib.XP_STEP_SKIPPED if skipped.get(name) else 0 for name in _STEPS]
    return Order(plan, it, insns, _report(plan, ready, results))


def lockdown(plan: Plan | Order, ready: Prepared) -> dict[str, Any]:
    """Confine this process; return {"enforced": [step, ...], "refused": {step: reason}}.

    For a child of the server with a single thread, its window mapped, before the guest's code is unpickled. `plan` is a Plan,
    or what `order` made of it before the fork. Afterwards nothing can be undone, and what is not allowed fails with EPERM.
    Raises EnvironmentLacks where there is more than one thread, or where limits, uid, capabilities or descriptors could
    not be given up: the caller must then end the process. Where the hypervisor is dead already, it ends the process itself.
    """
    it = order(plan, ready) if isinstance(plan, Plan) else plan
    ret = lib.xp_lockdown(it.steps)
    if ret == 0:
        return it.report
    results = list(it.steps.result)
    if ret < 0:
        step = next((name for name, outcome in zip(_STEPS, results, strict=True) if outcome < 0), "order")
        raise EnvironmentLacks(f"cannot confine this process: {step}: {os.strerror(-ret)}")
    return _report(it.plan, ready, results)


def _report(plan: Plan, ready: Prepared, results: list[int]) -> dict[str, Any]:
    report = Prepared(0, 0, 0, 0, list(ready.enforced), dict(ready.refused))
    for name, ret in zip(_STEPS, results, strict=True):
        if ret != lib.XP_STEP_SKIPPED:
            _note(report, name, ret)
    for name in sorted(plan.without):
        report.refused[name] = "left out on Domain0's word"
        report.enforced = [step for step in report.enforced if step != name]
    if plan.uid is None:
        report.refused["uid"] = "no uid of its own: it shares one with the other domains, so their threads are not counted apart"
    if results[lib.XP_STEP_landlock] == 0 and ready.landlock_abi >= _SCOPE_SINCE:
        report.enforced.append("landlock_scope")
    return {"enforced": report.enforced, "refused": report.refused}


def _note(report: Prepared, name: str, ret: int) -> None:
    if ret < 0:
        report.refused[name] = os.strerror(-ret)
    elif name not in report.enforced:
        report.enforced.append(name)
