/*
 * gtrace.h: what a domain does without the hypervisor, recorded by the domain itself: pushes and takes on rings, events sent
 * straight to a peer, sleeps until one comes.
 *
 * While somebody records, the hypervisor gives each domain a ring of records (trace.h) of its own in its window and says so in
 * the call page; it copies from there what is new, checked. Nothing stands on the data path: off costs two loads and a predicted
 * branch, on about what a record of the hypervisor's costs.
 * This is the domain's side; the hypervisor's: domtrace.h.
 *
 * Tour G:270
 */
#ifndef XP_GTRACE_H
#define XP_GTRACE_H

#include "trace.h"

struct xp_call_page;

#define XP_GTRACE_RECORDS 2048u

struct xp_gtracer {
    const struct xp_call_page *page;
    const _Atomic uint32_t *classes;    /* the call page's */
    uint8_t *window;                    /* address of frame 0 */
};

void xp_gtracer_init(struct xp_gtracer *t, const struct xp_call_page *page, void *window);
void xp_gtrace_put(const struct xp_gtracer *t, uint16_t type, uint32_t number, uint64_t value);

/* t: NULL outside a domain. */
static inline void xp_gtrace(const struct xp_gtracer *t, uint32_t class, uint16_t type, uint32_t number, uint64_t value)
{
    if (t != NULL && __builtin_expect((atomic_load_explicit(t->classes, memory_order_acquire) & class) != 0, 0))
        xp_gtrace_put(t, type, number, value);
}

#endif
