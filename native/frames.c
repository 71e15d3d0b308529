/*
 * frames.c: see frames.h. The free state needs no list: a frame is free when its owner is XP_OWNER_NONE and it is not
 * dirty; runs are found by a next-fit search, so that a young machine hands out memory in one piece.
 *
 * Tour M:030
 */
#include "frames.h"

#include <string.h>

void xp_frames_init(struct xp_frames *f, struct xp_frame *table, void *base, uint64_t nr)
{
    *f = (struct xp_frames){.table = table, .base = base, .nr = nr, .cursor = 1, .dirty_head = XP_FRAME_END};
    for (uint64_t i = 0; i < nr; i++)
        table[i] = (struct xp_frame){.owner = XP_OWNER_NONE, .next = XP_FRAME_END};
    /* Frame 0: allocated to nobody for ever. */
    if (nr > 0)
        table[0].ref_count = 1;
    f->nr_free = nr > 0 ? nr - 1 : 0;
    f->nr_xen = nr > 0;
}

static bool may_own(xp_domid_t owner)
{
    return owner < XP_OWNERS || owner == XP_OWNER_XEN;
}

static bool is_free(const struct xp_frame *frame)
{
    return frame->owner == XP_OWNER_NONE && frame->ref_count == 0 && (frame->flags & XP_FF_DIRTY) == 0;
}

static void take(struct xp_frames *f, uint64_t first, uint64_t nr, xp_domid_t owner, uint8_t flags)
{
    for (uint64_t i = first; i < first + nr; i++)
        f->table[i] = (struct xp_frame){
            .ref_count = 1, .owner = owner, .next = XP_FRAME_END, .flags = (uint8_t)(flags | XP_FF_ALLOCATED)};
    f->nr_free -= nr;
    f->nr_xen += owner == XP_OWNER_XEN ? nr : 0;
    f->cursor = first + nr;
}

/* The first run of `nr` in [from, to), or the longest one there: returns its length. */
static uint64_t find_run(const struct xp_frames *f, uint64_t from, uint64_t to, uint64_t nr, uint64_t *first)
{
    uint64_t best = 0, length = 0;
    for (uint64_t i = from; i < to; i++) {
        length = is_free(&f->table[i]) ? length + 1 : 0;
        if (length > best) {
            best = length;
            *first = i + 1 - length;
            if (best == nr)
                break;
        }
    }
    return best;
}

int xp_frames_alloc_run(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first)
{
    uint64_t at = 0;
    if (nr == 0 || nr > f->nr_free || !may_own(owner))
        return -XEN_ENOMEM;
    if (find_run(f, f->cursor, f->nr, nr, &at) < nr && find_run(f, 1, f->nr, nr, &at) < nr)
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
    for (uint64_t i = 1; i < f->nr && done < nr; i++) {
        if (!is_free(&f->table[i]))
            continue;
        take(f, i, 1, owner, flags);
        mfns[done++] = xp_mfn(i);
    }
    return 0;
}

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
    if ((frame->flags & XP_FF_ZOMBIE) != 0)
        f->zombies[frame->owner]--;
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
    }
    (void)xp_frame_put(f, mfn);
    return 0;
}

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
    return nr;
}

void xp_frames_give_clean(struct xp_frames *f, const xp_mfn_t *mfns, uint32_t nr)
{
    for (uint32_t i = 0; i < nr; i++) {
        f->table[mfns[i].v].flags = 0;
        f->nr_free++;
    }
}

uint64_t xp_frames_audit(struct xp_frames *f)
{
    uint64_t broken = 0, nr_free = 0, nr_dirty = 0, nr_xen = f->nr > 0, listed = 0;
    for (uint64_t i = 1; i < f->nr; i++) {
        const struct xp_frame *frame = &f->table[i];
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
    broken += (uint64_t)(nr_free != f->nr_free) + (uint64_t)(nr_dirty < f->nr_dirty) + (uint64_t)(listed != f->nr_dirty);
    return broken;
}
