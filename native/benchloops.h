/*
 * benchloops.h: the limits that xenproc is measured against: what two processes can do with nothing between them; and
 * the same loops over our own events and hypercalls, so that both are timed alike.
 *
 * Owns the two shared areas below; one process runs the client's loop, another the server's, with the same n.
 * Each client's loop takes the time (tick.h) of `stride` round trips at once and records their mean: with 1 it has
 * every round trip, and the 20 ns of a time stamp in each; with 32 what a round trip really costs.
 *   1. A loop ends by its time limit (lines) or is killed from outside (semaphores: the bare calls have no limit).
 *   2. Counting goes on from round to round: an area is cleared once, before the first.
 *   3. Spinners yield after XP_BENCH_SPINS pauses: more spinners than CPUs are slow, not dead.
 */
#ifndef XP_BENCHLOOPS_H
#define XP_BENCHLOOPS_H

#include "direct.h"
#include "hist.h"
#include "tick.h"
#include <semaphore.h>
#include <stdatomic.h>

#define XP_BENCH_SPINS 2000u

/*
 * A request line and a response line, as a ring would use them; with `same` set the response goes into the request's
 * line. Never two lines of one 128-byte pair: the prefetcher fetches those together.
 */
struct xp_bench_lines {
    _Atomic uint64_t req;            /* [client] */
    _Atomic uint64_t rsp_same;       /* [server] */
    uint8_t pad0[112];
    _Atomic uint64_t rsp;            /* [server] */
    uint8_t pad1[120];
};

struct xp_bench_sems {
    sem_t there;
    uint8_t pad0[128 - sizeof(sem_t)];
    sem_t back;
    uint8_t pad1[128 - sizeof(sem_t)];
};

/* Exactly n round trips. -XEN_ETIMEDOUT: the other end did not answer in time. */
int xp_bench_lines_client(struct xp_bench_lines *l, uint64_t n, uint64_t stride, int same, int64_t timeout_ns,
                          const struct xp_tick *t, struct xp_hist *h);
int xp_bench_lines_server(struct xp_bench_lines *l, uint64_t n, int same, int64_t timeout_ns);

/* glibc's own process-shared semaphores, bare sem_post and sem_wait. */
int xp_bench_sems_init(struct xp_bench_sems *s);
int xp_bench_sems_client(struct xp_bench_sems *s, uint64_t n, uint64_t stride, const struct xp_tick *t,
                         struct xp_hist *h);
int xp_bench_sems_server(struct xp_bench_sems *s, uint64_t n);

/* Our direct events, in two domains. Errors are xp_direct_wait's. */
int xp_bench_event_client(struct xp_direct *d, uint64_t n, uint64_t stride, int mode, int64_t timeout_ns,
                          const struct xp_tick *t, struct xp_hist *h);
int xp_bench_event_server(struct xp_direct *d, uint64_t n, int mode, int64_t timeout_ns);

/* n durations in ticks, as some loops of ours leave them. */
void xp_bench_record_ticks(struct xp_hist *h, const struct xp_tick *t, const uint64_t *ticks, uint64_t n);

/* Death of the parent kills the caller: no party outlives its benchmark. 0 or -errno; -XEN_ESRCH: it is dead already. */
int xp_bench_die_with_parent(int parent_pid);

#endif
