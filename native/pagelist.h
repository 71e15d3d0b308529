/*
 * pagelist.h: a domain's reservation: the list of its pages, page in, page out, and whether its process has let go of one.
 *
 * The list runs through the frame table both ways, so that any page leaves it at once. At the start it is in pfn order;
 * later it is in none. Called with the hypervisor's lock held.
 *   1. On the list are the frames that are allocated to the domain and not of the hypervisor's making; nr_pages counts them.
 *   2. A page leaves it when the domain gives it up. While others refer to it then, it stays the domain's (frames.h: given_up)
 *      and counts against its limit, as in Xen.
 *   3. A page is given up only after the domain's process has really let go of it: XP_FF_ABSENT, from xp_window_gone.
 */
#ifndef XP_PAGELIST_H
#define XP_PAGELIST_H

#include "domain.h"

/* A frame allocated to d, at the front of its list. */
void xp_page_link(struct xp_domain *d, xp_mfn_t mfn);

/* Off its list; it stays allocated. */
void xp_page_unlink(struct xp_domain *d, xp_mfn_t mfn);

/* A list of nr pages in the order of mfns, for a domain that has none. */
void xp_pages_link(struct xp_domain *d, const xp_mfn_t *mfns, uint64_t nr);

/* Pages that count against max_pages. */
static inline uint64_t xp_pages_reserved(const struct xp_domain *d)
{
    return d->nr_pages + d->hv->frames.given_up[d->domid];
}

/* Is it a page of d's reservation? */
bool xp_page_owned(struct xp_domain *d, xp_mfn_t mfn);

/* 0: d's process has let go of a page of its own, for good. -XEN_EBUSY: it has not. */
int xp_page_absent(struct xp_domain *d, xp_mfn_t mfn);

/* d gives up a page of its own that is absent: unlinked, and free once nobody else refers to it. */
void xp_page_give_up(struct xp_domain *d, xp_mfn_t mfn);

/* Number of broken invariants. */
uint64_t xp_pages_audit(struct xp_domain *d);

#endif
