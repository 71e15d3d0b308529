/*
 * template.h: the hypervisor's own part of every address space: what the hole shows, which is the machine-to-physical
 * table, read-only. One set of tables a paging mode, made with the machine and shared by all domains.
 *
 * Tour M:180
 */
#ifndef XP_TEMPLATE_H
#define XP_TEMPLATE_H

#include "domain.h"

/* Makes the tables, of frames of DOMID_XEN; the M2P must be there. -XEN_ENOMEM. */
int xp_template_make(struct xp_hv *hv);

/* The entry of the hole's slot number `slot` (0 is its first) in tables that carry it; 0: nothing is there. */
static inline uint64_t xp_template_entry(const struct xp_hv *hv, const struct xp_paging_mode *mode, uint32_t slot)
{
    return hv->hole[mode->levels - 2u][slot];
}

#endif
