/*
 * guest.h: small things that a domain's own code does in its own pages: taking upcalls, the flag protocol of its
 * grant entries, leaving a page.
 *
 * Nothing here is trusted by anybody: it runs in the guest. Sources: public/xen.h, public/grant_table.h.
 */
#ifndef XP_GUEST_H
#define XP_GUEST_H

#include "abi.h"
#include "ours.h"

/* Clears the port's pending bit; 1 if it was set. */
int xp_upcall_take(struct xen_shared_info *si, uint32_t port);

/* Clears upcall_pending and the selector before the ports are scanned; 1 if there was an upcall. */
int xp_upcall_begin(struct xen_shared_info *si);

/* Makes an entry valid: domid and frame first, flags last. */
void xp_grant_entry_set(struct xen_grant_entry_v1 *entry, uint16_t domid, uint32_t frame, uint16_t flags);

/* Ends access unless it is being used: 0, or -XEN_EBUSY. */
int xp_grant_entry_end(struct xen_grant_entry_v1 *entry);

/* What has come by an entry that accepts a transfer: the frame, and the entry is free; -XEN_EAGAIN: nothing yet. */
int64_t xp_grant_transfer_taken(struct xen_grant_entry_v1 *entry);

/* Ends such an offer: 0, or -XEN_EBUSY: it was committed to. */
int xp_grant_transfer_end(struct xen_grant_entry_v1 *entry);

/* Drops this process's mapping of window pages, so that the hypervisor can let go of the frames. 0 or -errno. */
int xp_page_leave(uint64_t address);
int xp_pages_leave(uint64_t address, uint64_t nr);

/* A fault point hit from Python; nothing in the shipped build. */
void xp_fault(const char *name);

#endif
