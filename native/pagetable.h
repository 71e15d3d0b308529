/*
 * pagetable.h: a look at a live domain's page tables: the way from its base pointer to an address, with the frames on it.
 * For people (`xenproc pagetable`); takes the hypervisor's lock itself. Validated tables alone are read, or in shadow mode the guest's own.
 */
#ifndef XP_PAGETABLE_H
#define XP_PAGETABLE_H

#include "hv.h"

struct xp_frame_view {
    uint64_t mfn;
    uint32_t type_count, ref_count;
    xp_domid_t owner;
    uint8_t type, flags;         /* enum xp_frame_type, enum xp_frame_flags */
};

struct xp_path_step {
    struct xp_frame_view table;
    uint8_t level;
    bool hole;                   /* one of the hypervisor's slots */
    uint16_t index;
    uint64_t entry;
};

struct xp_path_view {
    uint32_t mode;               /* enum xp_paging */
    uint32_t nr_steps;           /* 0: no base pointer is loaded */
    struct xp_path_step step[XP_PAGING_LEVELS];
    bool mapped;                 /* all entries are present: */
    struct xp_frame_view page;
};

/* 0, -XEN_ESRCH (no such domain), -XEN_EINVAL (va is not canonical in its mode). */
int xp_domain_walk(struct xp_hv *hv, xp_domid_t domid, uint64_t va, struct xp_path_view *view);

#endif
