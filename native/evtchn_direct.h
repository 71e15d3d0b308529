/*
 * evtchn_direct.h: the hypervisor's side of direct events (direct.h): who has which event page, and until when.
 *
 * The page of a channel is a frame of the hypervisor's making, owned by the end that asked first, given to each end that
 * asks, to nobody else. Called by evtchn.c with the hypervisor's lock held.
 *   1. A page has its owner's reference while the channel lives, and one for each end that it was given to, until that
 *      end's process has let go of it (xp_window_gone); till then it stays on the end's list of held pages.
 *   2. A page is never used again for another channel: the next one gets a fresh frame.
 *   3. The hypervisor writes the page and reads from it only how its owner wants to be woken: a wake at most.
 *
 * Tour E:040
 */
#ifndef XP_EVTCHN_DIRECT_H
#define XP_EVTCHN_DIRECT_H

#include "evtchn.h"

/* One end, while it is given the page. */
struct xp_direct_end {
    struct xp_direct_page *page;
    struct xp_domain *d;         /* NULL: not given */
    struct xp_direct_end *next;  /* on d->direct_held */
    int fd;                      /* eventfd that this end waits on, or -1 */
};

struct xp_direct_page {
    xp_mfn_t mfn;
    xp_domid_t maker;
    bool live;                   /* the channel is open */
    struct xp_direct_end end[2];
};

/* Is the page given to this end? Then its events go there. */
bool xp_direct_given(const struct xp_evtchn *chn);

/* An event for d's port, brought by the hypervisor. False: this end is not direct, the event goes by upcall. */
bool xp_direct_signal(struct xp_domain *d, struct xp_evtchn *chn);

/* The channel is closed: both ends learn it, pages are taken back from those that let go. */
void xp_direct_close(struct xp_domain *d, struct xp_direct_page *page);

/* Asks again for up to max of the pages that d's process still had when their channels closed. Returns how many are left. */
uint32_t xp_direct_retry(struct xp_domain *d, uint32_t max);

#endif
