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
import time
from typing import Any

import psutil

from xenproc import machine
from xenproc.errors import ConfigError, EnvironmentLacks, NoSuchDomain, XenprocError
from xenproc.hv import cpus, sched_bvt, spawn
from xenproc.hv.domain import DomainRecord, core_info, exit_report, state_name, traps
from xenproc.hv.exits import Exits
from xenproc.hv.plan import MAX_DOMAINS, check_plan, create_in_core
from xenproc.native import check, ffi, lib

log = logging.getLogger("xenproc.hv")

SCRUB_STEP = 64


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
        self.scheduled: list[int] = []          # the host's CPUs that a scheduler shares out (xenproc/hv/cpus.py)
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
        lib.xp_cpus_stop(self.core)
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
        charges = lib.xp_hv_charges(self.core)
        before = time.thread_time_ns() if charges else 0
        nr = lib.xp_hv_news(self.core, domids, MAX_DOMAINS)
        for i in range(nr):
            record = self.domains.get(domids[i])
            info = core_info(self.core, domids[i]) if record else None
            if record is not None:
                record.news.set()
            if record is not None and info is not None and info.state == 2:
                self._kill(record)      # it asked for its end, or broke a rule
        each = (time.thread_time_ns() - before) // nr if charges and nr else 0
        for i in range(nr if each else 0):
            lib.xp_domain_spent(self.core, domids[i], each)
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

    async def create(self, plan: dict[str, Any], payload_fd: int) -> dict[str, Any]:
        """Build a domain and let its guest run; `payload_fd` (its callable, opaque) is closed.

        Raises ConfigError, EnvironmentLacks (no memory, host refused), or XenprocError with what the new process said.
        """
        try:
            check_plan(plan, self.domains.values(), self.scheduled)
            await self._make_room(plan["nr_pages"])
            limits = check_plan(plan, self.domains.values(), self.scheduled)    # again: somebody may have taken the name meanwhile
            domid = self._take_domid()
            create_in_core(self.core, domid, plan, limits)
            record = DomainRecord(domid, plan["name"], plan.get("owner", 0), plan.get("max_pages", plan["nr_pages"]))
            record.ended = asyncio.get_running_loop().create_future()
            self.domains[domid] = record
            try:
                if plan.get("schedule"):
                    sched_bvt.change(self.core, sched_bvt.live(self), domid, plan["schedule"])
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

    async def _start_process(self, record: DomainRecord, plan: dict[str, Any], payload_fd: int) -> None:
        assert self.spawner is not None
        lib.xp_cpus_helper(self.core, self.spawner.pen.server_pid)
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
                lib.xp_cpus_let_run(self.core, record.domid)    # dying takes a CPU, too

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
                **sched_bvt.columns(self.core, record.domid),
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
        check(lib.xp_domain_paused(self.core, domid, stop), "pause", domid)
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

    def audit(self) -> int:
        """Count broken invariants of every table, all domains held up meanwhile."""
        return lib.xp_hv_audit(self.core)

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
            "scheduler": cpus.info(self.core),
            "kernel_objects": _kernel_objects(),
        }


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
