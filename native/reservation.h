/*
 * reservation.h: HYPERVISOR_memory_op's calls that change how much memory a domain has, or which: increase_reservation,
 * decrease_reservation, populate_physmap (reservation.c) and exchange (exchange.c). Source: public/memory.h; order of
 * checks and results as in Xen's common/memory.c.
 *
 * Called with the hypervisor's lock held; a long call is continued from call->progress, no step longer than about 100 us.
 *   1. A page is given up only when the domain's process has really let go of it (madvise first; xp_window_gone is asked).
 *   2. A page that comes is clean, counted and reported before it is shown to the process, for that cannot be undone. Until
 *      then it is the domain's and XP_FF_ABSENT, like one that its process has let go of; showing a domain such a page of
 *      its own is always safe, so nothing that a guest changes between two steps can make it wrong.
 *   3. An extent that comes, and a chunk that is exchanged, is done whole or not at all. Of an extent that goes the pages
 *      before the one that is refused are gone, as in Xen.
 *
 * Unlike Xen: a page that the process still has is refused; one that others map or pin as a page table is kept as the
 * domain's own until they let go, as in Xen, but cannot be had back; there are no memory nodes but one.
 *
 * Tour M:110
 */
#ifndef XP_RESERVATION_H
#define XP_RESERVATION_H

#include "domain.h"

#define XP_MAX_ORDER 9u          /* of an extent that a guest may name: 2 MiB, Xen's default for an ordinary domain */

/*
 * args: (cmd, va of xen_memory_reservation). The number of extents done, fewer than asked where one was refused: for
 * anything wrong with the arguments themselves 0, as in Xen.
 */
int64_t xp_reservation_op(struct xp_domain *d, struct xp_call *call);

/*
 * args: (XENMEM_exchange, va of xen_memory_exchange). 0 or -XEN_EFAULT, -XEN_EPERM (order, not one's own), -XEN_EINVAL
 * (sizes; a frame that is not the caller's alone, or not let go of), -XEN_ESRCH, -XEN_ENOMEM; nr_exchanged says how far.
 */
int64_t xp_exchange_op(struct xp_domain *d, struct xp_call *call);

/* ---- between the two ---- */

/* Frames below which an extent must lie by the low byte of mem_flags (address bits; 0: anywhere). */
uint64_t xp_address_limit(uint32_t mem_flags);

/*
 * After an allocation failed: 1 if there may be frames when the call is continued (some were scrubbed, or are being
 * scrubbed), 0 if there will be none.
 */
int xp_frames_may_come(struct xp_domain *d);

#define XP_SHOW_STEP 64u         /* pages shown at once: below 50 us */

/* nr frames from first, just taken, become pages of d: linked, absent, and, if they have a name, called pfn and so on. */
void xp_pages_come(struct xp_domain *d, xp_mfn_t first, uint64_t nr, bool named, uint64_t pfn);

/* Gives up again those of nr pages from first that are d's and absent, none of which was shown. */
void xp_pages_drop(struct xp_domain *d, xp_mfn_t first, uint64_t nr);

/* Shows d's process those of nr pages from first that are d's and absent. -XEN_Exxx: some were not shown and still are. */
int xp_pages_show(struct xp_domain *d, xp_mfn_t first, uint64_t nr);

#endif
