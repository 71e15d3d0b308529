/*
 * grant.c: the granting side: a domain's table, the uses of its entries, the end. See grant.h.
 */
#include "grant.h"

#include "abi.h"
#include "maptrack.h"

#include <stdlib.h>

#define CHUNK 32u                /* entries whose uses are kept in one piece */
#define CHUNKS_PER_FRAME (XP_GRANTS_PER_FRAME / CHUNK)
#define DESTROY_STEP 512u        /* handles let go of a step: about 50 us */

/* ---- the table ---- */

uint32_t xp_grant_nr_frames(const struct xp_domain *d)
{
    return d->nr_grant_frames > 0 ? d->nr_grant_frames : 1;
}

static int grow_arrays(struct xp_domain *d, uint32_t nr_frames)
{
    xp_mfn_t *frames = realloc(d->grant_frames, nr_frames * sizeof *frames);
    if (frames == NULL)
        return -XEN_ENOMEM;
    d->grant_frames = frames;
    struct xp_grant_pins **pins = realloc(d->grant_pins, nr_frames * CHUNKS_PER_FRAME * sizeof *pins);
    if (pins == NULL)
        return -XEN_ENOMEM;
    d->grant_pins = pins;
    for (uint32_t i = d->nr_grant_frames * CHUNKS_PER_FRAME; i < nr_frames * CHUNKS_PER_FRAME; i++)
        pins[i] = NULL;
    return 0;
}

int xp_grant_grow(struct xp_domain *d, uint32_t nr_frames)
{
    if (nr_frames <= d->nr_grant_frames)
        return 0;
    if (grow_arrays(d, nr_frames) != 0 ||
        xp_frames_alloc(&d->hv->frames, d->domid, nr_frames - d->nr_grant_frames, XP_FF_HV,
                        d->grant_frames + d->nr_grant_frames) != 0)
        return -XEN_ENOMEM;
    d->nr_grant_frames = nr_frames;
    return 0;
}

void xp_grant_shrink(struct xp_domain *d, uint32_t nr_frames)
{
    while (d->nr_grant_frames > nr_frames) {
        uint32_t last = --d->nr_grant_frames;
        for (uint32_t i = 0; i < CHUNKS_PER_FRAME; i++)
            free(d->grant_pins[last * CHUNKS_PER_FRAME + i]);
        XP_BUG_ON(xp_frame_release(&d->hv->frames, d->grant_frames[last], d->domid) != 0);
    }
}

/* ref lies in the table. */
static struct xen_grant_entry_v1 *entry_of(struct xp_domain *d, xp_gref_t ref)
{
    struct xen_grant_entry_v1 *frame = xp_frame_ptr(&d->hv->frames, d->grant_frames[ref / XP_GRANTS_PER_FRAME]);
    return &frame[ref % XP_GRANTS_PER_FRAME];
}

/* ---- uses ---- */

static struct xp_grant_pins *pins_of(const struct xp_domain *d, xp_gref_t ref)
{
    struct xp_grant_pins *chunk = d->grant_pins[ref / CHUNK];
    return chunk == NULL ? NULL : &chunk[ref % CHUNK];
}

struct xp_grant_pins xp_grant_pins_of(const struct xp_domain *granter, xp_gref_t ref)
{
    const struct xp_grant_pins *pins =
        ref / XP_GRANTS_PER_FRAME < granter->nr_grant_frames ? pins_of(granter, ref) : NULL;
    return pins == NULL ? (struct xp_grant_pins){0} : *pins;
}

static struct xp_grant_pins *make_pins(struct xp_domain *d, xp_gref_t ref)
{
    struct xp_grant_pins **chunk = &d->grant_pins[ref / CHUNK];
    if (*chunk == NULL)
        *chunk = calloc(CHUNK, sizeof **chunk);
    return *chunk == NULL ? NULL : &(*chunk)[ref % CHUNK];
}

bool xp_grant_may_write(const struct xp_frame *frame)
{
    return frame->type == XP_FT_WRITABLE || frame->type_count == 0;
}

/* A reference, and for a writer the type, of a frame of the granter's own. */
static int16_t get_frame(struct xp_domain *granter, xp_mfn_t mfn, bool readonly)
{
    struct xp_frames *f = &granter->hv->frames;
    struct xp_frame *frame = xp_frame_of(f, mfn);
    if (frame == NULL || !xp_frame_owned(f, mfn, granter->domid) || (frame->flags & XP_FF_HV) != 0)
        return GNTST_bad_page;
    if ((!readonly && !xp_grant_may_write(frame)) || xp_frame_get(f, mfn) != 0)
        return GNTST_general_error;
    if (!readonly) {
        frame->type = XP_FT_WRITABLE;
        frame->type_count++;
    }
    return GNTST_okay;
}

static void put_frame(struct xp_domain *granter, xp_mfn_t mfn, bool readonly)
{
    struct xp_frame *frame = xp_frame_of(&granter->hv->frames, mfn);
    if (!readonly) {
        XP_BUG_ON(frame->type != XP_FT_WRITABLE || frame->type_count == 0);
        if (--frame->type_count == 0)
            frame->type = XP_FT_NONE;
    }
    (void)xp_frame_put(&granter->hv->frames, mfn);
}

/* The use bits that the uses left do not account for. */
static uint16_t stale_bits(const struct xp_grant_pins *pins, bool readonly)
{
    uint16_t bits = 0;
    if (!readonly && pins->writers == 0)
        bits |= GTF_writing;
    if (pins->readers == 0 && pins->writers == 0)
        bits |= GTF_reading;
    return bits;
}

int16_t xp_grant_pin(struct xp_domain *granter, xp_gref_t ref, xp_domid_t user, bool readonly, bool map, xp_mfn_t *mfn)
{
    if (ref / XP_GRANTS_PER_FRAME >= xp_grant_nr_frames(granter))
        return GNTST_bad_gntref;
    /* No table yet, or no memory for the uses: as an entry that grants nothing. */
    struct xp_grant_pins *pins = granter->nr_grant_frames == 0 ? NULL : make_pins(granter, ref);
    if (pins == NULL)
        return GNTST_general_error;
    bool fresh = pins->readers == 0 && pins->writers == 0;
    if (!fresh && pins->user != user)
        return GNTST_general_error;
    struct xen_grant_entry_v1 *entry = entry_of(granter, ref);
    int16_t status = GNTST_okay;
    bool claim = fresh || (!readonly && pins->writers == 0);
    if (claim)
        status = xp_grant_entry_claim(entry, user, readonly, fresh, map);
    if (status != GNTST_okay)
        return status;
    *mfn = xp_mfn(fresh ? __atomic_load_n(&entry->frame, __ATOMIC_RELAXED) : pins->mfn);
    status = get_frame(granter, *mfn, readonly);
    if (status != GNTST_okay) {
        if (claim)
            xp_grant_entry_clear(entry, stale_bits(pins, readonly));
        return status;
    }
    pins->mfn = (uint32_t)mfn->v;
    pins->user = user;
    pins->readers += readonly;
    pins->writers += !readonly;
    return GNTST_okay;
}

void xp_grant_unpin(struct xp_domain *granter, xp_gref_t ref, xp_mfn_t mfn, bool readonly)
{
    if (granter->grant_pins != NULL) {
        struct xp_grant_pins *pins = pins_of(granter, ref);
        XP_BUG_ON(pins == NULL || pins->mfn != mfn.v || (readonly ? pins->readers : pins->writers) == 0);
        pins->readers -= readonly;
        pins->writers -= !readonly;
        uint16_t bits = stale_bits(pins, readonly);
        if (bits != 0)
            xp_grant_entry_clear(entry_of(granter, ref), bits);
    }
    put_frame(granter, mfn, readonly);
}

/* ---- transfers to it ---- */

int16_t xp_grant_accept(struct xp_domain *receiver, xp_gref_t ref, xp_domid_t giver)
{
    if (ref / XP_GRANTS_PER_FRAME >= receiver->nr_grant_frames)
        return GNTST_general_error;
    return xp_grant_entry_commit(entry_of(receiver, ref), giver);
}

void xp_grant_complete(struct xp_domain *receiver, xp_gref_t ref, xp_mfn_t mfn)
{
    xp_grant_entry_complete(entry_of(receiver, ref), mfn);
}

void xp_grant_decline(struct xp_domain *receiver, xp_gref_t ref)
{
    xp_grant_entry_clear(entry_of(receiver, ref), GTF_transfer_committed);
}

/* ---- the end ---- */

/* The mappings of a dead process: true if there are more. */
static bool release_mappings(struct xp_domain *d)
{
    for (uint32_t done = 0; d->nr_maptrack > 0; done++) {
        if (done == DESTROY_STEP)
            return true;
        uint32_t handle = d->maptrack->released++;
        const struct xp_mapping *m = xp_maptrack_of(d, handle);
        if (m == NULL)
            continue;
        struct xp_mapping copy = *m;
        xp_mfn_t mfn = xp_maptrack_mfn(d, m);
        xp_maptrack_put(d, handle);
        xp_grant_unpin(copy.granter, copy.ref, mfn, (copy.flags & GNTMAP_readonly) != 0);
    }
    return false;
}

int xp_grant_destroy(struct xp_domain *d)
{
    if (d->nr_maptrack > 0 && !xp_window_dead(&d->window))
        return -XEN_EBUSY;
    if (release_mappings(d))
        return 1;
    xp_maptrack_free(d);
    xp_grant_shrink(d, 0);
    free(d->grant_frames);
    free(d->grant_pins);
    d->grant_frames = NULL;
    d->grant_pins = NULL;
    return 0;
}

/* ---- looking at it ---- */

bool xp_grant_next(const struct xp_domain *mapper, uint32_t *handle, struct xp_grant_use *use)
{
    for (; *handle < mapper->maptrack_size; (*handle)++) {
        const struct xp_mapping *m = xp_maptrack_of(mapper, *handle);
        if (m == NULL)
            continue;
        *use = (struct xp_grant_use){
            .handle = (*handle)++, .ref = m->ref, .flags = m->flags, .granter = m->granter->domid,
            .mapper = mapper->domid, .granter_dying = m->granter->state == XP_DS_DYING,
            .mfn = xp_maptrack_mfn(mapper, m).v};
        return true;
    }
    return false;
}

uint64_t xp_grant_audit(struct xp_domain *d)
{
    uint64_t broken = xp_maptrack_audit(d);
    for (xp_gref_t ref = 0; ref < d->nr_grant_frames * XP_GRANTS_PER_FRAME; ref++) {
        const struct xp_grant_pins *pins = pins_of(d, ref);
        if (pins == NULL || pins->readers + pins->writers == 0)
            continue;
        const struct xp_frame *frame = xp_frame_of(&d->hv->frames, xp_mfn(pins->mfn));
        broken += frame == NULL || frame->owner != d->domid || frame->ref_count < pins->readers + pins->writers ||
                  frame->type_count < pins->writers || d->hv->domains[pins->user] == NULL;
    }
    return broken;
}
