/*
 * evtchn.h: event channels: a domain's port table, what its ports are bound to, and how an event reaches a domain.
 *
 * Owned by evtchn.c (table, delivery, end), evtchn_op.c (HYPERVISOR_event_channel_op) and evtchn_direct.c (ports whose
 * events go straight between two domains). Called with the hypervisor's lock held.
 *   1. Two interdomain ports name each other, or there is none: a peer never names a free or foreign port.
 *   2. A port is valid if its bucket exists; the table grows a bucket at a time and shrinks only when its domain dies.
 *   3. Every refusal comes before the first effect, the report to the caller too: nothing ever has to be undone.
 *   4. What a guest wrote into shared_info decides at most whether it is woken.
 * Source: Xen's public event_channel.h; order of checks and error numbers as Xen's.
 *
 * Tour E:010
 */
#ifndef XP_EVTCHN_H
#define XP_EVTCHN_H

#include "domain.h"

enum xp_port_state {
    XP_PORT_FREE = 0, XP_PORT_RESERVED = 1, XP_PORT_UNBOUND = 2, XP_PORT_INTERDOMAIN = 3, XP_PORT_VIRQ = 4,
    XP_PORT_IPI = 5,
};

struct xp_direct_page;           /* evtchn_direct.h */

struct xp_evtchn {
    uint8_t state;
    uint8_t side;                /* with direct: which half of the page is this end's */
    xp_domid_t remote_dom;       /* UNBOUND: who may bind; INTERDOMAIN: the peer */
    uint32_t remote_port;        /* INTERDOMAIN: the peer's port; VIRQ: which */
    struct xp_direct_page *direct;
};

#define XP_EVTCHN_BUCKET 64u     /* ports; as many as Xen has in one */
#define XP_EVTCHN_STEP 512u      /* ports closed a step, at most */

/*
 * HYPERVISOR_event_channel_op(cmd, va). Unlike Xen: a result that cannot be written back undoes the operation; no FIFO
 * ports (init_control -XEN_ENOSYS, expand_array -XEN_EOPNOTSUPP as before init_control, set_priority -XEN_ENOSYS);
 * there are no physical interrupts to bind (-XEN_EPERM).
 */
int64_t xp_do_event_channel_op(struct xp_domain *d, struct xp_call *call);

/* The hypervisor's own alloc_unbound, for ports that a domain finds at its start. -XEN_ENOSPC, -XEN_ENOMEM. */
int xp_evtchn_alloc_unbound(struct xp_domain *d, xp_domid_t remote_dom, xp_port_t *port);

/* Sets the port's pending bit; if that is news and the port is not masked, makes an upcall. Ends polls for the port. */
void xp_evtchn_set_pending(struct xp_domain *d, xp_port_t port);

/* Raises a VIRQ, if it is bound. */
void xp_evtchn_raise_virq(struct xp_domain *d, uint32_t virq);

/*
 * Makes an interdomain port direct. The first end to ask makes the page (charged to it), each end that asks is given it;
 * asking again repeats the answer. -XEN_EINVAL: no interdomain port; -XEN_ENOSPC: limits.max_direct pages are made, or
 * that many of closed channels are still mapped; -XEN_ENOMEM: no frame; else what the window said.
 */
int xp_evtchn_make_direct(struct xp_domain *d, xp_port_t port, struct xp_op_direct *out);

/*
 * The eventfd of a direct port, made when first asked for, the hypervisor's to keep: which = 0, the one this end waits
 * on; 1, the one that wakes the peer. -XEN_EINVAL: not direct for this end; -XEN_EAGAIN: the peer has not made its end
 * direct yet (EVTCHNOP_send reaches it); -XEN_EMFILE: no descriptor left.
 */
int xp_evtchn_direct_fd(struct xp_domain *d, xp_port_t port, int which);

/*
 * A step of the end of a dying domain's ports, a bounded one: 1: more to do, 0: done. Each peer's port becomes unbound and
 * pending, its direct page closed. -XEN_EBUSY: its process still maps an event page (it is not dead).
 */
int xp_evtchn_destroy(struct xp_domain *d);

/* For inspection: what a port is. -XEN_EINVAL: no valid port. */
struct xp_port_info {
    uint8_t state;
    bool pending, masked, direct;
    xp_domid_t remote_dom;
    uint32_t remote_port;        /* or the VIRQ */
};
int xp_evtchn_info(struct xp_domain *d, xp_port_t port, struct xp_port_info *info);

/* Number of broken invariants of a domain's table. */
uint64_t xp_evtchn_audit(struct xp_domain *d);

/* ---- between the three files ---- */

/* A port to be: found, with room for it, but without any effect yet. */
struct xp_port_claim {
    xp_port_t port;
    struct xp_evtchn *fresh;     /* a bucket not linked in yet, or NULL */
};

/* Makes the table if there is none. -XEN_ENOMEM. */
int xp_evtchn_ready(struct xp_domain *d);

/* The port's record, or NULL if it is not valid. */
struct xp_evtchn *xp_evtchn_of(struct xp_domain *d, xp_port_t port);

/* The lowest free port. -XEN_ENOSPC, -XEN_ENOMEM. Then either commit, which makes it the caller's to bind, or drop. */
int xp_evtchn_claim(struct xp_domain *d, struct xp_port_claim *claim);
struct xp_evtchn *xp_evtchn_commit(struct xp_domain *d, struct xp_port_claim *claim);
void xp_evtchn_drop(struct xp_port_claim *claim);

/* Closes a port if it is open; returns what that cost in steps (1 for a free one). */
uint32_t xp_evtchn_close(struct xp_domain *d, xp_port_t port);

/* An event for the domain at its interdomain port, by upcall or straight. */
void xp_evtchn_notify(struct xp_domain *d, xp_port_t port);

/* Unmasks: clears the mask bit and makes up for an upcall that it held back. */
void xp_evtchn_unmask(struct xp_domain *d, xp_port_t port);

#endif
