/* start.h: the builder: what a domain finds in its frames at its start, in Xen's layout. */
#ifndef XP_START_H
#define XP_START_H

#include "hv.h"

/* Pages of the reservation that the builder uses: start_info, xenstore ring, console ring, then the P2M. */
#define XP_START_PAGES 3u

static inline uint64_t xp_p2m_pages(uint64_t nr_pages)
{
    return (nr_pages * 8 + XP_PAGE_SIZE - 1) / XP_PAGE_SIZE;
}

/* Fills shared_info (masks, time, wall clock). */
void xp_start_shared_info(struct xp_domain *d);

/* Fills start_info and the P2M; mfns is the reservation in pfn order. Called once the window's address is known. */
void xp_start_info(struct xp_domain *d, const struct xp_domain_plan *plan);

#endif
