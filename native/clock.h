/*
 * clock.h: the hypervisor's clock: real time (ns since it started) told to every domain by the TSC, and the wall clock.
 *
 * Real time is CLOCK_MONOTONIC since the start. Each domain's vcpu_time_info is set right when it makes a call and the last comparison
 * is more than a second old, and every SWEEP_NS whatever it does. Cost follows activity: one compare a call, a tick a second
 * while somebody calls, a sweep in steps every 16 s while there are domains.
 *   1. Written by Xen's version protocol, from numbers of our own: nothing is read back from a page a guest can write.
 *   2. No domain sees its time go back (timescale.h).
 *   3. Wall clock = real time + an offset that Domain0 alone sets (xp_hv_set_wall_clock); wc_version as Xen's.
 *
 * Tour H:140
 */
#ifndef XP_CLOCK_H
#define XP_CLOCK_H

#include "timer.h"
#include "timescale.h"

struct xp_hv;
struct xp_domain;

/* A moment on both clocks. */
struct xp_moment {
    uint64_t tsc;
    int64_t ns;                  /* system time */
};

struct xp_clock {
    int64_t boot_ns;             /* CLOCK_MONOTONIC when system time was 0 */
    int64_t wall_ns;             /* the wall clock when system time was 0 */
    struct xp_moment old, mid;   /* the slope is taken from `old` on; both move on every half minute */
    struct xp_moment last;       /* compared last */
    uint32_t news;               /* counts comparisons: who has another number is told at its next call */
    struct xp_timer tick;
    uint64_t calls_seen;
    int64_t swept_ns;
    uint32_t sweep_at;           /* domid where the sweep goes on, 0: none under way */
    uint64_t nr_told;            /* times that a vcpu_time_info was written */
};

/* Starts both clocks; takes some 10 ms. */
void xp_clock_start(struct xp_hv *hv);

/* The first vcpu_time_info and wall clock of a domain that is about to start, in its shared_info. */
void xp_clock_new_domain(struct xp_domain *d);

/* Sets a domain's time right; compares the clocks again if that was long ago. */
void xp_clock_tell(struct xp_domain *d);

/* The clock's own timer is due. */
void xp_clock_tick(struct xp_hv *hv, int64_t now);

/* Measured ticks a second. */
uint64_t xp_clock_hz(const struct xp_clock *c);

/* Domain0 sets it: the wall clock reads wall_ns at system time at_ns. All domains are told. -XEN_EINVAL: before 1970. */
int xp_hv_set_wall_clock(struct xp_hv *hv, int64_t wall_ns, int64_t at_ns);

#endif
