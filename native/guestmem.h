/*
 * guestmem.h: the one checked door between the hypervisor and a guest's memory.
 *
 * A guest names memory by an address of its own. For a domain with a window that is window.base + machine address, and
 * only frames that the domain owns are let through (hypervisor-made frames included where it may write them, foreign ones not).
 * A page table is read, never written, this way.
 * Copies in and out only: nobody keeps a pointer to guest memory to act on. -XEN_EFAULT and no effect if any byte is out.
 *
 * Tour M:060
 */
#ifndef XP_GUESTMEM_H
#define XP_GUESTMEM_H

#include "domain.h"

int xp_copy_from_guest(struct xp_domain *d, void *dst, uint64_t va, uint64_t len);
int xp_copy_to_guest(struct xp_domain *d, uint64_t va, const void *src, uint64_t len);

/* va as a frame of the domain's own, or -XEN_EFAULT. */
int xp_guest_frame(struct xp_domain *d, uint64_t va, xp_mfn_t *mfn);

#endif
