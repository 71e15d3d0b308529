/*
 * sched.c: HYPERVISOR_sched_op: yield, block, poll, shutdown. Source: public/sched.h.
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "park.h"

#include <stdlib.h>
#include <sys/socket.h>

#define POLL_PORTS_MAX 128u      /* as Xen */

static struct xen_vcpu_info *vcpu0(struct xp_domain *d)
{
    return &((struct xen_shared_info *)d->shared_info)->vcpu_info[0];
}

/* Enables upcalls and waits for one. Inside a multicall there is no slot to wait on: the guest blocks afterwards. */
static int64_t block(struct xp_domain *d, struct xp_call *call)
{
    struct xen_vcpu_info *vcpu = vcpu0(d);
    __atomic_store_n(&vcpu->evtchn_upcall_mask, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&vcpu->evtchn_upcall_pending, __ATOMIC_SEQ_CST) != 0 || call->slot == XP_NO_SLOT)
        return 0;
    int ret = xp_park(d, call->slot, XP_PARK_BLOCK, XP_FOREVER, 0, NULL, 0);
    return ret != 0 ? ret : XP_CALL_PARK;
}

static int64_t poll(struct xp_domain *d, struct xp_call *call)
{
    struct xen_sched_poll op;
    int64_t ret = xp_copy_from_guest(d, &op, call->args[1], sizeof op);
    if (ret != 0)
        return ret;
    if (op.nr_ports > POLL_PORTS_MAX)
        return -XEN_EINVAL;
    uint32_t *ports = NULL;
    if (op.nr_ports > 0) {
        ports = malloc(op.nr_ports * sizeof *ports);
        if (ports == NULL)
            return -XEN_ENOMEM;
        ret = xp_copy_from_guest(d, ports, op.ports, op.nr_ports * sizeof *ports);
        for (uint32_t i = 0; ret == 0 && i < op.nr_ports; i++)
            if (ports[i] >= XP_MAX_EVTCHNS)
                ret = -XEN_EINVAL;
    }
    if (ret != 0 || call->slot == XP_NO_SLOT) {
        free(ports);
        return ret;
    }
    int64_t deadline = op.timeout == 0 || op.timeout > INT64_MAX ? XP_FOREVER : (int64_t)op.timeout;
    ret = xp_park(d, call->slot, XP_PARK_POLL, deadline, 0, ports, op.nr_ports);
    if (ret != 0) {
        free(ports);
        return ret;
    }
    xp_park_events(d);          /* pending already: answered at once */
    return XP_CALL_PARK;
}

static int64_t shutdown_domain(struct xp_domain *d, struct xp_call *call)
{
    struct xen_sched_shutdown op;
    int ret = xp_copy_from_guest(d, &op, call->args[1], sizeof op);
    if (ret != 0)
        return ret;
    if (op.reason > SHUTDOWN_MAX)
        return -XEN_EINVAL;
    d->shutdown_reason = op.reason;
    d->state = XP_DS_SHUTDOWN;
    d->said_shutdown = true;
    xp_hv_news_of(d);
    return XP_CALL_PARK;        /* never answered: the domain does not run any more */
}

int64_t xp_do_sched_op(struct xp_domain *d, struct xp_call *call)
{
    switch (call->args[0]) {
    case SCHEDOP_yield: return 0;       /* giving up the CPU is the guest's own sched_yield; the dispatcher has none to take */
    case SCHEDOP_block: return block(d, call);
    case SCHEDOP_shutdown: return shutdown_domain(d, call);
    case SCHEDOP_poll: return poll(d, call);
    case SCHEDOP_remote_shutdown: return -XEN_EPERM;
    default: return -XEN_ENOSYS;
    }
}
