/*
 * sem.h: a counting semaphore on a 32-bit futex word, for pages that a peer can scribble on.
 *
 * Owns struct xp_sem, which lies in shared memory, and nothing else. glibc's sem_t keeps its waiter state in the
 * shared words and believes it; here every word may hold anything at any time, and the worst that follows is a
 * wake too many or too few for the one peer that maps the page:
 *   1. a wait always ends by its deadline, whatever the words hold;
 *   2. a waiter counts returns without cause in private memory (struct xp_sem_waiter) and gives up at its budget;
 *   3. a post never blocks and costs at most one futex wake.
 * One thread waits on a semaphore at a time; any number may post.
 *
 * Tour E:050
 */
#ifndef XP_SEM_H
#define XP_SEM_H

#include "xp.h"
#include <stdatomic.h>

struct xp_sem {
    _Atomic uint32_t count;     /* [poster] adds one, [waiter] takes one */
    _Atomic uint32_t waiting;   /* [waiter] 1 while it may sleep: the poster wakes only then */
};

#define XP_SPURIOUS_BUDGET 1024u

/* Private to the waiter. */
struct xp_sem_waiter {
    uint32_t spurious;          /* wakes without a count since the last honest one */
    uint32_t budget;            /* how many are borne before -XEN_EILSEQ */
    uint32_t backoff;           /* adaptive: waits left before spinning is tried again */
    uint32_t fails;             /* adaptive: spins in a row that ended asleep */
    uint32_t near;              /* 1: the peer was seen on this very CPU */
};

enum xp_wait_mode { XP_WAIT_POLL = 0, XP_WAIT_ADAPTIVE = 1, XP_WAIT_BLOCK = 2 };

/* Beside a mode: a signal handler that ran ends the wait with -XP_EINTR, so that Python's own handlers get their turn. */
#define XP_WAIT_SIGNALS 16
#define XP_EINTR 4

/* Relative time without limit. The library's own default is 5 s a call (DESIGN.md section 2.4). */
#define XP_FOREVER INT64_MAX

void xp_sem_waiter_init(struct xp_sem_waiter *w);

/* Adds one and wakes a sleeper if there may be one. 1: a wake was sent, 0: none was needed. */
int xp_sem_post(struct xp_sem *sem);

/*
 * Takes one. -XEN_ETIMEDOUT at the deadline, -XEN_EILSEQ when the budget of spurious wakes is spent.
 * POLL spins only (yielding the CPU now and then, so that more spinners than CPUs do not collapse), ADAPTIVE spins
 * while that pays and then sleeps, BLOCK sleeps at once.
 */
int xp_sem_wait(struct xp_sem *sem, struct xp_sem_waiter *w, int mode, int64_t timeout_ns);

/* The same without spinning, up to a moment of CLOCK_MONOTONIC: for who has spun already. */
int xp_sem_sleep(struct xp_sem *sem, struct xp_sem_waiter *w, int mode, int64_t deadline_ns);

/*
 * The bare calls, on a word shared between processes. wait: 0 after any wake, -XEN_EAGAIN if the word was not as
 * expected, -XEN_ETIMEDOUT, -XP_EINTR, -XEN_EFAULT. wake: how many were woken. The time limit of wait_until is absolute.
 */
int xp_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns);
int xp_futex_wait_until(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns);
int xp_futex_wake(_Atomic uint32_t *word, int nr);

/* CLOCK_MONOTONIC in ns, and the moment so far ahead (XP_FOREVER stays so). */
int64_t xp_now_ns(void);
int64_t xp_deadline(int64_t timeout_ns);

#endif
