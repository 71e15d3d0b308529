/*
 * grant_transfer.c: GNTTABOP_transfer, the page flip: a frame changes its owner, contents and all. See grant.h.
 *
 * The receiver has put an entry in its table that accepts a page of the giver's (GTF_accept_transfer). Xen's protocol on it:
 * committed by compare and swap, so that the receiver can no longer take it back; then the frame's number; then completed.
 * The giver's process must have let go of the page before the receiver's is shown it. Unlike Xen, which frees a page whose
 * transfer fails half-way, a refused one stays the giver's; and one that its process still has is GNTST_eagain.
 *
 * Tour R:120
 */
#include "grant.h"

#include "abi.h"
#include "guestmem.h"
#include "m2p.h"
#include "pagelist.h"
#include "shadow.h"

/* The giver's alone: nobody maps it, it is no table, its process has let go of it. */
static int16_t decode_page(struct xp_domain *d, xp_mfn_t mfn)
{
    if (!xp_page_owned(d, mfn))
        return GNTST_bad_page;
    xp_shadow_forget(d, mfn);
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    if (frame->ref_count != 1 || frame->type_count != 0)
        return GNTST_bad_page;
    return xp_page_absent(d, mfn) == 0 ? GNTST_okay : GNTST_eagain;
}

static int16_t decode(struct xp_domain *d, const struct xen_gnttab_transfer *op, struct xp_domain **receiver)
{
    int16_t status = decode_page(d, xp_mfn(op->mfn));
    if (status != GNTST_okay)
        return status;
    *receiver = xp_hv_domain(d->hv, op->domid);
    if (*receiver == NULL)
        return GNTST_bad_domain;
    if (xp_pages_reserved(*receiver) >= (*receiver)->max_pages)
        return GNTST_general_error;
    return xp_grant_accept(*receiver, op->ref, d->domid);
}

/* Out of one list, into the other; nobody calls it anything yet. */
static void change_owner(struct xp_domain *giver, struct xp_domain *receiver, xp_mfn_t mfn)
{
    struct xp_frame *frame = &giver->hv->frames.table[mfn.v];
    xp_page_unlink(giver, mfn);
    frame->owner = receiver->domid;
    frame->flags &= (uint8_t)~XP_FF_ABSENT;
    xp_page_link(receiver, mfn);
    xp_m2p_set(giver->hv, mfn, XP_M2P_INVALID);
}

int xp_grant_transfer(struct xp_domain *d, uint64_t va)
{
    const uint64_t at = va + offsetof(struct xen_gnttab_transfer, status);
    struct xen_gnttab_transfer op;
    struct xp_domain *receiver = NULL;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    int16_t status = decode(d, &op, &receiver);
    ret = xp_copy_to_guest(d, at, &status, sizeof status);
    if (status != GNTST_okay)
        return ret;
    /* A page that is shown cannot be taken back without the process: so this comes last. */
    if (ret == 0 && xp_window_give(&receiver->window, xp_mfn(op.mfn), 1, false) == 0) {
        change_owner(d, receiver, xp_mfn(op.mfn));
        xp_grant_complete(receiver, op.ref, xp_mfn(op.mfn));
        return 0;
    }
    xp_grant_decline(receiver, op.ref);
    status = GNTST_general_error;
    return ret != 0 ? ret : xp_copy_to_guest(d, at, &status, sizeof status);
}
