/* domtrace.c: see domtrace.h. */
#include "domtrace.h"

#include "gtrace.h"
#include "hvlock.h"

#define RING_BYTES (sizeof(struct xp_trace_ring) + XP_GTRACE_RECORDS * sizeof(struct xp_trace_record))
#define RING_FRAMES ((RING_BYTES + XP_PAGE_SIZE - 1) / XP_PAGE_SIZE)
#define BATCH 256u

static struct xp_trace_ring *ring_of(const struct xp_domain *d)
{
    return xp_frame_ptr(&d->hv->frames, d->gtrace.mfn);
}

static void release(struct xp_domain *d)
{
    for (uint64_t i = 0; i < RING_FRAMES; i++)
        (void)xp_frame_release(&d->hv->frames, xp_mfn(d->gtrace.mfn.v + i), d->domid);
    d->gtrace.made = false;
}

static bool make(struct xp_domain *d)
{
    if (xp_frames_alloc_run(&d->hv->frames, d->domid, RING_FRAMES, XP_FF_HV, &d->gtrace.mfn) != 0)
        return false;
    d->gtrace.made = true;
    if (xp_window_give(&d->window, d->gtrace.mfn, RING_FRAMES, false) == 0)
        return true;
    /* Given in part, perhaps: they stay its own until its end, and are not used. */
    return false;
}

void xp_domain_trace(struct xp_domain *d, uint32_t classes)
{
    if (d->calls == NULL || d->state != XP_DS_RUNNING)
        return;
    classes &= XP_TRACE_rings;
    if (classes != 0 && !d->gtrace.made)
        d->gtrace.works = make(d);
    if (!d->gtrace.works)
        return;
    d->gtrace.pos = atomic_load_explicit(&ring_of(d)->head, memory_order_relaxed);
    d->gtrace.since = xp_tsc();
    d->calls->trace_mfn = d->gtrace.mfn.v;
    /* Pairs with the domain's acquire. */
    atomic_store_explicit(&d->calls->trace_classes, classes, memory_order_release);
}

static bool believable(const struct xp_domain *d, const struct xp_trace_seen *r, uint64_t now)
{
    return r->type >= XP_TT_GUEST_FIRST && r->type <= XP_TT_GUEST_LAST && r->tsc >= d->gtrace.since && r->tsc <= now;
}

static void gather(struct xp_domain *d)
{
    struct xp_trace_seen seen[BATCH];
    uint64_t missed = 0;
    if (!d->gtrace.works || !xp_tracer_on(&d->hv->tracer))
        return;
    /* At most a ring's worth a turn, whatever its head says meanwhile. */
    for (uint32_t turn = 0; turn < XP_GTRACE_RECORDS / BATCH; turn++) {
        uint32_t nr = xp_trace_read(ring_of(d), XP_GTRACE_RECORDS, &d->gtrace.pos, seen, BATCH, &missed);
        uint64_t now = xp_tsc();
        for (uint32_t i = 0; i < nr; i++)
            if (believable(d, &seen[i], now))
                xp_trace_copy(&d->hv->tracer, &seen[i], seen[i].domid, d->domid);
            else
                missed++;
        if (nr < BATCH)
            break;
    }
    d->hv->gtrace_lost += missed < UINT32_MAX ? missed : UINT32_MAX;     /* a head that jumps is its own affair */
}

void xp_domain_trace_free(struct xp_domain *d)
{
    gather(d);                  /* its last */
    d->gtrace.works = false;
    if (d->gtrace.made)
        release(d);
}

uint64_t xp_hv_trace_gather(struct xp_hv *hv)
{
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++) {
        if (hv->domains[i] == NULL)     /* a hint: looked at again with the lock */
            continue;
        xp_hv_lock(hv);
        struct xp_domain *d = xp_hv_domain(hv, (xp_domid_t)i);
        if (d != NULL)
            gather(d);
        xp_hv_unlock(hv);
    }
    xp_hv_lock(hv);
    uint64_t lost = hv->gtrace_lost;
    hv->gtrace_lost = 0;
    xp_hv_unlock(hv);
    return lost;
}

void xp_hv_trace_domains(struct xp_hv *hv, uint32_t classes)
{
    for (uint32_t i = 1; i < XP_MAX_DOMAINS; i++) {
        if (hv->domains[i] == NULL)
            continue;
        xp_hv_lock(hv);
        struct xp_domain *d = xp_hv_domain(hv, (xp_domid_t)i);
        if (d != NULL)
            xp_domain_trace(d, classes);
        xp_hv_unlock(hv);
    }
}
