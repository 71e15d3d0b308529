/*
 * abi_event.h: event channels: event_channel_op (cmd, argument), virtual interrupts, the FIFO control block.
 *
 * The bits themselves lie in struct xen_shared_info (abi_start.h). A port is local to its domain; port 0 is never valid.
 */
#ifndef XEN_ABI_EVENT_H
#define XEN_ABI_EVENT_H

#include "abi_types.h"

/* Ports of the two-level ABI: (bits in a long) squared. */
enum { EVTCHN_2L_NR_CHANNELS = 4096, XEN32_EVTCHN_2L_NR_CHANNELS = 1024 };

enum {
    EVTCHNOP_bind_interdomain = 0,
    EVTCHNOP_bind_virq = 1,
    EVTCHNOP_bind_pirq = 2,
    EVTCHNOP_close = 3,
    EVTCHNOP_send = 4,
    EVTCHNOP_status = 5,
    EVTCHNOP_alloc_unbound = 6,
    EVTCHNOP_bind_ipi = 7,
    EVTCHNOP_bind_vcpu = 8,
    EVTCHNOP_unmask = 9,
    EVTCHNOP_reset = 10,
    EVTCHNOP_init_control = 11,
    EVTCHNOP_expand_array = 12,
    EVTCHNOP_set_priority = 13,
};

/* What a virtual interrupt is about; those from VIRQ_ARCH_0 on are the architecture's. */
enum {
    VIRQ_TIMER = 0,             /* per virtual CPU: its timer has expired */
    VIRQ_DEBUG = 1,             /* per virtual CPU: the guest is asked to dump its state */
    VIRQ_CONSOLE = 2,
    VIRQ_DOM_EXC = 3,           /* some domain has died or shut down */
    VIRQ_TBUF = 4,
    VIRQ_DEBUGGER = 6,
    VIRQ_XENOPROF = 7,
    VIRQ_CON_RING = 8,
    VIRQ_PCPU_STATE = 9,
    VIRQ_MEM_EVENT = 10,
    VIRQ_ARGO = 11,
    VIRQ_ENOMEM = 12,
    VIRQ_XENPMU = 13,
    VIRQ_ARCH_0 = 16, VIRQ_ARCH_1 = 17, VIRQ_ARCH_2 = 18, VIRQ_ARCH_3 = 19,
    VIRQ_ARCH_4 = 20, VIRQ_ARCH_5 = 21, VIRQ_ARCH_6 = 22, VIRQ_ARCH_7 = 23,
    NR_VIRQS = 24,
};

/* A port of dom on which remote_dom may bind later. */
struct xen_evtchn_alloc_unbound {
    uint16_t dom;               /* IN: whose port; DOMID_SELF unless privileged */
    uint16_t remote_dom;        /* IN: who may bind */
    uint32_t port;              /* OUT */
};
_Static_assert(sizeof(struct xen_evtchn_alloc_unbound) == 8, "evtchn_alloc_unbound");

struct xen_evtchn_bind_interdomain {
    uint16_t remote_dom;        /* IN */
    uint32_t remote_port;       /* IN: allocated there for us */
    uint32_t local_port;        /* OUT: pending at once, so that no event is lost */
};
_Static_assert(sizeof(struct xen_evtchn_bind_interdomain) == 12, "evtchn_bind_interdomain");

struct xen_evtchn_bind_virq {
    uint32_t virq;              /* IN: VIRQ_* */
    uint32_t vcpu;              /* IN: 0 for the global ones */
    uint32_t port;              /* OUT */
};
_Static_assert(sizeof(struct xen_evtchn_bind_virq) == 12, "evtchn_bind_virq");

enum { BIND_PIRQ__WILL_SHARE = 1 };

struct xen_evtchn_bind_pirq {
    uint32_t pirq;              /* IN */
    uint32_t flags;             /* IN: BIND_PIRQ__* */
    uint32_t port;              /* OUT */
};

struct xen_evtchn_bind_ipi {
    uint32_t vcpu;              /* IN: who is notified */
    uint32_t port;              /* OUT */
};
_Static_assert(sizeof(struct xen_evtchn_bind_ipi) == 8, "evtchn_bind_ipi");

struct xen_evtchn_close {
    uint32_t port;              /* IN */
};

struct xen_evtchn_send {
    uint32_t port;              /* IN: a local port; the event arrives at its other end */
};

enum {
    EVTCHNSTAT_closed = 0,
    EVTCHNSTAT_unbound = 1,
    EVTCHNSTAT_interdomain = 2,
    EVTCHNSTAT_pirq = 3,
    EVTCHNSTAT_virq = 4,
    EVTCHNSTAT_ipi = 5,
};

struct xen_evtchn_status {
    uint16_t dom;               /* IN */
    uint32_t port;              /* IN */
    uint32_t status;            /* OUT: EVTCHNSTAT_*, says which arm of u is filled */
    uint32_t vcpu;              /* OUT: where its upcalls go */
    union {
        struct {
            uint16_t dom;       /* OUT: who may bind */
        } unbound;
        struct {
            uint16_t dom;       /* OUT */
            uint32_t port;      /* OUT */
        } interdomain;
        uint32_t pirq;          /* OUT */
        uint32_t virq;          /* OUT */
    } u;
};
_Static_assert(sizeof(struct xen_evtchn_status) == 24, "evtchn_status");
_Static_assert(offsetof(struct xen_evtchn_status, u.interdomain.port) == 20, "evtchn_status.u.interdomain.port");

struct xen_evtchn_bind_vcpu {
    uint32_t port;              /* IN */
    uint32_t vcpu;              /* IN: which one its upcalls go to from now on */
};

struct xen_evtchn_unmask {
    uint32_t port;              /* IN: unmasked, and its upcall made up for if it is pending */
};

struct xen_evtchn_reset {
    uint16_t dom;               /* IN: all ports of it are closed */
};
_Static_assert(sizeof(struct xen_evtchn_reset) == 2, "evtchn_reset");

/* The argument of the call number event_channel_op_compat, with the command inside. */
struct xen_evtchn_op {
    uint32_t cmd;               /* IN: EVTCHNOP_* */
    union {
        struct xen_evtchn_alloc_unbound alloc_unbound;
        struct xen_evtchn_bind_interdomain bind_interdomain;
        struct xen_evtchn_bind_virq bind_virq;
        struct xen_evtchn_bind_pirq bind_pirq;
        struct xen_evtchn_bind_ipi bind_ipi;
        struct xen_evtchn_close close;
        struct xen_evtchn_send send;
        struct xen_evtchn_status status;
        struct xen_evtchn_bind_vcpu bind_vcpu;
        struct xen_evtchn_unmask unmask;
    } u;
};
_Static_assert(sizeof(struct xen_evtchn_op) == 28, "evtchn_op");

/* ---- FIFO ports ---- */

enum {
    EVTCHN_FIFO_PRIORITY_MAX = 0, EVTCHN_FIFO_PRIORITY_DEFAULT = 7, EVTCHN_FIFO_PRIORITY_MIN = 15,
    EVTCHN_FIFO_MAX_QUEUES = 16,
    EVTCHN_FIFO_LINK_BITS = 17, EVTCHN_FIFO_LINK_MASK = 0x1ffff, EVTCHN_FIFO_NR_CHANNELS = 1 << 17,
    /* Bit numbers in an event word. */
    EVTCHN_FIFO_BUSY = 28, EVTCHN_FIFO_LINKED = 29, EVTCHN_FIFO_MASKED = 30, EVTCHN_FIFO_PENDING = 31,
};

struct xen_evtchn_init_control {
    uint64_t control_gfn;       /* IN: frame of the control block */
    uint32_t offset;            /* IN: where in it */
    uint32_t vcpu;              /* IN */
    uint8_t link_bits;          /* OUT */
    uint8_t _pad[7];
};
_Static_assert(sizeof(struct xen_evtchn_init_control) == 24, "evtchn_init_control");

struct xen_evtchn_expand_array {
    uint64_t array_gfn;         /* IN: one more frame of event words */
};

struct xen_evtchn_set_priority {
    uint32_t port;              /* IN */
    uint32_t priority;          /* IN: 0 is the most urgent */
};

struct xen_evtchn_fifo_control_block {
    uint32_t ready;             /* [HV] sets, [GST] clears: a bit for each queue with events */
    uint32_t _rsvd;
    uint32_t head[EVTCHN_FIFO_MAX_QUEUES]; /* [HV] and [GST] */
};
_Static_assert(sizeof(struct xen_evtchn_fifo_control_block) == 72, "evtchn_fifo_control_block");

#endif
