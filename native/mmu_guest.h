/*
 * mmu_guest.h: a domain's MMU (mmu.h) wired to its hypervisor: A and D bits by hypercall, the TLB's generation from the
 * call page. Used by one thread at a time, as the MMU is.
 */
#ifndef XP_MMU_GUEST_H
#define XP_MMU_GUEST_H

#include "gcall.h"
#include "mmu.h"

struct xp_mmu_link {
    struct xp_gcall *calls;
    struct xp_op_ad *scratch;    /* in a frame of the domain's own: XP_AD_MAX of them */
    uint64_t scratch_va;
    int64_t timeout_ns;
};

/* The link must live as long as the MMU. */
void xp_mmu_connect(struct xp_mmu *m, struct xp_mmu_link *link, struct xp_gcall *calls, void *scratch, int64_t timeout_ns);

#endif
