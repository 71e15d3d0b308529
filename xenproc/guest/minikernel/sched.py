"""Who has the virtual CPU: round robin, sleeping and waking by channel as in xv6, ticks of the timer.

A switch is what the paper counts: another kernel stack (stack_switch) and another base pointer (mmuext_op), in one multicall.
Invariants: one process is RUNNING, and its strand runs; `ready` holds the READY ones; a SLEEPING one has a channel or a
time. With nobody ready the CPU blocks until the timer; if no timer could wake anybody it never would: a panic.
"""
# Tour G:210

from collections import deque
from typing import TYPE_CHECKING, Any

from xenproc.errors import Timeout
from xenproc.guest.cpu import Context
from xenproc.guest.minikernel.process import Process, State
from xenproc.guest.minikernel.signals import Signal

if TYPE_CHECKING:
    from xenproc.guest.minikernel.kernel import Kernel
    from xenproc.guest.minikernel.strand import Strand

TICK_NS = 10_000_000
_LONGEST_NS = 1_000_000_000


class Interrupted(Exception):
    """A signal ended a sleep: EINTR."""


class Stuck(BaseException):
    """Every process waits for another one: the kernel is at its end, so no process may catch this as an error of its own."""


class Scheduler:
    """The ready ones and the current one."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._cpu = kernel.cpu
        self._clock = kernel.g.clock
        self._ready: deque[Process] = deque()
        self.current: Process | None = None
        self.nr_switches = self.nr_ticks = 0

    # ---- ready and asleep ----

    def make_ready(self, process: Process) -> None:
        """Put a process at the end of the queue."""
        process.state, process.channel, process.wake_at = State.READY, None, None
        self._ready.append(process)

    def wakeup(self, channel: Any) -> None:
        """Wake all that sleep on a channel."""
        for process in self._kernel.table.values():
            if process.state is State.SLEEPING and process.channel is channel:
                self.make_ready(process)

    def sleep_on(self, channel: Any, until: int | None = None, deaf: bool = False) -> None:
        """Have the current process sleep until somebody wakes the channel, or until a system time.

        Raises Interrupted if a signal is there before or after, unless deaf.
        """
        me = self.current
        assert me is not None
        if me.signals.deliverable and not deaf:
            raise Interrupted
        me.state, me.channel, me.wake_at = State.SLEEPING, channel, until
        self.switch()
        if me.signals.deliverable and not deaf:
            raise Interrupted

    def signal(self, process: Process, number: Signal | int) -> None:
        """Send a signal; a sleeping process wakes for it."""
        if process.state is State.ZOMBIE or not process.signals.post(number):
            return
        if process.state is State.SLEEPING and process.signals.deliverable:
            self.make_ready(process)

    # ---- the CPU ----

    def yield_(self) -> None:
        """Let the others run first."""
        if self._ready:
            assert self.current is not None
            self.make_ready(self.current)
            self.switch()

    def tick(self) -> None:
        """The timer: wake who has slept enough, and let the next one run."""
        self.nr_ticks += 1
        self._wake_sleepers()
        self.yield_()

    def switch(self) -> None:
        """Give the CPU to the next process; return when it is the current one's turn again."""
        me = self.current
        to = self._next()
        assert me is not None
        if to is me:
            me.state = State.RUNNING
            return
        me.context = self._enter(to)
        self._hand_over(to).enter()

    def leave(self) -> "Strand":
        """Give the CPU to the next process, for good; return its strand, which the caller's enters as the last thing it does."""
        to = self._next()
        self._enter(to)
        return self._hand_over(to)

    def start(self, process: Process) -> Context:
        """Give the CPU to the first process until all is over; return what whoever boots has left."""
        self._ready.remove(process)
        left = self._enter(process)
        self._hand_over(process).enter()
        return left

    def _enter(self, to: Process) -> Context:
        space = to.vm.space
        left = self._cpu.switch(to.context, space if space.validated else None)
        if not space.validated:
            space.load()
        return left

    def _hand_over(self, to: Process) -> "Strand":
        self.nr_switches += 1
        self.current, to.state = to, State.RUNNING
        assert to.strand is not None
        return to.strand

    def _next(self) -> Process:
        while not self._ready:
            self._idle()
        return self._ready.popleft()

    # ---- time ----

    def _idle(self) -> None:
        """Block until the timer. Raises Stuck."""
        times = [process.wake_at for process in self._kernel.table.values() if process.wake_at is not None]
        if not times:
            raise Stuck(f"nobody can run: {sorted(map(repr, self._kernel.table.values()))}")
        now = self._clock.system_time()
        if min(times) > now:
            self._clock.set_timer(min(times))
            try:
                self._clock.wait(min(min(times) - now, _LONGEST_NS) / 1e9 + 0.01)
            except Timeout:
                pass            # not yet, or it went off before we looked: the clock decides
            self._kernel.g.events.take_upcall()     # the timer's: what it was for is done here
            self._kernel.obey_balloon()
        self._wake_sleepers()

    def _wake_sleepers(self) -> None:
        now = self._clock.system_time()
        for process in self._kernel.table.values():
            if process.wake_at is not None and process.wake_at <= now:
                self.make_ready(process)
