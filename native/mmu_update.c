/*
 * mmu_update.c: HYPERVISOR_mmu_update and update_va_mapping: entries of validated tables changed one by one.
 *
 * Each request is copied once, checked, and done whole or not at all; the first that fails ends the batch, those before it
 * stand, and *pdone says how many. What a new entry needs is taken before the entry is written, what the old one held is
 * dropped after. A request that has to validate or drop whole tables may take many steps (mm.h). Source: public/xen.h.
 *
 * Tour M:170
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "leaf.h"
#include "m2p.h"
#include "mm.h"
#include "shadow.h"

#define CHUNK 128u               /* requests copied at a time */
#define AHEAD 16u                /* requests whose frames' records are fetched in advance */
#define AD (XP_PTE_ACCESSED | XP_PTE_DIRTY)

/* What the references depend on: a change of nothing else takes and drops nothing. */
static uint64_t used_bits(const struct xp_mm *mm)
{
    return mm->mode->frame_mask | XP_PTE_PRESENT | XP_PTE_RW;
}

static void write_entry(struct xp_domain *d, uint64_t old)
{
    struct xp_mm *mm = &d->mm;
    xp_mm_write(d, mm->at, mm->index, mm->entry);
    if ((old & XP_PTE_PRESENT) != 0)
        mm->stale = true;
}

/* The new entry's references are taken. */
static int replace(struct xp_domain *d, uint8_t type)
{
    struct xp_mm *mm = &d->mm;
    uint64_t old = xp_pt_read(mm->mode, xp_mm_table(d, mm->at), mm->index);
    write_entry(d, old);
    mm->stage = XP_MM_dropping;
    mm->result = 0;
    if (xp_mm_drop_entry(d, mm->at, type, old) == XP_CALL_AGAIN)
        return XP_CALL_AGAIN;
    mm->stage = XP_MM_idle;
    return 0;
}

static int resume(struct xp_domain *d)
{
    struct xp_mm *mm = &d->mm;
    if (xp_mm_run(d) != 0)
        return XP_CALL_AGAIN;
    if (mm->stage == XP_MM_taking && mm->failed == 0)
        return replace(d, d->hv->frames.table[mm->at.v].type);
    int ret = mm->stage == XP_MM_taking ? mm->failed : mm->result;
    mm->stage = XP_MM_idle;
    return ret;
}

static int update(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry, bool preserve_ad)
{
    struct xp_mm *mm = &d->mm;
    uint8_t type = d->hv->frames.table[mfn.v].type;
    if (d->shadow != NULL)
        return xp_shadow_update(d, mfn, index, entry, preserve_ad);
    if (xp_mm_slot_fixed(mm, type, index))
        return -XEN_EINVAL;
    uint64_t old = xp_pt_read(mm->mode, xp_mm_table(d, mfn), index);
    if (preserve_ad)
        entry |= old & AD;
    mm->at = mfn;
    mm->index = index;
    mm->entry = entry;
    if ((entry & old & XP_PTE_PRESENT) != 0 && ((entry ^ old) & used_bits(mm)) == 0) {
        if ((entry & mm->mode->level[xp_type_level(type)].forbidden) != 0)
            return -XEN_EINVAL;
        write_entry(d, old);
        return 0;
    }
    mm->stage = XP_MM_taking;
    int ret = xp_mm_take_entry(d, mfn, type, index, entry);
    if (ret == 0)
        return replace(d, type);
    if (ret != XP_CALL_AGAIN)
        mm->stage = XP_MM_idle;
    return ret;
}

int xp_mm_update_entry(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry)
{
    return update(d, mfn, index, entry, false);
}

/* ---- mmu_update ---- */

/* Into a frame that is no table: a plain write, as the guest could do itself. */
static int write_plain(struct xp_domain *d, xp_mfn_t mfn, uint32_t offset, uint64_t value)
{
    if (xp_mm_get_writable(d, mfn) != 0)
        return -XEN_EINVAL;
    xp_pt_write(d->mm.mode, (uint8_t *)xp_frame_ptr(&d->hv->frames, mfn) + offset, 0, value);
    xp_mm_put_writable(d, mfn);
    return 0;
}

static int request(struct xp_domain *d, const struct xen_mmu_update *req)
{
    struct xp_frames *f = &d->hv->frames;
    uint32_t size = d->mm.mode->entry_size, cmd = (uint32_t)req->ptr & (size - 1);
    uint32_t offset = (uint32_t)req->ptr & (XP_PAGE_SIZE - 1) & ~(size - 1);
    xp_mfn_t mfn = xp_mfn(req->ptr >> XP_PAGE_SHIFT);
    uint64_t value = size == 4 ? (uint32_t)req->val : req->val;
    if (cmd > MMU_PT_UPDATE_NO_TRANSLATE)
        return -XEN_ENOSYS;
    if (!xp_frame_owned(f, mfn, d->domid))
        return -XEN_EINVAL;
    if (cmd == MMU_MACHPHYS_UPDATE) {
        xp_m2p_set(d->hv, mfn, req->val);
        return 0;
    }
    const struct xp_frame *frame = &f->table[mfn.v];
    if (d->shadow != NULL || (frame->type_count > 0 && xp_type_is_table(frame->type)))
        return update(d, mfn, offset / size, value, cmd == MMU_PT_UPDATE_PRESERVE_AD);
    return (frame->flags & XP_FF_HV) != 0 ? -XEN_EINVAL : write_plain(d, mfn, offset, value);
}

/* The records that a later request of the chunk will count in. */
static void fetch_ahead(struct xp_domain *d, const struct xen_mmu_update *req)
{
    struct xp_frames *f = &d->hv->frames;
    uint64_t mfn = xp_pte_mfn(d->mm.mode, req->val), at = req->ptr >> XP_PAGE_SHIFT;
    __builtin_prefetch(&f->table[mfn < f->nr ? mfn : 0], 1);
    if (at >= f->nr || f->table[at].owner != d->domid)
        return;
    uint32_t size = d->mm.mode->entry_size, index = (uint32_t)(req->ptr & (XP_PAGE_SIZE - 1)) / size;
    mfn = xp_pte_mfn(d->mm.mode, xp_pt_read(d->mm.mode, xp_mm_table(d, xp_mfn(at)), index));
    __builtin_prefetch(&f->table[mfn < f->nr ? mfn : 0], 1);
}

/*
 * Requests in a row for one level-1 table, which cannot take more than a step: how many of the `nr` were done. It ends before
 * the first that is something else or cannot be done, whatever the reason; request() does that one, or says why not.
 */
static inline __attribute__((always_inline)) uint32_t leaf_run(struct xp_domain *d, const struct xen_mmu_update *reqs, uint32_t nr,
                                                               uint32_t ready, uint32_t size)
{
    const struct xp_leaf l = xp_leaf_of(d);
    const uint64_t at = reqs->ptr >> XP_PAGE_SHIFT, use = used_bits(&d->mm);
    void *counts = xp_mm_table(d, xp_mfn(at)), *guests = xp_frame_ptr(&d->hv->frames, xp_mfn(at));
    bool stale = false;
    uint32_t i = 0;
    for (; i < nr; i++) {
        uint64_t ptr = reqs[i].ptr, cmd = ptr & (size - 1);
        uint32_t index = (uint32_t)(ptr & (XP_PAGE_SIZE - 1)) / size;
        if (ptr >> XP_PAGE_SHIFT != at || cmd == MMU_MACHPHYS_UPDATE || cmd > MMU_PT_UPDATE_NO_TRANSLATE)
            break;
        if (i + AHEAD < ready) {
            xp_leaf_fetch(l, reqs[i + AHEAD].val);
            xp_leaf_fetch(l, xp_entry_read(counts, size, (uint32_t)(reqs[i + AHEAD].ptr & (XP_PAGE_SIZE - 1)) / size));
        }
        uint64_t old = xp_entry_read(counts, size, index), entry = size == 4 ? (uint32_t)reqs[i].val : reqs[i].val;
        if (cmd == MMU_PT_UPDATE_PRESERVE_AD)
            entry |= old & AD;
        bool same = (entry & old & XP_PTE_PRESENT) != 0 && ((entry ^ old) & use) == 0;
        if ((entry & XP_PTE_PRESENT) != 0 && ((entry & l.forbidden) != 0 || (!same && xp_leaf_take(l, entry) != 0)))
            break;
        xp_entry_write(counts, size, index, entry);
        if (counts != guests)
            xp_entry_write(guests, size, index, entry);
        if ((old & XP_PTE_PRESENT) == 0)
            continue;
        stale = true;
        if (!same)
            xp_leaf_drop(d, l, old);
    }
    d->mm.stale |= stale;
    return i;
}

static bool is_leaf_table(struct xp_domain *d, const struct xen_mmu_update *req)
{
    struct xp_frames *f = &d->hv->frames;
    xp_mfn_t mfn = xp_mfn(req->ptr >> XP_PAGE_SHIFT);
    return xp_frame_owned(f, mfn, d->domid) && f->table[mfn.v].type == XP_FT_L1 && d->hv->mm_inject == 0;
}

/* Some of the `ready` requests at reqs, at least one. What they came to, and in *nr how many were done. */
static int do_some(struct xp_domain *d, const struct xen_mmu_update *reqs, uint32_t ready, uint32_t *nr)
{
    uint32_t most = ready < d->mm.left ? ready : d->mm.left;
    *nr = 0;
    if (is_leaf_table(d, reqs))
        *nr = d->mm.mode->entry_size == 4 ? leaf_run(d, reqs, most, ready, 4) : leaf_run(d, reqs, most, ready, 8);
    if (*nr > 0)
        return 0;
    int ret = request(d, reqs);
    *nr = ret == 0;
    return ret;
}

/* Requests from *done on, up to a chunk. */
static int do_chunk(struct xp_domain *d, uint64_t va, uint32_t nr, uint32_t *done)
{
    struct xen_mmu_update reqs[CHUNK];
    if (nr > CHUNK)
        nr = CHUNK;
    if (xp_copy_from_guest(d, reqs, va + *done * sizeof *reqs, nr * sizeof *reqs) != 0)
        return -XEN_EFAULT;
    for (uint32_t i = 0; i < nr && i < AHEAD; i++)
        fetch_ahead(d, &reqs[i]);
    for (uint32_t i = 0, some; i < nr; i += some) {
        int ret = do_some(d, &reqs[i], nr - i, &some);
        *done += some;
        if (ret != 0)
            return ret;
        if (xp_mm_spent(d, some))
            return XP_CALL_AGAIN;
    }
    return 0;
}

/* (requests, how many, where the number done goes or 0, whose tables | whose frames << 16) */
int64_t xp_do_mmu_update(struct xp_domain *d, struct xp_call *call)
{
    uint64_t va = call->args[0], count = call->args[1], pdone = call->args[2], foreign = call->args[3];
    uint32_t done = xp_mm_done(call->progress);
    int ret = xp_mm_foreign(d, foreign & 0xffff);
    if (ret == 0 && (foreign >> 16) != 0 && (foreign >> 16) != d->domid + 1u)
        ret = -XEN_EPERM;
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
    while (ret == 0 && done < count)
        ret = do_chunk(d, va, (uint32_t)count - done, &done);
    if (ret == 0 && !xp_shadow_settle(d))
        ret = XP_CALL_AGAIN;
    return xp_mm_finish(d, call, pdone, done, ret);
}

/* ---- update_va_mapping ---- */

int xp_mm_find_leaf(struct xp_domain *d, uint64_t va, xp_mfn_t *mfn, uint32_t *index)
{
    const struct xp_paging_mode *m = d->mm.mode;
    xp_mfn_t at = d->mm.base;
    if (d->shadow != NULL)
        return xp_shadow_find_leaf(d, va, mfn, index);
    if (at.v == 0 || !xp_va_canonical(m, va) || (va >= m->hole_start && va < m->hole_end))
        return -XEN_EINVAL;
    for (uint32_t level = m->levels; level > 1; level--) {
        uint64_t entry = xp_pt_read(m, xp_mm_table(d, at), xp_pt_index(m, level, va));
        if ((entry & XP_PTE_PRESENT) == 0)
            return -XEN_EINVAL;
        at = xp_mfn(xp_pte_mfn(m, entry));
    }
    /* Through a linear entry the walk may end in a higher table. */
    if (d->hv->frames.table[at.v].type != XP_FT_L1)
        return -XEN_EINVAL;
    *mfn = at;
    *index = xp_pt_index(m, 1, va);
    return 0;
}

static int flush_as_told(struct xp_domain *d, uint64_t flags)
{
    uint64_t mask, type = flags & UVMF_FLUSHTYPE_MASK, where = flags & ~(uint64_t)UVMF_FLUSHTYPE_MASK;
    if (type != UVMF_TLB_FLUSH && type != UVMF_INVLPG)
        return 0;
    if (where != UVMF_LOCAL && where != UVMF_ALL && xp_copy_from_guest(d, &mask, where, sizeof mask) != 0)
        return -XEN_EFAULT;
    xp_mm_flush(d, type == UVMF_TLB_FLUSH ? XP_FLUSH_asked : XP_FLUSH_invlpg);
    return 0;
}

static int64_t va_mapping(struct xp_domain *d, struct xp_call *call, uint64_t domid)
{
    xp_mfn_t mfn;
    uint32_t index;
    int ret = xp_mm_foreign(d, domid);
    if (ret != 0)
        return ret;
    if (!xp_mm_enter(d, call))
        return XP_CALL_AGAIN;
    ret = xp_mm_find_leaf(d, call->args[0], &mfn, &index);
    if (ret == 0)
        ret = update(d, mfn, index, d->mm.mode->entry_size == 4 ? (uint32_t)call->args[1] : call->args[1], false);
    return ret != 0 ? ret : flush_as_told(d, call->args[2]);
}

/* (address, entry, flush flags) */
int64_t xp_do_update_va_mapping(struct xp_domain *d, struct xp_call *call)
{
    return va_mapping(d, call, DOMID_SELF);
}

/* ... and whose frame it is */
int64_t xp_do_update_va_mapping_otherdomain(struct xp_domain *d, struct xp_call *call)
{
    return va_mapping(d, call, call->args[3]);
}
