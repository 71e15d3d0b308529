/* benchloops.c: see benchloops.h. */
#include "benchloops.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Spins until *word is want. Acquire: pairs with the other end's release store of the same word. */
static int await(const _Atomic uint64_t *word, uint64_t want, int64_t timeout_ns)
{
    int64_t until = 0;
    for (;;) {
        for (uint32_t i = 0; i < XP_BENCH_SPINS; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) == want)
                return 0;
            xp_relax();
        }
        sched_yield();
        int64_t now = now_ns();
        if (until == 0)
            until = now + timeout_ns;
        else if (now > until)
            return -XEN_ETIMEDOUT;
    }
}

/* The mean of the k round trips since begin. */
static void record(struct xp_hist *h, const struct xp_tick *t, uint64_t begin, uint64_t k)
{
    xp_hist_add(h, (xp_tick_ns(t, xp_tick_end() - begin, begin) + k / 2) / k, 1);
}

int xp_bench_lines_client(struct xp_bench_lines *l, uint64_t n, uint64_t stride, int same, int64_t timeout_ns,
                          const struct xp_tick *t, struct xp_hist *h)
{
    if (stride == 0)
        return -XEN_EINVAL;
    const _Atomic uint64_t *rsp = same ? &l->rsp_same : &l->rsp;
    uint64_t seq = atomic_load_explicit(&l->req, memory_order_relaxed);
    for (uint64_t left = n; left > 0;) {
        uint64_t k = left < stride ? left : stride;
        left -= k;
        uint64_t begin = xp_tick_begin();
        for (uint64_t i = 0; i < k; i++) {
            /* Release: pairs with the server's acquire in await. */
            atomic_store_explicit(&l->req, ++seq, memory_order_release);
            int ret = await(rsp, seq, timeout_ns);
            if (ret != 0)
                return ret;
        }
        record(h, t, begin, k);
    }
    return 0;
}

int xp_bench_lines_server(struct xp_bench_lines *l, uint64_t n, int same, int64_t timeout_ns)
{
    _Atomic uint64_t *rsp = same ? &l->rsp_same : &l->rsp;
    uint64_t seq = atomic_load_explicit(rsp, memory_order_relaxed);
    for (uint64_t i = 0; i < n; i++) {
        int ret = await(&l->req, ++seq, timeout_ns);
        if (ret != 0)
            return ret;
        /* Release: pairs with the client's acquire in await. */
        atomic_store_explicit(rsp, seq, memory_order_release);
    }
    return 0;
}

int xp_bench_sems_init(struct xp_bench_sems *s)
{
    if (sem_init(&s->there, 1, 0) != 0 || sem_init(&s->back, 1, 0) != 0)
        return -errno;
    return 0;
}

static int take(sem_t *sem)
{
    while (sem_wait(sem) != 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int xp_bench_sems_client(struct xp_bench_sems *s, uint64_t n, uint64_t stride, const struct xp_tick *t,
                         struct xp_hist *h)
{
    if (stride == 0)
        return -XEN_EINVAL;
    for (uint64_t left = n; left > 0;) {
        uint64_t k = left < stride ? left : stride;
        left -= k;
        uint64_t begin = xp_tick_begin();
        for (uint64_t i = 0; i < k; i++) {
            if (sem_post(&s->there) != 0)
                return -errno;
            int ret = take(&s->back);
            if (ret != 0)
                return ret;
        }
        record(h, t, begin, k);
    }
    return 0;
}

int xp_bench_sems_server(struct xp_bench_sems *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        int ret = take(&s->there);
        if (ret != 0)
            return ret;
        if (sem_post(&s->back) != 0)
            return -errno;
    }
    return 0;
}

int xp_bench_event_client(struct xp_direct *d, uint64_t n, uint64_t stride, int mode, int64_t timeout_ns,
                          const struct xp_tick *t, struct xp_hist *h)
{
    if (stride == 0)
        return -XEN_EINVAL;
    for (uint64_t left = n; left > 0;) {
        uint64_t k = left < stride ? left : stride;
        left -= k;
        uint64_t begin = xp_tick_begin();
        for (uint64_t i = 0; i < k; i++) {
            int ret = xp_direct_send(d);
            if (ret >= 0)
                ret = xp_direct_wait(d, mode, timeout_ns);
            if (ret < 0)
                return ret;
        }
        record(h, t, begin, k);
    }
    return 0;
}

int xp_bench_event_server(struct xp_direct *d, uint64_t n, int mode, int64_t timeout_ns)
{
    for (uint64_t i = 0; i < n; i++) {
        int ret = xp_direct_wait(d, mode, timeout_ns);
        if (ret == 0)
            ret = xp_direct_send(d);
        if (ret < 0)
            return ret;
    }
    return 0;
}

void xp_bench_record_ticks(struct xp_hist *h, const struct xp_tick *t, const uint64_t *ticks, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        xp_hist_add(h, xp_tick_ns(t, ticks[i], i), 1);
}

int xp_bench_die_with_parent(int parent_pid)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return -errno;
    /* It may have died before the call. */
    return getppid() == parent_pid ? 0 : -XEN_ESRCH;
}
