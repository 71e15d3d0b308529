"""What this host offers to a hypervisor: `python -m xenproc.hv.host [--json]`, asked by `xenproc doctor` (xenproc/dom0/host.py).

Owns nothing. Invariants:
1. What can be tried is tried, in a child where trying changes the process; a version number alone is never believed.
2. For each thing that is missing a row says what is lost and what to change. `ok` means: nothing of the isolation is lost, or, where a
   row is `of` scheduling (docs/scheduling.md), nothing of that.
3. It works with no privilege, on any Linux; what cannot even be asked counts as missing, with the reason.
"""

import json
import os
import platform
import resource
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from xenproc.hv.pen import id_range
from xenproc.machine import SHM_DIR, available_memory
from xenproc.native import ffi, lib
from xenproc.units import human

_CAP_IPC_LOCK = 14
_RET_ALLOW = 0x7FFF0000
_SHM_SMALL = 64 << 20       # docker's default size of /dev/shm
_SCOPE_ABI = 6
_FAIR_SERVER = Path("/sys/kernel/debug/sched/fair_server")     # Linux 6.12; root alone sees it
_KEPT = 0.0501              # of a CPU: what the kernel keeps unless told otherwise
_CONTAINER = "in a container: allow it in its seccomp profile (docker: --security-opt seccomp=PROFILE, or --privileged)"


def row(what: str, ok: bool, detail: str, cost: str = "", remedy: str = "", of: str = "isolation") -> dict[str, Any]:
    """Return one line of the examination; cost and remedy are empty where nothing is missing. of: "isolation" or "scheduling"."""
    return {"what": what, "of": of, "ok": ok, "detail": detail, "cost": "" if ok else cost, "remedy": "" if ok else remedy}


def in_child(work: Callable[[], int]) -> int:
    """Run work() in a forked child and return its result: 0, or -errno. An exception counts by its errno."""
    pid = os.fork()
    if pid == 0:
        code = 71                                   # EPROTO: it did not come to an end
        try:
            code = -work()
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(min(max(code, 0), 255))
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _why(ret: int) -> str:
    return os.strerror(-ret) if ret < 0 else "it failed"


# ---- the window ----


def window() -> dict[str, Any]:
    """userfaultfd, each step on two pages."""
    bits = lib.xp_uffd_trial()
    steps = {"a user-mode userfaultfd": lib.XP_UFFD_OPEN, "registering shared memory": lib.XP_UFFD_REGISTER,
             "SIGBUS instead of a fault": lib.XP_UFFD_SIGBUS, "giving a frame": lib.XP_UFFD_CONTINUE,
             "write protection": lib.XP_UFFD_WP, "telling whether a frame is gone": lib.XP_UFFD_POISON}
    lacking = [name for name, bit in steps.items() if bits < 0 or not bits & bit]
    detail = "every frame is given and taken from outside" if not lacking else f"lacking: {', '.join(lacking)}"
    if bits < 0:
        detail = f"userfaultfd: {_why(bits)}"
    return row(
        "window (userfaultfd)", not lacking, detail,
        "a guest can touch every frame of machine memory: isolation is cooperative",
        f"Linux 6.6 or newer with CONFIG_USERFAULTFD; {_CONTAINER}",
    )


def seal() -> dict[str, Any]:
    """mseal, tried against what it must withstand."""
    ret = lib.xp_mseal_trial()
    return row(
        "seal (mseal)", ret == 0, "the window cannot be unmapped, moved or changed" if ret == 0 else _why(ret),
        "only the filter keeps a guest from moving its window", f"Linux 6.10 or newer, 64-bit; {_CONTAINER}",
    )


# ---- confinement ----


def landlock() -> dict[str, Any]:
    """Landlock's ABI."""
    abi = lib.xp_landlock_abi()
    if abi <= 0:
        return row("landlock", False, _why(abi), "only the mount namespace keeps a guest from the host's files",
                   "a kernel with CONFIG_SECURITY_LANDLOCK, and landlock among the boot option lsm=")
    return row("landlock", abi >= _SCOPE_ABI, f"ABI {abi}",
               "signals and abstract sockets are kept in by the filter and the pid namespace alone", "Linux 6.12 or newer")


def _filter_trial() -> int:
    program = struct.pack("<HBBI", 0x06, 0, 0, _RET_ALLOW)
    lib.xp_prctl(38, 1, 0, 0, 0)            # PR_SET_NO_NEW_PRIVS
    return lib.xp_seccomp_install(ffi.from_buffer(program), 1)


def seccomp() -> dict[str, Any]:
    """A filter that allows everything."""
    ret = in_child(_filter_trial)
    return row("filter (seccomp)", ret == 0, "system calls are filtered" if ret == 0 else _why(ret),
               "a guest may make every system call: nothing of the isolation holds against a hostile one",
               "a kernel with CONFIG_SECCOMP_FILTER")


def _namespace_trial(flags: list[int], jail: bool) -> int:
    for flag in flags:
        ret = lib.xp_unshare(flag)
        if ret < 0:
            return ret
    if not jail:
        return 0
    ret = lib.xp_mount(ffi.NULL, b"/", ffi.NULL, lib.XP_MS_REC_PRIVATE, ffi.NULL)
    tree = ret if ret < 0 else lib.xp_open_tree(b"/dev/null")
    return tree if tree < 0 else lib.xp_mount_setattr(tree, b"", lib.XP_MOUNT_ATTR_RDONLY, True)


_NAMESPACES = {
    "user": (lib.XP_CLONE_NEWUSER, "guests keep to one user namespace with the host's users"),
    "mount": (lib.XP_CLONE_NEWNS, "only Landlock keeps a guest from the host's files"),
    "pid": (lib.XP_CLONE_NEWPID, "guests can see that other processes exist; a killed hypervisor is noticed by death signal only"),
    "net": (lib.XP_CLONE_NEWNET, "only the filter keeps a guest from the network"),
    "ipc": (lib.XP_CLONE_NEWIPC, "only the filter keeps a guest from System V memory and message queues"),
    "uts": (lib.XP_CLONE_NEWUTS, "guests can read the host's name"),
}


def namespaces() -> list[dict[str, Any]]:
    """Each namespace of the pen, as this user would make it."""
    first = [] if os.geteuid() == 0 else [lib.XP_CLONE_NEWUSER]
    rows = []
    for name, (flag, cost) in _NAMESPACES.items():
        flags = first if flag in first else [*first, flag]
        ret = in_child(partial(_namespace_trial, flags, name == "mount"))
        remedy = f"sysctl user.max_user_namespaces above 0, or root with CAP_SYS_ADMIN; {_CONTAINER}"
        if Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists() and os.geteuid() != 0:
            remedy += "; Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        rows.append(row(f"{name} namespace", ret == 0, "can be made" if ret == 0 else _why(ret), cost, remedy))
    return rows


def uids() -> dict[str, Any]:
    """Uids of their own for domains."""
    ids = id_range() if os.geteuid() == 0 else None

    def become() -> int:
        assert ids is not None
        os.setresgid(ids[0], ids[0], ids[0])
        os.setresuid(ids[0], ids[0], ids[0])
        return 0

    ret = in_child(become) if ids else -1
    detail = f"{ids[1]} from {ids[0]}" if ids and ret == 0 else f"every domain runs as uid {os.geteuid()}"
    return row("uids", ret == 0, detail,
               "domains share a uid: limits of threads and signals are counted together; the filter and Landlock keep them apart",
               "run the hypervisor as root (with CAP_SETUID and a range of 20,000 uids)")


# ---- the machine ----


def shared_memory() -> dict[str, Any]:
    """Room for machine memory."""
    try:
        stat = os.statvfs(SHM_DIR)
    except OSError as error:
        return row("machine memory", False, f"{SHM_DIR}: {error.strerror}", "there is no machine", f"mount a tmpfs on {SHM_DIR}")
    room = min(stat.f_bavail * stat.f_frsize, available_memory())
    return row("machine memory", room > _SHM_SMALL, f"up to {human(room)} ({SHM_DIR} of {human(stat.f_blocks * stat.f_frsize)})",
               f"no machine larger than {human(room)}",
               f"mount -o remount,size=50% {SHM_DIR}; docker: --shm-size")


def swap() -> dict[str, Any]:
    """Machine memory must stay in memory: a frame that is swapped out would fault in its guest."""
    total = psutil.swap_memory().total
    if not total:
        return row("swap", True, "the host has none")
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    caps = ffi.new("uint64_t *")
    may = lib.xp_effective_caps(caps) == 0 and bool(caps[0] >> _CAP_IPC_LOCK & 1)
    unlimited = may or soft == resource.RLIM_INFINITY
    locked = "is locked" if unlimited else f"up to {human(max(soft, 1))} is locked"
    return row("swap", unlimited, f"the host has {human(total)}; machine memory {locked}",
               "a frame that is swapped out ends its guest with SIGBUS", "ulimit -l unlimited, CAP_IPC_LOCK, or swapoff")


def processors() -> dict[str, Any]:
    """CPUs: their number decides how much spinning pays, never whether it is safe."""
    nr = len(os.sched_getaffinity(0))
    return row("CPUs", True, f"{nr}" if nr > 1 else "1; with one, waiting by spinning never pays")


def side_channels() -> dict[str, Any]:
    """What the kernel says of the processor's leaks, which no namespace stops."""
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    try:
        states = {path.name: path.read_text().strip() for path in sorted(folder.iterdir())}
    except OSError as error:
        return row("side channels", False, f"{folder}: {error.strerror}", "it is not known whether guests can read each other by them",
                   "mount sysfs on /sys")
    open_ones = [name for name, state in states.items() if state.startswith("Vulnerable")]
    detail = f"{len(states)} kinds known, mitigated or not present" if not open_ones else f"vulnerable: {', '.join(open_ones)}"
    return row("side channels", not open_ones, detail, "a guest may read what others compute, through the processor",
               "boot without mitigations=off; newer microcode and kernel; CPUs of their own for guests (cpus=)")


# ---- the scheduler ----


def dispatch() -> dict[str, Any]:
    """How a scheduler's decisions can be carried out, tried."""
    ret = in_child(partial(lib.xp_dispatch_trial, b"class"))
    detail = "by real-time classes" if ret == 0 else f"by stopping and continuing; real-time classes: {_why(ret)}"
    return row("dispatch", ret == 0, detail,
               "a domain that wakes runs beside the chosen one until it is seen, blocks are seen up to 4 ms late, "
               "and other work of the host competes",
               "root, or CAP_SYS_NICE (RLIMIT_RTPRIO alone does not do: nobody comes back from a class by it); in a control group with "
               "cpu.rt_runtime_us: above 0", of="scheduling")


def switch_records() -> dict[str, Any]:
    """The kernel's records of switches, by which a wake-up is seen: tried on a child."""
    ret = in_child(lib.xp_watch_trial)
    level = _number("/proc/sys/kernel/perf_event_paranoid")
    return row("switch records (perf)", ret == 0,
               "a wake-up is seen at once" if ret == 0 else f"{_why(ret)}; perf_event_paranoid is {level}",
               "a domain that wakes is seen at the next tick of its CPU clock, 4 ms later at 250 Hz, and runs out of turn until then",
               f"sysctl kernel.perf_event_paranoid=2 or less, or CAP_PERFMON; a kernel with CONFIG_PERF_EVENTS; {_CONTAINER}",
               of="scheduling")


def kept_for_others() -> dict[str, Any]:
    """What the kernel keeps of each CPU for the ordinary class: a chosen domain leaves its real-time class for a little more than that."""
    period, runtime = _number("/proc/sys/kernel/sched_rt_period_us"), _number("/proc/sys/kernel/sched_rt_runtime_us")
    paths = _FAIR_SERVER.glob("cpu*") if os.access(_FAIR_SERVER, os.R_OK) else ()
    servers = [(_number(path / "runtime"), _number(path / "period")) for path in paths]
    limited = 0.0 if runtime is None or not period or runtime < 0 else max(0.0, 1 - runtime / period)
    served = max((run / per for run, per in servers if run is not None and per), default=None)
    detail = f"sched_rt_runtime_us keeps {limited:.1%}" if limited else "sched_rt_runtime_us keeps nothing"
    detail += "" if served is None else f", the fair server {served:.1%}"
    detail += f"; a chosen domain breathes {lib.xp_host_breath_ns() / 1e6:.2f} ms in each 28"
    return row("kept for others", limited <= _KEPT and (served or 0.0) <= _KEPT, detail,
               "a chosen domain is out of its real-time class for longer, its blocks are seen later; what a breath does not cover is a "
               "stall of all real-time classes, in one piece",
               f"sysctl kernel.sched_rt_runtime_us=950000 (of sched_rt_period_us=1000000); {_FAIR_SERVER}/cpu*/runtime: 50000000",
               of="scheduling")


def _number(path: str | Path) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def examine() -> list[dict[str, Any]]:
    """Return a row for each thing that matters, the most important first."""
    uname = platform.uname()
    fits = uname.system == "Linux" and uname.machine == "x86_64"
    kernel = row("kernel", fits, f"{uname.system} {uname.release} {uname.machine}", "nothing works", "Linux on x86_64")
    confinement = [window(), seccomp(), seal(), landlock(), *namespaces(), uids()]
    scheduling = [dispatch(), switch_records(), kept_for_others()]
    return [kernel, *confinement, shared_memory(), swap(), processors(), side_channels(), *scheduling]


def main() -> None:
    """Entry point."""
    rows = examine()
    if "--json" in sys.argv[1:]:
        print(json.dumps(rows))
        return
    for it in rows:
        print(f"{'ok' if it['ok'] else '--'} {it['what']}: {it['detail']}")
        if not it["ok"]:
            print(f"   without it: {it['cost']}\n   remedy: {it['remedy']}")


if __name__ == "__main__":
    main()
