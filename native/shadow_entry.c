/*
 * shadow_entry.c: entries of shadows: what they may say, what they hold, and how they follow the guest's: see shadow.h.
 *
 * Every leaf that is written notes in hv->shadow_hints where it stands, by the frame that it names: whoever must find all leaves
 * of a frame looks there first, and through the whole pool only if that was not the only one.
 *
 * Tour M:230
 */
#include "shadow.h"

#include "grant_host.h"
#include "leaf.h"
#include "maptrack.h"
#include "walk.h"

#define RIGHTS (XP_PTE_PRESENT | XP_PTE_RW | XP_PTE_USER | XP_PTE_NX)

static void write(struct xp_domain *d, uint32_t page, uint32_t index, uint64_t entry)
{
    xp_mm_write(d, xp_mfn(xp_shadow_mfn(d->shadow, page)), index, entry);
}

/* ---- leaves ---- */

uint64_t xp_shadow_leaf(struct xp_domain *d, uint64_t entry)
{
    const struct xp_paging_mode *m = d->mm.mode;
    const uint64_t mfn = xp_pte_mfn(m, entry), must = xp_pte_must(m, 1);
    if ((entry & must) != must || (entry & xp_pte_reserved(m->levels, 1)) != 0 || mfn >= d->hv->frames.nr)
        return 0;
    const struct xp_frame *frame = &d->hv->frames.table[mfn];
    bool writes = (entry & XP_PTE_RW) != 0;
    if (!xp_frame_owned(&d->hv->frames, xp_mfn(mfn), d->domid)) {
        if (!xp_maptrack_maps(d, xp_mfn(mfn), writes))
            return 0;
    } else {
        writes = writes && xp_type_writable(frame);
    }
    uint64_t leaf = (entry & (m->frame_mask | XP_PTE_USER | (m->entry_size == 8 ? XP_PTE_NX : 0))) | must;
    return writes && (entry & XP_PTE_DIRTY) != 0 ? leaf | XP_PTE_RW | XP_PTE_DIRTY : leaf;
}

static bool hold(struct xp_domain *d, uint64_t leaf)
{
    if (xp_leaf_inject(d->hv))
        return false;
    if (d->hv->frames.table[xp_pte_mfn(d->mm.mode, leaf)].owner == d->domid)
        return xp_leaf_take(xp_leaf_of(d), leaf) == 0;
    return xp_grant_pte_hold(d, leaf) == 0;
}

bool xp_shadow_set_leaf(struct xp_domain *d, uint32_t page, uint32_t index, uint64_t leaf)
{
    uint64_t old = xp_pt_read(d->mm.mode, xp_shadow_table(d, page), index);
    if (old == leaf)
        return true;
    bool held = leaf == 0 || hold(d, leaf);
    if (!held)
        leaf = 0;
    if (leaf != 0)
        d->hv->shadow_hints[xp_pte_mfn(d->mm.mode, leaf)] = page << 10 | index;
    write(d, page, index, leaf);
    d->shadow->page[page].nr_present = (uint16_t)(d->shadow->page[page].nr_present + (leaf != 0) - (old != 0));
    if (old != 0) {
        d->mm.stale = true;
        xp_leaf_drop(d, xp_leaf_of(d), old);
    }
    return held;
}

/* ---- all leaves of a frame ---- */

/* Takes away a leaf that names the frame, or its right to write. */
static void cut(struct xp_domain *d, uint32_t page, uint32_t index, uint64_t mfn, bool whole)
{
    const struct xp_shadow *s = d->shadow;
    if (page >= s->nr || s->page[page].table == 0 || s->page[page].kind != XP_FT_L1 || index >= xp_shadow_nr(d, XP_FT_L1))
        return;
    uint64_t leaf = xp_pt_read(d->mm.mode, xp_shadow_table(d, page), index);
    if ((leaf & XP_PTE_PRESENT) == 0 || xp_pte_mfn(d->mm.mode, leaf) != mfn || (!whole && (leaf & XP_PTE_RW) == 0))
        return;
    d->shadow->flush = true;
    (void)xp_shadow_set_leaf(d, page, index, whole ? 0 : leaf & ~(uint64_t)(XP_PTE_RW | XP_PTE_DIRTY));
}

static void cut_all(struct xp_domain *d, uint64_t mfn, bool whole, const uint32_t *count, uint32_t until)
{
    struct xp_shadow *s = d->shadow;
    const uint32_t hint = d->hv->shadow_hints[mfn];
    cut(d, hint >> 10, hint & 1023, mfn, whole);
    for (uint32_t i = 0; *count > until && i < s->nr; i++)
        for (uint32_t j = 0; s->page[i].kind == XP_FT_L1 && s->page[i].nr_present > 0 && j < xp_shadow_nr(d, XP_FT_L1); j++)
            cut(d, i, j, mfn, whole);
}

bool xp_shadow_unwrite(struct xp_domain *d, uint64_t mfn)
{
    struct xp_frame *frame = &d->hv->frames.table[mfn];
    if (frame->type_count > 0 && frame->type != XP_FT_WRITABLE)
        return false;
    d->shadow->count.unwritten++;
    cut_all(d, mfn, false, &frame->type_count, 0);
    return frame->type_count == 0;
}

/* One reference is the owner's; a frame of others has a handle's, too, and what else there is cannot be known. */
void xp_shadow_unmap(struct xp_domain *d, uint64_t mfn)
{
    struct xp_frame *frame = &d->hv->frames.table[mfn];
    bool held = xp_frame_get(&d->hv->frames, xp_mfn(mfn)) == 0;     /* it must not vanish meanwhile */
    cut_all(d, mfn, true, &frame->ref_count, held ? 2 : 1);
    if (held)
        xp_mm_put_page(d, xp_mfn(mfn));
}

/* ---- higher entries ---- */

void xp_shadow_unlink(struct xp_domain *d, uint32_t page, uint32_t index)
{
    struct xp_shadow *s = d->shadow;
    uint64_t old = xp_pt_read(d->mm.mode, xp_shadow_table(d, page), index);
    if ((old & XP_PTE_PRESENT) == 0)
        return;
    uint32_t below = (uint32_t)(xp_pte_mfn(d->mm.mode, old) - s->first);
    write(d, page, index, 0);
    s->page[page].nr_present--;
    s->page[below].users--;
    d->mm.stale = true;
    xp_shadow_unused(d, below);
}

void xp_shadow_link(struct xp_domain *d, uint32_t page, uint32_t index, uint32_t below, uint64_t entry)
{
    struct xp_shadow *s = d->shadow;
    const struct xp_paging_mode *m = d->mm.mode;
    uint64_t new = xp_shadow_mfn(s, below) << XP_PAGE_SHIFT | XP_PTE_PRESENT;
    if (!xp_is_pdpte(m, xp_type_level(s->page[page].kind)))
        new |= (entry & (m->entry_size == 8 ? RIGHTS : RIGHTS & ~XP_PTE_NX)) | XP_PTE_ACCESSED;
    uint64_t old = xp_pt_read(m, xp_shadow_table(d, page), index);
    if (old == new)
        return;
    s->page[below].users++;
    s->page[below].up = page << 10 | index;
    xp_shadow_unlink(d, page, index);
    write(d, page, index, new);
    s->page[page].nr_present++;
}

/* ---- the guest's entry has changed ---- */

static void follow_branch(struct xp_domain *d, uint32_t page, uint32_t index, uint64_t entry)
{
    struct xp_shadow *s = d->shadow;
    const struct xp_paging_mode *m = d->mm.mode;
    uint8_t kind = s->page[page].kind;
    uint64_t old = xp_pt_read(m, xp_shadow_table(d, page), index);
    if ((old & XP_PTE_PRESENT) == 0)
        return;
    uint32_t below = (uint32_t)(xp_pte_mfn(m, old) - s->first), level = xp_type_level(kind);
    uint64_t must = xp_pte_must(m, level);
    bool same = (entry & must) == must && (entry & xp_pte_reserved(m->levels, level)) == 0 && xp_pte_mfn(m, entry) == s->page[below].table;
    if (same)
        xp_shadow_link(d, page, index, below, entry);
    else
        xp_shadow_unlink(d, page, index);
}

void xp_shadow_follow(struct xp_domain *d, xp_mfn_t table, uint32_t index)
{
    struct xp_shadow *s = d->shadow;
    bool data = false;
    for (uint8_t kind = XP_FT_L1; kind <= XP_FT_L2_HOLE; kind++) {
        uint16_t page = xp_shadow_find(d, table.v, kind);
        if (page == XP_SHADOW_NONE || index >= xp_shadow_nr(d, kind) || xp_shadow_is_hole(d, kind, index))
            continue;
        uint64_t entry = xp_pt_read(d->mm.mode, xp_frame_ptr(&d->hv->frames, table), index);
        if (kind == XP_FT_L1)
            (void)xp_shadow_set_leaf(d, page, index, xp_shadow_leaf(d, entry));
        else
            follow_branch(d, page, index, entry);
        s->page[page].writes++;
        data |= (!s->keeps && s->page[page].writes >= XP_SHADOW_WRITES) || (xp_shadow_is_top(d, kind) && s->page[page].users == 0 &&
                                                             s->page[page].nr_present == 0);
    }
    if (data)
        (void)xp_shadow_end(d, table.v);
}
