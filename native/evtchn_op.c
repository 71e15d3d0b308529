/*
 * evtchn_op.c: HYPERVISOR_event_channel_op. Each operation: copy the argument once, decode it (all refusals, in Xen's
 * order), write the answer back, then perform what cannot fail any more. See evtchn.h.
 *
 * Answering first needs no undoing when the answer's place is gone; nobody acts on an answer before the call returns.
 *
 * Tour E:030
 */
#include "evtchn.h"

#include "abi.h"
#include "evtchn_direct.h"
#include "guestmem.h"

#define NR_PIRQS 48u             /* that a domain could have in Xen: 16 legacy and 32 more; none is backed here */
#define CLOSE_RETRY 8u           /* held pages asked for again at each close */

union evtchn_arg {
    struct xen_evtchn_alloc_unbound alloc_unbound;
    struct xen_evtchn_bind_interdomain bind_interdomain;
    struct xen_evtchn_bind_virq bind_virq;
    struct xen_evtchn_bind_ipi bind_ipi;
    struct xen_evtchn_bind_pirq bind_pirq;
    struct xen_evtchn_close close;
    struct xen_evtchn_send send;
    struct xen_evtchn_status status;
    struct xen_evtchn_bind_vcpu bind_vcpu;
    struct xen_evtchn_unmask unmask;
    struct xen_evtchn_reset reset;
    struct xen_evtchn_init_control init_control;
    struct xen_evtchn_expand_array expand_array;
    struct xen_evtchn_set_priority set_priority;
};

/* May caller work on target's ports? */
static bool may_control(const struct xp_domain *caller, const struct xp_domain *target)
{
    return caller == target || caller->domid == 0;
}

/* ---- operations that bind: claim, answer, commit ---- */

/* The answer is out, or the claim is dropped. */
static int answer(struct xp_domain *d, struct xp_port_claim *claim, uint64_t va, const void *arg, uint64_t size)
{
    int ret = xp_copy_to_guest(d, va, arg, size);
    if (ret != 0)
        xp_evtchn_drop(claim);
    return ret;
}

static int64_t alloc_unbound(struct xp_domain *d, struct xen_evtchn_alloc_unbound *op, uint64_t va)
{
    struct xp_port_claim claim;
    struct xp_domain *target = xp_domain_by_arg(d, op->dom);
    if (target == NULL)
        return -XEN_ESRCH;
    int ret = xp_evtchn_claim(target, &claim);
    if (ret != 0)
        return ret;
    if (!may_control(d, target)) {
        xp_evtchn_drop(&claim);
        return -XEN_EPERM;
    }
    op->port = claim.port;
    ret = answer(d, &claim, va, op, sizeof *op);
    if (ret != 0)
        return ret;
    struct xp_evtchn *chn = xp_evtchn_commit(target, &claim);
    chn->state = XP_PORT_UNBOUND;
    chn->remote_dom = op->remote_dom == DOMID_SELF ? d->domid : op->remote_dom;
    return 0;
}

static int64_t bind_interdomain(struct xp_domain *d, struct xen_evtchn_bind_interdomain *op, uint64_t va)
{
    struct xp_port_claim claim;
    struct xp_domain *remote = xp_domain_by_arg(d, op->remote_dom);
    if (remote == NULL)
        return -XEN_ESRCH;
    int ret = xp_evtchn_ready(remote);
    if (ret == 0)
        ret = xp_evtchn_claim(d, &claim);
    if (ret != 0)
        return ret;
    struct xp_evtchn *other = xp_evtchn_of(remote, op->remote_port);
    if (other == NULL || other->state != XP_PORT_UNBOUND || other->remote_dom != d->domid) {
        xp_evtchn_drop(&claim);
        return -XEN_EINVAL;
    }
    op->local_port = claim.port;
    ret = answer(d, &claim, va, op, sizeof *op);
    if (ret != 0)
        return ret;
    struct xp_evtchn *chn = xp_evtchn_commit(d, &claim);
    *chn = (struct xp_evtchn){
        .state = XP_PORT_INTERDOMAIN, .remote_dom = remote->domid, .remote_port = op->remote_port};
    *other = (struct xp_evtchn){.state = XP_PORT_INTERDOMAIN, .remote_dom = d->domid, .remote_port = op->local_port};
    /* What was sent while the remote port was unbound is lost: make up for it, as Xen does. */
    xp_evtchn_set_pending(d, op->local_port);
    return 0;
}

enum virq_type { VIRQ_OF_VCPU, VIRQ_OF_DOMAIN, VIRQ_GLOBAL };

static enum virq_type type_of_virq(uint32_t virq)
{
    switch (virq) {
    case VIRQ_TIMER: case VIRQ_DEBUG: case VIRQ_XENOPROF: case VIRQ_XENPMU: return VIRQ_OF_VCPU;
    case VIRQ_CONSOLE: case VIRQ_ARGO: return VIRQ_OF_DOMAIN;
    default: return VIRQ_GLOBAL;
    }
}

static int64_t bind_virq(struct xp_domain *d, struct xen_evtchn_bind_virq *op, uint64_t va)
{
    struct xp_port_claim claim;
    if (op->virq >= NR_VIRQS || (type_of_virq(op->virq) != VIRQ_OF_VCPU && op->vcpu != 0))
        return -XEN_EINVAL;
    if (op->vcpu != 0)
        return -XEN_ENOENT;
    if (type_of_virq(op->virq) == VIRQ_GLOBAL && d->domid != 0)
        return -XEN_EBUSY;      /* Domain0 is the one that handles it */
    if (d->virq_to_port[op->virq] != 0)
        return -XEN_EEXIST;
    int ret = xp_evtchn_claim(d, &claim);
    if (ret != 0)
        return ret;
    op->port = claim.port;
    ret = answer(d, &claim, va, op, sizeof *op);
    if (ret != 0)
        return ret;
    struct xp_evtchn *chn = xp_evtchn_commit(d, &claim);
    chn->state = XP_PORT_VIRQ;
    chn->remote_port = op->virq;
    d->virq_to_port[op->virq] = (uint16_t)op->port;
    return 0;
}

static int64_t bind_ipi(struct xp_domain *d, struct xen_evtchn_bind_ipi *op, uint64_t va)
{
    struct xp_port_claim claim;
    if (op->vcpu != 0)
        return -XEN_ENOENT;
    int ret = xp_evtchn_claim(d, &claim);
    if (ret != 0)
        return ret;
    op->port = claim.port;
    ret = answer(d, &claim, va, op, sizeof *op);
    if (ret == 0)
        xp_evtchn_commit(d, &claim)->state = XP_PORT_IPI;
    return ret;
}

/* ---- operations on a port ---- */

static int64_t close_port(struct xp_domain *d, const struct xen_evtchn_close *op)
{
    const struct xp_evtchn *chn = xp_evtchn_of(d, op->port);
    if (chn == NULL || chn->state == XP_PORT_FREE || chn->state == XP_PORT_RESERVED)
        return -XEN_EINVAL;
    (void)xp_evtchn_close(d, op->port);
    (void)xp_direct_retry(d, CLOSE_RETRY);
    return 0;
}

static int64_t send(struct xp_domain *d, const struct xen_evtchn_send *op)
{
    const struct xp_evtchn *chn = xp_evtchn_of(d, op->port);
    if (chn == NULL)
        return -XEN_EINVAL;
    switch (chn->state) {
    case XP_PORT_INTERDOMAIN:
        xp_evtchn_notify(d->hv->domains[chn->remote_dom], chn->remote_port);
        return 0;
    case XP_PORT_IPI:
        xp_evtchn_set_pending(d, op->port);
        return 0;
    case XP_PORT_UNBOUND:
        return 0;               /* nobody there: lost, as in Xen */
    default:
        return -XEN_EINVAL;
    }
}

static int64_t status(struct xp_domain *d, struct xen_evtchn_status *op, uint64_t va)
{
    struct xp_domain *target = xp_domain_by_arg(d, op->dom);
    if (target == NULL)
        return -XEN_ESRCH;
    int ret = xp_evtchn_ready(target);
    if (ret != 0)
        return ret;
    const struct xp_evtchn *chn = xp_evtchn_of(target, op->port);
    if (chn == NULL)
        return -XEN_EINVAL;
    if (!may_control(d, target))
        return -XEN_EPERM;
    switch (chn->state) {
    case XP_PORT_UNBOUND:
        op->status = EVTCHNSTAT_unbound;
        op->u.unbound.dom = chn->remote_dom;
        break;
    case XP_PORT_INTERDOMAIN:
        op->status = EVTCHNSTAT_interdomain;
        op->u.interdomain.dom = chn->remote_dom;
        op->u.interdomain.port = chn->remote_port;
        break;
    case XP_PORT_VIRQ:
        op->status = EVTCHNSTAT_virq;
        op->u.virq = chn->remote_port;
        break;
    case XP_PORT_IPI: op->status = EVTCHNSTAT_ipi; break;
    default: op->status = EVTCHNSTAT_closed; break;
    }
    op->vcpu = 0;
    return xp_copy_to_guest(d, va, op, sizeof *op);
}

static int64_t bind_vcpu(struct xp_domain *d, const struct xen_evtchn_bind_vcpu *op)
{
    const struct xp_evtchn *chn = xp_evtchn_of(d, op->port);
    if (op->vcpu != 0)
        return -XEN_ENOENT;
    if (chn == NULL)
        return -XEN_EINVAL;
    bool movable = chn->state == XP_PORT_UNBOUND || chn->state == XP_PORT_INTERDOMAIN ||
                   (chn->state == XP_PORT_VIRQ && type_of_virq(chn->remote_port) != VIRQ_OF_VCPU);
    return movable ? 0 : -XEN_EINVAL;
}

static int64_t unmask(struct xp_domain *d, const struct xen_evtchn_unmask *op)
{
    if (xp_evtchn_of(d, op->port) == NULL)
        return -XEN_EINVAL;
    xp_evtchn_unmask(d, op->port);
    return 0;
}

static int64_t set_priority(struct xp_domain *d, const struct xen_evtchn_set_priority *op)
{
    return xp_evtchn_of(d, op->port) == NULL ? -XEN_EINVAL : -XEN_ENOSYS;
}

/* ---- reset: a long one. Progress is (1 + domid) << 32 | next port: the argument is not read again ---- */

static int64_t reset_on(struct xp_domain *d, struct xp_call *call)
{
    struct xp_domain *target = xp_domain_by_arg(d, (xp_domid_t)((call->progress >> 32) - 1));
    if (target == NULL)
        return -XEN_ESRCH;      /* it died meanwhile, and its ports with it */
    xp_port_t port = (xp_port_t)call->progress;
    for (uint32_t spent = 0; xp_evtchn_of(target, port) != NULL; port++) {
        if (spent >= XP_EVTCHN_STEP) {
            call->progress = (call->progress >> 32 << 32) | port;
            return XP_CALL_AGAIN;
        }
        spent += xp_evtchn_close(target, port);
    }
    /* Ports bound by another call while this one was continued: the caller tries again. */
    return target->nr_evtchns > 0 ? -XEN_EAGAIN : 0;
}

static int64_t reset(struct xp_domain *d, struct xp_call *call, const struct xen_evtchn_reset *op)
{
    struct xp_domain *target = xp_domain_by_arg(d, op->dom);
    if (target == NULL)
        return -XEN_ESRCH;
    if (!may_control(d, target))
        return -XEN_EPERM;
    if (target != d && !target->paused)
        return -XEN_EINVAL;
    call->progress = (uint64_t)(1 + target->domid) << 32 | 1;
    return reset_on(d, call);
}

/* ---- the table ---- */

/* Size of the argument of an operation; 0: there is no such operation. */
static uint64_t size_of(uint32_t cmd)
{
    union evtchn_arg *arg;
    switch (cmd) {
    case EVTCHNOP_alloc_unbound: return sizeof arg->alloc_unbound;
    case EVTCHNOP_bind_interdomain: return sizeof arg->bind_interdomain;
    case EVTCHNOP_bind_virq: return sizeof arg->bind_virq;
    case EVTCHNOP_bind_ipi: return sizeof arg->bind_ipi;
    case EVTCHNOP_bind_pirq: return sizeof arg->bind_pirq;
    case EVTCHNOP_close: return sizeof arg->close;
    case EVTCHNOP_send: return sizeof arg->send;
    case EVTCHNOP_status: return sizeof arg->status;
    case EVTCHNOP_bind_vcpu: return sizeof arg->bind_vcpu;
    case EVTCHNOP_unmask: return sizeof arg->unmask;
    case EVTCHNOP_reset: return sizeof arg->reset;
    case EVTCHNOP_init_control: return sizeof arg->init_control;
    case EVTCHNOP_expand_array: return sizeof arg->expand_array;
    case EVTCHNOP_set_priority: return sizeof arg->set_priority;
    default: return 0;
    }
}

static int64_t perform(struct xp_domain *d, struct xp_call *call, union evtchn_arg *arg)
{
    uint64_t va = call->args[1];
    switch ((uint32_t)call->args[0]) {
    case EVTCHNOP_alloc_unbound: return alloc_unbound(d, &arg->alloc_unbound, va);
    case EVTCHNOP_bind_interdomain: return bind_interdomain(d, &arg->bind_interdomain, va);
    case EVTCHNOP_bind_virq: return bind_virq(d, &arg->bind_virq, va);
    case EVTCHNOP_bind_ipi: return bind_ipi(d, &arg->bind_ipi, va);
    case EVTCHNOP_bind_pirq: return arg->bind_pirq.pirq >= NR_PIRQS ? -XEN_EINVAL : -XEN_EPERM;
    case EVTCHNOP_close: return close_port(d, &arg->close);
    case EVTCHNOP_send: return send(d, &arg->send);
    case EVTCHNOP_status: return status(d, &arg->status, va);
    case EVTCHNOP_bind_vcpu: return bind_vcpu(d, &arg->bind_vcpu);
    case EVTCHNOP_unmask: return unmask(d, &arg->unmask);
    case EVTCHNOP_reset: return reset(d, call, &arg->reset);
    case EVTCHNOP_expand_array: return -XEN_EOPNOTSUPP;
    case EVTCHNOP_set_priority: return set_priority(d, &arg->set_priority);
    default: return -XEN_ENOSYS;
    }
}

int64_t xp_do_event_channel_op(struct xp_domain *d, struct xp_call *call)
{
    union evtchn_arg arg;
    uint64_t size = size_of((uint32_t)call->args[0]);
    if (size == 0)
        return -XEN_ENOSYS;
    if (call->progress != 0)
        return reset_on(d, call);
    int ret = xp_copy_from_guest(d, &arg, call->args[1], size);
    if (ret == 0)
        ret = xp_evtchn_ready(d);
    return ret != 0 ? ret : perform(d, call, &arg);
}
