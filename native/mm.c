/*
 * mm.c: what is done to a domain's page tables as a whole: whose turn it is, flushes counted, everything dropped at its end. See mm.h.
 *
 * Tour M:160
 */
#include "abi.h"
#include "domain.h"
#include "guestmem.h"
#include "hypercall.h"
#include "shadow.h"
#include "writable_pt.h"

#define TEARDOWN_LOOK 8192u      /* frames looked through a step: some 50 us */

void xp_mm_flush(struct xp_domain *d, enum xp_flush_cause cause)
{
    d->mm.nr_flushes[cause]++;
    if (cause == XP_FLUSH_invlpg)
        return;
    d->mm.stale = d->mm.unmapped = false;
    if (d->calls != NULL)
        /* Pairs with the walker's acquire: who sees the new number sees the entries that made it necessary. */
        atomic_fetch_add_explicit(&d->calls->tlb_generation, 1, memory_order_release);
}

/* ---- calls ---- */

bool xp_mm_turn(struct xp_domain *d, const struct xp_call *call)
{
    if (d->mm.ticket != 0 && d->mm.ticket != call->progress >> 32)
        return false;
    d->mm.ticket = 0;
    xp_mm_begin(d);
    return true;
}

bool xp_mm_enter(struct xp_domain *d, const struct xp_call *call)
{
    /* While a call's own operation is under way nothing is unhooked but what it unhooks itself. */
    return xp_mm_turn(d, call) && (d->mm.stage != XP_MM_idle || (xp_wpt_rehook(d, 0) && xp_shadow_settle(d)));
}

static int64_t again(struct xp_domain *d, struct xp_call *call, uint32_t done)
{
    struct xp_mm *mm = &d->mm;
    if (mm->stage != XP_MM_idle) {
        mm->last_ticket += mm->last_ticket == UINT32_MAX ? 2 : 1;
        mm->ticket = mm->last_ticket;
    }
    call->progress = (uint64_t)mm->ticket << 32 | done;
    return XP_CALL_AGAIN;
}

int64_t xp_mm_finish(struct xp_domain *d, struct xp_call *call, uint64_t pdone, uint32_t done, int ret)
{
    if (ret == XP_CALL_AGAIN)
        return again(d, call, done);
    return pdone != 0 && xp_copy_to_guest(d, pdone, &done, sizeof done) != 0 && ret == 0 ? -XEN_EFAULT : ret;
}

int xp_mm_foreign(struct xp_domain *d, uint64_t domid)
{
    if (domid == DOMID_SELF)
        return 0;
    if (domid == DOMID_IO || domid == DOMID_XEN)
        return -XEN_EPERM;
    return domid == d->domid || xp_hv_domain(d->hv, (xp_domid_t)domid) == NULL ? -XEN_ESRCH : -XEN_EPERM;
}

/* ---- the end of a domain ---- */

/* A table it holds as a whole: base pointers, or a pin found from `cursor` on. */
static bool next_root(struct xp_domain *d, xp_mfn_t *mfn)
{
    struct xp_mm *mm = &d->mm;
    xp_mfn_t *roots[] = {&mm->base, &mm->user_base};
    for (size_t i = 0; i < 2; i++)
        if (roots[i]->v != 0) {
            *mfn = *roots[i];
            *roots[i] = xp_mfn(0);
            return true;
        }
    for (uint32_t n = 0; mm->nr_pinned > 0 && n < TEARDOWN_LOOK && mm->cursor < d->hv->frames.nr; n++, mm->cursor++) {
        struct xp_frame *frame = &d->hv->frames.table[mm->cursor];
        if (frame->owner != d->domid || (frame->flags & XP_FF_PINNED) == 0)
            continue;
        frame->flags &= (uint8_t)~XP_FF_PINNED;
        mm->nr_pinned--;
        *mfn = xp_mfn(mm->cursor);
        return true;
    }
    return false;
}

int xp_mm_teardown(struct xp_domain *d)
{
    struct xp_mm *mm = &d->mm;
    xp_mfn_t root;
    if (mm->mode == NULL)
        return 0;
    xp_mm_begin(d);
    if (mm->nr_work > 0)
        mm->work[mm->nr_work - 1].down = true;
    if (xp_mm_run(d) != 0 || xp_shadow_teardown(d) != 0)
        return 1;
    mm->ticket = 0;
    while (mm->nr_gdt > 0)
        xp_mm_put_segment(d, mm->gdt[--mm->nr_gdt]);
    while (next_root(d, &root))
        if (xp_mm_put_table(d, root) != 0 || xp_mm_spent(d, 1))
            return 1;
    return mm->nr_pinned > 0;
}
