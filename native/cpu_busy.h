/*
 * cpu_busy.h: the sensor of contention: which domains use CPUs, told by the kernel's timers on their CPU clocks.
 *
 * Each domain's timer goes off after every few ms that it has run, and never while it sleeps: a thousand asleep cost nothing.
 * Belongs to cpu.c; the hypervisor's lock is held.
 *   1. Contended: more domains than CPUs ran in the last moments, and they filled the CPUs or waited for them.
 *
 * Tour H:240
 */
#ifndef XP_CPU_BUSY_H
#define XP_CPU_BUSY_H

#include "xp.h"

#include <time.h>

/* One domain's. */
struct xp_busy {
    timer_t timer;
    bool has_timer, is_set;
    uint32_t epoch;              /* in which it was last seen to run */
    int64_t seen_ns;             /* system time of that; 0: never */
    int64_t waited_ns;           /* for a CPU, as its epoch began */
};

/* All domains', in epochs of some 40 ms. */
struct xp_busy_epoch {
    int64_t begun_ns;
    uint32_t number;
    uint32_t nr_domains;         /* that ran in it */
    int64_t ran_ns, waited_ns;
};

#define XP_BUSY_NS 10000000      /* of CPU time between two signs of life */

struct xp_domain;

/* The signal by which the timers tell. */
int xp_busy_signal(void);

/* That signal for thread tid, with the domid in it, once the timer is set. 0, or -errno. */
int xp_busy_watch(struct xp_domain *d, int32_t tid);

/* Sets the timer: every few ms of CPU time (soon: at the first tick that finds it running), or off. */
void xp_busy_set(struct xp_domain *d, bool on, bool soon);
void xp_busy_close(struct xp_busy *b);

/* It has run for nr times XP_BUSY_NS. True: an epoch has ended with contention for nr_cpus CPUs. */
bool xp_busy_seen(struct xp_busy_epoch *e, struct xp_domain *d, uint32_t nr, uint32_t nr_cpus, int64_t now);

#endif
