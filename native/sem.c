/*
 * sem.c: the counting semaphore of sem.h on a futex.
 *
 * Pairing: the poster adds to `count`, then reads `waiting`; the waiter writes `waiting`, then reads `count`. All four
 * are sequentially consistent, so at least one of the two sees the other: no wake is lost between honest parties.
 */
#include "sem.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "spin.h"

#define NS 1000000000

int64_t xp_now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS + ts.tv_nsec;
}

int64_t xp_deadline(int64_t timeout_ns)
{
    if (timeout_ns <= 0)
        return 0;
    int64_t now;
    return timeout_ns == XP_FOREVER || __builtin_add_overflow(xp_now_ns(), timeout_ns, &now) ? XP_FOREVER : now;
}

int xp_futex_wait_until(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    struct timespec ts = {.tv_sec = deadline_ns / NS, .tv_nsec = deadline_ns % NS};
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, deadline_ns == XP_FOREVER ? NULL : &ts, NULL,
                FUTEX_BITSET_MATCH_ANY) == 0)
        return 0;
    switch (errno) {
    case EAGAIN: return -XEN_EAGAIN;
    case ETIMEDOUT: return -XEN_ETIMEDOUT;
    case EINTR: return -XP_EINTR;
    default: return -XEN_EFAULT;
    }
}

int xp_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    return xp_futex_wait_until(word, expected, xp_deadline(timeout_ns));
}

int xp_futex_wake(_Atomic uint32_t *word, int nr)
{
    long ret = syscall(SYS_futex, word, FUTEX_WAKE, nr, NULL, NULL, 0);
    return ret < 0 ? -XEN_EFAULT : (int)ret;
}

void xp_sem_waiter_init(struct xp_sem_waiter *w)
{
    *w = (struct xp_sem_waiter){.budget = XP_SPURIOUS_BUDGET};
}

int xp_sem_post(struct xp_sem *sem)
{
    (void)atomic_fetch_add_explicit(&sem->count, 1, memory_order_seq_cst); /* with take() and `waiting` */
    XP_FAULT_POINT("sem.post.counted");
    if (atomic_load_explicit(&sem->waiting, memory_order_seq_cst) == 0)
        return 0;
    (void)xp_futex_wake(&sem->count, 1);
    XP_FAULT_POINT("sem.post.woken");
    return 1;
}

/* Takes one if there is one. A hostile writer can only make compare-and-swap fail, which ends the attempt. */
static bool take(struct xp_sem *sem)
{
    uint32_t count = atomic_load_explicit(&sem->count, memory_order_seq_cst);
    for (int tries = 0; count != 0 && tries < 64; tries++)
        if (atomic_compare_exchange_weak_explicit(&sem->count, &count, count - 1, memory_order_seq_cst,
                                                  memory_order_seq_cst)) /* acquires what the poster did before */
            return true;
    return false;
}

static int sleep_until_taken(struct xp_sem *sem, struct xp_sem_waiter *w, int mode, int64_t deadline)
{
    for (;;) {
        /* Stored again each time round: whoever cleared it would have cost us our wake. */
        atomic_store_explicit(&sem->waiting, 1, memory_order_seq_cst); /* with xp_sem_post */
        XP_FAULT_POINT("sem.wait.announced");
        if (take(sem))
            break;
        int ret = xp_futex_wait_until(&sem->count, 0, deadline); /* an absolute limit: no flood of wakes moves it */
        if (take(sem))
            break;
        if (ret == -XEN_ETIMEDOUT || ret == -XEN_EFAULT || (ret == -XP_EINTR && (mode & XP_WAIT_SIGNALS)))
            return ret;
        if (ret != -XP_EINTR && ++w->spurious > w->budget) {
            w->spurious = 0;
            return -XEN_EILSEQ;
        }
    }
    w->spurious = 0;
    return 0;
}

int xp_sem_sleep(struct xp_sem *sem, struct xp_sem_waiter *w, int mode, int64_t deadline_ns)
{
    int ret = sleep_until_taken(sem, w, mode, deadline_ns);
    atomic_store_explicit(&sem->waiting, 0, memory_order_relaxed);
    return ret;
}

int xp_sem_wait(struct xp_sem *sem, struct xp_sem_waiter *w, int mode, int64_t timeout_ns)
{
    if (take(sem))
        return 0;
    if (timeout_ns <= 0)
        return -XEN_ETIMEDOUT;
    int64_t deadline = xp_deadline(timeout_ns);
    struct xp_spin spin = xp_spin_begin(w, mode, deadline);
    int ret;
    while ((ret = xp_spin(&spin, NULL, NULL)) == 0)
        if (atomic_load_explicit(&sem->count, memory_order_relaxed) != 0 && take(sem)) {
            xp_spin_paid(&spin);
            return 0;
        }
    return ret < 0 ? ret : xp_sem_sleep(sem, w, mode, deadline);
}
