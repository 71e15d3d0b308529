/*
 * template.c: see template.h.
 *
 * Tour M:190
 */
#include "template.h"

/* Frames of the template follow the M2P's, so that both are given to a window in one run. */
static int new_table(struct xp_hv *hv, xp_mfn_t *mfn)
{
    int ret = xp_frames_alloc_run(&hv->frames, XP_OWNER_XEN, 1, XP_FF_HV, mfn);
    if (ret != 0 || mfn->v != hv->m2p_mfn.v + hv->nr_m2p_frames + hv->nr_template_frames)
        return -XEN_ENOMEM;
    hv->nr_template_frames++;
    return 0;
}

/* The table that `entry` leads to, made if there is none. */
static int descend(struct xp_hv *hv, const struct xp_paging_mode *m, uint64_t *entry, void **table)
{
    xp_mfn_t mfn = xp_mfn(xp_pte_mfn(m, *entry));
    if (*entry == 0) {
        int ret = new_table(hv, &mfn);
        if (ret != 0)
            return ret;
        *entry = mfn.v << XP_PAGE_SHIFT | XP_PTE_PRESENT | XP_PTE_USER | XP_PTE_ACCESSED;
    }
    *table = xp_frame_ptr(&hv->frames, mfn);
    return 0;
}

/* Shows one frame at va, for reading. */
static int show(struct xp_hv *hv, const struct xp_paging_mode *m, uint64_t va, xp_mfn_t mfn)
{
    uint32_t slot = xp_pt_index(m, m->hole_level, va) - m->level[m->hole_level].hole_first;
    void *table;
    int ret = descend(hv, m, &hv->hole[m->levels - 2][slot], &table);
    for (uint32_t level = m->hole_level - 1u; ret == 0 && level > 1; level--) {
        uint32_t index = xp_pt_index(m, level, va);
        uint64_t entry = xp_pt_read(m, table, index), old = entry;
        void *above = table;
        ret = descend(hv, m, &entry, &table);
        if (ret == 0 && old == 0)
            xp_pt_write(m, above, index, entry);
    }
    if (ret == 0)
        xp_pt_write(m, table, xp_pt_index(m, 1, va),
                    mfn.v << XP_PAGE_SHIFT | XP_PTE_PRESENT | XP_PTE_USER | XP_PTE_ACCESSED);
    return ret;
}

int xp_template_make(struct xp_hv *hv)
{
    for (uint32_t mode = 0; mode < XP_PAGING_MODES; mode++) {
        const struct xp_paging_mode *m = xp_paging_mode(mode);
        uint64_t va = m->m2p_start;
        for (uint64_t i = 0; i < hv->nr_m2p_frames && (m->hole_end - va) >= XP_PAGE_SIZE; i++, va += XP_PAGE_SIZE) {
            int ret = show(hv, m, va, xp_mfn(hv->m2p_mfn.v + i));
            if (ret != 0)
                return ret;
        }
    }
    return 0;
}
