/*
 * grant_map.c: map_grant_ref, unmap_grant_ref and unmap_and_replace: one argument each. See grant.h.
 *
 * All that can refuse comes first, then the answer, then what the answer says: the window (a page that was given cannot be
 * taken back without the process, so whatever may fail comes before it), the entry, the end of the handle.
 *
 * Tour R:140
 */
#include "grant.h"

#include "abi.h"
#include "grant_host.h"
#include "guestmem.h"
#include "hypercall.h"
#include "maptrack.h"
#include "shadow.h"

#define PARTS (uint32_t)(GNTMAP_device_map | GNTMAP_host_map)

int xp_grant_put_status(struct xp_domain *d, uint64_t va, size_t offset, int16_t status)
{
    return xp_copy_to_guest(d, va + offset, &status, sizeof status);
}

/* Nothing on the domain's tables is under way: entries can be found and written. False: come again. */
static bool tables_at_rest(struct xp_domain *d)
{
    return xp_mm_enter(d, &(const struct xp_call){0});
}

/* ---- map_grant_ref ---- */

/* An entry in page tables, or the linear window alone? */
static bool wants_entry(const struct xen_gnttab_map_grant_ref *op)
{
    return (op->flags & GNTMAP_host_map) != 0 && (op->host_addr != 0 || (op->flags & GNTMAP_contains_pte) != 0);
}

static int16_t decode_map(struct xp_domain *d, const struct xen_gnttab_map_grant_ref *op, struct xp_domain **granter)
{
    if ((op->flags & PARTS) == 0)
        return GNTST_bad_gntref;
    if (!wants_entry(op) && (op->flags & (GNTMAP_application_map | GNTMAP_contains_pte)) != 0)
        return GNTST_general_error;
    *granter = xp_hv_domain(d->hv, op->dom);
    if (*granter == NULL)
        return GNTST_bad_domain;
    return xp_maptrack_reserve(d) == 0 ? GNTST_okay : GNTST_no_device_space;
}

/* Counted and tracked, but not shown to the process yet: untrack undoes it. */
static int16_t track(struct xp_domain *d, const struct xen_gnttab_map_grant_ref *op, uint32_t *handle, xp_mfn_t *mfn)
{
    const uint32_t kept = PARTS | GNTMAP_readonly | GNTMAP_application_map | GNTMAP_contains_pte;
    struct xp_domain *granter;
    int16_t status = decode_map(d, op, &granter);
    if (status == GNTST_okay)
        status = xp_grant_pin(granter, op->ref, d->domid, (op->flags & GNTMAP_readonly) != 0, true, mfn);
    if (status == GNTST_okay)
        *handle = xp_maptrack_take(d, granter, op->ref, *mfn, op->flags & kept, wants_entry(op));
    return status;
}

static void untrack(struct xp_domain *d, uint32_t handle)
{
    struct xp_mapping m = *xp_maptrack_of(d, handle);
    xp_mfn_t mfn = xp_maptrack_mfn(d, &m);
    xp_maptrack_put(d, handle);
    xp_shadow_forget(d, mfn);    /* what other handles map comes back when it is used */
    xp_grant_unpin(m.granter, m.ref, mfn, (m.flags & GNTMAP_readonly) != 0);
}

/* An entry that is about to be written: where, and what; it holds its references. present: there is one. */
struct new_entry {
    struct xp_grant_slot slot;
    uint64_t value;
    bool present;
};

static int16_t hold_entry(struct xp_domain *d, const struct xen_gnttab_map_grant_ref *op, xp_mfn_t mfn, struct new_entry *new)
{
    *new = (struct new_entry){.present = wants_entry(op)};
    if (!new->present)
        return GNTST_okay;
    int16_t status = xp_grant_slot_find(d, op->host_addr, (op->flags & GNTMAP_contains_pte) != 0, &new->slot);
    if (status != GNTST_okay)
        return status;
    new->value = xp_grant_pte(d, mfn, op->flags);
    return xp_grant_slot_hold(d, new->value);
}

/* Everything that can refuse: then the handle, its frame and its entry hold what they need. */
static int16_t prepare(struct xp_domain *d, const struct xen_gnttab_map_grant_ref *op, uint32_t *handle, xp_mfn_t *mfn,
                       struct new_entry *new)
{
    int16_t status = track(d, op, handle, mfn);
    if (status != GNTST_okay)
        return status;
    status = hold_entry(d, op, *mfn, new);
    if (status != GNTST_okay)
        untrack(d, *handle);
    return status;
}

int xp_grant_map(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_map_grant_ref op, answer;
    struct new_entry new;
    uint32_t handle = XP_NO_HANDLE;
    xp_mfn_t mfn = xp_mfn(0);
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    if (wants_entry(&op) && !tables_at_rest(d))
        return XP_CALL_AGAIN;
    answer = op;
    answer.status = prepare(d, &op, &handle, &mfn, &new);
    if (answer.status == GNTST_okay) {
        answer.handle = handle;
        answer.dev_bus_addr = mfn.v << XP_PAGE_SHIFT;
    }
    ret = xp_copy_to_guest(d, va, &answer, sizeof answer);
    if (answer.status != GNTST_okay)
        return ret;
    if (ret == 0 && xp_maptrack_show(d, handle) == 0) {
        if (new.present)
            xp_grant_slot_write(d, new.slot, new.value);
        return 0;
    }
    if (new.present)
        xp_grant_slot_unhold(d, new.value);
    untrack(d, handle);
    op.status = GNTST_general_error;
    return ret != 0 ? ret : xp_copy_to_guest(d, va, &op, sizeof op);
}

/* ---- unmap_grant_ref, unmap_and_replace ---- */

/* What is asked for, and what it comes to. */
struct unmapping {
    uint32_t handle;
    uint64_t host_addr, dev_bus_addr, new_addr;
    bool replace;
    uint32_t parts;              /* that end: GNTMAP_host_map, GNTMAP_device_map */
    bool last;                   /* then nothing is left of the mapping */
    bool has_slot;               /* its entry goes, */
    bool has_source;             /* and another comes in its place */
    struct xp_grant_slot slot, source;
};

static int16_t decode_entry(struct xp_domain *d, const struct xp_mapping *m, struct unmapping *u)
{
    bool is_pte = (m->flags & GNTMAP_contains_pte) != 0;
    u->has_slot = true;
    int16_t status = xp_grant_slot_find(d, u->host_addr, is_pte, &u->slot);
    if (status != GNTST_okay ||
        !xp_grant_slot_maps(d, u->slot, xp_maptrack_mfn(d, m), (m->flags & GNTMAP_readonly) != 0))
        return GNTST_general_error;
    if (u->new_addr == 0)
        return GNTST_okay;
    u->has_source = true;
    if (is_pte || xp_grant_slot_find(d, u->new_addr, false, &u->source) != GNTST_okay)
        return GNTST_general_error;
    return u->source.table.v == u->slot.table.v && u->source.index == u->slot.index ? GNTST_general_error : GNTST_okay;
}

/* As Xen: of a mapping with an entry each address that is not 0 ends its part. */
static int16_t decode_unmap(struct xp_domain *d, struct unmapping *u)
{
    const struct xp_mapping *m = xp_maptrack_of(d, u->handle);
    if (m == NULL)
        return GNTST_bad_handle;
    if ((u->dev_bus_addr != 0 && u->dev_bus_addr != xp_maptrack_mfn(d, m).v << XP_PAGE_SHIFT) || (u->replace && !m->in_tables))
        return GNTST_general_error;
    u->parts = m->flags & PARTS;
    if (m->in_tables)
        u->parts &= (u->host_addr != 0 ? (uint32_t)GNTMAP_host_map : 0) | (u->dev_bus_addr != 0 ? (uint32_t)GNTMAP_device_map : 0);
    if (m->in_tables && (u->parts & GNTMAP_host_map) != 0) {
        int16_t status = decode_entry(d, m, u);
        if (status != GNTST_okay)
            return status;
    }
    u->last = u->parts == (m->flags & PARTS);
    int ret = u->last ? xp_maptrack_gone(d, u->handle) : 0;
    return ret == 0 ? GNTST_okay : ret == -XEN_EAGAIN ? GNTST_eagain : GNTST_general_error;
}

static void perform_unmap(struct xp_domain *d, const struct unmapping *u)
{
    d->mm.unmapped |= u->has_slot;
    if (u->has_source)
        xp_grant_slot_move(d, u->source, u->slot);
    else if (u->has_slot)
        xp_grant_slot_write(d, u->slot, 0);
    if (u->last)
        untrack(d, u->handle);
    else
        xp_maptrack_ended(d, u->handle, u->parts);
}

static int unmap(struct xp_domain *d, struct unmapping *u, uint64_t status_at)
{
    const struct xp_mapping *m = xp_maptrack_of(d, u->handle);
    if (m != NULL && m->in_tables && !tables_at_rest(d))
        return XP_CALL_AGAIN;
    int16_t status = decode_unmap(d, u);
    int ret = xp_grant_put_status(d, status_at, 0, status);
    if (ret != 0 || status != GNTST_okay)
        return ret;
    if (u->last && xp_maptrack_lower(d, u->handle) != 0)
        return xp_grant_put_status(d, status_at, 0, GNTST_general_error);
    perform_unmap(d, u);
    return 0;
}

int xp_grant_unmap(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_unmap_grant_ref op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    struct unmapping u = {.handle = op.handle, .host_addr = op.host_addr, .dev_bus_addr = op.dev_bus_addr};
    return unmap(d, &u, va + offsetof(struct xen_gnttab_unmap_grant_ref, status));
}

int xp_grant_unmap_and_replace(struct xp_domain *d, uint64_t va)
{
    struct xen_gnttab_unmap_and_replace op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    struct unmapping u = {.handle = op.handle, .host_addr = op.host_addr, .new_addr = op.new_addr, .replace = true};
    return unmap(d, &u, va + offsetof(struct xen_gnttab_unmap_and_replace, status));
}
