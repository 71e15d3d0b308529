/*
 * vchan_wait.c: how an end of a vchan waits: spinning on the peer's index, asleep on the event, or in the caller's epoll.
 *
 *   1. A wait ends by its deadline, whatever the peer does; wakes that move no index have a budget, after which the
 *      channel is closed.
 *   2. Of the threads that wait on one end (at most a reader and a writer) one, the leader, waits for the event; the
 *      others sleep on `turn`, which it moves after every event.
 *   3. While armed the descriptor stands for the event: a leader that takes one passes it on.
 */
#include "vchan_dir.h"
#include "spin.h"
#include <limits.h>
#include <unistd.h>

#define IDLE_WAKES 4096u        /* an honest peer causes about two a wait */
#define POLL_SLICE_NS 50000000  /* POLL with XP_WAIT_SIGNALS: how long a signal may have to wait */

int64_t xp_vchan_deadline(struct xp_vchan_timer *timer)
{
    if (timer->deadline == 0) timer->deadline = xp_deadline(timer->timeout_ns);
    return timer->deadline;
}

int64_t xp_vchan_left(const struct xp_vchan_timer *timer)
{
    if (timer->deadline == 0 || timer->deadline == XP_FOREVER) return timer->timeout_ns;
    int64_t left = timer->deadline - xp_now_ns();
    return left > 0 ? left : 1;                       /* 0 would mean not to wait at all */
}

/* ---- the event ---- */

static void write_own_fd(struct xp_vchan *ch)
{
    uint64_t one = 1;
    if (ch->event->wait_fd >= 0 && write(ch->event->wait_fd, &one, sizeof(one)) < 0) return;   /* full: readable anyway */
}

void xp_vchan_wake_self(struct xp_vchan *ch)
{
    atomic_store(&ch->event->mine->pending, 1);
    xp_sem_post(&ch->event->mine->sem);
    if (atomic_load(&ch->armed) != 0) write_own_fd(ch);
}

/* [leader] Counts wakes that moved no index of the peer's. */
static int idle_wake(struct xp_vchan *ch)
{
    uint32_t prod = atomic_load(ch->rd.theirs_word), cons = atomic_load(ch->wr.theirs_word);
    bool moved = prod != ch->seen_prod || cons != ch->seen_cons;
    ch->seen_prod = prod;
    ch->seen_cons = cons;
    ch->idle_wakes = moved ? 0 : ch->idle_wakes + 1;
    return ch->idle_wakes > IDLE_WAKES ? -XEN_EILSEQ : 0;
}

static void step_down(struct xp_vchan *ch)
{
    atomic_store(&ch->leader, 0);
    atomic_fetch_add(&ch->turn, 1);
    if (atomic_load(&ch->followers) != 0) (void)xp_futex_wake(&ch->turn, INT_MAX);
}

int xp_vchan_wait_event(struct xp_vchan *ch, uint32_t turn, struct xp_vchan_timer *timer)
{
    int64_t deadline = xp_vchan_deadline(timer), left = deadline == XP_FOREVER ? XP_FOREVER : deadline - xp_now_ns();
    int signals = ch->mode & XP_WAIT_SIGNALS;
    if (left <= 0) return -XEN_ETIMEDOUT;
    if (atomic_exchange(&ch->leader, 1) != 0) {
        atomic_fetch_add(&ch->followers, 1);
        int ret = xp_futex_wait_until(&ch->turn, turn, deadline);
        atomic_fetch_sub(&ch->followers, 1);
        return ret == -XEN_ETIMEDOUT || (ret == -XP_EINTR && signals != 0) ? ret : 0;
    }
    int ret = xp_direct_wait(ch->event, XP_WAIT_BLOCK | signals, left);
    if (ret == 0) ret = idle_wake(ch);
    step_down(ch);
    if (atomic_load(&ch->armed) != 0) write_own_fd(ch);   /* pairs with the exchange of leader in xp_vchan_arm */
    return ret == -XEN_EILSEQ ? xp_vchan_end(ch, XP_VCHAN_BROKEN) : ret;
}

/* ---- the index ---- */

/* 1: the level is there, 0: not yet, or an error. What was written before the peer went is still found. */
static int look(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t want)
{
    int ret = xp_vchan_state_error(ch);
    if (ret != 0) return ret;
    bool gone = xp_vchan_gone(ch);
    ret = xp_vchan_refresh(ch, d);
    if (ret != 0) return ret;
    if (xp_vchan_level(d) >= want) return 1;
    return gone ? -XEN_ENOTCONN : 0;
}

/* Looks at the index for as long as the mode says: 1: the level is there, 0: sleep now, or an error. */
static int spin(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t want, struct xp_vchan_timer *timer)
{
    int64_t deadline = xp_vchan_deadline(timer), slice = deadline;
    bool sliced = ch->mode == (XP_WAIT_POLL | XP_WAIT_SIGNALS);
    if (sliced && deadline - xp_now_ns() > POLL_SLICE_NS) slice = xp_now_ns() + POLL_SLICE_NS;
    struct xp_spin s = xp_spin_begin(&d->waiter, ch->mode, slice);
    for (uint32_t i = 1;; i++) {
        int ret = xp_spin(&s, &ch->event->theirs->cpu, &ch->event->mine->cpu);
        if (ret == 1) return 0;
        if (ret < 0) return slice != deadline ? -XP_EINTR : ret;
        if (atomic_load_explicit(d->theirs_word, memory_order_relaxed) != d->theirs || i % 64 == 0) {
            ret = look(ch, d, want);
            if (ret == 1) xp_spin_paid(&s);
            if (ret != 0) return ret;
        }
    }
}

int xp_vchan_await(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t want, struct xp_vchan_timer *timer)
{
    if (xp_vchan_level(d) >= want) return 0;
    int ret = look(ch, d, want);
    if (ret != 0) return ret < 0 ? ret : 0;
    if (timer->timeout_ns <= 0) {
        d->want = want;
        return -XEN_EAGAIN;
    }
    if ((ch->mode & 3) != XP_WAIT_BLOCK) {
        d->spun++;
        ret = spin(ch, d, want, timer);
    }
    while (ret == 0) {
        uint32_t turn = atomic_load(&ch->turn);
        atomic_fetch_or(ch->ask_byte, d->ask);        /* before the look: pairs with xp_vchan_tell */
        XP_FAULT_POINT("vchan.wait.asked");
        ret = look(ch, d, want);
        if (ret != 0) break;
        d->slept++;
        int waited = xp_vchan_wait_event(ch, turn, timer);
        if (waited != 0) {
            ret = look(ch, d, want);
            if (ret == 0) ret = waited;
        }
    }
    if (ret == -XP_EINTR) d->left_ns = xp_vchan_left(timer);
    return ret < 0 ? ret : 0;
}

/* ---- the caller's epoll ---- */

static bool something_to_do(struct xp_vchan *ch, int which)
{
    return ((which & XP_VCHAN_READ) != 0 && look(ch, &ch->rd, ch->rd.want) != 0)
        || ((which & XP_VCHAN_WRITE) != 0 && look(ch, &ch->wr, ch->wr.want) != 0);
}

int xp_vchan_arm(struct xp_vchan *ch, int which)
{
    uint8_t bits = 0;
    if ((which & XP_VCHAN_READ) != 0) bits |= ch->rd.ask;
    if ((which & XP_VCHAN_WRITE) != 0) bits |= ch->wr.ask;
    for (int tries = 0; tries < 4; tries++) {
        atomic_store(&ch->armed, 1);
        atomic_fetch_or(ch->ask_byte, bits);          /* before the look: pairs with xp_vchan_tell */
        if (something_to_do(ch, which)) break;
        if (atomic_exchange(&ch->leader, 1) != 0) return 0;   /* the leader passes its events on */
        int ret = xp_direct_arm(ch->event);
        if (ret == 1) {
            xp_direct_disarm(ch->event);
            (void)xp_direct_take(ch->event);
        }
        step_down(ch);
        if (ret == 0) return 0;
    }
    xp_vchan_disarm(ch);
    return 1;
}

void xp_vchan_disarm(struct xp_vchan *ch)
{
    uint64_t count;
    atomic_store(&ch->armed, 0);
    if (atomic_exchange(&ch->leader, 1) != 0) {       /* a thread sleeps on the semaphore: leave it so */
        if (read(ch->event->wait_fd, &count, sizeof(count)) < 0) return;   /* not written: nothing to drain */
        return;
    }
    xp_direct_disarm(ch->event);
    (void)xp_direct_take(ch->event);
    step_down(ch);
}
