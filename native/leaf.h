/*
 * leaf.h: what a level-1 entry holds, taken and dropped: the inner loop of everything that validates.
 *
 * Used by tables.c (whole tables) and mmu_update.c (single entries), with the hypervisor's lock held.
 *   1. An entry takes one reference of its frame, and one of type WRITABLE if it may write; it drops the same.
 *   2. What a loop needs is copied into a struct xp_leaf on its stack: a store to a record's type, a byte, could be a store to
 *      anything, and everything would be loaded again for each entry.
 */
#ifndef XP_LEAF_H
#define XP_LEAF_H

#include "domain.h"

#define XP_LEAF_AHEAD 16u        /* entries whose frame's record is fetched in advance */

struct xp_leaf {
    struct xp_frame *table;
    uint64_t nr, frame_mask, forbidden;
    xp_domid_t domid;
};

static inline struct xp_leaf xp_leaf_of(const struct xp_domain *d)
{
    return (struct xp_leaf){.table = d->hv->frames.table, .nr = d->hv->frames.nr, .frame_mask = d->mm.mode->frame_mask,
                            .forbidden = d->mm.mode->level[1].forbidden, .domid = d->domid};
}

/* A hint: the frame that the entry names may be anything. */
static inline void xp_leaf_fetch(struct xp_leaf l, uint64_t entry)
{
    uint64_t mfn = (entry & l.frame_mask) >> XP_PAGE_SHIFT;
    __builtin_prefetch((const void *)((uintptr_t)l.table + mfn * sizeof *l.table), 1);
}

/* A present entry without forbidden bits. As Xen: -EPERM for what is not the domain's, -EBUSY where its use as a table forbids it. */
static inline int xp_leaf_take(struct xp_leaf l, uint64_t entry)
{
    uint64_t mfn = (entry & l.frame_mask) >> XP_PAGE_SHIFT;
    if (mfn >= l.nr)
        return -XEN_EPERM;
    struct xp_frame *frame = &l.table[mfn];
    if (frame->owner != l.domid || (frame->flags & XP_FF_ALLOCATED) == 0)
        return -XEN_EPERM;
    if (frame->ref_count == UINT32_MAX)
        return -XEN_EBUSY;
    if ((entry & XP_PTE_RW) != 0) {
        if (!xp_type_writable(frame))
            return -XEN_EBUSY;
        frame->type = XP_FT_WRITABLE;
        frame->type_count++;
    }
    frame->ref_count++;
    return 0;
}

static inline void xp_leaf_drop(struct xp_domain *d, struct xp_leaf l, uint64_t entry)
{
    uint64_t mfn = (entry & l.frame_mask) >> XP_PAGE_SHIFT;
    struct xp_frame *frame = &l.table[mfn];
    if ((entry & XP_PTE_RW) != 0 && --frame->type_count == 0)
        frame->type = XP_FT_NONE;
    if (frame->ref_count > 1)
        frame->ref_count--;
    else
        xp_mm_put_page(d, xp_mfn(mfn));
}

/* Tests make any one reference fail. */
static inline bool xp_leaf_inject(struct xp_hv *hv)
{
    return __builtin_expect(hv->mm_inject != 0, 0) && --hv->mm_inject == 0;
}

/* Entries [from, to) of a level-1 table: how far it came, and why no further. The entries' size is known where it is inlined. */
static inline __attribute__((always_inline)) uint32_t xp_leaves_take(struct xp_domain *d, const void *table, uint32_t size,
                                                                  uint32_t from, uint32_t to, int *error)
{
    const struct xp_leaf l = xp_leaf_of(d);
    const uint32_t nr = (uint32_t)XP_PAGE_SIZE / size;
    for (uint32_t i = from; i < to; i++) {
        uint64_t entry = xp_entry_read(table, size, i);
        if (i + XP_LEAF_AHEAD < nr)
            xp_leaf_fetch(l, xp_entry_read(table, size, i + XP_LEAF_AHEAD));
        if ((entry & XP_PTE_PRESENT) == 0)
            continue;
        *error = (entry & l.forbidden) != 0 ? -XEN_EINVAL : xp_leaf_inject(d->hv) ? -XEN_ENOMEM : xp_leaf_take(l, entry);
        if (*error != 0)
            return i;
    }
    return to;
}

/* Entries [from, to), from the end. */
static inline __attribute__((always_inline)) void xp_leaves_drop(struct xp_domain *d, const void *table, uint32_t size,
                                                              uint32_t from, uint32_t to)
{
    const struct xp_leaf l = xp_leaf_of(d);
    for (uint32_t i = to; i-- > from;) {
        uint64_t entry = xp_entry_read(table, size, i);
        if (i >= XP_LEAF_AHEAD)
            xp_leaf_fetch(l, xp_entry_read(table, size, i - XP_LEAF_AHEAD));
        if ((entry & XP_PTE_PRESENT) != 0)
            xp_leaf_drop(d, l, entry);
    }
}

#endif
