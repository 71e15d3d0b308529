/*
 * frames.c: see frames.h. A bit for each free frame makes the search for a run quick: 16,000 words for 4 GiB. Runs are found
 * by a next-fit search, so that a young machine hands out memory in one piece.
 *
 * Tour M:030
 */
#include "frames.h"

#include <string.h>

static bool may_own(xp_domid_t owner)
{
    return owner < XP_OWNERS || owner == XP_OWNER_XEN;
}

/* ---- what is free ---- */

static bool is_free(const struct xp_frame *frame)
{
    return frame->owner == XP_OWNER_NONE && frame->ref_count == 0 && (frame->flags & XP_FF_DIRTY) == 0;
}

static bool free_bit(const struct xp_frames *f, uint64_t mfn)
{
    return (f->free_map[mfn / 64] >> (mfn % 64) & 1) != 0;
}

static void set_free(struct xp_frames *f, uint64_t mfn) { f->free_map[mfn / 64] |= (uint64_t)1 << (mfn % 64); }
static void set_taken(struct xp_frames *f, uint64_t mfn) { f->free_map[mfn / 64] &= ~((uint64_t)1 << (mfn % 64)); }

/* The first frame in [from, to) that is free (or, with `taken`, is not), or `to`. */
static uint64_t next_in_map(const struct xp_frames *f, uint64_t from, uint64_t to, bool taken)
{
    const uint64_t flip = taken ? UINT64_MAX : 0;
    while (from < to) {
        uint64_t word = (f->free_map[from / 64] ^ flip) >> (from % 64);
        if (word != 0) {
            from += (uint64_t)__builtin_ctzll(word);
            return from < to ? from : to;
        }
        from = (from / 64 + 1) * 64;
    }
    return to;
}

/* The first nr free frames in a row within [from, to) that begin at a multiple of align, a power of two. */
static bool find_run(const struct xp_frames *f, uint64_t from, uint64_t to, uint64_t nr, uint64_t align, uint64_t *first)
{
    for (;;) {
        from = (next_in_map(f, from, to, false) + align - 1) & ~(align - 1);
        if (from >= to || nr > to - from)
            return false;
        uint64_t end = next_in_map(f, from, from + nr, true);
        if (end == from + nr) {
            *first = from;
            return true;
        }
        from = end;
    }
}

/* ---- handing out ---- */

void xp_frames_init(struct xp_frames *f, uint64_t nr, void *memory, void *base)
{
    struct xp_frame *table = memory;
    *f = (struct xp_frames){.table = table, .base = base, .nr = nr, .cursor = 1, .dirty_head = XP_FRAME_END};
    f->free_map = (uint64_t *)(void *)(table + nr);
    f->prev = (uint32_t *)(void *)(f->free_map + (nr + 63) / 64);
    for (uint64_t i = 0; i < nr; i++)
        table[i] = (struct xp_frame){.owner = XP_OWNER_NONE, .next = XP_FRAME_END};
    for (uint64_t i = 1; i < nr; i++)
        set_free(f, i);
    /* Frame 0: allocated to nobody for ever. */
    if (nr > 0)
        table[0].ref_count = 1;
    f->nr_free = nr > 0 ? nr - 1 : 0;
    f->nr_xen = nr > 0;
}

static void take(struct xp_frames *f, uint64_t first, uint64_t nr, xp_domid_t owner, uint8_t flags)
{
    for (uint64_t i = first; i < first + nr; i++) {
        f->table[i] = (struct xp_frame){
            .ref_count = 1, .owner = owner, .next = XP_FRAME_END, .flags = (uint8_t)(flags | XP_FF_ALLOCATED)};
        set_taken(f, i);
    }
    f->nr_free -= nr;
    f->nr_xen += owner == XP_OWNER_XEN ? nr : 0;
    f->cursor = first + nr;
}

int xp_frames_alloc_run(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first)
{
    uint64_t at = 0;
    if (nr == 0 || nr > f->nr_free || !may_own(owner))
        return -XEN_ENOMEM;
    if (!find_run(f, f->cursor, f->nr, nr, 1, &at) && !find_run(f, 1, f->nr, nr, 1, &at))
        return -XEN_ENOMEM;
    take(f, at, nr, owner, flags);
    *first = xp_mfn(at);
    return 0;
}

int xp_frames_alloc(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *mfns)
{
    uint64_t done = 0;
    if (nr > f->nr_free || !may_own(owner))
        return -XEN_ENOMEM;
    if (nr > 0 && xp_frames_alloc_run(f, owner, nr, flags, &mfns[0]) == 0) {
        for (uint64_t i = 1; i < nr; i++)
            mfns[i] = xp_mfn(mfns[0].v + i);
        return 0;
    }
    /* Fragmented: one pass from the bottom takes what is free. nr <= nr_free, so it finds enough. */
    for (uint64_t i = 1; done < nr; i++) {
        i = next_in_map(f, i, f->nr, false);
        take(f, i, 1, owner, flags);
        mfns[done++] = xp_mfn(i);
    }
    return 0;
}

int xp_frames_alloc_extent(struct xp_frames *f, xp_domid_t owner, uint32_t order, uint64_t limit, xp_mfn_t *first)
{
    uint64_t nr = (uint64_t)1 << order, end = limit < f->nr ? limit : f->nr, at = 0;
    if (nr > f->nr_free || !may_own(owner))
        return -XEN_ENOMEM;
    if (!find_run(f, f->cursor, end, nr, nr, &at) && !find_run(f, 1, end, nr, nr, &at))
        return -XEN_ENOMEM;
    take(f, at, nr, owner, 0);
    *first = xp_mfn(at);
    return 0;
}

/* ---- references ---- */

int xp_frame_get(struct xp_frames *f, xp_mfn_t mfn)
{
    struct xp_frame *frame = xp_frame_of(f, mfn);
    if (frame == NULL || frame->ref_count == 0 || frame->owner == XP_OWNER_NONE || frame->ref_count == UINT32_MAX)
        return -XEN_EINVAL;
    frame->ref_count++;
    return 0;
}

int xp_frame_put(struct xp_frames *f, xp_mfn_t mfn)
{
    struct xp_frame *frame = xp_frame_of(f, mfn);
    if (--frame->ref_count > 0)
        return 0;
    if ((frame->flags & XP_FF_ZOMBIE) != 0) {
        f->zombies[frame->owner]--;
        f->given_up[frame->owner] -= (frame->flags & XP_FF_HV) == 0;
    }
    *frame = (struct xp_frame){.owner = XP_OWNER_NONE, .flags = XP_FF_DIRTY, .next = f->dirty_head};
    f->dirty_head = (uint32_t)mfn.v;
    f->nr_dirty++;
    if (f->m2p != NULL)
        f->m2p[mfn.v] = XP_M2P_INVALID;
    return 1;
}

int xp_frame_release(struct xp_frames *f, xp_mfn_t mfn, xp_domid_t owner)
{
    if (owner >= XP_OWNERS || !xp_frame_owned(f, mfn, owner))
        return -XEN_EINVAL;
    struct xp_frame *frame = &f->table[mfn.v];
    frame->flags &= (uint8_t)~XP_FF_ALLOCATED;
    if (frame->ref_count > 1) {
        frame->flags |= XP_FF_ZOMBIE;
        f->zombies[owner]++;
        f->given_up[owner] += (frame->flags & XP_FF_HV) == 0;
    }
    (void)xp_frame_put(f, mfn);
    return 0;
}

/* ---- scrubbing ---- */

uint32_t xp_frames_take_dirty(struct xp_frames *f, xp_mfn_t *mfns, uint32_t max)
{
    uint32_t nr = 0;
    while (nr < max && f->dirty_head != XP_FRAME_END) {
        struct xp_frame *frame = &f->table[f->dirty_head];
        mfns[nr++] = xp_mfn(f->dirty_head);
        f->dirty_head = frame->next;
        frame->next = XP_FRAME_END;
        f->nr_dirty--;
    }
    f->nr_scrubbing += nr;
    return nr;
}

void xp_frames_give_clean(struct xp_frames *f, const xp_mfn_t *mfns, uint32_t nr)
{
    for (uint32_t i = 0; i < nr; i++) {
        f->table[mfns[i].v].flags = 0;
        set_free(f, mfns[i].v);
    }
    f->nr_free += nr;
    f->nr_scrubbing -= nr;
}

uint32_t xp_frames_scrub_now(struct xp_frames *f, uint32_t max)
{
    xp_mfn_t mfn;
    uint32_t nr = 0;
    while (nr < max && xp_frames_take_dirty(f, &mfn, 1) == 1) {
        memset(xp_frame_ptr(f, mfn), 0, XP_PAGE_SIZE);
        xp_frames_give_clean(f, &mfn, 1);
        nr++;
    }
    return nr;
}

/* ---- looking at it ---- */

uint64_t xp_frames_audit(struct xp_frames *f)
{
    uint64_t broken = 0, nr_free = 0, nr_dirty = 0, nr_xen = f->nr > 0, listed = 0;
    for (uint64_t i = 1; i < f->nr; i++) {
        const struct xp_frame *frame = &f->table[i];
        broken += (uint64_t)(free_bit(f, i) != is_free(frame));
        if (is_free(frame)) {
            nr_free++;
            broken += (uint64_t)(frame->type != XP_FT_NONE || frame->type_count != 0 || frame->flags != 0);
        } else if ((frame->flags & XP_FF_DIRTY) != 0) {
            nr_dirty++;
            broken += (uint64_t)(frame->ref_count != 0 || frame->owner != XP_OWNER_NONE);
        } else {
            nr_xen += frame->owner == XP_OWNER_XEN;
            broken += (uint64_t)(frame->ref_count == 0 || frame->owner == XP_OWNER_NONE ||
                                 frame->type_count > frame->ref_count);
        }
    }
    for (uint32_t i = f->dirty_head; i != XP_FRAME_END && listed <= f->nr; i = f->table[i].next)
        listed++;
    broken += (uint64_t)(nr_xen != f->nr_xen);
    broken += (uint64_t)(nr_free != f->nr_free) + (uint64_t)(nr_dirty != f->nr_dirty + f->nr_scrubbing) + (uint64_t)(listed != f->nr_dirty);
    return broken;
}
