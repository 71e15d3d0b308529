"""What a domain's process gives up, for good, before any of the guest's own code or data is looked at.

`prepare` runs once in the warm server and does what children inherit or share; `lockdown` runs in each child, after its
window is mapped and sealed and while it still has a single thread, and must be the last thing before the guest runs.
The steps themselves, in their order, are native/lockdown.c.
  1. Every step is either enforced and named so in the report, or refused with the host's reason; none fails in silence.
  2. A step that would leave the child with more than it should have (its uid, capabilities, descriptors) raises.
Source: credentials(7), capabilities(7), landlock(7), seccomp(2), setrlimit(2), prctl(2).
"""
# Tour B:070

import ctypes
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xenproc.errors import EnvironmentLacks
from xenproc.guest.filter import ADDRESS_END, NR_INSNS, PLACES, TEMPLATE
from xenproc.native import ffi, lib
from xenproc.units import PAGE_SIZE

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

STEPS = ("threads", "limits", "memory", "uid", "capabilities", "no_new_privs", "no_dump", "death_signal", "landlock",
         "descriptors", "seccomp")
_M_ARENA_MAX = -8
_LANDLOCK = STEPS.index("landlock")
_WHAT = {"pid": lib.XP_PLACE_PID, "window_first": lib.XP_PLACE_WINDOW_FIRST, "window_end": lib.XP_PLACE_WINDOW_END}


@dataclass(frozen=True)
class Plan:
    """One domain's confinement. Sizes in bytes; uid as the server's user namespace numbers it."""

    window_base: int
    window_end: int                         # both 0: no window
    keep_fds: Sequence[int]                 # every other descriptor is closed
    uid: int | None = None                  # None: stay what the server is (no right to change, or a single uid)
    private_bytes: int = 1 << 30            # what it may map besides the window and what it has already; 0: no limit
    max_fds: int = 256
    max_threads: int = 64
    without: frozenset[str] = frozenset()   # steps left out on Domain0's word, to see what they are for; not "threads"


@dataclass
class Prepared:
    """What `prepare` made in the server; read by every child."""

    landlock_abi: int                       # 0: none
    steps: Any                              # struct xp_lockdown *, filled in but for the domain's part
    program: Any                            # what it points to
    enforced: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)    # of a domain to which the host refused nothing more


def landlock_rights(abi: int) -> tuple[int, int, int]:
    """Return what a kernel of this Landlock ABI can handle: (file rights, network rights, scopes)."""
    files = sum(rights for since, rights in _FS_RIGHTS.items() if abi >= since)
    return files, _NET_RIGHTS if abi >= _NET_SINCE else 0, _SCOPES if abi >= _SCOPE_SINCE else 0


def prepare() -> Prepared:
    """Do once, in the warm server, what its children inherit. What the host refuses is in the result's `refused`."""
    it, program = ffi.new("struct xp_lockdown *"), ffi.from_buffer("uint8_t[]", TEMPLATE)
    ready = Prepared(max(0, lib.xp_landlock_abi()), it, program)
    it.parent, it.ruleset, it.vm_bytes = os.getppid(), -1, lib.xp_vm_bytes(0, PAGE_SIZE)
    it.program, it.nr_insns = program, NR_INSNS
    places = [(offset, _WHAT[name]) for name, offsets in PLACES.items() for offset in offsets]
    it.nr_places, it.places[0 : len(places)] = len(places), places
    it.nr_limits = len(_LIMITS)
    for n, (name, value) in enumerate(_LIMITS.items()):
        it.limits[n].resource, it.limits[n].value = getattr(resource, f"RLIMIT_{name}"), value
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
    _few_arenas()
    _prepare_landlock(ready)
    ready.report = _report(ready, 0, frozenset(), [0 if n != _LANDLOCK or it.ruleset >= 0 else 1 for n in range(len(STEPS))])
    return ready


def _few_arenas() -> None:
    """Keep malloc from setting 64 MiB of addresses apart for each new thread: RLIMIT_AS would count them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)       # glibc's; musl has no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def _prepare_landlock(ready: Prepared) -> None:
    if not ready.landlock_abi:
        ready.refused["landlock"] = "the kernel has no Landlock, or it is not among its active LSMs (boot option lsm=)"
        return
    files, net, scopes = landlock_rights(ready.landlock_abi)
    # A layer without rules: reading is for the server's own layer (the pen's) to judge, all else is refused to domains.
    ready.steps.ruleset = lib.xp_landlock_create(files & ~_READING, net, scopes)
    if ready.steps.ruleset < 0:
        ready.refused["landlock"] = os.strerror(-ready.steps.ruleset)
    if not scopes:
        ready.refused["landlock_scope"] = (
            f"signals and abstract sockets: Landlock ABI {ready.landlock_abi}, needed is {_SCOPE_SINCE} (Linux 6.12)"
        )


def lockdown(plan: Plan, ready: Prepared) -> dict[str, Any]:
    """Confine this process; return {"enforced": [step, ...], "refused": {step: reason}}.

    For a child of the server with a single thread, its window mapped, before the guest's code is unpickled. Afterwards
    nothing can be undone, and what is not allowed fails with EPERM.
    Raises ValueError for a plan that is none (before anything is done); EnvironmentLacks where there is more than one thread,
    or where limits, uid, capabilities or descriptors could not be given up: the caller must then end the process. Where the
    hypervisor is dead already, it ends the process itself.
    """
    keep = sorted(set(plan.keep_fds))
    if len(keep) > lib.XP_LOCKDOWN_MAX_FDS or (keep and keep[0] < 0):
        raise ValueError(f"keep_fds: expected up to {lib.XP_LOCKDOWN_MAX_FDS} descriptors, got {keep}")
    if not 0 <= plan.window_base <= plan.window_end < ADDRESS_END:
        raise ValueError(f"window: expected a range below 2^47, got {plan.window_base:#x} to {plan.window_end:#x}")
    it = ready.steps
    it.uid = -1 if plan.uid is None else plan.uid
    it.window_base, it.window_end, it.private_bytes = plan.window_base, plan.window_end, plan.private_bytes
    it.max_fds, it.max_threads = plan.max_fds, plan.max_threads
    it.skip = sum(1 << STEPS.index(name) for name in plan.without)
    it.nr_keep, it.keep[0 : len(keep)] = len(keep), keep
    ret = lib.xp_lockdown(it)
    if ret == 0 and it.uid >= 0 and plan.private_bytes and not plan.without:
        return ready.report         # the usual case: nothing to put together in memory that would have to be copied first
    results = list(it.result)
    if ret < 0:
        step = next((name for name, outcome in zip(STEPS, results, strict=True) if outcome < 0), "plan")
        raise EnvironmentLacks(f"cannot confine this process: {step}: {os.strerror(-ret)}")
    return _report(ready, it.uid, plan.without, results)


def _report(ready: Prepared, uid: int, without: frozenset[str], results: list[int]) -> dict[str, Any]:
    report = Prepared(0, None, None, list(ready.enforced), dict(ready.refused))
    for name, ret in zip(STEPS, results, strict=True):
        if name in without:
            report.refused[name] = "left out on Domain0's word"
        elif ret != lib.XP_STEP_SKIPPED:
            _note(report, name, ret)
    if uid < 0:
        report.refused["uid"] = "no uid of its own: it shares one with the other domains, so their threads are not counted apart"
    if results[_LANDLOCK] == 0 and ready.landlock_abi >= _SCOPE_SINCE:
        report.enforced.append("landlock_scope")
    return {"enforced": report.enforced, "refused": report.refused}


def _note(report: Prepared, name: str, ret: int) -> None:
    if ret < 0:
        report.refused[name] = os.strerror(-ret)
    elif name not in report.enforced:
        report.enforced.append(name)
