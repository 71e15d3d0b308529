/*
 * m2p.c: see m2p.h.
 *
 * Tour M:100
 */
#include "m2p.h"

#include "abi.h"
#include "guestmem.h"

#include <string.h>

int xp_m2p_make(struct xp_hv *hv)
{
    struct xp_frames *f = &hv->frames;
    uint64_t nr = (f->nr + XP_M2P_PER_FRAME - 1) / XP_M2P_PER_FRAME;
    int ret = xp_frames_alloc_run(f, XP_OWNER_XEN, nr, XP_FF_HV, &hv->m2p_mfn);
    if (ret != 0)
        return ret;
    hv->nr_m2p_frames = nr;
    f->m2p = xp_frame_ptr(f, hv->m2p_mfn);
    memset(f->m2p, 0xff, nr << XP_PAGE_SHIFT);     /* XP_M2P_INVALID in each, and in what the last frame has left */
    return 0;
}

int xp_m2p_give(const struct xp_domain *d, uint64_t *cursor, uint64_t max)
{
    const struct xp_hv *hv = d->hv;
    uint64_t done = *cursor - (hv->frames.nr + 1), left = hv->nr_m2p_frames + hv->nr_template_frames - done, nr = left < max ? left : max;
    int ret = xp_window_give(&d->window, xp_mfn(hv->m2p_mfn.v + done), nr, true);
    if (ret != 0)
        return ret;
    *cursor += nr;
    return nr < left;
}

int64_t xp_m2p_mfn_list(struct xp_domain *d, uint64_t va)
{
    const struct xp_hv *hv = d->hv;
    struct xen_machphys_mfn_list list;
    int ret = xp_copy_from_guest(d, &list, va, sizeof list);
    if (ret != 0)
        return ret;
    uint32_t i = 0;
    for (uint64_t at = 0; at < hv->nr_m2p_frames && i < list.max_extents; at += XP_M2P_EXTENT, i++) {
        uint64_t mfn = hv->m2p_mfn.v + at;
        ret = xp_copy_to_guest(d, list.extent_start + i * sizeof mfn, &mfn, sizeof mfn);
        if (ret != 0)
            return ret;
    }
    list.nr_extents = i;
    return xp_copy_to_guest(d, va, &list, sizeof list);
}

int64_t xp_m2p_mapping(struct xp_domain *d, uint64_t va)
{
    const struct xp_hv *hv = d->hv;
    struct xen_machphys_mapping mapping = {
        .v_start = d->window.base + (hv->m2p_mfn.v << XP_PAGE_SHIFT), .max_mfn = hv->frames.nr - 1};
    mapping.v_end = mapping.v_start + (hv->nr_m2p_frames << XP_PAGE_SHIFT);
    return xp_copy_to_guest(d, va, &mapping, sizeof mapping);
}
