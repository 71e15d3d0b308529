/* gtrace.c: see gtrace.h. */
#include "gtrace.h"

#include "ours.h"

void xp_gtracer_init(struct xp_gtracer *t, const struct xp_call_page *page, void *window)
{
    *t = (struct xp_gtracer){.page = page, .classes = &page->trace_classes, .window = window};
}

void xp_gtrace_put(const struct xp_gtracer *t, uint16_t type, uint32_t number, uint64_t value)
{
    struct xp_trace_ring *ring = (struct xp_trace_ring *)(void *)(t->window + (t->page->trace_mfn << XP_PAGE_SHIFT));
    xp_trace_put_in(ring, XP_GTRACE_RECORDS, xp_tsc(), type, (uint16_t)xp_cpu(), number, value);
}
