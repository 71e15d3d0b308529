"""Scheduling and virtual CPUs: sched_op, vcpu_op, shutdown reasons, run states."""

from xenproc.abi.layout import I32, PTR, U16, U32, U64, struct, union
from xenproc.abi.names import XenEnum


class SchedOp(XenEnum, prefix="SCHEDOP_"):
    """Commands of sched_op."""

    yield_ = 0
    block = 1
    shutdown = 2
    poll = 3
    remote_shutdown = 4
    shutdown_code = 5
    watchdog = 6
    pin_override = 7


class ShutdownReason(XenEnum, prefix="SHUTDOWN_"):
    """Why a domain has ended."""

    poweroff = 0
    reboot = 1
    suspend = 2
    crash = 3
    watchdog = 4
    soft_reset = 5


SHUTDOWN_MAX = 5


class VcpuOp(XenEnum, prefix="VCPUOP_"):
    """Commands of vcpu_op."""

    initialise = 0
    up = 1
    down = 2
    is_up = 3
    get_runstate_info = 4
    register_runstate_memory_area = 5
    set_periodic_timer = 6
    stop_periodic_timer = 7
    set_singleshot_timer = 8
    stop_singleshot_timer = 9
    register_vcpu_info = 10
    send_nmi = 11
    get_physid = 12
    register_vcpu_time_memory_area = 13
    register_runstate_phys_area = 14
    register_vcpu_time_phys_area = 15


class RunState(XenEnum, prefix="RUNSTATE_"):
    """State of a virtual CPU."""

    running = 0
    runnable = 1
    blocked = 2
    offline = 3


VCPU_SSHOTTMR_future = 1
XEN_RUNSTATE_UPDATE = 1 << 63

sched_shutdown = struct("sched_shutdown", reason=U32)
sched_poll = struct("sched_poll", ports=PTR, nr_ports=U32, timeout=U64)
sched_remote_shutdown = struct("sched_remote_shutdown", domain_id=U16, reason=U32)
sched_watchdog = struct("sched_watchdog", id=U32, timeout=U32)
sched_pin_override = struct("sched_pin_override", pcpu=I32)

vcpu_runstate_info = struct("vcpu_runstate_info", state=I32, state_entry_time=U64, time=U64 * 4)
vcpu_register_runstate_memory_area = struct(
    "vcpu_register_runstate_memory_area", addr=union(h=PTR, v=PTR, p=U64)
)
vcpu_register_time_memory_area = struct("vcpu_register_time_memory_area", addr=union(h=PTR, v=PTR, p=U64))
vcpu_set_periodic_timer = struct("vcpu_set_periodic_timer", period_ns=U64)
vcpu_set_singleshot_timer = struct("vcpu_set_singleshot_timer", timeout_abs_ns=U64, flags=U32)
vcpu_register_vcpu_info = struct("vcpu_register_vcpu_info", mfn=U64, offset=U32, rsvd=U32)
vcpu_get_physid = struct("vcpu_get_physid", phys_id=U64)
