/*
 * shadow_walk.c: a walk of shadows that failed: what do the guest's own tables say? See shadow.h.
 *
 * First the guest's tables are only looked at, as a processor's walk would: what that ends with, if it is a fault, is the guest's,
 * and nothing has changed. Else its shadows are made and its entries come into them, from the top down. Each table is protected
 * (it has a shadow) before what it says is used, so an entry is read again then; one that is another by now: look again.
 *
 * Tour M:240
 */
#include "shadow.h"

#include "hypercall.h"
#include "walk.h"

#define AD (XP_PTE_ACCESSED | XP_PTE_DIRTY)

struct way { uint64_t entry[XP_PAGING_LEVELS + 1]; };    /* by level */

static int64_t fault(uint32_t code, uint32_t level) { return code | level << 8; }

/* Can this frame be a table? */
static bool is_page(struct xp_domain *d, uint64_t mfn)
{
    return xp_frame_owned(&d->hv->frames, xp_mfn(mfn), d->domid) && (d->hv->frames.table[mfn].flags & XP_FF_HV) == 0;
}

static uint64_t guest_entry(struct xp_domain *d, uint64_t table, uint32_t level, uint64_t va)
{
    return xp_pt_read(d->mm.mode, xp_frame_ptr(&d->hv->frames, xp_mfn(table)), xp_pt_index(d->mm.mode, level, va));
}

/* An entry that no processor can use, or that names what is not this domain's. */
static bool unsound(struct xp_domain *d, uint32_t level, uint64_t entry)
{
    if ((entry & xp_pte_reserved(d->mm.mode->levels, level)) != 0)
        return true;
    return level > 1 ? !is_page(d, xp_pte_mfn(d->mm.mode, entry)) : xp_shadow_leaf(d, entry | XP_PTE_ACCESSED) == 0;
}

/* Descriptors and shadows are read-only, whatever an entry says. */
static bool nobody_writes(struct xp_domain *d, uint64_t mfn)
{
    const struct xp_frame *frame = &d->hv->frames.table[mfn];
    return !xp_type_writable(frame) && frame->type != XP_FT_SHADOWED;
}

/* 0: the access is allowed; or the fault. */
static int64_t look(struct xp_domain *d, uint64_t va, uint32_t access, struct way *w)
{
    const struct xp_paging_mode *m = d->mm.mode;
    uint32_t denied = 0;
    uint64_t mfn = d->shadow->page[d->shadow->base].table;
    for (uint32_t level = m->levels; level > 0; level--) {
        uint64_t entry = w->entry[level] = guest_entry(d, mfn, level, va);
        if ((entry & XP_PTE_PRESENT) == 0)
            return fault(access, level);
        if (unsound(d, level, entry))
            return fault(access | XP_PF_P | XP_PF_R, level);
        if (!xp_is_pdpte(m, level))
            denied |= xp_pte_denies(entry);
        mfn = xp_pte_mfn(m, entry);
    }
    if ((access & XP_PF_W) != 0 && nobody_writes(d, mfn))
        denied |= XP_PF_W;
    return (denied & access) != 0 ? fault(access | XP_PF_P, 1) : 0;
}

/* Sets bits in the guest's entry if it is what was seen. False: it is not. */
static bool confirm(struct xp_domain *d, uint32_t page, uint32_t level, uint64_t va, uint64_t seen, uint64_t bits)
{
    const uint64_t table = d->shadow->page[page].table, entry = guest_entry(d, table, level, va);
    if (((entry ^ seen) & ~(uint64_t)AD) != 0)
        return false;
    if ((entry & bits) != bits)
        xp_pt_write(d->mm.mode, xp_frame_ptr(&d->hv->frames, xp_mfn(table)), xp_pt_index(d->mm.mode, level, va), entry | bits);
    return true;
}

static void came_through(struct xp_shadow *s, uint32_t page)
{
    s->page[page].used = s->now;
    s->page[page].writes = 0;
}

/* The shadow below, linked. Or the fault; or -1: look again. */
static int64_t descend(struct xp_domain *d, uint32_t page, uint32_t level, uint64_t va, uint32_t access, uint64_t seen)
{
    struct xp_shadow *s = d->shadow;
    const uint32_t index = xp_pt_index(d->mm.mode, level, va);
    int below = xp_shadow_get(d, xp_pte_mfn(d->mm.mode, seen), xp_shadow_below(d, s->page[page].kind, index));
    if (below < 0)
        return fault(access | XP_PF_P | XP_PF_R, level);
    came_through(s, (uint32_t)below);
    if (!confirm(d, page, level, va, seen, xp_is_pdpte(d->mm.mode, level) ? 0 : XP_PTE_ACCESSED)) {
        xp_shadow_unused(d, (uint32_t)below);
        return -1;
    }
    xp_shadow_link(d, page, index, (uint32_t)below, seen);
    return below;
}

static int64_t fill(struct xp_domain *d, uint64_t va, uint32_t access, const struct way *w)
{
    struct xp_shadow *s = d->shadow;
    uint32_t page = s->base;
    s->now++;
    came_through(s, page);
    for (uint32_t level = d->mm.mode->levels; level > 1; level--) {
        int64_t below = descend(d, page, level, va, access, w->entry[level]);
        if (below < 0)
            return 0;
        if (below >= XP_SHADOW_POOL_MAX)
            return below;
        page = (uint32_t)below;
    }
    const uint64_t bits = (access & XP_PF_W) != 0 ? AD : XP_PTE_ACCESSED;
    if (!confirm(d, page, 1, va, w->entry[1], bits))
        return 0;
    uint64_t leaf = xp_shadow_leaf(d, guest_entry(d, s->page[page].table, 1, va));
    if (!xp_shadow_set_leaf(d, page, xp_pt_index(d->mm.mode, 1, va), leaf) || leaf == 0)
        return fault(access | XP_PF_P | XP_PF_R, 1);
    s->count.fills++;
    return (access & XP_PF_W) != 0 && (leaf & XP_PTE_RW) == 0 ? XP_PT_STORE : 0;
}

_Static_assert(XP_SHADOW_POOL_MAX <= 1 << 9 && (2 << 8) >= XP_SHADOW_POOL_MAX, "a fault of level 2 and up is no number of a page");

static bool in_hole(const struct xp_domain *d, uint64_t va) { return va >= d->mm.mode->hole_start && va < d->mm.mode->hole_end; }

static bool in_reach(struct xp_domain *d, uint64_t va)
{
    const struct xp_shadow *s = d->shadow;
    return s->base != XP_SHADOW_NONE && xp_va_canonical(d->mm.mode, va) && is_page(d, s->page[s->base].table);
}

/* Top-level shadows have the hole's entries; PAE's hangs on an entry of the guest's. */
static int64_t hole(struct xp_domain *d, uint64_t va, uint32_t access)
{
    const uint32_t level = d->mm.mode->levels, page = d->shadow->base;
    const uint32_t index = xp_pt_index(d->mm.mode, level, va);
    uint64_t seen = guest_entry(d, d->shadow->page[page].table, level, va);
    if (d->mm.mode->hole_level == level || (xp_pt_read(d->mm.mode, xp_shadow_table(d, page), index) & XP_PTE_PRESENT) != 0)
        return -XEN_EFAULT;
    if ((seen & XP_PTE_PRESENT) == 0 || unsound(d, level, seen))
        return fault((seen & XP_PTE_PRESENT) == 0 ? access : access | XP_PF_P | XP_PF_R, level);
    d->shadow->now++;
    came_through(d->shadow, page);
    int64_t below = descend(d, page, level, va, access, seen);
    return below >= XP_SHADOW_POOL_MAX ? below : 0;
}

int64_t xp_shadow_fault(struct xp_domain *d, const struct xp_call *call)
{
    struct way w;
    const uint64_t va = call->args[1];
    /* Without NX a fetch is a read. */
    const uint32_t access = (uint32_t)call->args[2] & (XP_PF_W | XP_PF_U | (d->mm.mode->entry_size == 8 ? XP_PF_I : 0));
    if (!xp_mm_enter(d, call))
        return XP_CALL_AGAIN;
    if (!in_reach(d, va))
        return -XEN_EFAULT;
    d->shadow->count.faults++;
    int64_t ret = in_hole(d, va) ? hole(d, va, access) : look(d, va, access, &w);
    if (ret == 0 && !in_hole(d, va))
        ret = fill(d, va, access, &w);
    (void)xp_shadow_settle(d);
    return ret;
}

int xp_shadow_find_leaf(struct xp_domain *d, uint64_t va, xp_mfn_t *mfn, uint32_t *index)
{
    if (!in_reach(d, va) || in_hole(d, va))
        return -XEN_EINVAL;
    uint64_t at = d->shadow->page[d->shadow->base].table;
    for (uint32_t level = d->mm.mode->levels; level > 1; level--) {
        uint64_t entry = guest_entry(d, at, level, va);
        if ((entry & XP_PTE_PRESENT) == 0 || unsound(d, level, entry))
            return -XEN_EINVAL;
        at = xp_pte_mfn(d->mm.mode, entry);
    }
    *mfn = xp_mfn(at);
    *index = xp_pt_index(d->mm.mode, 1, va);
    return 0;
}
