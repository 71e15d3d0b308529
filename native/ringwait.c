/*
 * ringwait.c: whole turns on a ring: put, push, tell, wait, get, in one call.
 *
 * Waiting costs in the order of what it saves: first pauses without looking at a clock, then spinning by the rules of
 * spin.h, then xp_direct_wait after a final check, so that a peer that is awake is never told and never tells.
 */
#include "ringcore.h"

#include "spin.h"

#define DEADLINE_UNKNOWN (-1)

/* What one end waits for, and the state of the wait. */
struct turn {
    struct xp_ring *r;
    const struct xp_ring_wait *wait;
    const _Atomic uint32_t *prod;
    uint32_t cons;
    uint32_t next;               /* the slot that we write next */
    int64_t deadline;
};

static bool ready(const struct turn *t)
{
    return atomic_load_explicit(t->prod, memory_order_acquire) != t->cons; /* read again, and checked, by get */
}

/* Why waiting is over, if it is: the peer is gone, or another thread has closed our end. */
static int over(const struct turn *t)
{
    struct xp_direct *d = t->wait->direct;
    if (d && atomic_load_explicit(&d->mine->closed, memory_order_acquire)) /* with xp_direct_close_page */
        return -XEN_ENOTCONN;
    return atomic_load_explicit(&t->r->closed, memory_order_relaxed);
}

static const uint8_t *slot(const struct xp_ring *r, uint32_t index)
{
    size_t at = ring_slot_at(r, index);
    return r->page[at / XP_PAGE_SIZE] + at % XP_PAGE_SIZE;
}

/*
 * The slot to come is fetched while we wait for its index: with both lines asked for at once a turn costs little more
 * than one line's way there and back.
 */
static void fetch_slot(const struct turn *t)
{
    __builtin_prefetch(slot(t->r, t->cons));
}

/* Its index is there: the slot that we write next, often in the same line, is asked for at once, to write. */
static void own_slot(const struct turn *t)
{
    __builtin_prefetch(slot(t->r, t->next), 1);
}

/*
 * Between two looks of the first few. The fence keeps the next look from being asked for before this one is answered:
 * without it looks pile up, and the peer's store waits behind them. Measured between two cores: 96 ns a turn, 150 to 180
 * with the pause alone, 190 with the fence alone, 700 with neither.
 */
static void look_once(const struct turn *t)
{
    __builtin_ia32_lfence();
    fetch_slot(t);
    xp_relax();
}

static int64_t deadline(struct turn *t)
{
    if (t->deadline == DEADLINE_UNKNOWN)
        t->deadline = xp_deadline(t->wait->timeout_ns);
    return t->deadline;
}

/* 0: ready, 1: sleep, or an error. */
static int spin_until_ready(struct turn *t)
{
    struct xp_direct *d = t->wait->direct;
    struct xp_sem_waiter *w = d ? &d->waiter : &t->r->alone;
    int mode = d ? t->wait->mode & 3 : XP_WAIT_POLL;
    int ret;
    if (mode == XP_WAIT_BLOCK)
        return ready(t) ? 0 : 1;
    if (mode == XP_WAIT_POLL || w->backoff == 0) {
        for (uint32_t i = w->near ? XP_SPIN_NEAR : XP_SPIN_SHORT; i > 0; i--) {
            if (ready(t)) {
                own_slot(t);
                w->fails = 0;
                return 0;
            }
            look_once(t);
        }
    }
    struct xp_spin spin = xp_spin_begin(w, mode, deadline(t));
    while ((ret = xp_spin(&spin, d ? &d->theirs->cpu : NULL, d ? &d->mine->cpu : NULL)) == 0) {
        if (ready(t)) {
            xp_spin_paid(&spin);
            return 0;
        }
        if ((ret = over(t)) != 0)
            return ready(t) ? 0 : ret;
        fetch_slot(t);
    }
    return ret < 0 && ready(t) ? 0 : ret;
}

/* Waits until there is something to get: 0, or why there is nothing. `holdoff`: how much is worth being woken for. */
static int await(struct turn *t, _Atomic uint32_t *event, uint32_t holdoff)
{
    struct xp_direct *d = t->wait->direct;
    if (ready(t))
        return 0;
    int ret = over(t);
    if (ret == 0 && t->wait->timeout_ns <= 0)
        ret = -XEN_ETIMEDOUT;
    if (ret == 0)
        ret = spin_until_ready(t);
    while (ret == 1) {
        atomic_store_explicit(event, t->cons + holdoff, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst); /* with the fence in push() */
        XP_FAULT_POINT("ring.wait.announced");
        if (ready(t))
            return 0;
        int64_t left = deadline(t) == XP_FOREVER ? XP_FOREVER : t->deadline - xp_now_ns();
        ret = xp_direct_wait(d, XP_WAIT_BLOCK | (t->wait->mode & XP_WAIT_SIGNALS), left);
        if (ready(t))
            return 0;
        if (ret == 0 && ++t->r->idle_wakes > XP_SPURIOUS_BUDGET)
            ret = -XEN_EILSEQ;
        else if (ret == 0 && (ret = over(t)) == 0)
            ret = 1; /* an event of before, or a flood: `left` ends it */
    }
    if (ret == -XEN_EILSEQ)
        xp_ring_close(t->r, ret);
    return ret;
}

/* Tells the peer if push said so (told > 0): told, or -XEN_EAGAIN. That the peer is gone is seen by waiting. */
static int tell(int told, const struct xp_ring_wait *wait)
{
    if (told <= 0 || !wait->direct)
        return told;
    XP_FAULT_POINT("ring.push.before_notify");
    int ret = xp_direct_send(wait->direct);
    XP_FAULT_POINT("ring.push.notified");
    return ret == -XEN_EAGAIN ? ret : 0;
}

/* ---- the front ---- */

/* Takes responses until there are `least` of the f->wanted. */
static int collect(struct xp_front *f, const struct xp_ring_wait *wait, uint32_t least)
{
    struct turn t = {&f->r, wait, &f->r.shared->rsp_prod, f->rsp_cons, f->req_prod_pvt, DEADLINE_UNKNOWN};
    while (f->got < least) {
        int ret = await(&t, &f->r.shared->rsp_event, least - f->got);
        if (ret == 0)
            ret = front_get(f, f->rsps + (size_t)f->got * f->r.rsp_size, f->wanted - f->got);
        if (ret < 0)
            return ret;
        f->got += (uint32_t)ret;
        f->r.idle_wakes = 0;
        t.cons = f->rsp_cons;
    }
    return (int)f->got;
}

static int exchange(struct xp_front *f, void *reqs, uint32_t n, void *rsps, const struct xp_ring_wait *wait)
{
    if (n == 0 || n > f->r.nr_ents || (f->layout.id_size && n > f->nr_ids))
        return -XEN_EINVAL;
    if (f->req_prod_pvt != f->rsp_cons)
        return -XEN_EBUSY;
    (void)front_put(f, reqs, n);
    f->rsps = rsps;
    f->wanted = n;
    f->got = 0;
    int ret = tell(front_push(f), wait);
    return ret < 0 ? ret : collect(f, wait, n);
}

int xp_front_exchange(struct xp_front *f, void *reqs, uint32_t n, void *rsps, const struct xp_ring_wait *wait)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, exchange(f, reqs, n, rsps, wait));
}

int xp_front_call(struct xp_front *f)
{
    return xp_front_exchange(f, f->req_buf, 1, f->rsp_buf, &f->wait);
}

int xp_front_resume(struct xp_front *f, const struct xp_ring_wait *wait)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, f->rsps ? collect(f, wait, f->wanted) : -XEN_EINVAL);
}

int xp_front_wait(struct xp_front *f, void *rsps, uint32_t max, const struct xp_ring_wait *wait)
{
    int ret = max ? ring_enter(&f->r) : -XEN_EINVAL;
    if (ret)
        return ret;
    f->rsps = rsps;
    f->wanted = max;
    f->got = 0;
    return ring_leave(&f->r, collect(f, wait, 1));
}

int xp_front_send(struct xp_front *f, const struct xp_ring_wait *wait)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, tell(front_push(f), wait));
}

/* ---- the back ---- */

static int reply_and_wait(struct xp_back *b, const void *rsps, uint32_t n, void *reqs, uint32_t max,
                          const struct xp_ring_wait *wait)
{
    int ret;
    if (n && ((ret = back_put(b, rsps, n)) < 0 || (ret = tell(back_push(b), wait)) < 0))
        return ret;
    struct turn t = {&b->r, wait, &b->r.shared->req_prod, b->req_cons, b->rsp_prod_pvt, DEADLINE_UNKNOWN};
    if ((ret = await(&t, &b->r.shared->req_event, 1)) != 0)
        return ret;
    b->r.idle_wakes = 0;
    return back_get(b, reqs, max);
}

int xp_back_reply_and_wait(struct xp_back *b, const void *rsps, uint32_t n, void *reqs, uint32_t max,
                           const struct xp_ring_wait *wait)
{
    int ret = max ? ring_enter(&b->r) : -XEN_EINVAL;
    return ret ? ret : ring_leave(&b->r, reply_and_wait(b, rsps, n, reqs, max, wait));
}

static void number_responses(const struct xp_back *b, uint32_t n)
{
    const uint8_t *req = (const uint8_t *)b->req_buf + b->req_id_at;
    uint8_t *rsp = (uint8_t *)b->rsp_buf + b->rsp_id_at;
    for (uint32_t i = 0; i < n; i++, req += b->r.req_size, rsp += b->r.rsp_size)
        ring_copy(rsp, req, b->id_size);
}

int xp_back_call(struct xp_back *b, uint32_t n)
{
    int ret = xp_back_reply_and_wait(b, b->rsp_buf, n, b->req_buf, b->max_reqs, &b->wait);
    if (ret > 0 && b->id_size != 0)
        number_responses(b, (uint32_t)ret);
    if (ret != -XEN_EBUSY)
        b->taken = ret > 0 ? (uint32_t)ret : 0;
    return ret;
}

int xp_back_turn(struct xp_back *b)
{
    return xp_back_call(b, b->taken);
}

int xp_back_send(struct xp_back *b, const struct xp_ring_wait *wait)
{
    int ret = ring_enter(&b->r);
    return ret ? ret : ring_leave(&b->r, tell(back_push(b), wait));
}
