/*
 * park.c: see park.h.
 */
#include "park.h"

#include "abi.h"
#include "dispatch.h"
#include "runstate.h"

#include <stdlib.h>

static bool waits_for_others(uint8_t kind)
{
    return kind == XP_PARK_LOOKUP || kind == XP_PARK_RESOLVE;
}

int xp_park(struct xp_domain *d, uint32_t slot, enum xp_park_kind kind, int64_t deadline, uint64_t va,
            uint32_t *ports, uint32_t nr_ports)
{
    if (d->parked == NULL) {
        d->parked = calloc(XP_CALL_SLOTS, sizeof *d->parked);
        if (d->parked == NULL)
            return -XEN_ENOMEM;
    }
    struct xp_park *p = &d->parked[slot];
    XP_BUG_ON(p->kind != XP_PARK_NONE);
    *p = (struct xp_park){.d = d, .va = va, .ports = ports, .nr_ports = nr_ports, .kind = (uint8_t)kind, .slot = (uint8_t)slot};
    xp_timer_init(&p->timer, XP_TIMER_PARK, p);
    if (deadline != XP_FOREVER && xp_timer_set(&d->hv->timers, &p->timer, deadline) != 0) {
        p->kind = XP_PARK_NONE;
        return -XEN_ENOMEM;
    }
    d->parked_mask |= 1u << slot;
    d->hv->nr_waiting += waits_for_others(p->kind);
    xp_trace(&d->hv->tracer, XP_TRACE_sched, XP_TT_block, d->domid, slot, p->kind);
    if (d->vcpu.runstate_area != 0)
        xp_runstate_tell(d, RUNSTATE_blocked);
    return 0;
}

static void forget(struct xp_domain *d, uint32_t slot)
{
    struct xp_park *p = &d->parked[slot];
    xp_timer_cancel(&d->hv->timers, &p->timer);
    d->hv->nr_waiting -= waits_for_others(p->kind);
    free(p->ports);
    p->kind = XP_PARK_NONE;
    d->parked_mask &= ~(1u << slot);
}

void xp_unpark(struct xp_domain *d, uint32_t slot, int64_t result)
{
    forget(d, slot);
    xp_trace(&d->hv->tracer, XP_TRACE_sched, XP_TT_wake, d->domid, slot, (uint64_t)result);
    if (d->vcpu.runstate_area != 0)
        xp_runstate_tell(d, RUNSTATE_running);
    xp_call_complete(d, slot, result);
}

void xp_park_destroy(struct xp_domain *d)
{
    while (d->parked_mask != 0)
        forget(d, (uint32_t)__builtin_ctz(d->parked_mask));
    free(d->parked);
    d->parked = NULL;
}

static bool port_pending(const struct xen_shared_info *si, uint32_t port)
{
    return (__atomic_load_n(&si->evtchn_pending[port / 64], __ATOMIC_ACQUIRE) >> (port % 64) & 1) != 0;
}

static bool has_event(struct xp_domain *d, const struct xp_park *p)
{
    const struct xen_shared_info *si = d->shared_info;
    if (p->kind == XP_PARK_BLOCK)
        return __atomic_load_n(&si->vcpu_info[0].evtchn_upcall_pending, __ATOMIC_ACQUIRE) != 0;
    for (uint32_t i = 0; i < p->nr_ports; i++)
        if (port_pending(si, p->ports[i]))
            return true;
    return false;
}

void xp_park_events(struct xp_domain *d)
{
    for (uint32_t left = d->parked_mask; left != 0; left &= left - 1) {
        uint32_t slot = (uint32_t)__builtin_ctz(left);
        const struct xp_park *p = &d->parked[slot];
        if ((p->kind == XP_PARK_BLOCK || p->kind == XP_PARK_POLL) && has_event(d, p))
            xp_unpark(d, slot, 0);
    }
}

void xp_park_due(struct xp_park *p)
{
    /* A poll that runs out of time succeeds (as in Xen); the guest looks at its ports. */
    xp_unpark(p->d, p->slot, p->kind == XP_PARK_POLL ? 0 : -XEN_ETIMEDOUT);
}
