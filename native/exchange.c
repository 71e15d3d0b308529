/*
 * exchange.c: XENMEM_exchange: pages go, as many others come, for frames in one piece or below an address. See reservation.h.
 *
 * Done in chunks: the larger of the two extents. A chunk is decided on, reported and exchanged in one step; then its new pages
 * are shown, some a step.
 *
 * Tour M:130
 */
#include "reservation.h"

#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "m2p.h"
#include "pagelist.h"
#include "shadow.h"

#define STEP_NS 100000
#define CHUNK_MAX (1u << XP_MAX_ORDER)

struct exchange {
    struct xp_domain *d;
    uint64_t va;                 /* of the argument */
    struct xen_memory_exchange op;
    uint32_t in_order, out_order; /* extents of a chunk: 1 << these */
    int64_t until;               /* when a step's turn is over */
    bool asked;                  /* in this step, whether pages are gone: which takes its time */
};

/* A chunk under way: frames that go, extents that come, and what the guest calls these. */
struct chunk {
    uint32_t nr_in, nr_out;
    uint32_t in[CHUNK_MAX], out[CHUNK_MAX];
    uint64_t pfn[CHUNK_MAX];
};

static uint64_t list_at(const struct xen_memory_reservation *r, uint64_t extent)
{
    return r->extent_start + extent * sizeof(uint64_t);
}

/* ---- deciding ---- */

/*
 * The frame is the caller's alone and its process has let go of it: taken aside, so that it cannot be named twice.
 * XP_CALL_AGAIN: asking the windows has taken long enough; what is known to be absent is so in the next step, too.
 */
static int64_t set_aside(struct exchange *x, struct chunk *c, uint64_t mfn)
{
    struct xp_domain *d = x->d;
    if (!xp_page_owned(d, xp_mfn(mfn)))
        return -XEN_EINVAL;
    xp_shadow_forget(d, xp_mfn(mfn));
    struct xp_frame *frame = &d->hv->frames.table[mfn];
    if (frame->ref_count != 1 || frame->type_count != 0)
        return -XEN_EINVAL;
    if ((frame->flags & XP_FF_ABSENT) == 0) {
        if (x->asked && xp_now_ns() > x->until)
            return XP_CALL_AGAIN;
        x->asked = true;
        if (xp_page_absent(d, xp_mfn(mfn)) != 0)
            return -XEN_EINVAL;
    }
    frame->flags &= (uint8_t)~XP_FF_ALLOCATED;
    c->in[c->nr_in++] = (uint32_t)mfn;
    return 0;
}

static int64_t take_in(struct exchange *x, struct chunk *c, uint64_t chunk)
{
    const struct xen_memory_reservation *in = &x->op.in;
    for (uint64_t i = chunk << x->in_order; i < (chunk + 1) << x->in_order; i++) {
        uint64_t first;
        if (xp_copy_from_guest(x->d, &first, list_at(in, i), sizeof first) != 0)
            return -XEN_EFAULT;
        for (uint64_t k = 0; k < (uint64_t)1 << in->extent_order; k++) {
            int64_t ret = set_aside(x, c, first + k);
            if (ret != 0)
                return ret;
        }
    }
    return x->asked && c->nr_in > XP_SHOW_STEP ? XP_CALL_AGAIN : 0;    /* the rest in a step of its own */
}

static int64_t take_out(struct exchange *x, struct chunk *c, uint64_t chunk)
{
    const struct xen_memory_reservation *out = &x->op.out;
    xp_mfn_t first;
    for (uint64_t i = chunk << x->out_order; i < (chunk + 1) << x->out_order; i++) {
        if (xp_frames_alloc_extent(&x->d->hv->frames, x->d->domid, out->extent_order, xp_address_limit(out->mem_flags),
                                   &first) != 0)
            return xp_frames_may_come(x->d) ? XP_CALL_AGAIN : -XEN_ENOMEM;
        c->out[c->nr_out++] = (uint32_t)first.v;
        if (xp_copy_from_guest(x->d, &c->pfn[c->nr_out - 1], list_at(out, i), sizeof c->pfn[0]) != 0)
            return -XEN_EFAULT;
    }
    return 0;
}

/* ---- performing ---- */

/* nr_exchanged, to the guest. */
static int put_done(const struct exchange *x, uint64_t done)
{
    return xp_copy_to_guest(x->d, x->va + offsetof(struct xen_memory_exchange, nr_exchanged), &done, sizeof done);
}

/* What the guest's list says of nr extents: their frames, or again what it said before. */
static int put_out(struct exchange *x, const struct chunk *c, uint64_t chunk, uint32_t nr, bool mfns)
{
    int ret = 0;
    for (uint32_t i = 0; i < nr; i++) {
        uint64_t number = mfns ? c->out[i] : c->pfn[i];
        uint64_t va = list_at(&x->op.out, (chunk << x->out_order) + i);
        if (xp_copy_to_guest(x->d, va, &number, sizeof number) != 0)
            ret = -XEN_EFAULT;
    }
    return ret;
}

static void undo(struct exchange *x, struct chunk *c)
{
    struct xp_frames *f = &x->d->hv->frames;
    for (uint32_t i = 0; i < c->nr_in; i++)
        f->table[c->in[i]].flags |= XP_FF_ALLOCATED;
    for (uint32_t i = 0; i < c->nr_out; i++)
        for (uint64_t k = 0; k < (uint64_t)1 << x->op.out.extent_order; k++)
            XP_BUG_ON(xp_frame_release(f, xp_mfn(c->out[i] + k), x->d->domid) != 0);
}

/*
 * Shows new pages of a chunk from number `page` on, those that follow each other in one go; returns how many. Which they are
 * says c, or in a later step (NULL) the guest's list: if that has changed meanwhile it fools itself, see reservation.h.
 */
static int64_t show_some(struct exchange *x, const struct chunk *c, uint64_t chunk, uint64_t page)
{
    const uint32_t order = x->op.out.extent_order;
    const uint64_t each = (uint64_t)1 << order, pages = each << x->out_order;
    uint64_t first = 0, nr = 0;
    while (nr < XP_SHOW_STEP && page + nr < pages) {
        uint64_t mfn, inside = (page + nr) & (each - 1), i = (page + nr) >> order;
        if (c != NULL)
            mfn = c->out[i];
        else if (xp_copy_from_guest(x->d, &mfn, list_at(&x->op.out, (chunk << x->out_order) + i), sizeof mfn) != 0)
            return -XEN_EFAULT;
        if (nr > 0 && mfn + inside != first + nr)
            break;
        first = nr == 0 ? mfn + inside : first;
        nr += each - inside < XP_SHOW_STEP - nr ? each - inside : XP_SHOW_STEP - nr;
    }
    return xp_pages_show(x->d, xp_mfn(first), nr) != 0 ? -XEN_ENOMEM : (int64_t)nr;
}

/* The new pages are the domain's, and as many as one step may show are shown: all of them or more than there are for one. */
static int64_t come(struct exchange *x, struct chunk *c, uint64_t chunk)
{
    const uint64_t each = (uint64_t)1 << x->op.out.extent_order, pages = each << x->out_order;
    uint64_t page = 0;
    int64_t ret = 0;
    for (uint32_t i = 0; i < c->nr_out; i++)
        xp_pages_come(x->d, xp_mfn(c->out[i]), each, true, c->pfn[i]);
    for (uint64_t shown = 0; ret >= 0 && page < pages && shown < XP_SHOW_STEP; shown += (uint64_t)ret, page += (uint64_t)ret)
        if ((ret = show_some(x, c, chunk, page)) < 0)
            break;
    if (ret < 0)
        for (uint32_t i = 0; i < c->nr_out; i++)
            xp_pages_drop(x->d, xp_mfn(c->out[i]), each);
    c->nr_out = 0;
    return ret < 0 ? ret : (int64_t)page;
}

static void go(struct exchange *x, const struct chunk *c)
{
    for (uint32_t i = 0; i < c->nr_in; i++) {
        x->d->hv->frames.table[c->in[i]].flags |= XP_FF_ALLOCATED;
        xp_page_give_up(x->d, xp_mfn(c->in[i]));
    }
}

/* How many of the new pages were shown: the rest is for later steps. */
static int64_t do_chunk(struct exchange *x, uint64_t chunk)
{
    struct chunk c;
    c.nr_in = c.nr_out = 0;
    int64_t ret = take_in(x, &c, chunk);
    if (ret == 0)
        ret = take_out(x, &c, chunk);
    if (ret == 0) {
        const uint32_t nr = c.nr_out;
        ret = put_out(x, &c, chunk, nr, true);
        if (ret == 0)
            ret = put_done(x, (chunk + 1) << x->in_order);
        if (ret == 0)
            ret = come(x, &c, chunk);
        if (ret < 0)
            (void)put_out(x, &c, chunk, nr, false);
    }
    if (ret < 0)
        undo(x, &c);
    else
        go(x, &c);
    return ret;
}

/* ---- the call ---- */

static int decode(struct exchange *x)
{
    const struct xen_memory_reservation *in = &x->op.in, *out = &x->op.out;
    if (in->extent_order > XP_MAX_ORDER || out->extent_order > XP_MAX_ORDER)
        return -XEN_EPERM;
    if (x->op.nr_exchanged > in->nr_extents || in->domid != out->domid ||
        UINT64_MAX >> in->extent_order < in->nr_extents || UINT64_MAX >> out->extent_order < out->nr_extents ||
        in->nr_extents << in->extent_order != out->nr_extents << out->extent_order)
        return -XEN_EINVAL;
    const struct xp_domain *d = xp_domain_by_arg(x->d, in->domid);
    if (d != x->d)
        return d == NULL ? -XEN_ESRCH : -XEN_EPERM;
    x->in_order = out->extent_order > in->extent_order ? out->extent_order - in->extent_order : 0;
    x->out_order = in->extent_order > out->extent_order ? in->extent_order - out->extent_order : 0;
    return 0;
}

/* progress, 0 at the beginning: 1 + (chunks done << PHASE_BITS) + (0, or 1 + pages of the chunk under way that were shown). */
#define PHASE_BITS 11u
_Static_assert(CHUNK_MAX + 1 < 1u << PHASE_BITS, "fits");

static uint64_t chunk_of(uint64_t progress) { return (progress - 1) >> PHASE_BITS; }
static uint64_t phase_of(uint64_t progress) { return (progress - 1) & ((1u << PHASE_BITS) - 1); }
static uint64_t progress_of(uint64_t chunk, uint64_t phase) { return 1 + (chunk << PHASE_BITS | phase); }

static int64_t step(struct exchange *x, struct xp_call *call)
{
    uint64_t chunk = chunk_of(call->progress), phase = phase_of(call->progress);
    int64_t ret = phase == 0 ? do_chunk(x, chunk) : show_some(x, NULL, chunk, phase - 1);
    if (ret < 0)
        return ret;
    phase = (phase == 0 ? 1 : phase) + (uint64_t)ret;
    const bool all = phase - 1 >= (uint64_t)1 << (x->op.out.extent_order + x->out_order);
    call->progress = all ? progress_of(chunk + 1, 0) : progress_of(chunk, phase);
    return 0;
}

int64_t xp_exchange_op(struct xp_domain *d, struct xp_call *call)
{
    struct exchange x = {.d = d, .va = call->args[1], .until = xp_now_ns() + STEP_NS};
    if (xp_copy_from_guest(d, &x.op, x.va, sizeof x.op) != 0)
        return -XEN_EFAULT;
    int64_t ret = decode(&x);
    if (ret != 0)
        return put_done(&x, x.op.nr_exchanged) != 0 ? -XEN_EFAULT : ret;
    if (call->progress == 0)
        call->progress = progress_of(x.op.nr_exchanged >> x.in_order, 0);
    while (ret == 0 && chunk_of(call->progress) < x.op.in.nr_extents >> x.in_order)
        ret = xp_now_ns() > x.until ? XP_CALL_AGAIN : step(&x, call);
    if (ret == 0 || ret == XP_CALL_AGAIN)
        return ret;
    uint64_t done = chunk_of(call->progress) + (phase_of(call->progress) != 0);     /* what could not be shown was exchanged */
    return put_done(&x, done << x.in_order) != 0 ? -XEN_EFAULT : ret;
}
