/*
 * grant_op.c: HYPERVISOR_grant_table_op. Batches are worked off a bounded number at a time (XP_CALL_AGAIN); each
 * argument is copied once, decided on, reported, then performed. See grant.h.
 *
 * Tour R:040
 */
#include "grant.h"

#include "abi.h"
#include "guestmem.h"

#include <string.h>

/* Arguments done a step, so that each step stays far below 200 us. */
#define MAP_STEP 64u
#define COPY_STEP 16u

#define CMD_MASK 0xfffu          /* above: Xen's own continuation of cache_flush, no business of a guest's */

static bool may_control(const struct xp_domain *caller, const struct xp_domain *target)
{
    return caller == target || caller->domid == 0;
}

/* ---- copy ---- */

/* One side of a copy: a pinned grant, or a frame of the caller's own. */
struct copy_side {
    struct xp_domain *domain;
    bool by_ref, readonly, pinned;
    uint32_t ref;
    xp_mfn_t mfn;
};

static int16_t find_side(struct xp_domain *d, const struct xen_gnttab_copy_ptr *ptr, bool by_ref, bool readonly,
                         struct copy_side *side)
{
    if (ptr->domid != DOMID_SELF && !by_ref)
        return GNTST_permission_denied;
    *side = (struct copy_side){
        .domain = xp_domain_by_arg(d, ptr->domid), .by_ref = by_ref, .readonly = readonly, .ref = ptr->u.ref,
        .mfn = xp_mfn(by_ref ? 0 : ptr->u.gmfn)};
    return side->domain == NULL ? GNTST_bad_domain : GNTST_okay;
}

static int16_t claim_side(struct xp_domain *d, struct copy_side *side)
{
    if (side->by_ref) {
        int16_t status = xp_grant_pin(side->domain, side->ref, d->domid, side->readonly, false, &side->mfn);
        side->pinned = status == GNTST_okay;
        return status;
    }
    const struct xp_frame *frame = xp_frame_of(&d->hv->frames, side->mfn);
    if (frame == NULL || !xp_frame_owned(&d->hv->frames, side->mfn, d->domid) || (frame->flags & XP_FF_HV) != 0)
        return GNTST_bad_page;
    return side->readonly || xp_grant_may_write(frame) ? GNTST_okay : GNTST_general_error;
}

static void release_side(struct copy_side *side)
{
    if (side->pinned)
        xp_grant_unpin(side->domain, side->ref, side->mfn, side->readonly);
}

/* Everything that can refuse; what was pinned on the way stays so, for release_side. */
static int16_t decode_copy(struct xp_domain *d, const struct xen_gnttab_copy *op, struct copy_side *from,
                           struct copy_side *to)
{
    int16_t status = find_side(d, &op->source, (op->flags & GNTCOPY_source_gref) != 0, true, from);
    if (status == GNTST_okay)
        status = find_side(d, &op->dest, (op->flags & GNTCOPY_dest_gref) != 0, false, to);
    if (status == GNTST_okay)
        status = claim_side(d, from);
    if (status == GNTST_okay)
        status = claim_side(d, to);
    if (status == GNTST_okay && ((uint32_t)op->source.offset + op->len > XP_PAGE_SIZE ||
                                 (uint32_t)op->dest.offset + op->len > XP_PAGE_SIZE))
        status = GNTST_bad_copy_arg;
    return status;
}

static int copy_one(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_copy op;
    struct copy_side from = {0}, to = {0};
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    int16_t status = decode_copy(d, &op, &from, &to);
    ret = xp_grant_put_status(d, va, offsetof(struct xen_gnttab_copy, status), status);
    if (ret == 0 && status == GNTST_okay) {
        uint8_t *dst = xp_frame_ptr(&d->hv->frames, to.mfn);
        const uint8_t *src = xp_frame_ptr(&d->hv->frames, from.mfn);
        memmove(dst + op.dest.offset, src + op.source.offset, op.len);
    }
    release_side(&to);
    release_side(&from);
    return ret;
}

/* ---- the table itself ---- */

/* The frames' numbers, to the caller. */
static int put_frames(struct xp_domain *d, const struct xp_domain *target, const struct xen_gnttab_setup_table *op)
{
    for (uint32_t i = 0; i < op->nr_frames; i++) {
        uint64_t mfn = target->grant_frames[i].v;
        if (xp_copy_to_guest(d, op->frame_list + i * sizeof mfn, &mfn, sizeof mfn) != 0)
            return -XEN_EFAULT;
    }
    return 0;
}

/* Shows the table's frames to its domain. What was shown stays in the table; the rest of a growth is undone. */
static int show_frames(struct xp_domain *target, uint32_t nr_frames, uint32_t old)
{
    for (uint32_t i = 0; i < nr_frames; i++) {
        int ret = xp_window_give(&target->window, target->grant_frames[i], 1, false);
        if (ret != 0) {
            xp_grant_shrink(target, i > old ? i : old);
            return ret;
        }
    }
    return 0;
}

static int64_t setup_table(struct xp_domain *d, uint64_t va, uint32_t count)
{
    const size_t at = offsetof(struct xen_gnttab_setup_table, status);
    struct xen_gnttab_setup_table op;
    if (count != 1)
        return -XEN_EINVAL;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    struct xp_domain *target = xp_domain_by_arg(d, op.dom);
    if (target == NULL)
        return xp_grant_put_status(d, va, at, GNTST_bad_domain);
    if (!may_control(d, target))
        return xp_grant_put_status(d, va, at, GNTST_permission_denied);
    uint32_t old = target->nr_grant_frames;
    if (op.nr_frames > target->limits.max_grant_frames || xp_grant_grow(target, op.nr_frames) != 0)
        return xp_grant_put_status(d, va, at, GNTST_general_error);
    int16_t status = put_frames(d, target, &op) == 0 ? GNTST_okay : GNTST_bad_virt_addr;
    ret = xp_grant_put_status(d, va, at, status);
    if (ret != 0 || status != GNTST_okay) {
        xp_grant_shrink(target, old);
        return ret;
    }
    return show_frames(target, op.nr_frames, old) == 0 ? 0 : xp_grant_put_status(d, va, at, GNTST_general_error);
}

static int64_t query_size(struct xp_domain *d, uint64_t va, uint32_t count)
{
    struct xen_gnttab_query_size op;
    if (count != 1)
        return -XEN_EINVAL;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    const struct xp_domain *target = xp_domain_by_arg(d, op.dom);
    if (target == NULL) {
        op.status = GNTST_bad_domain;
    } else if (!may_control(d, target)) {
        op.status = GNTST_permission_denied;
    } else {
        op.nr_frames = xp_grant_nr_frames(target);
        op.max_nr_frames = target->limits.max_grant_frames;
        op.status = GNTST_okay;
    }
    return xp_copy_to_guest(d, va, &op, sizeof op);
}

static int64_t set_version(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_set_version op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    int64_t result = op.version == 1 ? 0 : op.version == 2 ? -XEN_ENOSYS : -XEN_EINVAL;
    op.version = 1;
    ret = xp_copy_to_guest(d, va, &op, sizeof op);
    return ret != 0 ? ret : result;
}

static int64_t get_version(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_get_version op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    const struct xp_domain *target = xp_domain_by_arg(d, op.dom);
    if (target == NULL)
        return -XEN_ESRCH;
    if (!may_control(d, target))
        return -XEN_EPERM;
    op.version = 1;
    return xp_copy_to_guest(d, va, &op, sizeof op);
}

/* ---- the call ---- */

/* The elements of an array from call->progress on, a step's worth. */
static int64_t each(struct xp_domain *d, struct xp_call *call, uint64_t size, uint32_t step,
                    int one(struct xp_domain *d, uint64_t va))
{
    uint32_t count = (uint32_t)call->args[2];
    for (uint32_t done = 0; call->progress < count; done++) {
        if (done == step)
            return XP_CALL_AGAIN;
        int ret = one(d, call->args[1] + call->progress * size);
        if (ret != 0)
            return ret;
        call->progress++;
    }
    return 0;
}

/* ... and what was taken out of page tables is in no TLB when the step is over. */
static int64_t unmap_each(struct xp_domain *d, struct xp_call *call, uint64_t size, int one(struct xp_domain *d, uint64_t va))
{
    int64_t ret = each(d, call, size, MAP_STEP, one);
    if (d->mm.unmapped)
        xp_mm_flush(d, XP_FLUSH_grant);
    return ret;
}

int64_t xp_do_grant_table_op(struct xp_domain *d, struct xp_call *call)
{
    uint32_t cmd = (uint32_t)call->args[0], count = (uint32_t)call->args[2];
    uint64_t va = call->args[1];
    if (count > INT32_MAX || (cmd & ~CMD_MASK) != 0)
        return -XEN_EINVAL;
    switch (cmd) {
    case GNTTABOP_map_grant_ref:
        return each(d, call, sizeof(struct xen_gnttab_map_grant_ref), MAP_STEP, xp_grant_map);
    case GNTTABOP_unmap_grant_ref:
        return unmap_each(d, call, sizeof(struct xen_gnttab_unmap_grant_ref), xp_grant_unmap);
    case GNTTABOP_unmap_and_replace:
        return unmap_each(d, call, sizeof(struct xen_gnttab_unmap_and_replace), xp_grant_unmap_and_replace);
    case GNTTABOP_copy:
        return each(d, call, sizeof(struct xen_gnttab_copy), COPY_STEP, copy_one);
    case GNTTABOP_transfer:
        return each(d, call, sizeof(struct xen_gnttab_transfer), MAP_STEP, xp_grant_transfer);
    case GNTTABOP_setup_table: return setup_table(d, va, count);
    case GNTTABOP_query_size: return query_size(d, va, count);
    case GNTTABOP_set_version: return set_version(d, va);
    case GNTTABOP_get_version: return get_version(d, va);
    default: return -XEN_ENOSYS;
    }
}
