/*
 * writable_pt.c: see writable_pt.h.
 */
#include "writable_pt.h"

#include "abi.h"
#include "hypercall.h"
#include "shadow.h"

#include <stdlib.h>

_Static_assert(VMASST_TYPE_writable_pagetables == 2, "as xp_wpt_on has it");

int xp_wpt_enable(struct xp_domain *d)
{
    struct xp_hv *hv = d->hv;
    if (hv->directories == NULL)
        hv->directories = calloc(hv->frames.nr, sizeof *hv->directories);
    return hv->directories == NULL ? -XEN_ENOMEM : 0;
}

/* For the guest's MMU: is a fault worth asking about? */
static void publish(struct xp_domain *d)
{
    if (d->calls != NULL)
        atomic_store_explicit(&d->calls->pt_unhooked, d->mm.nr_unhooked, memory_order_release);
}

/* ---- hooked again ---- */

static void forget_oldest(struct xp_domain *d)
{
    struct xp_mm *mm = &d->mm;
    mm->nr_unhooked--;
    for (uint32_t i = 0; i < mm->nr_unhooked; i++)
        mm->unhooked[i] = mm->unhooked[i + 1];
    publish(d);
}

static int take_again(struct xp_domain *d, const struct xp_unhooked *u)
{
    struct xp_mm *mm = &d->mm;
    if (mm->rehooking)
        return xp_mm_run(d) != 0 ? XP_CALL_AGAIN : mm->failed;
    const struct xp_frame *dir = &d->hv->frames.table[u->dir];
    uint64_t now = xp_pt_read(mm->mode, xp_mm_table(d, xp_mfn(u->dir)), u->index);
    XP_BUG_ON((dir->flags & XP_FF_VALIDATED) == 0 || now != (u->entry & ~(uint64_t)XP_PTE_PRESENT));
    return xp_mm_take_entry(d, xp_mfn(u->dir), dir->type, u->index, u->entry);
}

bool xp_wpt_rehook(struct xp_domain *d, uint32_t keep)
{
    struct xp_mm *mm = &d->mm;
    while (mm->nr_unhooked > keep) {
        const struct xp_unhooked u = mm->unhooked[0];
        int ret = take_again(d, &u);
        mm->rehooking = ret == XP_CALL_AGAIN;
        if (ret == XP_CALL_AGAIN)
            return false;
        if (ret != 0) {
            mm->nr_unhooked = 0;
            xp_domain_crash(d, "writable page table: frame %#x does not validate (%d)", u.table, -ret);
            return false;
        }
        xp_mm_write(d, xp_mfn(u.dir), u.index, u.entry);
        forget_oldest(d);
    }
    return true;
}

/* ---- unhooked ---- */

/* The only user of the level-1 table, if it is a directory's entry: noted in *u. */
static bool only_user(struct xp_domain *d, xp_mfn_t mfn, struct xp_unhooked *u)
{
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    uint64_t hint = d->hv->directories[mfn.v], dir = hint >> XP_HINT_SLOTS;
    uint32_t index = (uint32_t)hint & ((1u << XP_HINT_SLOTS) - 1);
    if (frame->type_count != 1 || !xp_frame_owned(&d->hv->frames, xp_mfn(dir), d->domid))
        return false;
    const struct xp_frame *above = &d->hv->frames.table[dir];
    if (!xp_type_is_table(above->type) || xp_type_level(above->type) != 2 || (above->flags & XP_FF_VALIDATED) == 0)
        return false;
    uint64_t entry = xp_pt_read(d->mm.mode, xp_mm_table(d, xp_mfn(dir)), index);
    if ((entry & XP_PTE_PRESENT) == 0 || xp_pte_mfn(d->mm.mode, entry) != mfn.v || xp_mm_slot_fixed(&d->mm, above->type, index))
        return false;
    *u = (struct xp_unhooked){.table = (uint32_t)mfn.v, .dir = (uint32_t)dir, .index = index, .entry = entry};
    return true;
}

/* Does an entry name a frame of another domain? Only who has mapped a grant can have one. */
static bool holds_grants(struct xp_domain *d, xp_mfn_t mfn)
{
    const struct xp_paging_mode *m = d->mm.mode;
    const void *table = xp_mm_table(d, mfn);
    for (uint32_t i = 0; d->nr_maptrack > 0 && i < m->level[1].nr; i++) {
        uint64_t entry = xp_pt_read(m, table, i);
        if ((entry & XP_PTE_PRESENT) != 0 && d->hv->frames.table[xp_pte_mfn(m, entry)].owner != d->domid)
            return true;
    }
    return false;
}

/* Nothing may find its way through the entry any more, a TLB included, when the window is opened. */
static int unhook(struct xp_domain *d, const struct xp_unhooked *u)
{
    struct xp_mm *mm = &d->mm;
    mm->unhooked[mm->nr_unhooked++] = *u;
    mm->nr_unhooks++;
    publish(d);
    xp_mm_write(d, xp_mfn(u->dir), u->index, u->entry & ~(uint64_t)XP_PTE_PRESENT);
    xp_mm_flush(d, XP_FLUSH_type);
    mm->stage = XP_MM_dropping;
    mm->result = 1;
    int ret = xp_mm_drop_entry(d, xp_mfn(u->dir), d->hv->frames.table[u->dir].type, u->entry);
    if (ret == XP_CALL_AGAIN)
        return ret;
    mm->stage = XP_MM_idle;
    return 1;
}

/* ---- what a store comes to ---- */

/* The entry as it is after a store of `bytes` into it. */
static uint64_t merged(struct xp_domain *d, xp_mfn_t mfn, uint32_t offset, uint64_t value, uint64_t bytes)
{
    uint32_t size = d->mm.mode->entry_size, shift = 8 * (offset % size);
    uint64_t mask = (bytes == 8 ? UINT64_MAX : ((uint64_t)1 << (8 * bytes)) - 1) << shift;
    uint64_t old = xp_pt_read(d->mm.mode, xp_mm_table(d, mfn), offset / size);
    return (old & ~mask) | (value << shift & mask);
}

static bool is_unhooked(const struct xp_domain *d, xp_mfn_t mfn)
{
    for (uint32_t i = 0; i < d->mm.nr_unhooked; i++)
        if (d->mm.unhooked[i].table == mfn.v)
            return true;
    return false;
}

static int store(struct xp_domain *d, xp_mfn_t mfn, uint32_t offset, uint64_t value, uint64_t bytes)
{
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    struct xp_unhooked u;
    if ((frame->flags & XP_FF_HV) != 0)
        return -XEN_EPERM;
    if (xp_type_writable(frame))
        return is_unhooked(d, mfn) ? 1 : 2;
    if (frame->type != XP_FT_L1)
        return -XEN_EPERM;
    if (!only_user(d, mfn, &u) || holds_grants(d, mfn)) {
        if (bytes == 0)
            return -XEN_EPERM;      /* nobody can do for the guest what nobody knows */
        d->mm.nr_emulated++;
        return xp_mm_update_entry(d, mfn, offset / d->mm.mode->entry_size, merged(d, mfn, offset, value, bytes));
    }
    if (!xp_wpt_rehook(d, XP_UNHOOKED - 1))
        return XP_CALL_AGAIN;
    return unhook(d, &u);
}

int64_t xp_wpt_write(struct xp_domain *d, struct xp_call *call)
{
    uint64_t bytes = call->args[3], offset = call->args[1] & (XP_PAGE_SIZE - 1);
    xp_mfn_t mfn = xp_mfn(call->args[1] >> XP_PAGE_SHIFT);
    if (d->shadow != NULL)
        return xp_shadow_store(d, call);
    if (!xp_wpt_on(d) || !xp_frame_owned(&d->hv->frames, mfn, d->domid))
        return -XEN_EPERM;
    if (bytes != 0 && (bytes > d->mm.mode->entry_size || (bytes & (bytes - 1)) != 0 || (offset & (bytes - 1)) != 0))
        return -XEN_EINVAL;
    if (!xp_mm_turn(d, call))
        return XP_CALL_AGAIN;
    int ret;
    if (d->mm.stage != XP_MM_idle) {
        ret = xp_mm_run(d) != 0 ? XP_CALL_AGAIN : d->mm.result;
        d->mm.stage = ret == XP_CALL_AGAIN ? d->mm.stage : XP_MM_idle;
    } else if (d->mm.rehooking && !xp_wpt_rehook(d, d->mm.nr_unhooked - 1)) {
        ret = XP_CALL_AGAIN;    /* a table on the work stack is half validated: nothing may be stored into it, nor pushed above it */
    } else {
        ret = store(d, mfn, (uint32_t)offset, call->args[2], bytes);
    }
    return xp_mm_finish(d, call, 0, 0, ret);
}

int64_t xp_wpt_fault(struct xp_domain *d, struct xp_call *call)
{
    if (d->shadow != NULL)
        return xp_shadow_fault(d, call);
    if (!xp_wpt_on(d))
        return -XEN_EFAULT;
    return xp_mm_enter(d, call) ? 0 : XP_CALL_AGAIN;
}
