"""A domain's time: real, virtual and wall-clock, two alarms on it, and how its virtual CPU's life divides.

Reading real time and the wall clock costs no call: vcpu_time_info in shared_info and the TSC, by Xen's version protocol. An alarm
is the virtual interrupt VIRQ_TIMER (`port`). Source: public/xen.h, public/vcpu.h; virtual time's alarm is ours.
"""
# Tour G:090

import time
from collections.abc import Callable
from typing import Any

from xenproc.abi import Hypercall, RunState, VcpuOp, Virq
from xenproc.guest.evtchn import Events
from xenproc.guest.hypercall import Hypercalls
from xenproc.native import ffi, lib

VCPU_SSHOTTMR_FUTURE = 1


class Clock:
    """The clocks and alarms of this domain's one virtual CPU. Not for use by several threads at once."""

    def __init__(self, hypercalls: Hypercalls, events: Events) -> None:
        self._calls = hypercalls
        self._events = events
        self._shared_info = shared_info = events.shared_info
        self._port = 0
        self._area: Any = None
        read = lib.xp_system_time

        def system_time() -> int:
            """Return real time: ns since the hypervisor started. Never torn, never goes back."""
            return read(shared_info)

        # A closure and not a method: a third faster, and this is what is read a million times a second.
        self.system_time: Callable[[], int] = system_time

    def wall_clock(self) -> int:
        """Return the wall clock: ns since 1970, as Domain0 has set it."""
        return lib.xp_wall_clock_base(self._shared_info) + self.system_time()

    def virtual_time(self) -> int:
        """Return virtual time: ns that this domain has run. It stands still while the domain does not."""
        return time.process_time_ns()

    # ---- alarms ----

    @property
    def port(self) -> int:
        """The port that VIRQ_TIMER is bound to; bound at the first use."""
        if not self._port:
            self._port = self._events.bind_virq(Virq.TIMER)
        return self._port

    def set_timer(self, deadline_ns: int) -> None:
        """Set the real-time alarm to a system time (HYPERVISOR_set_timer_op); 0 takes it back."""
        self._calls.call(Hypercall.set_timer_op, deadline_ns, op="set_timer_op")

    def set_singleshot(self, deadline_ns: int, future: bool = False) -> None:
        """Set the real-time alarm by VCPUOP_set_singleshot_timer; the same alarm as set_timer's.

        future: refuse a deadline that has passed. Raises HypercallError (ETIME).
        """
        fields = {"timeout_abs_ns": deadline_ns, "flags": VCPU_SSHOTTMR_FUTURE if future else 0}
        with self._calls.struct("struct xen_vcpu_set_singleshot_timer", **fields) as (address, _):
            self._vcpu_op(VcpuOp.set_singleshot_timer, address)

    def stop_singleshot(self) -> None:
        """Take the real-time alarm back."""
        self._vcpu_op(VcpuOp.stop_singleshot_timer)

    def set_periodic(self, period_ns: int) -> None:
        """Have VIRQ_TIMER every `period_ns`, at least a million. Raises HypercallError (EINVAL)."""
        with self._calls.struct("struct xen_vcpu_set_periodic_timer", period_ns=period_ns) as (address, _):
            self._vcpu_op(VcpuOp.set_periodic_timer, address)

    def stop_periodic(self) -> None:
        """No more periodic VIRQ_TIMER."""
        self._vcpu_op(VcpuOp.stop_periodic_timer)

    def set_virtual_timer(self, deadline_ns: int) -> None:
        """Set the alarm on virtual time; 0 takes it back. It goes off up to a tick of the host's kernel late."""
        self._calls.xenproc_op(lib.XP_OP_set_virtual_timer, deadline_ns)

    def wait(self, timeout: float | None = 5.0) -> None:
        """Wait for an alarm and take it (SCHEDOP_poll on `port`). Raises Timeout."""
        self._events.wait(self.port, timeout)

    # ---- run state ----

    def runstate(self) -> dict[str, int]:
        """Return ns spent "running", "runnable", "blocked" and "offline", and "since", the system time up to which they count.

        The four add up to the domain's age.
        """
        with self._calls.struct("struct xen_vcpu_runstate_info") as (address, info):
            self._vcpu_op(VcpuOp.get_runstate_info, address)
            return {"since": info.state_entry_time, **{state.name: info.time[state] for state in RunState}}

    def register_runstate(self, address: int) -> Any:
        """Have the hypervisor keep a struct vcpu_runstate_info of ours up to date; return it. Address 0: no more.

        The address must lie in frames of this domain. Raises HypercallError (EFAULT).
        """
        with self._calls.struct("struct xen_vcpu_register_runstate_memory_area") as (where, area):
            area.addr.v = address
            self._vcpu_op(VcpuOp.register_runstate_memory_area, where)
        return ffi.cast("struct xen_vcpu_runstate_info *", address) if address else None

    def register_time(self, address: int) -> Any:
        """Have the hypervisor keep a second struct vcpu_time_info at an address of ours; return it. Address 0: no more."""
        with self._calls.struct("struct xen_vcpu_register_time_memory_area") as (where, area):
            area.addr.v = address
            self._vcpu_op(VcpuOp.register_vcpu_time_memory_area, where)
        return ffi.cast("struct xen_vcpu_time_info *", address) if address else None

    def _vcpu_op(self, op: VcpuOp, address: int = 0) -> None:
        self._calls.call(Hypercall.vcpu_op, op, 0, address, op=f"VCPUOP_{op.name}")
