/*
 * evtchn.c: the port table, delivery into shared_info, the end. See evtchn.h.
 *
 * The words of shared_info are written by the domain at the same time, from several threads: only atomic operations,
 * each a full barrier on x86. Each set bit pairs with the domain's own order: clear upcall_pending, then take
 * pending_sel, then take pending bits; here the other way round: pending, then sel, then upcall_pending.
 *
 * Tour E:020
 */
#include "evtchn.h"

#include "abi.h"
#include "evtchn_direct.h"
#include "park.h"

#include <stdlib.h>

#define NR_BUCKETS (XP_MAX_EVTCHNS / XP_EVTCHN_BUCKET)
#define NOTIFY_COST 4u           /* of telling a peer, in ports closed: an upcall is a system call or two */
#define DIRECT_COST 32u          /* of closing a direct page: wakes, descriptors, two probes of windows */

/* ---- bits that the domain writes too ---- */

static bool set_bit(uint64_t *words, uint32_t bit)
{
    uint64_t mask = (uint64_t)1 << (bit % 64);
    return (__atomic_fetch_or(&words[bit / 64], mask, __ATOMIC_SEQ_CST) & mask) != 0;
}

static bool clear_bit(uint64_t *words, uint32_t bit)
{
    uint64_t mask = (uint64_t)1 << (bit % 64);
    return (__atomic_fetch_and(&words[bit / 64], ~mask, __ATOMIC_SEQ_CST) & mask) != 0;
}

static bool test_bit(const uint64_t *words, uint32_t bit)
{
    return (__atomic_load_n(&words[bit / 64], __ATOMIC_SEQ_CST) >> (bit % 64) & 1) != 0;
}

/* ---- the table ---- */

int xp_evtchn_ready(struct xp_domain *d)
{
    if (d->evtchn_buckets != NULL)
        return 0;
    struct xp_evtchn **buckets = calloc(NR_BUCKETS, sizeof *buckets);
    struct xp_evtchn *first = calloc(XP_EVTCHN_BUCKET, sizeof *first);
    if (buckets == NULL || first == NULL) {
        free(buckets);
        free(first);
        return -XEN_ENOMEM;
    }
    first[0].state = XP_PORT_RESERVED;
    buckets[0] = first;
    d->evtchn_buckets = buckets;
    return 0;
}

struct xp_evtchn *xp_evtchn_of(struct xp_domain *d, xp_port_t port)
{
    if (d->evtchn_buckets == NULL || port >= XP_MAX_EVTCHNS || d->evtchn_buckets[port / XP_EVTCHN_BUCKET] == NULL)
        return NULL;
    return &d->evtchn_buckets[port / XP_EVTCHN_BUCKET][port % XP_EVTCHN_BUCKET];
}

int xp_evtchn_claim(struct xp_domain *d, struct xp_port_claim *claim)
{
    uint32_t limit = d->limits.max_evtchns < XP_MAX_EVTCHNS ? d->limits.max_evtchns : XP_MAX_EVTCHNS;
    int ret = xp_evtchn_ready(d);
    if (ret != 0)
        return ret;
    *claim = (struct xp_port_claim){.port = 1};
    for (; claim->port < limit; claim->port++) {
        const struct xp_evtchn *chn = xp_evtchn_of(d, claim->port);
        if (chn == NULL)
            break;
        if (chn->state == XP_PORT_FREE)
            return 0;
    }
    if (claim->port >= limit)
        return -XEN_ENOSPC;
    claim->fresh = calloc(XP_EVTCHN_BUCKET, sizeof *claim->fresh);
    return claim->fresh == NULL ? -XEN_ENOMEM : 0;
}

struct xp_evtchn *xp_evtchn_commit(struct xp_domain *d, struct xp_port_claim *claim)
{
    if (claim->fresh != NULL)
        d->evtchn_buckets[claim->port / XP_EVTCHN_BUCKET] = claim->fresh;
    claim->fresh = NULL;
    d->nr_evtchns++;
    return xp_evtchn_of(d, claim->port);
}

void xp_evtchn_drop(struct xp_port_claim *claim)
{
    free(claim->fresh);
    claim->fresh = NULL;
}

int xp_evtchn_alloc_unbound(struct xp_domain *d, xp_domid_t remote_dom, xp_port_t *port)
{
    struct xp_port_claim claim;
    int ret = xp_evtchn_claim(d, &claim);
    if (ret == 0) {
        struct xp_evtchn *chn = xp_evtchn_commit(d, &claim);
        chn->state = XP_PORT_UNBOUND;
        chn->remote_dom = remote_dom;
        *port = claim.port;
    }
    return ret;
}

/* ---- delivery ---- */

/* pending is set and not masked: tell the domain, unless it has been told and has not looked yet. */
static bool upcall(struct xp_domain *d, xp_port_t port)
{
    struct xen_vcpu_info *vcpu = &((struct xen_shared_info *)d->shared_info)->vcpu_info[0];
    if (set_bit(&vcpu->evtchn_pending_sel, port / 64) ||
        __atomic_exchange_n(&vcpu->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST) != 0)
        return false;
    xp_domain_kick(d);
    return true;
}

void xp_evtchn_set_pending(struct xp_domain *d, xp_port_t port)
{
    struct xen_shared_info *si = d->shared_info;    /* NULL: Domain0, which has no process of this kind */
    if (si == NULL || d->state == XP_DS_DYING || set_bit(si->evtchn_pending, port))
        return;
    xp_trace(&d->hv->tracer, XP_TRACE_events, XP_TT_event, d->domid, port, test_bit(si->evtchn_mask, port));
    bool kicked = !test_bit(si->evtchn_mask, port) && upcall(d, port);
    /* A poll waits for the bit, masked or not. */
    if (!kicked && d->parked_mask != 0)
        xp_park_events(d);
}

void xp_evtchn_unmask(struct xp_domain *d, xp_port_t port)
{
    struct xen_shared_info *si = d->shared_info;
    if (clear_bit(si->evtchn_mask, port) && test_bit(si->evtchn_pending, port))
        (void)upcall(d, port);
}

void xp_evtchn_notify(struct xp_domain *d, xp_port_t port)
{
    if (!xp_direct_signal(d, xp_evtchn_of(d, port)))
        xp_evtchn_set_pending(d, port);
}

void xp_evtchn_raise_virq(struct xp_domain *d, uint32_t virq)
{
    if (virq < NR_VIRQS && d->virq_to_port[virq] != 0)
        xp_evtchn_set_pending(d, d->virq_to_port[virq]);
}

/* ---- closing ---- */

/* The other end of an interdomain port. It exists (invariant 1), be its domain alive or on the way down. */
static struct xp_evtchn *peer_of(struct xp_domain *d, xp_port_t port, const struct xp_evtchn *chn, struct xp_domain **peer)
{
    *peer = d->hv->domains[chn->remote_dom];
    XP_BUG_ON(*peer == NULL);
    struct xp_evtchn *other = xp_evtchn_of(*peer, chn->remote_port);
    XP_BUG_ON(other == NULL || other->state != XP_PORT_INTERDOMAIN || other->remote_dom != d->domid ||
              other->remote_port != port);
    return other;
}

static uint32_t unbind(struct xp_domain *d, xp_port_t port, struct xp_evtchn *chn)
{
    struct xp_domain *peer;
    struct xp_evtchn *other = peer_of(d, port, chn, &peer);
    struct xp_direct_page *page = chn->direct;
    other->state = XP_PORT_UNBOUND;     /* for its old peer: remote_dom stays */
    other->remote_port = 0;
    other->direct = NULL;
    other->side = 0;
    if (page != NULL)
        xp_direct_close(d, page);
    /* A peer that closes says so over its ring; a dead one cannot. */
    if (d->state == XP_DS_DYING && peer != d)
        xp_evtchn_set_pending(peer, chn->remote_port);
    return page != NULL ? DIRECT_COST : NOTIFY_COST;
}

uint32_t xp_evtchn_close(struct xp_domain *d, xp_port_t port)
{
    struct xp_evtchn *chn = xp_evtchn_of(d, port);
    uint32_t cost = 1;
    if (chn == NULL || chn->state == XP_PORT_FREE || chn->state == XP_PORT_RESERVED)
        return cost;
    if (chn->state == XP_PORT_VIRQ)
        d->virq_to_port[chn->remote_port] = 0;
    else if (chn->state == XP_PORT_INTERDOMAIN)
        cost = unbind(d, port, chn);
    *chn = (struct xp_evtchn){.state = XP_PORT_FREE};
    (void)clear_bit(((struct xen_shared_info *)d->shared_info)->evtchn_pending, port);
    d->nr_evtchns--;
    return cost;
}

/* The ports of the last bucket, from the top, as far as the budget reaches: true if all are closed now. */
static bool close_bucket(struct xp_domain *d, uint32_t bucket, uint32_t *budget)
{
    for (uint32_t i = XP_EVTCHN_BUCKET; i-- > 0;) {
        if (*budget == 0)
            return false;
        uint32_t cost = xp_evtchn_close(d, bucket * XP_EVTCHN_BUCKET + i);
        *budget -= cost < *budget ? cost : *budget;
    }
    return true;
}

int xp_evtchn_destroy(struct xp_domain *d)
{
    uint32_t budget = XP_EVTCHN_STEP;
    if (d->evtchn_buckets == NULL)
        return 0;
    for (uint32_t bucket = NR_BUCKETS; bucket-- > 0;) {
        if (d->evtchn_buckets[bucket] == NULL)
            continue;
        if (!close_bucket(d, bucket, &budget))
            return 1;
        free(d->evtchn_buckets[bucket]);
        d->evtchn_buckets[bucket] = NULL;
    }
    uint32_t held = d->nr_direct_held;
    if (held > 0 && xp_direct_retry(d, budget / DIRECT_COST + 1) > 0)
        return d->nr_direct_held < held ? 1 : -XEN_EBUSY;
    XP_BUG_ON(d->nr_evtchns != 0);
    free(d->evtchn_buckets);
    d->evtchn_buckets = NULL;
    return 0;
}

/* ---- looking at it ---- */

int xp_evtchn_info(struct xp_domain *d, xp_port_t port, struct xp_port_info *info)
{
    const struct xen_shared_info *si = d->shared_info;
    const struct xp_evtchn *chn = xp_evtchn_of(d, port);
    if (chn == NULL)
        return -XEN_EINVAL;
    *info = (struct xp_port_info){
        .state = chn->state, .pending = test_bit(si->evtchn_pending, port), .masked = test_bit(si->evtchn_mask, port),
        .direct = chn->direct != NULL && xp_direct_given(chn), .remote_dom = chn->remote_dom,
        .remote_port = chn->remote_port};
    return 0;
}

static uint64_t audit_port(struct xp_domain *d, xp_port_t port, const struct xp_evtchn *chn)
{
    if (chn->state == XP_PORT_VIRQ)
        return chn->remote_port >= NR_VIRQS || d->virq_to_port[chn->remote_port] != port;
    if (chn->state != XP_PORT_INTERDOMAIN)
        return chn->direct != NULL || (chn->state == XP_PORT_RESERVED) != (port == 0);
    struct xp_domain *peer = d->hv->domains[chn->remote_dom];
    const struct xp_evtchn *other = peer == NULL ? NULL : xp_evtchn_of(peer, chn->remote_port);
    return other == NULL || other->state != XP_PORT_INTERDOMAIN || other->remote_dom != d->domid ||
           other->remote_port != port || other->direct != chn->direct ||
           (chn->direct != NULL && (!chn->direct->live || other->side == chn->side));
}

uint64_t xp_evtchn_audit(struct xp_domain *d)
{
    uint64_t broken = 0;
    uint32_t nr = 0;
    for (xp_port_t port = 0; port < XP_MAX_EVTCHNS; port++) {
        const struct xp_evtchn *chn = xp_evtchn_of(d, port);
        if (chn == NULL)
            break;
        broken += audit_port(d, port, chn);
        nr += chn->state > XP_PORT_RESERVED;
    }
    for (uint32_t virq = 0; virq < NR_VIRQS; virq++) {
        const struct xp_evtchn *chn = xp_evtchn_of(d, d->virq_to_port[virq]);
        broken += d->virq_to_port[virq] != 0 &&
                  (chn == NULL || chn->state != XP_PORT_VIRQ || chn->remote_port != virq);
    }
    return broken + (nr != d->nr_evtchns);
}
