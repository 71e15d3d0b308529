/*
 * exchange.c: XENMEM_exchange: pages go, as many others come, for frames in one piece or below an address. See reservation.h.
 *
 * Done in chunks: the larger of the two extents. Each chunk is decided on, reported, shown, and only then do its old pages go.
 *
 * Tour M:130
 */
#include "reservation.h"

#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "m2p.h"
#include "pagelist.h"

#define STEP_NS 100000
#define CHUNK_MAX (1u << XP_MAX_ORDER)

struct exchange {
    struct xp_domain *d;
    uint64_t va;                 /* of the argument */
    struct xen_memory_exchange op;
    uint32_t in_order, out_order; /* extents of a chunk: 1 << these */
    int64_t until;               /* system time at which a step's turn is over */
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
    struct xp_frame *frame = &d->hv->frames.table[mfn];
    if (frame->ref_count != 1 || frame->type_count != 0)
        return -XEN_EINVAL;
    if ((frame->flags & XP_FF_ABSENT) == 0) {
        if (xp_now_ns() > x->until)
            return XP_CALL_AGAIN;
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
    return 0;
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

/* Consecutive extents in one go. -XEN_Exxx: c->out holds those that were not shown, nr_out of them. */
static int show_out(struct exchange *x, struct chunk *c)
{
    const uint32_t order = x->op.out.extent_order;
    for (uint32_t i = 0, nr; i < c->nr_out; i += nr) {
        for (nr = 1; i + nr < c->nr_out && c->out[i + nr] == c->out[i] + (nr << order);)
            nr++;
        for (uint64_t k = 0; k < (uint64_t)nr << order; k++)
            xp_m2p_set(x->d->hv, xp_mfn(c->out[i] + k), c->pfn[i + (k >> order)] + (k & ((1u << order) - 1)));
        int ret = xp_pages_show(x->d, xp_mfn(c->out[i]), (uint64_t)nr << order);
        if (ret == 0)
            continue;
        for (uint32_t k = i + nr; k < c->nr_out; k++)
            c->out[k - (i + nr)] = c->out[k];
        c->nr_out -= i + nr;
        return ret;
    }
    return 0;
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

static void let_go(struct exchange *x, struct chunk *c)
{
    for (uint32_t i = 0; i < c->nr_in; i++) {
        x->d->hv->frames.table[c->in[i]].flags |= XP_FF_ALLOCATED;
        xp_page_give_up(x->d, xp_mfn(c->in[i]));
    }
}

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
        if (ret == 0 && show_out(x, &c) != 0)
            ret = -XEN_ENOMEM;
        if (ret != 0)
            (void)put_out(x, &c, chunk, nr, false);
    }
    if (ret == 0)
        let_go(x, &c);
    else
        undo(x, &c);
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

/* progress: 1 + chunks done, so that 0 is the beginning, where the guest says from which extent on. */
int64_t xp_exchange_op(struct xp_domain *d, struct xp_call *call)
{
    struct exchange x = {.d = d, .va = call->args[1], .until = xp_now_ns() + STEP_NS};
    if (xp_copy_from_guest(d, &x.op, x.va, sizeof x.op) != 0)
        return -XEN_EFAULT;
    int64_t ret = decode(&x);
    if (ret != 0)
        return put_done(&x, x.op.nr_exchanged) != 0 ? -XEN_EFAULT : ret;
    uint64_t nr = x.op.in.nr_extents >> x.in_order;
    if (call->progress == 0)
        call->progress = 1 + (x.op.nr_exchanged >> x.in_order);
    while (ret == 0 && call->progress - 1 < nr) {
        ret = xp_now_ns() > x.until ? XP_CALL_AGAIN : do_chunk(&x, call->progress - 1);
        call->progress += ret == 0;
    }
    if (ret != 0 && ret != XP_CALL_AGAIN && put_done(&x, (call->progress - 1) << x.in_order) != 0)
        return -XEN_EFAULT;
    return ret;
}
