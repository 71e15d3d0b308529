/*
 * mm_audit.c: see mm_audit.h.
 */
#include "mm_audit.h"

#include "abi.h"
#include "domain.h"
#include "grant.h"
#include "maptrack.h"
#include "shadow.h"

#include <stdlib.h>

bool xp_mm_is_foreign(struct xp_domain *d, uint64_t mfn, bool writes)
{
    return d->hv->frames.table[mfn].owner != d->domid && d->state != XP_DS_DYING && !xp_maptrack_maps(d, xp_mfn(mfn), writes);
}

/* Returns how many entries reach a frame that they must not. A linear entry of a table to itself holds nothing. */
static uint64_t count_table(struct xp_domain *d, uint64_t mfn, struct xp_mm_counts *counts)
{
    uint64_t foreign = 0;
    const struct xp_frame *frame = &d->hv->frames.table[mfn];
    const struct xp_paging_mode *m = d->mm.mode;
    const void *table = xp_mm_table(d, xp_mfn(mfn));
    for (uint32_t i = 0; i < m->level[xp_type_level(frame->type)].nr; i++) {
        uint64_t entry = xp_pt_read(m, table, i), to = xp_pte_mfn(m, entry);
        bool hole = i >= m->level[xp_type_level(frame->type)].hole_first && xp_mm_slot_fixed(&d->mm, frame->type, i) &&
                    i < m->level[xp_type_level(frame->type)].hole_end;
        if ((entry & XP_PTE_PRESENT) == 0 || hole || to >= d->hv->frames.nr || (to == mfn && frame->type != XP_FT_L1))
            continue;
        counts[to].refs++;
        counts[to].types += frame->type != XP_FT_L1 || (entry & XP_PTE_RW) != 0;
        foreign += xp_mm_is_foreign(d, to, (entry & XP_PTE_RW) != 0);
    }
    return foreign;
}

static void count_roots(const struct xp_domain *d, struct xp_mm_counts *counts)
{
    const struct xp_mm *mm = &d->mm;
    const xp_mfn_t roots[] = {mm->base, mm->user_base};
    for (size_t i = 0; i < 2; i++)
        if (roots[i].v != 0) {
            counts[roots[i].v].refs++;
            counts[roots[i].v].types++;
        }
    for (uint32_t i = 0; i < mm->nr_gdt; i++) {
        counts[mm->gdt[i].v].refs++;
        counts[mm->gdt[i].v].types++;
    }
}

/* By handle, as a granter may be gone already. */
static void count_grants(const struct xp_domain *d, struct xp_mm_counts *counts)
{
    struct xp_grant_use use;
    for (uint32_t handle = 0; d->nr_maptrack > 0 && xp_grant_next(d, &handle, &use);) {
        counts[use.mfn].refs++;
        counts[use.mfn].types += (use.flags & GNTMAP_readonly) == 0;
    }
}

static bool agrees(const struct xp_frame *frame, struct xp_mm_counts c)
{
    uint32_t pinned = (frame->flags & XP_FF_PINNED) != 0;
    c.refs += ((frame->flags & XP_FF_ALLOCATED) != 0) + pinned;
    c.types += pinned;
    return c.refs == frame->ref_count && c.types == frame->type_count && (frame->type_count == 0) == (frame->type == XP_FT_NONE);
}

uint64_t xp_mm_audit(struct xp_hv *hv)
{
    struct xp_frames *f = &hv->frames;
    struct xp_mm_counts *counts = calloc(f->nr, sizeof *counts);
    uint64_t broken = 0;
    if (counts == NULL)
        return 0;                /* cannot tell */
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++) {
        if (hv->domains[i] == NULL)
            continue;
        if (hv->domains[i]->mm.nr_work > 0) {
            free(counts);        /* half done: nothing adds up until it is finished */
            return 0;
        }
        count_roots(hv->domains[i], counts);
        count_grants(hv->domains[i], counts);
        xp_direct_count(hv->domains[i], counts);
        if (hv->domains[i]->shadow != NULL)
            broken += xp_shadow_audit(hv->domains[i], counts);
    }
    for (uint64_t i = 1; i < f->nr; i++)
        if (f->table[i].owner < XP_OWNERS && xp_type_is_table(f->table[i].type))
            broken += count_table(hv->domains[f->table[i].owner], i, counts);
    for (uint64_t i = 1; i < f->nr; i++)
        broken += f->table[i].owner < XP_OWNERS && !agrees(&f->table[i], counts[i]);
    free(counts);
    return broken;
}
