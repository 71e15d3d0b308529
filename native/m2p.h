/*
 * m2p.h: the machine-to-physical table: for each machine frame the number (pfn) that its owner knows it by.
 *
 * Entries of 8 bytes, one for each frame of the machine, in a run of frames that belong to DOMID_XEN. Whoever changes what
 * a domain calls a frame sets its entry: the builder, populate_physmap and exchange, the guest itself by mmu_update.
 * Called with the hypervisor's lock held.
 *   1. No window ever shows it writable: it is given read-only, and no operation on frames names one of DOMID_XEN.
 *   2. A frame that nobody owns has XP_M2P_INVALID (frames.c, when the last reference goes), and so has one of the
 *      hypervisor's making.
 *   3. It is for guests to read. The hypervisor acts on no entry: a guest may have put anything there for its frames,
 *      and without enforcement (cooperative mode) any guest for any.
 * Source: public/memory.h, public/arch-x86; what sets an entry as in Xen's mm.c and memory.c.
 *
 * Tour M:090
 */
#ifndef XP_M2P_H
#define XP_M2P_H

#include "domain.h"

#define XP_M2P_PER_FRAME (XP_PAGE_SIZE / sizeof(uint64_t))
#define XP_M2P_EXTENT 512u       /* frames of an extent of machphys_mfn_list: 2 MiB; the last one may be shorter */

/* Takes the frames for the table and fills it, when machine memory is new. -XEN_ENOMEM. */
int xp_m2p_make(struct xp_hv *hv);

/* What its owner calls mfn, which must lie in machine memory. */
static inline void xp_m2p_set(struct xp_hv *hv, xp_mfn_t mfn, uint64_t pfn)
{
    hv->frames.m2p[mfn.v] = pfn;
}

/*
 * Gives up to max frames of the table, and of the template behind it, to a window, read-only; *cursor is the number of frames of the machine + 1 at first
 * and is moved on. 1: more to give, 0: done.
 */
int xp_m2p_give(const struct xp_domain *d, uint64_t *cursor, uint64_t max);

/* XENMEM_machphys_mfn_list: the table's frames, the first of each extent. -XEN_EFAULT. */
int64_t xp_m2p_mfn_list(struct xp_domain *d, uint64_t va);

/* XENMEM_machphys_mapping: where the table is in the caller's window, and the highest frame number. -XEN_EFAULT. */
int64_t xp_m2p_mapping(struct xp_domain *d, uint64_t va);

#endif
