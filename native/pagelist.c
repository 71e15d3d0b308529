/*
 * pagelist.c: see pagelist.h.
 */
#include "pagelist.h"

void xp_page_link(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frames *f = &d->hv->frames;
    f->table[mfn.v].next = d->page_list;
    f->prev[mfn.v] = XP_FRAME_END;
    if (d->page_list != XP_FRAME_END)
        f->prev[d->page_list] = (uint32_t)mfn.v;
    d->page_list = (uint32_t)mfn.v;
    d->nr_pages++;
}

void xp_page_unlink(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frames *f = &d->hv->frames;
    uint32_t next = f->table[mfn.v].next, prev = f->prev[mfn.v];
    if (next != XP_FRAME_END)
        f->prev[next] = prev;
    if (prev != XP_FRAME_END)
        f->table[prev].next = next;
    else
        d->page_list = next;
    f->table[mfn.v].next = XP_FRAME_END;
    d->nr_pages--;
}

void xp_pages_link(struct xp_domain *d, const xp_mfn_t *mfns, uint64_t nr)
{
    for (uint64_t i = nr; i-- > 0;)
        xp_page_link(d, mfns[i]);
}

bool xp_page_owned(struct xp_domain *d, xp_mfn_t mfn)
{
    return xp_frame_owned(&d->hv->frames, mfn, d->domid) && (d->hv->frames.table[mfn.v].flags & XP_FF_HV) == 0;
}

int xp_page_absent(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    if ((frame->flags & XP_FF_ABSENT) != 0)
        return 0;
    int ret = xp_window_gone(&d->window, mfn);
    if (ret == 0)
        frame->flags |= XP_FF_ABSENT;
    return ret;
}

void xp_page_give_up(struct xp_domain *d, xp_mfn_t mfn)
{
    XP_BUG_ON((d->hv->frames.table[mfn.v].flags & XP_FF_ABSENT) == 0);
    xp_page_unlink(d, mfn);
    XP_BUG_ON(xp_frame_release(&d->hv->frames, mfn, d->domid) != 0);
}

uint64_t xp_pages_audit(struct xp_domain *d)
{
    const struct xp_frames *f = &d->hv->frames;
    uint64_t broken = 0, nr = 0;
    uint32_t prev = XP_FRAME_END;
    for (uint32_t mfn = d->page_list; mfn != XP_FRAME_END && nr <= d->nr_pages; mfn = f->table[mfn].next) {
        broken += (uint64_t)(!xp_page_owned(d, xp_mfn(mfn)) || f->prev[mfn] != prev);
        prev = mfn;
        nr++;
    }
    return broken + (nr != d->nr_pages);
}
