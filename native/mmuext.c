/*
 * mmuext.c: HYPERVISOR_mmuext_op: tables pinned and unpinned, base pointers, flushes, and two services on pages.
 * An array of operations as in mmu_update.c: each whole or not at all, the first failure ends it. Source: public/xen.h.
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "mm.h"
#include "shadow.h"

#include <string.h>

#define LDT_ENTRIES_MAX 8192u
#define PAGE_COST 64u            /* entries that clearing a page that is in no cache counts as: the clock is looked at in time */

static int again_or_idle(struct xp_domain *d, int ret)
{
    if (ret != XP_CALL_AGAIN)
        d->mm.stage = XP_MM_idle;
    return ret;
}

/* ---- operations that take a table: what is done once it is validated, also after many steps ---- */

static int pinned(struct xp_domain *d)
{
    struct xp_frame *frame = &d->hv->frames.table[d->mm.at.v];
    frame->flags |= XP_FF_PINNED;
    d->mm.nr_pinned++;
    return 0;
}

static int based(struct xp_domain *d, xp_mfn_t *base)
{
    xp_mfn_t old = *base;
    *base = d->mm.at;
    xp_mm_flush(d, XP_FLUSH_baseptr);
    if (old.v == 0)
        return 0;
    d->mm.stage = XP_MM_dropping;
    d->mm.result = 0;
    return xp_mm_put_table(d, old);
}

static int taken(struct xp_domain *d, uint32_t cmd)
{
    switch (cmd) {
    case MMUEXT_NEW_BASEPTR: return based(d, &d->mm.base);
    case MMUEXT_NEW_USER_BASEPTR: return based(d, &d->mm.user_base);
    default: return pinned(d);
    }
}

static int take(struct xp_domain *d, uint32_t cmd, uint64_t mfn, uint8_t type)
{
    d->mm.at = xp_mfn(mfn);
    d->mm.entry = cmd;
    d->mm.stage = XP_MM_taking;
    int ret = xp_mm_get_table(d, d->mm.at, type);
    return again_or_idle(d, ret == 0 ? taken(d, cmd) : ret);
}

static int resume(struct xp_domain *d)
{
    struct xp_mm *mm = &d->mm;
    if (xp_mm_run(d) != 0)
        return XP_CALL_AGAIN;
    int ret = mm->stage == XP_MM_taking ? mm->failed : mm->result;
    if (mm->stage == XP_MM_taking && ret == 0)
        ret = taken(d, (uint32_t)mm->entry);
    return again_or_idle(d, ret);
}

static int pin(struct xp_domain *d, uint32_t cmd, uint64_t mfn)
{
    uint8_t level = (uint8_t)(cmd - MMUEXT_PIN_L1_TABLE + 1);
    if (level > d->mm.mode->levels || !xp_frame_owned(&d->hv->frames, xp_mfn(mfn), d->domid) ||
        (d->hv->frames.table[mfn].flags & XP_FF_PINNED) != 0)
        return -XEN_EINVAL;
    return take(d, cmd, mfn, level);
}

/* Of a page, too, that was given up since: the pin alone has kept it, and goes as in Xen. */
static int unpin(struct xp_domain *d, uint64_t mfn)
{
    struct xp_frame *frame = xp_frame_of(&d->hv->frames, xp_mfn(mfn));
    if (frame == NULL || frame->owner != d->domid || (frame->flags & XP_FF_PINNED) == 0)
        return -XEN_EINVAL;
    frame->flags &= (uint8_t)~XP_FF_PINNED;
    d->mm.nr_pinned--;
    d->mm.stage = XP_MM_dropping;
    d->mm.result = 0;
    return again_or_idle(d, xp_mm_put_table(d, xp_mfn(mfn)));
}

/* 64-bit guests alone have a second table, for their own user space; 0 takes it away. */
static int new_user_base(struct xp_domain *d, uint64_t mfn)
{
    if (d->mm.mode->levels != 4)
        return -XEN_EOPNOTSUPP;
    if (mfn != 0)
        return take(d, MMUEXT_NEW_USER_BASEPTR, mfn, xp_mm_top(&d->mm));
    d->mm.at = xp_mfn(0);
    return d->mm.user_base.v == 0 ? 0 : again_or_idle(d, based(d, &d->mm.user_base));
}

/* ---- flushes ---- */

static int flush(struct xp_domain *d, const struct xen_mmuext_op *op)
{
    uint64_t mask;
    bool multi = op->cmd == MMUEXT_TLB_FLUSH_MULTI || op->cmd == MMUEXT_INVLPG_MULTI;
    bool page = op->cmd == MMUEXT_INVLPG_LOCAL || op->cmd == MMUEXT_INVLPG_MULTI || op->cmd == MMUEXT_INVLPG_ALL;
    if (multi && xp_copy_from_guest(d, &mask, op->arg2.vcpumask, sizeof mask) != 0)
        return -XEN_EINVAL;
    xp_mm_flush(d, page ? XP_FLUSH_invlpg : XP_FLUSH_asked);
    return 0;
}

/* ---- descriptors and pages ---- */

static int set_ldt(struct xp_domain *d, uint64_t address, uint32_t entries)
{
    if ((address & 7) != 0 || entries > LDT_ENTRIES_MAX || !xp_va_canonical(d->mm.mode, address) ||
        (address >= d->mm.mode->hole_start && address < d->mm.mode->hole_end))
        return -XEN_EINVAL;
    d->mm.ldt_address = entries != 0 ? address : 0;
    d->mm.ldt_entries = entries;
    return 0;
}

static int clear_or_copy(struct xp_domain *d, xp_mfn_t to, const xp_mfn_t *from)
{
    struct xp_frames *f = &d->hv->frames;
    d->mm.left = d->mm.left > PAGE_COST ? d->mm.left - PAGE_COST : 1;
    if (from != NULL && xp_mm_get_page(d, *from) != 0)
        return -XEN_EINVAL;
    int ret = xp_mm_get_writable(d, to);
    if (ret == 0) {
        if (from != NULL)
            memmove(xp_frame_ptr(f, to), xp_frame_ptr(f, *from), XP_PAGE_SIZE);
        else
            memset(xp_frame_ptr(f, to), 0, XP_PAGE_SIZE);
        xp_mm_put_writable(d, to);
    }
    if (from != NULL)
        xp_mm_put_page(d, *from);
    return ret;
}

static int perform(struct xp_domain *d, const struct xen_mmuext_op *op)
{
    const xp_mfn_t source = xp_mfn(op->arg2.src_mfn);
    if (d->shadow != NULL && (op->cmd <= MMUEXT_NEW_BASEPTR || op->cmd == MMUEXT_NEW_USER_BASEPTR))
        return xp_shadow_ext(d, op->cmd, xp_mfn(op->arg1.mfn));
    switch (op->cmd) {
    case MMUEXT_PIN_L1_TABLE:
    case MMUEXT_PIN_L2_TABLE:
    case MMUEXT_PIN_L3_TABLE:
    case MMUEXT_PIN_L4_TABLE: return pin(d, op->cmd, op->arg1.mfn);
    case MMUEXT_UNPIN_TABLE: return unpin(d, op->arg1.mfn);
    case MMUEXT_NEW_BASEPTR: return take(d, op->cmd, op->arg1.mfn, xp_mm_top(&d->mm));
    case MMUEXT_NEW_USER_BASEPTR: return new_user_base(d, op->arg1.mfn);
    case MMUEXT_TLB_FLUSH_LOCAL:
    case MMUEXT_TLB_FLUSH_MULTI:
    case MMUEXT_TLB_FLUSH_ALL:
    case MMUEXT_INVLPG_LOCAL:
    case MMUEXT_INVLPG_MULTI:
    case MMUEXT_INVLPG_ALL: return flush(d, op);
    case MMUEXT_SET_LDT: return set_ldt(d, op->arg1.linear_addr, op->arg2.nr_ents);
    case MMUEXT_CLEAR_PAGE: return clear_or_copy(d, xp_mfn(op->arg1.mfn), NULL);
    case MMUEXT_COPY_PAGE: return clear_or_copy(d, xp_mfn(op->arg1.mfn), &source);
    case MMUEXT_FLUSH_CACHE: return -XEN_EACCES;          /* as Xen: for domains with devices of their own */
    case MMUEXT_FLUSH_CACHE_GLOBAL: return -XEN_EINVAL;
    case MMUEXT_MARK_SUPER:
    case MMUEXT_UNMARK_SUPER: return -XEN_EOPNOTSUPP;
    default: return -XEN_ENOSYS;
    }
}

/* (operations, how many, where the number done goes or 0, whose frames) */
int64_t xp_do_mmuext_op(struct xp_domain *d, struct xp_call *call)
{
    uint64_t va = call->args[0], count = call->args[1], pdone = call->args[2];
    uint32_t done = xp_mm_done(call->progress);
    struct xen_mmuext_op op;
    int ret = xp_mm_foreign(d, call->args[3]);
    if (ret != 0)
        return ret;
    if (count > UINT32_MAX >> 1)
        return -XEN_EINVAL;
    if (!xp_mm_enter(d, call))
        return XP_CALL_AGAIN;
    if (d->mm.stage != XP_MM_idle) {
        ret = resume(d);
        done += ret == 0;
    }
    while (ret == 0 && done < count) {
        ret = xp_copy_from_guest(d, &op, va + done * sizeof op, sizeof op);
        if (ret == 0)
            ret = perform(d, &op);
        done += ret == 0;
        if (ret == 0 && done < count && xp_mm_spent(d, 1))
            ret = XP_CALL_AGAIN;
    }
    if (ret == 0 && !xp_shadow_settle(d))
        ret = XP_CALL_AGAIN;
    return xp_mm_finish(d, call, pdone, done, ret);
}
