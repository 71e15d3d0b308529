"""The kernel: what it is made of, how it boots and how it ends.

    def guest(g):
        with Kernel(g) as kernel:
            return kernel.run(init)

run() makes the first process and lends it the CPU; when that one has ended, what it left behind is killed and its memory given back;
close() gives back the kernel's own. All processes are in one thread and switched at known places (strand.py), so nothing needs a lock;
interrupts come in ring 3 only.
"""
# Tour G:110

import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from xenproc.errors import XenprocError
from xenproc.guest.interrupts import Interrupts
from xenproc.guest.minikernel import lifecycle
from xenproc.guest.minikernel.files import ConsoleFile
from xenproc.guest.minikernel.frames import Frames
from xenproc.guest.minikernel.process import Ended, Process, Program, Replaced, State
from xenproc.guest.minikernel.sched import TICK_NS, Scheduler
from xenproc.guest.minikernel.signals import Signal
from xenproc.guest.minikernel.space import UserSpace
from xenproc.guest.minikernel.strand import Strand, Strands
from xenproc.guest.minikernel.traps import Traps
from xenproc.guest.minikernel.user import ENTRIES, Sys
from xenproc.units import PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

_BALLOON_NS = 100_000_000


class Kernel:
    """The kernel of one guest. pages: `counters` "demand", "copied", "reused", "forked"; traps: g.cpu.counters.

    programs: what exec finds, by name. fast: system calls go straight to the kernel; else through the hypervisor. validated: see
    bare.py.
    """

    def __init__(
        self, g: "Guest", programs: Mapping[str, Program] | None = None, fast: bool = True, validated: bool = True
    ) -> None:
        self.g = g
        self.cpu = g.cpu
        self.programs = dict(programs or {})
        self.counters: Counter[str] = Counter()
        self.frames = Frames(g)
        self.space = UserSpace(g, validated)        # the kernel's own: current while a process's is taken apart
        self.table: dict[int, Process] = {}
        self.strands = Strands()
        self.traps = Traps(self, fast)
        self.sched = Scheduler(self)
        self.interrupts = Interrupts(g, self.traps.upcall, lambda: self.current.user.resume(), ENTRIES)
        self._last_pid = 0
        self._balloon_at = 0
        self._over: BaseException | int | None = None

    # ---- from the first process to the last ----

    def run(self, init: Callable[..., Any], *args: Any) -> int:
        """Run init(sys, *args) as process 1 in ring 3, and all that comes of it; return its exit status, or minus a signal.

        In the domain's main thread. Raises OutOfMemory (not even the first process has room), XenprocError (all processes wait for each
        other).
        """
        first = lifecycle.first(self, Program(init), args)
        console = ConsoleFile()
        console.users = 3
        first.files = {0: console, 1: console, 2: console}
        self.g.clock.set_periodic(TICK_NS)
        self.sched.make_ready(first)
        with self.interrupts:
            self.cpu.switch(self.sched.start(first))
        self.g.clock.stop_periodic()
        self.strands.close()
        if isinstance(self._over, BaseException):
            raise XenprocError(f"kernel panic: {self._over}") from self._over
        assert self._over is not None
        return self._over

    def close(self) -> None:
        """Give back what the kernel has for itself. Its page tables stay the CPU's until those of the next kernel that ends do."""
        self.cpu.outgoing = None
        self.cpu.set_fast_trap(0)
        self.cpu.set_trap_table(None)
        if not self.space.validated:
            self.space.free()
            return
        self.space.load()
        before, self.cpu.boot_space = self.cpu.boot_space, self.space
        if before is not None:
            before.free()

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:            # else a process may be in the middle of anything
            self.close()

    def body(self, process: Process) -> Strand:
        """What a strand does for a process: run it in ring 3, whatever it becomes, until it has ended; return who goes on."""
        try:
            lifecycle.exit_(self, process, self._in_ring_3(process))
            return self._finish(process.status) if process.pid == 1 else self.sched.leave()
        except GreenletExit:
            raise
        except BaseException as error:  # of the kernel's own: whoever boots must learn of it, nobody else can
            return self._finish(error)

    def _in_ring_3(self, process: Process) -> int:
        process.user = sys = Sys(self.cpu, self.interrupts, process)
        while True:
            main, args = process.entry
            try:
                result = self.cpu.run_user(main, sys, *args, rsp=process.user_rsp)
                return result & 0xFF if isinstance(result, int) else 0
            except Replaced:
                continue
            except Ended as end:
                return end.status
            except Exception:
                if process.ended is not None:
                    return process.ended
                self.g.console.print(f"process {process.pid}: {traceback.format_exc()}")
                return 1

    def _finish(self, how: BaseException | int) -> Strand:
        self._over = how
        return self.strands.boot

    # ---- what all parts need ----

    @property
    def current(self) -> Process:
        """The process that has the CPU."""
        assert self.sched.current is not None
        return self.sched.current

    def next_pid(self) -> int:
        """Return a number that no process has had."""
        self._last_pid += 1
        return self._last_pid

    def stack_top(self, pfn: int) -> int:
        """Where a kernel stack in this page begins."""
        return self.frames.address(pfn) + PAGE_SIZE

    def kill_all(self) -> None:
        """Send SIGKILL to all but the first process."""
        for process in list(self.table.values()):
            if process.pid != 1 and process.state is not State.ZOMBIE:
                self.sched.signal(process, Signal.KILL)

    def obey_balloon(self) -> None:
        """Do what Domain0 wants of the domain's memory; asked for at most ten times a second."""
        now = self.g.clock.system_time()
        if now >= self._balloon_at:
            self._balloon_at = now + _BALLOON_NS
            self.g.balloon.obey()
