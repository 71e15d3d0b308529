/*
 * grant_op.c: HYPERVISOR_grant_table_op. Batches are worked off a bounded number at a time (XP_CALL_AGAIN); each
 * argument is copied once, decided on, reported, then performed. See grant.h.
 *
 * Tour R:040
 */
#include "grant.h"

#include "abi.h"
#include "guestmem.h"
#include "maptrack.h"

#include <string.h>

/* Arguments done a step, so that each step stays far below 200 us. */
#define MAP_STEP 64u
#define COPY_STEP 16u

#define CMD_MASK 0xfffu          /* above: Xen's own continuation of cache_flush, no business of a guest's */

static bool may_control(const struct xp_domain *caller, const struct xp_domain *target)
{
    return caller == target || caller->domid == 0;
}

/* Reports an argument's status alone. */
static int put_status(struct xp_domain *d, uint64_t va, size_t offset, int16_t status)
{
    return xp_copy_to_guest(d, va + offset, &status, sizeof status);
}

/* ---- map_grant_ref ---- */

static int16_t decode_map(struct xp_domain *d, const struct xen_gnttab_map_grant_ref *op, struct xp_domain **granter)
{
    if ((op->flags & (GNTMAP_device_map | GNTMAP_host_map)) == 0)
        return GNTST_bad_gntref;
    if ((op->flags & (GNTMAP_application_map | GNTMAP_contains_pte)) != 0)
        return GNTST_general_error;
    *granter = xp_hv_domain(d->hv, op->dom);
    if (*granter == NULL)
        return GNTST_bad_domain;
    return xp_maptrack_reserve(d) == 0 ? GNTST_okay : GNTST_no_device_space;
}

/* Counted and tracked, but not shown to the process yet: unmap_quietly undoes it. */
static int16_t track(struct xp_domain *d, const struct xen_gnttab_map_grant_ref *op, uint32_t *handle, xp_mfn_t *mfn)
{
    const uint32_t kept = GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly;
    struct xp_domain *granter;
    int16_t status = decode_map(d, op, &granter);
    if (status == GNTST_okay)
        status = xp_grant_pin(granter, op->ref, d->domid, (op->flags & GNTMAP_readonly) != 0, true, mfn);
    if (status == GNTST_okay)
        *handle = xp_maptrack_take(d, granter, op->ref, *mfn, op->flags & kept);
    return status;
}

static void untrack(struct xp_domain *d, uint32_t handle)
{
    struct xp_mapping m = *xp_maptrack_of(d, handle);
    xp_mfn_t mfn = xp_maptrack_mfn(d, &m);
    xp_maptrack_put(d, handle);
    xp_grant_unpin(m.granter, m.ref, mfn, (m.flags & GNTMAP_readonly) != 0);
}

static int map_one(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_map_grant_ref op, answer;
    uint32_t handle = XP_NO_HANDLE;
    xp_mfn_t mfn = xp_mfn(0);
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    answer = op;
    answer.status = track(d, &op, &handle, &mfn);
    if (answer.status == GNTST_okay) {
        answer.handle = handle;
        answer.dev_bus_addr = mfn.v << XP_PAGE_SHIFT;
    }
    ret = xp_copy_to_guest(d, va, &answer, sizeof answer);
    if (answer.status != GNTST_okay)
        return ret;
    /* A page that was given cannot be taken back without the process: so this comes last. */
    if (ret == 0 && xp_maptrack_show(d, handle) == 0)
        return 0;
    untrack(d, handle);
    op.status = GNTST_general_error;
    return ret != 0 ? ret : xp_copy_to_guest(d, va, &op, sizeof op);
}

/* ---- unmap_grant_ref ---- */

static int16_t decode_unmap(struct xp_domain *d, const struct xen_gnttab_unmap_grant_ref *op)
{
    const struct xp_mapping *m = xp_maptrack_of(d, op->handle);
    if (m == NULL)
        return GNTST_bad_handle;
    if (op->dev_bus_addr != 0 && op->dev_bus_addr != xp_maptrack_mfn(d, m).v << XP_PAGE_SHIFT)
        return GNTST_general_error;
    int ret = xp_maptrack_gone(d, op->handle);
    return ret == 0 ? GNTST_okay : ret == -XEN_EAGAIN ? GNTST_eagain : GNTST_general_error;
}

static int unmap_one(struct xp_domain *d, uint64_t va)
{
    const size_t at = offsetof(struct xen_gnttab_unmap_grant_ref, status);
    struct xen_gnttab_unmap_grant_ref op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    int16_t status = decode_unmap(d, &op);
    ret = put_status(d, va, at, status);
    if (ret != 0 || status != GNTST_okay)
        return ret;
    if (xp_maptrack_lower(d, op.handle) != 0)
        return put_status(d, va, at, GNTST_general_error);
    untrack(d, op.handle);
    return 0;
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
    ret = put_status(d, va, offsetof(struct xen_gnttab_copy, status), status);
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
        return put_status(d, va, at, GNTST_bad_domain);
    if (!may_control(d, target))
        return put_status(d, va, at, GNTST_permission_denied);
    uint32_t old = target->nr_grant_frames;
    if (op.nr_frames > target->limits.max_grant_frames || xp_grant_grow(target, op.nr_frames) != 0)
        return put_status(d, va, at, GNTST_general_error);
    int16_t status = put_frames(d, target, &op) == 0 ? GNTST_okay : GNTST_bad_virt_addr;
    ret = put_status(d, va, at, status);
    if (ret != 0 || status != GNTST_okay) {
        xp_grant_shrink(target, old);
        return ret;
    }
    return show_frames(target, op.nr_frames, old) == 0 ? 0 : put_status(d, va, at, GNTST_general_error);
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

int64_t xp_do_grant_table_op(struct xp_domain *d, struct xp_call *call)
{
    uint32_t cmd = (uint32_t)call->args[0], count = (uint32_t)call->args[2];
    uint64_t va = call->args[1];
    if (count > INT32_MAX || (cmd & ~CMD_MASK) != 0)
        return -XEN_EINVAL;
    switch (cmd) {
    case GNTTABOP_map_grant_ref:
        return each(d, call, sizeof(struct xen_gnttab_map_grant_ref), MAP_STEP, map_one);
    case GNTTABOP_unmap_grant_ref:
        return each(d, call, sizeof(struct xen_gnttab_unmap_grant_ref), MAP_STEP, unmap_one);
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
