/*
 * maptrack.c: see maptrack.h. Handles are given out last freed first, else in order. The records of frames are found by
 * linear hashing: the table grows by a chunk at a time and moves only what belongs there, so no growth is a long one.
 */
#include "maptrack.h"

#include "abi.h"

#include <stdlib.h>

static struct xp_mapping *handle_at(const struct xp_domain *d, uint32_t i)
{
    return &d->maptrack->chunks[i / XP_MAPTRACK_CHUNK]->handle[i % XP_MAPTRACK_CHUNK];
}

static struct xp_mapped_frame *frame_at(const struct xp_domain *d, uint32_t i)
{
    return &d->maptrack->chunks[i / XP_MAPTRACK_CHUNK]->frame[i % XP_MAPTRACK_CHUNK];
}

static uint32_t *head_at(const struct xp_domain *d, uint32_t i)
{
    return &d->maptrack->chunks[i / XP_MAPTRACK_CHUNK]->head[i % XP_MAPTRACK_CHUNK];
}

/* ---- the hash ---- */

/* The largest power of two that is at most n; n > 0. */
static uint32_t power_below(uint32_t n)
{
    return 1u << (31 - __builtin_clz(n));
}

/* The chain of a frame among nr chains: as many low bits of its number as there are chains for. */
static uint32_t chain_of(uint32_t mfn, uint32_t nr)
{
    uint32_t power = power_below(nr), chain = mfn & (2 * power - 1);
    return chain < nr ? chain : chain - power;
}

/* One chain more, the nr-th: it takes over its part of the chain that held it till now. */
static void split_chain(struct xp_domain *d, uint32_t nr)
{
    uint32_t *fresh = head_at(d, nr);
    *fresh = XP_NO_HANDLE;
    if (nr == 0)
        return;
    for (uint32_t *at = head_at(d, nr - power_below(nr)); *at != XP_NO_HANDLE;) {
        struct xp_mapped_frame *frame = frame_at(d, *at);
        uint32_t i = *at;
        if (chain_of(frame->mfn, nr + 1) != nr) {
            at = &frame->next;
            continue;
        }
        *at = frame->next;
        frame->next = *fresh;
        *fresh = i;
    }
}

/* The link that names the frame's record, or the end of its chain. */
static uint32_t *find(const struct xp_domain *d, uint32_t mfn)
{
    uint32_t *at = head_at(d, chain_of(mfn, d->maptrack->nr_chunks * XP_MAPTRACK_CHUNK));
    while (*at != XP_NO_HANDLE && frame_at(d, *at)->mfn != mfn)
        at = &frame_at(d, *at)->next;
    return at;
}

/* ---- growing ---- */

static int make(struct xp_domain *d)
{
    if (d->maptrack != NULL)
        return 0;
    d->maptrack = calloc(1, sizeof *d->maptrack);
    if (d->maptrack == NULL)
        return -XEN_ENOMEM;
    d->maptrack_free = d->maptrack->free_frame = XP_NO_HANDLE;
    return 0;
}

static int add_chunk(struct xp_domain *d)
{
    struct xp_maptrack *t = d->maptrack;
    uint32_t nr = t->nr_chunks;
    if ((nr & (nr - 1)) == 0) {                 /* 0, 1, 2, 4, ...: room for twice as many */
        void *chunks = realloc(t->chunks, (nr == 0 ? 1 : 2 * nr) * sizeof *t->chunks);
        if (chunks == NULL)
            return -XEN_ENOMEM;
        t->chunks = chunks;
    }
    t->chunks[nr] = calloc(1, sizeof *t->chunks[nr]);
    if (t->chunks[nr] == NULL)
        return -XEN_ENOMEM;
    t->nr_chunks++;
    return 0;
}

/* A chunk more; its handles and frame records go on the free lists so that the lowest comes first. */
static int grow(struct xp_domain *d)
{
    uint32_t old = d->maptrack_size, limit = d->limits.max_maptrack;
    if (old >= limit)
        return -XEN_ENOSPC;
    if (make(d) != 0 || add_chunk(d) != 0)
        return -XEN_ENOMEM;
    for (uint32_t i = old; i < old + XP_MAPTRACK_CHUNK; i++)
        split_chain(d, i);
    d->maptrack_size = limit - old < XP_MAPTRACK_CHUNK ? limit : old + XP_MAPTRACK_CHUNK;
    for (uint32_t i = d->maptrack_size; i-- > old;) {
        *handle_at(d, i) = (struct xp_mapping){.frame = d->maptrack_free};
        d->maptrack_free = i;
        *frame_at(d, i) = (struct xp_mapped_frame){.next = d->maptrack->free_frame};
        d->maptrack->free_frame = i;
    }
    return 0;
}

int xp_maptrack_reserve(struct xp_domain *d)
{
    return d->maptrack_size > 0 && d->maptrack_free != XP_NO_HANDLE ? 0 : grow(d);
}

/* ---- handles ---- */

/* The frame's record, made if there is none: there are as many as handles, so one is free. */
static uint32_t record_of(struct xp_domain *d, uint32_t mfn)
{
    uint32_t *at = find(d, mfn), i = *at;
    if (i != XP_NO_HANDLE)
        return i;
    i = d->maptrack->free_frame;
    XP_BUG_ON(i == XP_NO_HANDLE);
    d->maptrack->free_frame = frame_at(d, i)->next;
    *frame_at(d, i) = (struct xp_mapped_frame){.mfn = mfn, .next = XP_NO_HANDLE};
    *at = i;
    return i;
}

static void drop_record(struct xp_domain *d, uint32_t i)
{
    uint32_t *at = find(d, frame_at(d, i)->mfn);
    XP_BUG_ON(*at != i);
    *at = frame_at(d, i)->next;
    *frame_at(d, i) = (struct xp_mapped_frame){.next = d->maptrack->free_frame};
    d->maptrack->free_frame = i;
}

static bool is_readonly(const struct xp_mapping *m)
{
    return (m->flags & GNTMAP_readonly) != 0;
}

uint32_t xp_maptrack_take(struct xp_domain *d, struct xp_domain *granter, xp_gref_t ref, xp_mfn_t mfn, uint32_t flags,
                          bool in_tables)
{
    uint32_t handle = d->maptrack_free;
    XP_BUG_ON(handle == XP_NO_HANDLE);
    struct xp_mapping *m = handle_at(d, handle);
    d->maptrack_free = m->frame;
    *m = (struct xp_mapping){.granter = granter, .ref = ref, .flags = flags, .frame = record_of(d, (uint32_t)mfn.v),
                             .in_tables = in_tables};
    frame_at(d, m->frame)->readers += is_readonly(m);
    frame_at(d, m->frame)->writers += !is_readonly(m);
    d->nr_maptrack++;
    return handle;
}

void xp_maptrack_put(struct xp_domain *d, uint32_t handle)
{
    struct xp_mapping *m = handle_at(d, handle);
    struct xp_mapped_frame *frame = frame_at(d, m->frame);
    frame->readers -= is_readonly(m);
    frame->writers -= !is_readonly(m);
    if (frame->readers + frame->writers == 0)
        drop_record(d, m->frame);
    *m = (struct xp_mapping){.frame = d->maptrack_free};
    d->maptrack_free = handle;
    d->nr_maptrack--;
}

void xp_maptrack_ended(struct xp_domain *d, uint32_t handle, uint32_t parts)
{
    handle_at(d, handle)->flags &= ~parts;
}

bool xp_maptrack_maps(const struct xp_domain *d, xp_mfn_t mfn, bool writes)
{
    uint32_t i = d->maptrack_size == 0 ? XP_NO_HANDLE : *find(d, (uint32_t)mfn.v);
    return i != XP_NO_HANDLE && frame_at(d, i)->writers + (writes ? 0 : frame_at(d, i)->readers) > 0;
}

const struct xp_mapping *xp_maptrack_of(const struct xp_domain *d, uint32_t handle)
{
    return handle < d->maptrack_size && handle_at(d, handle)->granter != NULL ? handle_at(d, handle) : NULL;
}

xp_mfn_t xp_maptrack_mfn(const struct xp_domain *d, const struct xp_mapping *m)
{
    return xp_mfn(frame_at(d, m->frame)->mfn);
}

/* ---- the window ---- */

int xp_maptrack_show(struct xp_domain *d, uint32_t handle)
{
    const struct xp_mapping *m = handle_at(d, handle);
    const struct xp_mapped_frame *frame = frame_at(d, m->frame);
    xp_mfn_t mfn = xp_mfn(frame->mfn);
    if (m->granter == d)
        return 0;
    bool others = frame->readers + frame->writers > 1;
    bool raise = others && !is_readonly(m) && frame->writers == 1;
    /*
     * Given again though others have it: the process may have dropped the page early. With the others' rights, so that
     * it is never writable without a handle that says so, should raising them fail.
     */
    int ret = xp_window_give(&d->window, mfn, 1, raise || frame->writers == 0);
    if (ret == 0 && raise)
        ret = xp_window_protect(&d->window, mfn, false);
    return ret;
}

int xp_maptrack_gone(struct xp_domain *d, uint32_t handle)
{
    const struct xp_mapping *m = handle_at(d, handle);
    const struct xp_mapped_frame *frame = frame_at(d, m->frame);
    if (m->granter == d || frame->readers + frame->writers > 1)
        return 0;
    int ret = xp_window_gone(&d->window, xp_mfn(frame->mfn));
    return ret == -XEN_EBUSY ? -XEN_EAGAIN : ret;
}

int xp_maptrack_lower(struct xp_domain *d, uint32_t handle)
{
    const struct xp_mapping *m = handle_at(d, handle);
    const struct xp_mapped_frame *frame = frame_at(d, m->frame);
    if (m->granter == d || is_readonly(m) || frame->writers > 1 || frame->readers == 0)
        return 0;
    return xp_window_protect(&d->window, xp_mfn(frame->mfn), true);
}

/* ---- the end ---- */

void xp_maptrack_free(struct xp_domain *d)
{
    if (d->maptrack != NULL) {
        for (uint32_t i = 0; i < d->maptrack->nr_chunks; i++)
            free(d->maptrack->chunks[i]);
        free(d->maptrack->chunks);
        free(d->maptrack);
    }
    d->maptrack = NULL;
    d->maptrack_size = 0;
}

uint64_t xp_maptrack_audit(struct xp_domain *d)
{
    uint64_t broken = 0, handles = 0, counted = 0;
    for (uint32_t i = 0; i < d->maptrack_size; i++) {
        const struct xp_mapping *m = xp_maptrack_of(d, i);
        const struct xp_mapped_frame *frame = frame_at(d, i);
        handles += m != NULL;
        counted += frame->readers + frame->writers;
        if (frame->readers + frame->writers > 0)
            broken += *find(d, frame->mfn) != i;
        if (m != NULL) {
            const struct xp_frame *record = xp_frame_of(&d->hv->frames, xp_maptrack_mfn(d, m));
            broken += record == NULL || record->owner != m->granter->domid || record->ref_count == 0;
        }
    }
    return broken + (handles != d->nr_maptrack) + (counted != handles);
}
