"""The hypervisor's policy thread: creates domains, sees them die, takes them down, answers Domain0. Runs in its own process.

One asyncio loop; every hot thing is done by the C dispatcher on its own thread (native/dispatch.c). Invariants:
1. No step here waits for a guest without a deadline.
2. A domain's process is dead and reaped before its teardown begins; teardown goes in steps, others are served between.
3. Whatever fails while a domain is built, the domain is gone afterwards and Domain0 gets one error that says why.
"""
# Tour H:090

import asyncio
import contextlib
import errno
import logging
import os
import signal
import threading
from typing import Any

import psutil

from xenproc import machine
from xenproc.errors import ConfigError, EnvironmentLacks, NoSuchDomain, XenprocError
from xenproc.hv import spawn
from xenproc.hv.domain import DomainRecord, console_text, core_info, exit_report, state_name, traps
from xenproc.hv.exits import Exits
from xenproc.native import check, ffi, lib

log = logging.getLogger("xenproc.hv")

MAX_DOMAINS = 4096
MIN_FRAMES = 8          # what the builder uses, and a little for the guest
MAX_CMDLINE = 1023      # of start_info's 1024
SCRUB_STEP = 64
MAX_FOLLOW = 60.0
PAGING_MODES = {"x86_32": 0, "x86_32p": 1, "x86_64": 2}    # native/paging.h
LIMITS = {"max_evtchns": 1024, "max_grant_frames": 32, "max_maptrack": 1024, "max_direct": 64, "max_board": 64}
LIMIT_CEILING = {"max_evtchns": 4096, "max_grant_frames": 64, "max_maptrack": 65536, "max_direct": 4096, "max_board": 4096}
# What Domain0 may leave out for one domain, to see what it is for (native/lockdown.h; window and seal: guest/boot.py).
DEFENCES = frozenset({
    "window", "seal", "limits", "memory", "uid", "capabilities", "no_dump", "landlock", "descriptors", "seccomp",
})


class HypervisorProcess:
    """Owns machine memory, the C core and every domain's process."""

    def __init__(self, nr_frames: int, may_spin: bool, isolation: str) -> None:
        """Make the machine. Raises ConfigError or EnvironmentLacks before anything is touched."""
        self.memory_fd = machine.create(nr_frames)
        error = ffi.new("int *")
        self.core = lib.xp_hv_create(self.memory_fd, nr_frames, may_spin, error)
        if self.core == ffi.NULL:
            os.close(self.memory_fd)
            raise EnvironmentLacks(f"the hypervisor's core could not be made: {os.strerror(-error[0])}")
        self.swap_reason = self._pin_memory()
        self.nr_frames = nr_frames
        self.isolation = isolation
        self.domains: dict[int, DomainRecord] = {}
        self.exits = Exits()
        self.next_domid = 1
        self.spawner: spawn.Spawner | None = None
        self.tasks: set[asyncio.Task] = set()
        self.scrubbing = False
        self.tracing: object | None = None      # the control connection that a trace is recorded for
        self.dispatcher = threading.Thread(target=self._dispatch, name="xenproc-dispatch", daemon=True)

    def _pin_memory(self) -> str | None:
        """Keep machine memory out of swap where there is any; return why that cannot be done, or None."""
        if psutil.swap_memory().total == 0:
            return None
        ret = lib.xp_hv_pin_memory(self.core)
        return None if ret == 0 else f"the host has swap and machine memory cannot be locked: {os.strerror(-ret)} (ulimit -l)"

    # ---- life of the hypervisor ----

    def start(self, spawner: spawn.Spawner) -> None:
        """Begin to answer hypercalls; called within the running loop."""
        self.spawner = spawner
        self.dispatcher.start()
        info = ffi.new("struct xp_hv_info *")
        lib.xp_hv_info(self.core, info)
        asyncio.get_running_loop().add_reader(info.control_fd, self._news)

    def _dispatch(self) -> None:
        ret = lib.xp_hv_run(self.core)
        if ret != 0:
            log.critical("the dispatcher stopped: %s", os.strerror(-ret))
            os.abort()

    async def close(self) -> None:
        """Destroy every domain and stop. No process, frame or descriptor is left."""
        for record in list(self.domains.values()):
            self._kill(record)
        for record in list(self.domains.values()):
            if record.ended is not None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(asyncio.shield(record.ended), 5)
        if self.spawner is not None:
            self.spawner.close()
        lib.xp_hv_stop(self.core)
        self.dispatcher.join(5)

    def background(self, coroutine: Any) -> None:
        """Run a coroutine beside the rest; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("policy thread", exc_info=task.exception())

    def _news(self) -> None:
        domids = ffi.new("uint16_t[]", MAX_DOMAINS)     # all of them: what is left over would not be told again
        for i in range(lib.xp_hv_news(self.core, domids, MAX_DOMAINS)):
            record = self.domains.get(domids[i])
            info = core_info(self.core, domids[i]) if record else None
            if record is not None:
                record.news.set()
            if record is not None and info is not None and info.state == 2:
                self._kill(record)      # it asked for its end, or broke a rule
        machine_info = ffi.new("struct xp_hv_info *")
        lib.xp_hv_info(self.core, machine_info)
        if machine_info.nr_dirty:
            self._start_scrub()         # it gave memory back

    # ---- creating ----

    def _take_domid(self) -> int:
        for _ in range(MAX_DOMAINS):
            domid = self.next_domid
            self.next_domid = domid + 1 if domid + 1 < MAX_DOMAINS else 1
            if domid not in self.domains:
                self.exits.forget(domid)
                return domid
        raise ConfigError(f"domains: {MAX_DOMAINS - 1} exist already, there is no number left")

    def _check_plan(self, plan: dict[str, Any]) -> dict[str, int]:
        name = plan["name"]
        if not isinstance(name, str) or not 0 < len(_bytes(name)) < 64 or "\0" in name or name == "Domain-0":
            raise ConfigError(f"name: expected 1 to 63 bytes without NUL and not Domain-0, got {name!r}")
        if any(record.name == name and not record.zombie for record in self.domains.values()):
            raise ConfigError(f"name: a domain called {name!r} exists already")
        cpus = plan.get("cpus")
        if cpus is not None and not (cpus and set(cpus) <= os.sched_getaffinity(0)):
            raise ConfigError(f"cpus: expected some of {sorted(os.sched_getaffinity(0))}, got {cpus}")
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
        nr_pages, max_pages = plan["nr_pages"], plan.get("max_pages", plan["nr_pages"])
        if nr_pages < MIN_FRAMES:
            raise ConfigError(f"memory: expected at least {MIN_FRAMES} frames ({MIN_FRAMES * 4} KiB), got {nr_pages}")
        if max_pages < nr_pages:
            raise ConfigError(f"maxmem: expected at least the reservation of {nr_pages} frames, got {max_pages}")
        return limits

    async def create(self, plan: dict[str, Any], payload_fd: int) -> dict[str, Any]:
        """Build a domain and let its guest run; `payload_fd` (its callable, opaque) is closed.

        Raises ConfigError, EnvironmentLacks (no memory, host refused), or XenprocError with what the new process said.
        """
        try:
            self._check_plan(plan)
            await self._make_room(plan["nr_pages"])
            limits = self._check_plan(plan)     # again: somebody may have taken the name meanwhile
            domid = self._take_domid()
            self._create_in_core(domid, plan, limits)
            record = DomainRecord(domid, plan["name"], plan.get("owner", 0), plan.get("max_pages", plan["nr_pages"]))
            record.ended = asyncio.get_running_loop().create_future()
            self.domains[domid] = record
            try:
                await self._start_process(record, plan, payload_fd)
            except BaseException:
                await self._undo(record)
                raise
            return {"domid": domid, "pid": record.pid, "enforced": record.enforced}
        finally:
            os.close(payload_fd)

    async def _make_room(self, nr_pages: int) -> None:
        """Have what others gave back scrubbed at once where it is needed now."""
        info = ffi.new("struct xp_hv_info *")
        self._retry_zombies()
        while True:
            lib.xp_hv_info(self.core, info)
            if info.nr_free >= nr_pages + 2 or not (info.nr_dirty or self.scrubbing):
                return
            lib.xp_hv_scrub(self.core, SCRUB_STEP)
            await asyncio.sleep(0)

    def _create_in_core(self, domid: int, plan: dict[str, Any], limits: dict[str, int]) -> None:
        nr_pages = plan["nr_pages"]
        core_plan = ffi.new("struct xp_domain_plan *")
        name, cmdline = ffi.new("char[]", plan["name"].encode()), ffi.new("char[]", plan.get("cmdline", "").encode())
        core_plan.name, core_plan.cmdline = name, cmdline
        core_plan.paging = PAGING_MODES[plan.get("paging", "x86_64")]
        core_plan.nr_pages, core_plan.max_pages = nr_pages, plan.get("max_pages", nr_pages)
        for key, value in limits.items():
            setattr(core_plan.limits, key, value)
        ret = lib.xp_domain_create(self.core, domid, core_plan)
        if ret == -errno.ENOMEM:
            info = ffi.new("struct xp_hv_info *")
            lib.xp_hv_info(self.core, info)
            raise EnvironmentLacks(
                f"memory: domain {plan['name']!r} asks for {nr_pages} frames and 2 of overhead, {info.nr_free} of "
                f"{info.nr_frames} are free"
            )
        check(ret, "xp_domain_create", domid)

    async def _start_process(self, record: DomainRecord, plan: dict[str, Any], payload_fd: int) -> None:
        assert self.spawner is not None
        process = await self.spawner.spawn(record.domid, plan, payload_fd, self.memory_fd, self.nr_frames)
        record.pid, record.pidfd = process.pid, process.pidfd
        asyncio.get_running_loop().add_reader(record.pidfd, self._process_died, record)
        try:
            await self._hand_over(record, process, plan)
        finally:
            process.abandon()

    async def _hand_over(self, record: DomainRecord, process: spawn.BootingProcess, plan: dict[str, Any]) -> None:
        check(lib.xp_domain_attach(self.core, record.domid, process.for_core()), "xp_domain_attach", record.domid)
        process.handed_over()
        cursor = ffi.new("uint64_t *", 0)
        while ret := lib.xp_domain_give(self.core, record.domid, cursor, 512):
            if ret == -errno.ESRCH:
                raise EnvironmentLacks("the new domain's process died while it was being set up")
            check(ret, "giving frames", record.domid)
            await asyncio.sleep(0)
        record.enforced = await process.locked()
        missing = {what: why for what, why in record.enforced["refused"].items() if what not in plan.get("without", ())}
        if self.isolation == "enforced" and missing:
            raise EnvironmentLacks(f"isolation: this host cannot enforce it: {missing}")
        check(lib.xp_domain_start(self.core, record.domid), "xp_domain_start", record.domid)
        info = core_info(self.core, record.domid)
        process.go(call_mfn=info.call_mfn, start_info_mfn=info.start_info_mfn)

    async def _undo(self, record: DomainRecord) -> None:
        record.destroyed = True
        if record.pidfd >= 0:
            self._kill(record)
            if record.ended is not None:
                await asyncio.wait_for(asyncio.shield(record.ended), 5)
            self.exits.forget(record.domid)
            return
        lib.xp_domain_dying(self.core, record.domid)
        await self._take_down(record)

    # ---- ending ----

    def _kill(self, record: DomainRecord) -> None:
        if record.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(record.pidfd, signal.SIGKILL)

    def _process_died(self, record: DomainRecord) -> None:
        asyncio.get_running_loop().remove_reader(record.pidfd)
        status = None
        with contextlib.suppress(ChildProcessError):
            status = os.waitid(os.P_PIDFD, record.pidfd, os.WEXITED)
        lib.xp_domain_dying(self.core, record.domid)
        record.exit = exit_report(self.core, record, status)
        record.news.set()
        self.background(self._bury(record))

    async def _bury(self, record: DomainRecord) -> None:
        await self._take_down(record)
        assert record.exit is not None and record.ended is not None
        self.exits.add(record.domid, record.exit)
        if not record.ended.done():
            record.ended.set_result(record.exit)

    async def _take_down(self, record: DomainRecord) -> None:
        while True:
            ret = lib.xp_domain_teardown(self.core, record.domid)
            if ret == -errno.EBUSY:
                await asyncio.sleep(0.001)      # its address space is still being torn down by the kernel
            elif ret == 1:
                await asyncio.sleep(0)
            else:
                break
        if record.pidfd >= 0:
            os.close(record.pidfd)
            record.pidfd = -1
        if ret == 2:
            record.zombie = True
        else:
            self.domains.pop(record.domid, None)
        self._retry_zombies()
        self._start_scrub()

    def _retry_zombies(self) -> None:
        """Others may have let go of a dead domain's frames by now."""
        for record in [r for r in self.domains.values() if r.zombie]:
            if lib.xp_domain_teardown(self.core, record.domid) == 0:
                self.domains.pop(record.domid, None)

    def _start_scrub(self) -> None:
        if not self.scrubbing:
            self.scrubbing = True
            self.background(self._scrub())

    async def _scrub(self) -> None:
        try:
            while lib.xp_hv_scrub(self.core, SCRUB_STEP) > 0:
                await asyncio.sleep(0)
        finally:
            self.scrubbing = False

    # ---- what Domain0 asks for ----

    def find(self, domid: Any) -> DomainRecord:
        """Return a live domain. Raises NoSuchDomain."""
        record = self.domains.get(domid)
        if record is None or record.zombie or record.exit is not None:
            raise NoSuchDomain(f"there is no domain {domid!r}")
        return record

    def list_domains(self) -> list[dict[str, Any]]:
        """Return a dict for each domain, Domain0 first, with the columns of `xl list`."""
        self._retry_zombies()
        rows = [{"name": "Domain-0", "domid": 0, "memory_kb": 0, "vcpus": 1, "state": "r-----", "cpu_time_s": 0.0, "pid": 0}]
        for record in self.domains.values():
            info = core_info(self.core, record.domid)
            rows.append({
                "name": record.name if not record.zombie else "(null)",
                "domid": record.domid,
                "memory_kb": info.nr_pages * 4,
                "max_memory_kb": info.max_pages * 4,
                "vcpus": 1,
                "state": _letters(record, info),
                "cpu_time_s": _cpu_time(record.pid) if not record.zombie else 0.0,
                "pid": record.pid,
                "zombie_frames": info.nr_zombies,
                "event_channels": info.nr_evtchns,
                "grant_frames": info.nr_grant_frames,
                "grants_mapped": info.nr_maptrack,
                "hypercalls": info.nr_calls,
                "doorbells": info.nr_doorbells,
                "traps": traps(info),
            })
        return rows

    def state_of(self, domid: int) -> str:
        """Return a domain's state in Xen's words; "dead" once it has ended. Raises NoSuchDomain."""
        record = self.domains.get(domid)
        if record.exit is not None if record is not None else domid in self.exits:
            return "dead"
        record = self.find(domid)
        return state_name(record, core_info(self.core, domid))

    async def wait(self, domid: int, timeout: float | None) -> dict[str, Any] | None:
        """Return the exit record of a domain, or None if it still lives after `timeout` seconds. Raises NoSuchDomain."""
        record = self.domains.get(domid)
        if record is None or record.zombie:
            told = self.exits.tell(domid)
            if told is None:
                raise NoSuchDomain(f"there is no domain {domid!r}")
            return told
        assert record.ended is not None
        try:
            await asyncio.wait_for(asyncio.shield(record.ended), timeout)
        except TimeoutError:
            return None
        return self.exits.tell(domid) or record.exit

    def pause(self, domid: int, stop: bool) -> None:
        """Stop or continue a domain's process. Raises NoSuchDomain."""
        record = self.find(domid)
        signal.pidfd_send_signal(record.pidfd, signal.SIGSTOP if stop else signal.SIGCONT)
        lib.xp_domain_paused(self.core, domid, stop)
        record.paused = stop

    def shutdown(self, domid: int, reason: str) -> None:
        """Ask a domain to end by itself: control/shutdown on the board. Raises NoSuchDomain."""
        self.find(domid)
        value = reason.encode()
        check(lib.xp_domain0_publish(self.core, domid, b"control/shutdown", value, len(value)), "shutdown", domid)

    def virq(self, domid: int, virq: int) -> None:
        """Raise a virtual interrupt in a domain; where it is not bound nothing happens. Raises NoSuchDomain, HypercallError."""
        self.find(domid)
        check(lib.xp_domain_virq(self.core, domid, virq), "virq", domid)

    def destroy(self, domid: int) -> None:
        """End a domain at once. Raises NoSuchDomain."""
        record = self.find(domid)
        record.destroyed = True
        self._kill(record)

    def console(self, domid: int, pos: int) -> tuple[int, bytes]:
        """Return (new position, bytes) of a domain's console, dead or alive. Raises NoSuchDomain."""
        last_words = self._last_words(domid)
        if last_words is not None:
            return _rest(last_words, pos)
        self.find(domid)
        return console_text(self.core, domid, pos)

    def _last_words(self, domid: int) -> tuple[int, bytes] | None:
        """Return (end position, tail) of a dead domain's console, None if it lives or is not known."""
        record = self.domains.get(domid)
        ended = record.exit if record is not None else self.exits.peek(domid)
        return None if ended is None else (ended["console_end"], ended["console"].encode("latin-1"))

    async def follow(self, domid: int, pos: int, limit: float) -> tuple[int, bytes, bool]:
        """As console, but waits up to `limit` seconds for more; also returns whether the domain has ended. Raises NoSuchDomain."""
        last_words = self._last_words(domid)
        if last_words is not None:
            return *_rest(last_words, pos), True
        record = self.find(domid)
        end = asyncio.get_running_loop().time() + min(limit, MAX_FOLLOW)
        while record.exit is None:
            new, data = console_text(self.core, domid, pos)
            left = end - asyncio.get_running_loop().time()
            if data or left <= 0:
                return new, data, False
            record.news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(record.news.wait(), left)
        return *_rest(self._last_words(domid) or (pos, b""), pos), True

    def info(self) -> dict[str, Any]:
        """Return what `xenproc info` shows."""
        self._retry_zombies()
        info = ffi.new("struct xp_hv_info *")
        lib.xp_hv_info(self.core, info)
        if info.nr_dirty:
            self._start_scrub()         # frames that a peer let go of, without any domain's end
        assert self.spawner is not None
        return {
            "pid": os.getpid(),
            "memory": {
                "frames": info.nr_frames, "free": info.nr_free, "dirty": info.nr_dirty, "hypervisor": info.nr_xen,
            },
            "domains": info.nr_domains,
            "hypercalls": info.nr_calls,
            "sleeps": info.nr_sleeps,
            "spins": info.nr_spins,
            "spin_hits": info.nr_spin_hits,
            "tsc_hz": info.tsc_hz,
            "system_time_ns": info.system_time_ns,
            "wall_clock_ns": info.wall_clock_ns + info.system_time_ns,
            "time_told": info.nr_time_told,
            "isolation": self.spawner.isolation(),
            "audit": lib.xp_hv_audit(self.core),
            "kernel_objects": _kernel_objects(),
        }


def _rest(last_words: tuple[int, bytes], pos: int) -> tuple[int, bytes]:
    """Return (end position, bytes from `pos` on) of a dead domain's console."""
    end, tail = last_words
    return end, tail[max(0, pos - (end - len(tail))):]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _letters(record: DomainRecord, info: Any) -> str:
    """Return xl's six letters: r b p s c d."""
    running = info.state == 1 and not record.paused
    flags = (
        ("r", running), ("b", False), ("p", record.paused), ("s", info.state == 2),
        ("c", bool(info.crashed)), ("d", info.state == 3),
    )
    return "".join(letter if on else "-" for letter, on in flags)


def _cpu_time(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def _kernel_objects() -> dict[str, int]:
    """Return how many descriptors and mappings this process holds."""
    me = psutil.Process()
    return {"descriptors": me.num_fds(), "threads": me.num_threads(), "rss_kb": me.memory_info().rss // 1024}


__all__ = ["HypervisorProcess", "XenprocError"]
