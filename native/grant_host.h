/*
 * grant_host.h: grants in their mapper's page tables: level-1 entries that name a frame of another domain.
 *
 * Owned by grant_host.c, used by grant_map.c; called with the hypervisor's lock held and no operation on the domain's tables
 * under way (mm.h, invariant 3). map_grant_ref with GNTMAP_host_map and a host_addr, or GNTMAP_contains_pte, means an entry;
 * without either it means the linear window alone. The window shows the frame in both cases.
 *   1. An entry holds its own reference of the frame (and its type, if it may write), beside the handle's; so it is
 *      dropped like any other: by a new entry, or with its table.
 *   2. Nobody but map_grant_ref makes one: any other way to name a frame of another domain is -XEN_EPERM. So there are no more
 *      entries of a frame, to read or to write, than handles that made them.
 *   3. Entry and handle part only by way of the guest: overwritten by mmu_update, the entry is gone, and its handle stays
 *      until the domain ends, as on Xen, for unmap finds another entry (GNTST_general_error).
 * Source: Xen's rules for paravirtual guests; public/grant_table.h.
 *
 * Tour R:130
 */
#ifndef XP_GRANT_HOST_H
#define XP_GRANT_HOST_H

#include "domain.h"

/* A level-1 entry of the caller's. */
struct xp_grant_slot {
    xp_mfn_t table;
    uint32_t index;
};

/* The entry for a virtual address, or at a machine address. GNTST_general_error: there is none in a table of the caller's. */
int16_t xp_grant_slot_find(struct xp_domain *d, uint64_t host_addr, bool is_pte, struct xp_grant_slot *slot);

/* The entry that GNTMAP_* flags ask for. */
uint64_t xp_grant_pte(const struct xp_domain *d, xp_mfn_t mfn, uint32_t flags);

/* What an entry holds, taken from a frame that the caller has pinned in the same way: GNTST_general_error. */
int16_t xp_grant_pte_hold(struct xp_domain *d, uint64_t entry);

/* The same for a slot's new entry before it is written, and given back. In shadow mode the shadows hold it (shadow.h). */
int16_t xp_grant_slot_hold(struct xp_domain *d, uint64_t entry);
void xp_grant_slot_unhold(struct xp_domain *d, uint64_t entry);

/* Writes an entry that holds what it needs; what the old one held is dropped. */
void xp_grant_slot_write(struct xp_domain *d, struct xp_grant_slot slot, uint64_t entry);

/* Does it map this frame with these rights? */
bool xp_grant_slot_maps(struct xp_domain *d, struct xp_grant_slot slot, xp_mfn_t mfn, bool readonly);

/* An entry moves from one slot to another, and what that held is dropped; the old place is empty. */
void xp_grant_slot_move(struct xp_domain *d, struct xp_grant_slot from, struct xp_grant_slot to);

#endif
