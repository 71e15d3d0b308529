/*
 * mmu_guest.h: a domain's MMU (mmu.h) wired to its hypervisor: A and D bits by hypercall, the TLB's generation from the
 * call page, and stores into page tables. Used by one thread at a time, as the MMU is.
 *
 * A guest that may store into its tables (writable_pt.h) does so as any kernel: straight into the frame, and where that is
 * refused the hypervisor is told what was to be stored. Where windows cannot be protected nothing is refused: there it asks
 * first, and again whenever anything was protected since (pt_protected). In shadow mode (`shadow`, to be set before the first
 * switch) every page fault is the hypervisor's to judge.
 */
#ifndef XP_MMU_GUEST_H
#define XP_MMU_GUEST_H

#include "gcall.h"
#include "mmu.h"

#define XP_OPEN_TABLES 8u

struct xp_mmu_link {
    struct xp_gcall *calls;
    struct xp_op_ad *scratch;    /* in a frame of the domain's own: XP_AD_MAX of them */
    uint64_t scratch_va;
    int64_t timeout_ns;
    uint8_t *base;               /* of the window */
    uint64_t open[XP_OPEN_TABLES]; /* frames that may be written, as the hypervisor said when pt_protected was `open_at` */
    uint32_t open_at, nr_open;
    bool stores;                 /* its stores into read-only pages may be into tables */
    bool shadow;                 /* shadow mode (shadow.h): what is walked is not its own, and every fault is asked about */
    bool trapped;                /* ... the last one was a store into a table */
    uint64_t nr_stores, nr_trapped; /* of them: what the hypervisor was asked about */
};

/* The link must live as long as the MMU. */
void xp_mmu_connect(struct xp_mmu *m, struct xp_mmu_link *link, struct xp_gcall *calls, void *scratch, int64_t timeout_ns);

/* Stores an entry of a page table, or any word, at a machine address. 0, -XEN_EPERM: no, or what mmu_update says. */
int xp_pt_store(struct xp_mmu_link *link, uint64_t maddr, uint64_t value, uint32_t bytes);

#endif
