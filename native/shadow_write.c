/*
 * shadow_write.c: what a guest in shadow mode does to its tables: stores that were trapped, requests, base pointers, pages that
 * it gives away; and the audit of what all that comes to. See shadow.h.
 *
 * Tour M:250
 */
#include "shadow.h"

#include "abi.h"
#include "hypercall.h"
#include "mm_audit.h"

#include <stdlib.h>
#include <string.h>

/* ---- stores ---- */

static void put(void *at, uint64_t value, uint64_t bytes)
{
    switch (bytes) {
    case 1: __atomic_store_n((uint8_t *)at, (uint8_t)value, __ATOMIC_RELAXED); break;
    case 2: __atomic_store_n((uint16_t *)at, (uint16_t)value, __ATOMIC_RELAXED); break;
    case 4: __atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_RELAXED); break;
    default: __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED); break;
    }
}

static void store(struct xp_domain *d, xp_mfn_t mfn, uint32_t offset, uint64_t value, uint64_t bytes)
{
    const uint32_t size = d->mm.mode->entry_size;
    d->shadow->count.stores++;
    put((uint8_t *)xp_frame_ptr(&d->hv->frames, mfn) + offset, value, bytes);
    for (uint32_t i = offset / size; i <= (offset + (uint32_t)bytes - 1) / size; i++)
        xp_shadow_follow(d, mfn, i);
}

int64_t xp_shadow_store(struct xp_domain *d, struct xp_call *call)
{
    const uint64_t bytes = call->args[3], offset = call->args[1] & (XP_PAGE_SIZE - 1);
    const xp_mfn_t mfn = xp_mfn(call->args[1] >> XP_PAGE_SHIFT);
    if (!xp_frame_owned(&d->hv->frames, mfn, d->domid))
        return -XEN_EPERM;
    if (bytes > 8 || (bytes & (bytes - 1)) != 0 || (bytes != 0 && (offset & (bytes - 1)) != 0))
        return -XEN_EINVAL;
    if (!xp_mm_enter(d, call))
        return XP_CALL_AGAIN;
    if (call->progress != 0)
        return 0;                /* done, and now all that ended with it, too */
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    if (frame->type != XP_FT_SHADOWED)
        return xp_type_writable(frame) && (frame->flags & XP_FF_HV) == 0 ? 2 : -XEN_EPERM;
    int64_t ret = 0;
    if (bytes != 0)
        store(d, mfn, (uint32_t)offset, call->args[2], bytes);
    else
        ret = xp_shadow_end(d, mfn.v) ? 1 : -XEN_EPERM;
    call->progress = ret == 0;
    bool settled = xp_shadow_settle(d);
    return ret == 0 && !settled ? XP_CALL_AGAIN : ret;
}

int xp_shadow_update(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry, bool preserve_ad)
{
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    void *table = xp_frame_ptr(&d->hv->frames, mfn);
    if (!xp_shadow_may_update(frame))
        return -XEN_EINVAL;
    if (preserve_ad)
        entry |= xp_pt_read(d->mm.mode, table, index) & (XP_PTE_ACCESSED | XP_PTE_DIRTY);
    xp_pt_write(d->mm.mode, table, index, entry);
    if (frame->type == XP_FT_SHADOWED)
        xp_shadow_follow(d, mfn, index);
    return 0;
}

/* ---- base pointers ---- */

/* For the guest's walker: which shadow stands for which table. */
static void publish(struct xp_domain *d)
{
    const struct xp_shadow *s = d->shadow;
    const uint16_t bases[2] = {s->base, s->user_base};
    for (uint32_t i = 0; d->calls != NULL && i < 2; i++) {
        bool none = bases[i] == XP_SHADOW_NONE;
        atomic_store_explicit(&d->calls->shadow[i].table, none ? 0 : s->page[bases[i]].table, memory_order_relaxed);
        atomic_store_explicit(&d->calls->shadow[i].top, none ? 0 : (uint32_t)xp_shadow_mfn(s, bases[i]), memory_order_release);
    }
}

static int new_base(struct xp_domain *d, uint16_t *base, uint64_t mfn)
{
    struct xp_shadow *s = d->shadow;
    s->now++;
    int page = mfn == 0 ? (int)XP_SHADOW_NONE : xp_shadow_get(d, mfn, xp_mm_top(&d->mm));
    if (page < 0)
        return page == -XEN_ENOMEM ? page : -XEN_EINVAL;
    if (mfn != 0)
        s->page[page].users++;
    if (*base != XP_SHADOW_NONE)
        s->page[*base].users--;
    *base = (uint16_t)page;
    publish(d);
    xp_mm_flush(d, XP_FLUSH_baseptr);
    return 0;
}

int xp_shadow_ext(struct xp_domain *d, uint32_t cmd, xp_mfn_t mfn)
{
    struct xp_shadow *s = d->shadow;
    int ret = 0;
    if (cmd == MMUEXT_NEW_USER_BASEPTR && d->mm.mode->levels != 4)
        return -XEN_EOPNOTSUPP;
    if (!xp_frame_owned(&d->hv->frames, mfn, d->domid) && (cmd != MMUEXT_NEW_USER_BASEPTR || mfn.v != 0))
        return -XEN_EINVAL;
    if (cmd == MMUEXT_NEW_BASEPTR || cmd == MMUEXT_NEW_USER_BASEPTR)
        ret = new_base(d, cmd == MMUEXT_NEW_BASEPTR ? &s->base : &s->user_base, mfn.v);
    else if (cmd == MMUEXT_UNPIN_TABLE)
        (void)xp_shadow_end(d, mfn.v);
    return ret;
}

/* ---- pages that go ---- */

void xp_shadow_let_go(struct xp_domain *d, xp_mfn_t mfn)
{
    if (mfn.v >= d->hv->frames.nr)
        return;
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    const bool own = frame->owner == d->domid;
    if (own && frame->type == XP_FT_SHADOWED)
        (void)xp_shadow_end(d, mfn.v);
    if (!own || frame->ref_count > 1)
        xp_shadow_unmap(d, mfn.v);
    xp_shadow_flush(d);
}

/* ---- audit ---- */

/* Does a shadow's entry say no more than the guest's (invariant 3)? Only where the guest cannot write behind our back. */
static bool says_more(struct xp_domain *d, const struct xp_shadow_page *p, uint32_t index, uint64_t entry, uint64_t names)
{
    const struct xp_paging_mode *m = d->mm.mode;
    uint64_t guest = xp_pt_read(m, xp_frame_ptr(&d->hv->frames, xp_mfn(p->table)), index);
    const uint32_t level = xp_type_level(p->kind);
    uint64_t must = xp_pte_must(m, level);
    if (p->kind == XP_FT_L1 && (entry & XP_PTE_RW) != 0)
        must |= XP_PTE_RW | XP_PTE_DIRTY;
    uint64_t same = xp_is_pdpte(m, level) ? 0 : XP_PTE_USER | (m->entry_size == 8 ? XP_PTE_NX : 0);
    return (guest & must) != must || xp_pte_mfn(m, guest) != names || ((entry ^ guest) & same) != 0;
}

static uint64_t audit_entry(struct xp_domain *d, uint32_t page, uint32_t index, struct xp_mm_counts *counts, uint32_t *users)
{
    const struct xp_shadow *s = d->shadow;
    const struct xp_shadow_page *p = &s->page[page];
    const uint64_t entry = xp_pt_read(d->mm.mode, xp_shadow_table(d, page), index);
    uint64_t names = xp_pte_mfn(d->mm.mode, entry), broken = 0;
    if ((entry & XP_PTE_PRESENT) == 0 || xp_shadow_is_hole(d, p->kind, index))
        return 0;
    if (p->kind == XP_FT_L1) {
        counts[names].refs++;
        counts[names].types += (entry & XP_PTE_RW) != 0;
        broken += xp_mm_is_foreign(d, names, (entry & XP_PTE_RW) != 0);
    } else {
        const uint32_t below = (uint32_t)(names - s->first);
        if (below >= s->nr || s->page[below].doomed || s->page[below].kind != xp_shadow_below(d, p->kind, index))
            return 1;
        users[below]++;
        names = s->page[below].table;
    }
    if (!p->doomed && d->window.uffd >= 0)
        broken += says_more(d, p, index, entry, names);
    return broken;
}

static uint64_t audit_page(struct xp_domain *d, uint32_t page, struct xp_mm_counts *counts, uint32_t *users)
{
    const struct xp_shadow_page *p = &d->shadow->page[page];
    uint64_t broken = 0;
    uint32_t present = 0;
    if (!p->doomed) {
        counts[p->table].refs++;
        counts[p->table].types++;
        broken += xp_shadow_find(d, p->table, p->kind) != page;
    }
    for (uint32_t i = 0; i < xp_shadow_nr(d, p->kind); i++) {
        uint64_t entry = xp_pt_read(d->mm.mode, xp_shadow_table(d, page), i);
        present += (entry & XP_PTE_PRESENT) != 0 && !xp_shadow_is_hole(d, p->kind, i);
        broken += audit_entry(d, page, i, counts, users);
    }
    return broken + (present != p->nr_present);
}

uint64_t xp_shadow_audit(struct xp_domain *d, struct xp_mm_counts *counts)
{
    const struct xp_shadow *s = d->shadow;
    uint32_t users[XP_SHADOW_POOL_MAX] = {0}, nr_free = 0;
    uint64_t broken = 0;
    for (uint32_t i = 0; i < s->nr; i++) {
        const struct xp_frame *frame = &d->hv->frames.table[xp_shadow_mfn(s, i)];
        counts[xp_shadow_mfn(s, i)].types++;
        nr_free += s->page[i].table == 0;
        broken += frame->type != XP_FT_SHADOW || frame->owner != d->domid;
        if (s->page[i].table != 0)
            broken += audit_page(d, i, counts, users);
    }
    users[s->base < s->nr ? s->base : 0] += s->base < s->nr;
    users[s->user_base < s->nr ? s->user_base : 0] += s->user_base < s->nr;
    for (uint32_t i = 0; i < s->nr; i++)
        broken += users[i] != s->page[i].users;
    return broken + (nr_free != s->nr_free);
}
