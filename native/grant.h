/*
 * grant.h: grant tables, version 1: what a domain lets others use, and who uses it.
 *
 * grant_entry.c owns the protocol on the flags of one entry, grant.c the granting side (table, uses), maptrack.c the
 * mapping side (handles, windows), grant_host.c entries in the mapper's page tables, grant_map.c mapping and unmapping,
 * grant_transfer.c the page flip, grant_op.c HYPERVISOR_grant_table_op. Called with the hypervisor's lock held.
 *   1. The table's frames are the hypervisor's, the words in them the domain's to change at any time: an entry is read
 *      once, and used only after its use bits were set by compare and swap on what was read.
 *   2. A use (struct xp_grant_pins) counts what is in force; while there is one the entry's frame and user are those of
 *      the first use, whatever the entry says now.
 *   3. Each use holds a reference to the frame, a writable one its type too. So a granter that dies while others use its
 *      frames stays, as a number with zombie frames, until they let go: a handle's granter always exists.
 *   4. Each status is reported before what cannot be undone (a window that was given), and put right if that fails.
 * Source: Xen's public grant_table.h; order of checks and statuses as Xen's.
 *
 * Tour R:010
 */
#ifndef XP_GRANT_H
#define XP_GRANT_H

#include "domain.h"

struct xen_grant_entry_v1;

/*
 * HYPERVISOR_grant_table_op(cmd, va, count). A mapped frame appears in the domain's window at its machine address
 * (dev_bus_addr), and that is all if host_addr is 0; else there is an entry in its page tables, too (grant_host.h).
 * Unlike Xen: one unmap ends a mapping without an entry whole, host and device; GNTST_eagain on unmap: the process still
 * has the page, it must drop it first (madvise) and ask again; application maps without an entry are refused
 * (GNTST_general_error); unmap_and_replace that fails changes nothing; frames of the hypervisor's making
 * are never granted (GNTST_bad_page); version 2 is -XEN_ENOSYS. For transfer see grant_transfer.c.
 */
int64_t xp_do_grant_table_op(struct xp_domain *d, struct xp_call *call);

/*
 * A step of the end of a dying domain: all it maps is let go of, then its table goes. 1: more, 0: done; -XEN_EBUSY: its
 * process is not dead.
 */
int xp_grant_destroy(struct xp_domain *d);

/* For inspection: the mapping of the lowest handle >= *handle, which is set to one beyond. False: no more. */
struct xp_grant_use {
    uint32_t handle;
    uint32_t ref;
    uint32_t flags;              /* GNTMAP_* */
    xp_domid_t granter, mapper;
    bool granter_dying;
    uint64_t mfn;
};
bool xp_grant_next(const struct xp_domain *mapper, uint32_t *handle, struct xp_grant_use *use);

/* Uses of an entry at the moment; all zero if there are none. */
struct xp_grant_pins {
    uint32_t readers, writers;
    uint32_t mfn;
    xp_domid_t user;
};
struct xp_grant_pins xp_grant_pins_of(const struct xp_domain *granter, xp_gref_t ref);

/* Number of broken invariants of what d grants and maps. */
uint64_t xp_grant_audit(struct xp_domain *d);

/* ---- between the files; a status is a GNTST_* ---- */

#define XP_GRANTS_PER_FRAME (XP_PAGE_SIZE / 8)

/* grant_entry.c: sets GTF_reading, and GTF_writing unless readonly. fresh: no use yet, so user and type are checked. */
int16_t xp_grant_entry_claim(struct xen_grant_entry_v1 *entry, xp_domid_t user, bool readonly, bool fresh, bool map);
void xp_grant_entry_clear(struct xen_grant_entry_v1 *entry, uint16_t flags);

/* The same for a transfer: from `giver` accepted and committed to (general_error: no such offer), then done or not. */
int16_t xp_grant_entry_commit(struct xen_grant_entry_v1 *entry, xp_domid_t giver);
void xp_grant_entry_complete(struct xen_grant_entry_v1 *entry, xp_mfn_t mfn);

/* grant.c: frames of a table as Xen counts them (the first one is always there), and growing it: 0, -XEN_ENOMEM. */
uint32_t xp_grant_nr_frames(const struct xp_domain *d);
int xp_grant_grow(struct xp_domain *d, uint32_t nr_frames);
void xp_grant_shrink(struct xp_domain *d, uint32_t nr_frames);  /* undoes a growth that nobody has seen */

/* One more use of an entry by user: checks and counts; *mfn is the frame. And its end. */
int16_t xp_grant_pin(struct xp_domain *granter, xp_gref_t ref, xp_domid_t user, bool readonly, bool map, xp_mfn_t *mfn);
void xp_grant_unpin(struct xp_domain *granter, xp_gref_t ref, xp_mfn_t mfn, bool readonly);

/* Does receiver's entry accept a page of giver's? Committed to, until it is completed or declined. */
int16_t xp_grant_accept(struct xp_domain *receiver, xp_gref_t ref, xp_domid_t giver);
void xp_grant_complete(struct xp_domain *receiver, xp_gref_t ref, xp_mfn_t mfn);
void xp_grant_decline(struct xp_domain *receiver, xp_gref_t ref);

/* grant_map.c: one argument of map_grant_ref, unmap_grant_ref, unmap_and_replace. 0, -XEN_EFAULT, XP_CALL_AGAIN: tables are busy. */
int xp_grant_map(struct xp_domain *d, uint64_t va);
int xp_grant_unmap(struct xp_domain *d, uint64_t va);
int xp_grant_unmap_and_replace(struct xp_domain *d, uint64_t va);

/* Reports an argument's status alone: it lies at va + offset. 0 or -XEN_EFAULT. */
int xp_grant_put_status(struct xp_domain *d, uint64_t va, size_t offset, int16_t status);

/* grant_transfer.c: one argument of GNTTABOP_transfer. 0 or -XEN_EFAULT. */
int xp_grant_transfer(struct xp_domain *d, uint64_t va);

/* May the frame be written by way of a grant or a copy? Not while it is a page table or a descriptor table. */
bool xp_grant_may_write(const struct xp_frame *frame);

#endif
