"""Event channels: operations, their arguments, virtual interrupts, the FIFO control block.

The bits themselves lie in shared_info (start.py). A port is local to its domain; port 0 is never valid.
"""

from xenproc.abi.layout import U8, U16, U32, U64, X86_32, X86_64, Arch, struct, union
from xenproc.abi.names import XenEnum


class EvtchnOp(XenEnum, prefix="EVTCHNOP_"):
    """Commands of event_channel_op."""

    bind_interdomain = 0
    bind_virq = 1
    bind_pirq = 2
    close = 3
    send = 4
    status = 5
    alloc_unbound = 6
    bind_ipi = 7
    bind_vcpu = 8
    unmask = 9
    reset = 10
    init_control = 11
    expand_array = 12
    set_priority = 13


class EvtchnStat(XenEnum, prefix="EVTCHNSTAT_"):
    """What a port is."""

    closed = 0
    unbound = 1
    interdomain = 2
    pirq = 3
    virq = 4
    ipi = 5


class Virq(XenEnum, prefix="VIRQ_"):
    """What a virtual interrupt is about."""

    TIMER = 0
    DEBUG = 1
    CONSOLE = 2
    DOM_EXC = 3
    TBUF = 4
    DEBUGGER = 6
    XENOPROF = 7
    CON_RING = 8
    PCPU_STATE = 9
    MEM_EVENT = 10
    ARGO = 11
    ENOMEM = 12
    XENPMU = 13
    ARCH_0 = 16
    ARCH_1 = 17
    ARCH_2 = 18
    ARCH_3 = 19
    ARCH_4 = 20
    ARCH_5 = 21
    ARCH_6 = 22
    ARCH_7 = 23


NR_VIRQS = 24
BIND_PIRQ__WILL_SHARE = 1

# Ports of the two-level ABI: (bits in a long) squared.
EVTCHN_2L_NR_CHANNELS: dict[Arch, int] = {X86_64: 4096, X86_32: 1024}

EVTCHN_FIFO_PRIORITY_MAX = 0
EVTCHN_FIFO_PRIORITY_DEFAULT = 7
EVTCHN_FIFO_PRIORITY_MIN = 15
EVTCHN_FIFO_MAX_QUEUES = 16
EVTCHN_FIFO_LINK_BITS = 17
EVTCHN_FIFO_LINK_MASK = (1 << EVTCHN_FIFO_LINK_BITS) - 1
EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS
# Bit numbers in an event word.
EVTCHN_FIFO_BUSY = 28
EVTCHN_FIFO_LINKED = 29
EVTCHN_FIFO_MASKED = 30
EVTCHN_FIFO_PENDING = 31

evtchn_alloc_unbound = struct("evtchn_alloc_unbound", dom=U16, remote_dom=U16, port=U32)
evtchn_bind_interdomain = struct("evtchn_bind_interdomain", remote_dom=U16, remote_port=U32, local_port=U32)
evtchn_bind_virq = struct("evtchn_bind_virq", virq=U32, vcpu=U32, port=U32)
evtchn_bind_pirq = struct("evtchn_bind_pirq", pirq=U32, flags=U32, port=U32)
evtchn_bind_ipi = struct("evtchn_bind_ipi", vcpu=U32, port=U32)
evtchn_close = struct("evtchn_close", port=U32)
evtchn_send = struct("evtchn_send", port=U32)
evtchn_status = struct(
    "evtchn_status",
    dom=U16,
    port=U32,
    status=U32,
    vcpu=U32,
    u=union(unbound=struct(dom=U16), interdomain=struct(dom=U16, port=U32), pirq=U32, virq=U32),
)
evtchn_bind_vcpu = struct("evtchn_bind_vcpu", port=U32, vcpu=U32)
evtchn_unmask = struct("evtchn_unmask", port=U32)
evtchn_reset = struct("evtchn_reset", dom=U16)
evtchn_op = struct(
    "evtchn_op",
    cmd=U32,
    u=union(
        alloc_unbound=evtchn_alloc_unbound,
        bind_interdomain=evtchn_bind_interdomain,
        bind_virq=evtchn_bind_virq,
        bind_pirq=evtchn_bind_pirq,
        bind_ipi=evtchn_bind_ipi,
        close=evtchn_close,
        send=evtchn_send,
        status=evtchn_status,
        bind_vcpu=evtchn_bind_vcpu,
        unmask=evtchn_unmask,
    ),
)
evtchn_init_control = struct(
    "evtchn_init_control", control_gfn=U64, offset=U32, vcpu=U32, link_bits=U8, _pad=U8 * 7
)
evtchn_expand_array = struct("evtchn_expand_array", array_gfn=U64)
evtchn_set_priority = struct("evtchn_set_priority", port=U32, priority=U32)
evtchn_fifo_control_block = struct(
    "evtchn_fifo_control_block", ready=U32, _rsvd=U32, head=U32 * EVTCHN_FIFO_MAX_QUEUES
)
