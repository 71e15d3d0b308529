/*
 * start.c: see start.h. Source: public/xen.h (start_info, shared_info).
 *
 * Tour H:070
 */
#include "start.h"

#include "abi.h"

#include <stdio.h>
#include <string.h>

void xp_start_shared_info(struct xp_domain *d)
{
    struct xen_shared_info *si = d->shared_info;
    memset(si, 0, sizeof *si);
    for (int i = 0; i < XEN_LEGACY_MAX_VCPUS; i++)
        si->vcpu_info[i].evtchn_upcall_mask = 1;
    memset(si->evtchn_mask, 0xff, sizeof si->evtchn_mask);
}

void xp_start_info(struct xp_domain *d, const struct xp_domain_plan *plan)
{
    struct xp_frames *f = &d->hv->frames;
    struct xen_start_info *info = xp_frame_ptr(f, d->start_info_mfn);
    uint64_t nr_p2m = xp_p2m_pages(d->nr_pages);
    uint64_t *p2m = NULL;
    uint64_t store = 0, console = 0, first_p2m = 0, pfn = 0;
    /* The list is in pfn order: the builder's pages come first. */
    for (uint32_t mfn = d->page_list; mfn != XP_FRAME_END; mfn = f->table[mfn].next, pfn++) {
        if (pfn == 1)
            store = mfn;
        else if (pfn == 2)
            console = mfn;
        else if (pfn == XP_START_PAGES)
            first_p2m = mfn;
    }
    /* P2M pages are consecutive (domain.c sees to it), so the list is one array. */
    p2m = xp_frame_ptr(f, xp_mfn(first_p2m));
    pfn = 0;
    for (uint32_t mfn = d->page_list; mfn != XP_FRAME_END; mfn = f->table[mfn].next)
        p2m[pfn++] = mfn;
    memset(info, 0, sizeof *info);
    (void)snprintf(info->magic, sizeof info->magic, "xen-3.0-x86_64");
    info->nr_pages = d->nr_pages;
    info->shared_info = d->shared_info_mfn.v << XP_PAGE_SHIFT;
    info->flags = plan->sif_flags;
    info->store_mfn = store;
    info->console.domU.mfn = console;
    info->mfn_list = d->window.base + (first_p2m << XP_PAGE_SHIFT);
    info->first_p2m_pfn = XP_START_PAGES;
    info->nr_p2m_frames = nr_p2m;
    (void)snprintf(info->cmd_line, sizeof info->cmd_line, "%s", plan->cmdline == NULL ? "" : plan->cmdline);
}
