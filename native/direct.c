/*
 * direct.c: sending and waiting on the page of direct.h.
 *
 * Tour E:080
 */
#include "direct.h"

#include <errno.h>
#include <unistd.h>

#include "spin.h"

_Static_assert(sizeof(struct xp_event_half) == 64, "a half is a cache line");

void xp_direct_init(struct xp_direct *d, void *page, unsigned side, int wait_fd, int wake_fd)
{
    struct xp_event_page *p = page;
    *d = (struct xp_direct){.mine = &p->half[side & 1], .theirs = &p->half[~side & 1], .wait_fd = wait_fd, .wake_fd = wake_fd};
    xp_sem_waiter_init(&d->waiter);
}

static bool closed(const struct xp_direct *d)
{
    return atomic_load_explicit(&d->mine->closed, memory_order_acquire) != 0; /* with xp_direct_close_page */
}

static int send(struct xp_direct *d)
{
    if (closed(d))
        return -XEN_ENOTCONN;
    d->sent++;
    XP_FAULT_POINT("event.send.begun");
    /*
     * A locked exchange is the fence between our store of pending and our read of sleep, for the receiver's store of
     * sleep, fence, read of pending (invariant 3). An event that is pending already has been or will be woken for.
     */
    if (atomic_exchange_explicit(&d->theirs->pending, 1, memory_order_seq_cst) == 1)
        return 0;
    XP_FAULT_POINT("event.send.pending_set");
    switch (atomic_load_explicit(&d->theirs->sleep, memory_order_seq_cst)) {
    case XP_SLEEP_SEM:
        XP_FAULT_POINT("event.send.before_wake");
        (void)xp_sem_post(&d->theirs->sem);
        break;
    case XP_SLEEP_FD:
        if (d->wake_fd < 0)
            return -XEN_EAGAIN;
        /* Full means that it is readable: nothing is lost. It is opened with EFD_NONBLOCK. */
        if (write(d->wake_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0 && errno == EBADF)
            return -XEN_EAGAIN;
        break;
    default: /* awake; anything else is the peer's own loss */
        return 0;
    }
    d->woken++;
    XP_FAULT_POINT("event.send.woken");
    return 1;
}

int xp_direct_send(struct xp_direct *d)
{
    int ret = send(d);
    xp_gtrace(d->tracer, XP_TRACE_rings, XP_TT_send, d->port, (uint64_t)(int64_t)ret);
    return ret;
}

/* The load keeps a spinner from taking the line away from the sender. */
static bool take(struct xp_direct *d)
{
    if (atomic_load_explicit(&d->mine->pending, memory_order_seq_cst) == 0)
        return false;
    (void)atomic_exchange_explicit(&d->mine->pending, 0, memory_order_seq_cst); /* acquires what the sender did before */
    d->causeless = 0;
    return true;
}

int xp_direct_take(struct xp_direct *d)
{
    if (take(d))
        return 1;
    return closed(d) ? (take(d) ? 1 : -XEN_ENOTCONN) : 0;
}

/* Sleeps once. 0: pending taken, 1: woken without cause, or an error. */
static int sleep_once(struct xp_direct *d, int mode, int64_t deadline)
{
    struct xp_event_half *mine = d->mine;
    atomic_store_explicit(&mine->sem.count, 0, memory_order_relaxed); /* posts of waits gone by */
    atomic_store_explicit(&mine->sleep, XP_SLEEP_SEM, memory_order_seq_cst); /* with xp_direct_send */
    XP_FAULT_POINT("event.wait.announced");
    int ret = xp_direct_take(d);
    if (ret != 0)
        return ret == 1 ? 0 : ret;
    d->slept++;
    xp_gtrace(d->tracer, XP_TRACE_rings, XP_TT_wait, d->port, 0);
    ret = xp_sem_sleep(&mine->sem, &d->waiter, mode, deadline);
    xp_gtrace(d->tracer, XP_TRACE_rings, XP_TT_woken, d->port, (uint64_t)(int64_t)ret);
    int got = xp_direct_take(d);
    if (got != 0)
        return got == 1 ? 0 : got;
    return ret == 0 ? 1 : ret;
}

int xp_direct_wait(struct xp_direct *d, int mode, int64_t timeout_ns)
{
    int ret = xp_direct_take(d);
    if (ret != 0)
        return ret == 1 ? 0 : ret;
    if (timeout_ns <= 0)
        return -XEN_ETIMEDOUT;
    int64_t deadline = xp_deadline(timeout_ns);
    struct xp_spin spin = xp_spin_begin(&d->waiter, mode, deadline);
    while ((ret = xp_spin(&spin, &d->theirs->cpu, &d->mine->cpu)) == 0)
        if ((ret = xp_direct_take(d)) != 0) {
            xp_spin_paid(&spin);
            return ret == 1 ? 0 : ret;
        }
    if (ret < 0)
        return ret;
    while ((ret = sleep_once(d, mode, deadline)) == 1)
        if (++d->causeless > d->waiter.budget) {
            d->causeless = 0;
            ret = -XEN_EILSEQ;
            break;
        }
    atomic_store_explicit(&d->mine->sleep, XP_AWAKE, memory_order_relaxed);
    return ret;
}

int xp_direct_arm(struct xp_direct *d)
{
    atomic_store_explicit(&d->mine->sleep, XP_SLEEP_FD, memory_order_seq_cst); /* with xp_direct_send */
    if (atomic_load_explicit(&d->mine->pending, memory_order_seq_cst) == 0 && !closed(d))
        return 0;
    atomic_store_explicit(&d->mine->sleep, XP_AWAKE, memory_order_relaxed);
    return 1;
}

void xp_direct_disarm(struct xp_direct *d)
{
    uint64_t count;
    atomic_store_explicit(&d->mine->sleep, XP_AWAKE, memory_order_relaxed);
    if (d->wait_fd >= 0 && read(d->wait_fd, &count, sizeof count) < 0)
        return; /* nothing was written: not woken by an event */
}

void xp_direct_close_page(void *page)
{
    struct xp_event_page *p = page;
    for (int side = 0; side < 2; side++)
        atomic_store_explicit(&p->half[side].closed, 1, memory_order_seq_cst); /* with closed() */
    for (int side = 0; side < 2; side++) {
        /* Wakes whatever `waiting` says: both guests can write there. */
        (void)atomic_fetch_add_explicit(&p->half[side].sem.count, 1, memory_order_seq_cst);
        (void)xp_futex_wake(&p->half[side].sem.count, 1);
    }
}
