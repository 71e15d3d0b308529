/*
 * writable_pt.h: writable page tables (VMASST_TYPE_writable_pagetables): a guest stores into its level-1 tables directly.
 *
 * The first store meets write protection. The hypervisor then unhooks the table: the one directory entry that names it loses
 * its present bit, the table its type, the window its protection, and the guest writes as it likes. Before tables matter the
 * next time, the table is validated and hooked again: a call that needs tables (so a flush, a base pointer, a pin), a fault.
 * Called with the hypervisor's lock held, from mm.c's entry and by our own hypercall.
 *   1. An unhooked table is an ordinary frame: nothing refers to it, no count knows it, its entries hold nothing. So no frame
 *      is both writable and a table at any time, and what it holds is validated whole, as a new table is.
 *   2. Its directory is a validated table meanwhile: whatever could change that hooks every table again first.
 *   3. A table that does not validate ends the domain, as in Xen 2.0 and 3.0: the store that was wrong is long past.
 *   4. A table with other users than its one directory entry (a pin, a second entry) is not unhooked: the store is done for the
 *      guest, like a request of mmu_update; one that is refused stays a fault, and so does one of which nobody knows what it
 *      stores (faults.h). Higher tables are never written, as in Xen.
 *      Nor is a table with an entry that a grant made: nobody but the grant could take it again.
 *   5. Which entry names a table is a hint, noted when entries are taken, and looked at before it is believed.
 *
 * Source: Xen 2.0's and 3.0's writable page tables (ptwr), public/xen.h.
 *
 * Tour M:200
 */
#ifndef XP_WRITABLE_PT_H
#define XP_WRITABLE_PT_H

#include "domain.h"

#define XP_HINT_SLOTS 10u        /* bits of a slot's number */

/* An entry of `dir`, a table of this level, is about to name `table` (invariant 5). */
static inline void xp_wpt_note(struct xp_hv *hv, uint32_t level, uint64_t table, uint64_t dir, uint32_t index)
{
    if (level == 2 && hv->directories != NULL && table < hv->frames.nr)
        hv->directories[table] = dir << XP_HINT_SLOTS | index;
}

/* A frame may not be written by its guest any more: said where the window does not say it. */
static inline void xp_wpt_protected(struct xp_domain *d)
{
    if (d->window.uffd < 0 && d->calls != NULL)
        atomic_fetch_add_explicit(&d->calls->pt_protected, 1, memory_order_release);
}

static inline bool xp_wpt_on(const struct xp_domain *d)
{
    return (d->mm.assists >> 2 & 1) != 0;       /* VMASST_TYPE_writable_pagetables */
}

/* Before the assist is enabled. -XEN_ENOMEM. */
int xp_wpt_enable(struct xp_domain *d);

/* Hooks tables again, oldest first, until `keep` are left. False: come again (or the domain has been ended). */
bool xp_wpt_rehook(struct xp_domain *d, uint32_t keep);

/*
 * XP_OP_pt_write (machine address, value, bytes; 0 bytes: not known): a store of the guest's that met write protection. 1: the
 * table is unhooked, store again; 2: the frame is no table and writable anyway; 0: done; -XEN_EPERM: no frame or table that may be written; else what mmu_update says.
 */
int64_t xp_wpt_write(struct xp_domain *d, struct xp_call *call);

/* XP_OP_pt_fault (address, error code): nothing was found there. 0: look again, -XEN_EFAULT: that is how it is. */
int64_t xp_wpt_fault(struct xp_domain *d, struct xp_call *call);

#endif
