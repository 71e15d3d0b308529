/*
 * park.c: see park.h.
 */
#include "park.h"

#include "abi.h"
#include "dispatch.h"

#include <stdlib.h>

/* ---- the heap: least deadline first, each entry knows its place ---- */

static void place(struct xp_hv *hv, struct xp_park *p, uint32_t at)
{
    hv->heap[at] = p;
    p->heap_at = at;
}

static void sift_up(struct xp_hv *hv, uint32_t at)
{
    struct xp_park *p = hv->heap[at];
    while (at > 0 && p->deadline < hv->heap[(at - 1) / 2]->deadline) {
        place(hv, hv->heap[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(hv, p, at);
}

static void sift_down(struct xp_hv *hv, uint32_t at)
{
    struct xp_park *p = hv->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= hv->nr_heap)
            break;
        if (child + 1 < hv->nr_heap && hv->heap[child + 1]->deadline < hv->heap[child]->deadline)
            child++;
        if (p->deadline <= hv->heap[child]->deadline)
            break;
        place(hv, hv->heap[child], at);
        at = child;
    }
    place(hv, p, at);
}

static int heap_add(struct xp_hv *hv, struct xp_park *p)
{
    if (hv->nr_heap == hv->heap_size) {
        uint32_t size = hv->heap_size == 0 ? 64 : 2 * hv->heap_size;
        struct xp_park **heap = realloc(hv->heap, size * sizeof *heap);
        if (heap == NULL)
            return -XEN_ENOMEM;
        hv->heap = heap;
        hv->heap_size = size;
    }
    place(hv, p, hv->nr_heap++);
    sift_up(hv, p->heap_at);
    return 0;
}

static void heap_remove(struct xp_hv *hv, struct xp_park *p)
{
    uint32_t at = p->heap_at;
    struct xp_park *last = hv->heap[--hv->nr_heap];
    p->heap_at = UINT32_MAX;
    if (last == p)
        return;
    place(hv, last, at);
    sift_up(hv, at);
    sift_down(hv, last->heap_at);
}

/* ---- parking ---- */

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
    *p = (struct xp_park){.d = d, .deadline = deadline, .va = va, .ports = ports, .nr_ports = nr_ports,
                          .heap_at = UINT32_MAX, .kind = (uint8_t)kind, .slot = (uint8_t)slot};
    if (deadline != XP_FOREVER && heap_add(d->hv, p) != 0) {
        p->kind = XP_PARK_NONE;
        return -XEN_ENOMEM;
    }
    d->parked_mask |= 1u << slot;
    d->hv->nr_waiting += waits_for_others(p->kind);
    return 0;
}

static void forget(struct xp_domain *d, uint32_t slot)
{
    struct xp_park *p = &d->parked[slot];
    if (p->heap_at != UINT32_MAX)
        heap_remove(d->hv, p);
    d->hv->nr_waiting -= waits_for_others(p->kind);
    free(p->ports);
    *p = (struct xp_park){.kind = XP_PARK_NONE, .heap_at = UINT32_MAX};
    d->parked_mask &= ~(1u << slot);
}

void xp_unpark(struct xp_domain *d, uint32_t slot, int64_t result)
{
    forget(d, slot);
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

int64_t xp_park_expire(struct xp_hv *hv, int64_t now)
{
    while (hv->nr_heap > 0 && hv->heap[0]->deadline <= now) {
        struct xp_park *p = hv->heap[0];
        /* A poll that runs out of time succeeds (as in Xen); the guest looks at its ports. */
        xp_unpark(p->d, p->slot, p->kind == XP_PARK_POLL ? 0 : -XEN_ETIMEDOUT);
    }
    return hv->nr_heap > 0 ? hv->heap[0]->deadline : XP_FOREVER;
}
