/*
 * reservation.c: more pages, fewer pages. See reservation.h.
 *
 * Tour M:120
 */
#include "reservation.h"

#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "m2p.h"
#include "pagelist.h"
#include "shadow.h"

#define STEP_NS 100000           /* then others get their turn */
#define SCRUB_STEP 32u           /* frames cleared in a call that finds none clean: below 50 us */
#define MAX_EXTENTS (UINT32_MAX >> 6)  /* as Xen, which keeps its place in the command's upper bits */

/* Of mem_flags: address bits, and one more than the number of the wanted node (we have node 0 alone). */
#define ADDRESS_BITS(flags) ((flags) & 0xffu)
#define NODE(flags) ((((flags) >> 8) - 1u) & 0xffu)
#define NO_NODE 0xffu

/* What a call asks for, copied once a step. */
struct request {
    struct xp_domain *d;
    uint32_t cmd;
    uint64_t list, nr;           /* extents */
    uint32_t order;
    uint64_t limit;              /* frames must lie below */
};

enum outcome { DONE, REFUSED, LATER };

uint64_t xp_address_limit(uint32_t mem_flags)
{
    uint32_t bits = ADDRESS_BITS(mem_flags);
    if (bits == 0 || bits >= 64)
        return UINT64_MAX;
    return bits <= XP_PAGE_SHIFT ? 0 : (uint64_t)1 << (bits - XP_PAGE_SHIFT);
}

int xp_frames_may_come(struct xp_domain *d)
{
    struct xp_frames *f = &d->hv->frames;
    return xp_frames_scrub_now(f, SCRUB_STEP) > 0 || f->nr_scrubbing > 0;
}

/* ---- pages that come ---- */

void xp_pages_come(struct xp_domain *d, xp_mfn_t first, uint64_t nr, bool named, uint64_t pfn)
{
    for (uint64_t i = 0; i < nr; i++) {
        xp_mfn_t mfn = xp_mfn(first.v + i);
        d->hv->frames.table[mfn.v].flags |= XP_FF_ABSENT;
        xp_page_link(d, mfn);
        if (named)
            xp_m2p_set(d->hv, mfn, pfn + i);
    }
}

static bool to_be_shown(struct xp_domain *d, uint64_t mfn)
{
    return xp_page_owned(d, xp_mfn(mfn)) && (d->hv->frames.table[mfn].flags & XP_FF_ABSENT) != 0;
}

int xp_pages_show(struct xp_domain *d, xp_mfn_t first, uint64_t nr)
{
    int ret = 0;
    for (uint64_t at = first.v, end = first.v + nr, run; at < end; at += run) {
        for (run = 0; at + run < end && to_be_shown(d, at + run);)
            run++;
        int error = run == 0 ? 0 : xp_window_give(&d->window, xp_mfn(at), run, false);
        for (uint64_t i = at; i < at + run; i++)
            if (error == 0 || xp_window_gone(&d->window, xp_mfn(i)) != 0)
                d->hv->frames.table[i].flags &= (uint8_t)~XP_FF_ABSENT;
        ret = error != 0 ? error : ret;
        run += run == 0;
    }
    return ret;
}

void xp_pages_drop(struct xp_domain *d, xp_mfn_t first, uint64_t nr)
{
    for (uint64_t i = first.v; i < first.v + nr; i++)
        if (to_be_shown(d, i))
            xp_page_give_up(d, xp_mfn(i));
}

/* An extent's number in the guest's list: of a frame it has, or the pfn that it wants one for. */
static int get_number(const struct request *r, uint64_t extent, uint64_t *number)
{
    return xp_copy_from_guest(r->d, number, r->list + extent * sizeof *number, sizeof *number);
}

static int put_number(const struct request *r, uint64_t extent, uint64_t number)
{
    return xp_copy_to_guest(r->d, r->list + extent * sizeof number, &number, sizeof number);
}

static enum outcome take_extent(const struct request *r, xp_mfn_t *first)
{
    struct xp_domain *d = r->d;
    uint64_t nr = (uint64_t)1 << r->order, reserved = xp_pages_reserved(d);
    if (reserved > d->max_pages || nr > d->max_pages - reserved)
        return REFUSED;
    if (xp_frames_alloc_extent(&d->hv->frames, d->domid, r->order, r->limit, first) == 0)
        return DONE;
    return xp_frames_may_come(d) ? LATER : REFUSED;
}

static void return_extent(const struct request *r, xp_mfn_t first)
{
    for (uint64_t i = 0; i < (uint64_t)1 << r->order; i++)
        XP_BUG_ON(xp_frame_release(&r->d->hv->frames, xp_mfn(first.v + i), r->d->domid) != 0);
}

/*
 * progress of a call for more pages: extents done, then of the extent under way the pages shown (in XP_SHOW_STEPs) and
 * its first frame.
 */
#define EXTENTS_BITS 26u
#define SHOWN_BITS 4u
_Static_assert(((uint64_t)1 << EXTENTS_BITS) > MAX_EXTENTS && (1u << XP_MAX_ORDER) / XP_SHOW_STEP < 1u << SHOWN_BITS, "fits");

static uint64_t extents_done(uint64_t progress) { return progress & (((uint64_t)1 << EXTENTS_BITS) - 1); }
static uint64_t steps_shown(uint64_t progress) { return progress >> EXTENTS_BITS & ((1u << SHOWN_BITS) - 1); }
static uint64_t under_way(uint64_t progress) { return progress >> (EXTENTS_BITS + SHOWN_BITS); }

static uint64_t progress_of(uint64_t extents, uint64_t steps, uint64_t mfn)
{
    return extents | steps << EXTENTS_BITS | mfn << (EXTENTS_BITS + SHOWN_BITS);
}

/* increase_reservation may do without a list; populate_physmap finds in it the pfn of the extent's first page. */
static enum outcome add_extent(const struct request *r, uint64_t extent, xp_mfn_t *first)
{
    const bool populate = r->cmd == XENMEM_populate_physmap, listed = populate || r->list != 0;
    uint64_t was = 0;
    if (listed && get_number(r, extent, &was) != 0)
        return REFUSED;
    enum outcome outcome = take_extent(r, first);
    if (outcome != DONE)
        return outcome;
    if (listed && put_number(r, extent, first->v) != 0) {
        return_extent(r, *first);
        return REFUSED;
    }
    const uint64_t nr = (uint64_t)1 << r->order;
    xp_pages_come(r->d, *first, nr, populate, was);
    if (xp_pages_show(r->d, *first, nr < XP_SHOW_STEP ? nr : XP_SHOW_STEP) == 0)
        return DONE;
    xp_pages_drop(r->d, *first, nr);
    if (listed)
        (void)put_number(r, extent, was);
    return REFUSED;
}

/* The next few pages of the extent under way. Where that fails those that were not shown go again. */
static enum outcome show_more(const struct request *r, const struct xp_call *call)
{
    const uint64_t nr = (uint64_t)1 << r->order, at = steps_shown(call->progress) * XP_SHOW_STEP;
    const uint64_t first = under_way(call->progress);
    /* None where the guest has changed its order meanwhile. */
    const uint64_t now = at >= nr ? 0 : nr - at < XP_SHOW_STEP ? nr - at : XP_SHOW_STEP;
    if (xp_pages_show(r->d, xp_mfn(first + at), now) == 0)
        return DONE;
    xp_pages_drop(r->d, xp_mfn(first), nr);
    return REFUSED;
}

/* An extent, or its next pages; progress is moved on where that is done. */
static enum outcome increase_step(const struct request *r, struct xp_call *call)
{
    uint64_t extent = extents_done(call->progress), steps = steps_shown(call->progress);
    xp_mfn_t first = xp_mfn(under_way(call->progress));
    enum outcome outcome = first.v == 0 ? add_extent(r, extent, &first) : show_more(r, call);
    if (outcome == DONE)
        call->progress = (steps + 1) * XP_SHOW_STEP >= (uint64_t)1 << r->order ? progress_of(extent + 1, 0, 0)
                                                                             : progress_of(extent, steps + 1, first.v);
    return outcome;
}

/* ---- pages that go ---- */

static enum outcome remove_page(struct xp_domain *d, xp_mfn_t mfn)
{
    if (!xp_page_owned(d, mfn) || xp_page_absent(d, mfn) != 0)
        return REFUSED;
    xp_shadow_forget(d, mfn);
    xp_page_give_up(d, mfn);
    return DONE;
}

/* ---- the calls ---- */

/* False: nothing to be done for such arguments. */
static bool decode(struct xp_domain *d, const struct xp_call *call, struct request *r)
{
    struct xen_memory_reservation op;
    if (xp_copy_from_guest(d, &op, call->args[1], sizeof op) != 0)
        return false;
    *r = (struct request){.d = d, .cmd = (uint32_t)call->args[0], .list = op.extent_start, .nr = op.nr_extents,
                          .order = op.extent_order, .limit = xp_address_limit(op.mem_flags)};
    if (op.nr_extents > MAX_EXTENTS || op.extent_order > XP_MAX_ORDER || xp_domain_by_arg(d, op.domid) != d)
        return false;
    if (ADDRESS_BITS(op.mem_flags) != 0 && r->limit == 0)
        return false;
    if ((op.mem_flags & XENMEMF_exact_node_request) != 0 && (op.mem_flags & XENMEMF_vnode) == 0 &&
        NODE(op.mem_flags) != NO_NODE && NODE(op.mem_flags) != 0)
        r->limit = 0;
    /* Populating on demand is for guests that do not know machine frames. */
    return r->cmd != XENMEM_populate_physmap || (op.mem_flags & XENMEMF_populate_on_demand) == 0;
}

/* progress: extent << XP_MAX_ORDER | page within it. */
static int64_t decrease(const struct request *r, struct xp_call *call)
{
    const uint64_t pages = (uint64_t)1 << r->order, end = r->nr << XP_MAX_ORDER;
    for (int64_t until = xp_now_ns() + STEP_NS; call->progress < end;) {
        uint64_t extent = call->progress >> XP_MAX_ORDER, page = call->progress & ((1u << XP_MAX_ORDER) - 1), first;
        if (get_number(r, extent, &first) != 0)
            return (int64_t)extent;
        for (; page < pages; page++, call->progress++) {
            if (xp_now_ns() > until)
                return XP_CALL_AGAIN;
            if (remove_page(r->d, xp_mfn(first + page)) != DONE)
                return (int64_t)extent;
        }
        call->progress = (extent + 1) << XP_MAX_ORDER;
    }
    return (int64_t)(call->progress >> XP_MAX_ORDER);
}

static int64_t increase(const struct request *r, struct xp_call *call)
{
    for (int64_t until = xp_now_ns() + STEP_NS; extents_done(call->progress) < r->nr;) {
        enum outcome outcome = xp_now_ns() > until ? LATER : increase_step(r, call);
        if (outcome == LATER)
            return XP_CALL_AGAIN;
        if (outcome != DONE)
            break;
    }
    return (int64_t)extents_done(call->progress);
}

int64_t xp_reservation_op(struct xp_domain *d, struct xp_call *call)
{
    struct request r;
    const bool less = call->args[0] == XENMEM_decrease_reservation;
    uint64_t done = less ? call->progress >> XP_MAX_ORDER : extents_done(call->progress);
    if (!decode(d, call, &r) || done >= r.nr)
        return (int64_t)done;
    if (!less)
        return increase(&r, call);
    int64_t result = decrease(&r, call);
    if (result != XP_CALL_AGAIN && d->hv->frames.nr_dirty > 0)
        xp_hv_news_of(d);       /* the policy thread scrubs */
    return result;
}
