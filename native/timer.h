/*
 * timer.h: the queue of deadlines: what the hypervisor has to do at a moment of system time, least deadline first.
 *
 * One for the whole hypervisor (xp_hv.timers): parked calls, each virtual CPU's alarms, the clock's own tick. The dispatcher
 * sleeps until its head is due. Pure: knows neither time nor domains; the hypervisor's lock is held by whoever calls.
 *   1. A timer is in the queue at most once and knows its place; setting it anew moves it.
 *   2. Timers that are due at the same moment come in any order; none is lost, none comes early.
 *   3. The queue never shrinks: a timer that was just taken can be set again without failing.
 *
 * Tour H:120
 */
#ifndef XP_TIMER_H
#define XP_TIMER_H

#include "heap.h"

enum xp_timer_kind {
    XP_TIMER_PARK = 0, XP_TIMER_CLOCK, XP_TIMER_SINGLESHOT, XP_TIMER_PERIODIC,
};

struct xp_timer {
    struct xp_heap_node node;    /* its key: the deadline, system time in ns */
    uint8_t kind;                /* enum xp_timer_kind: what is to be done */
    void *owner;                 /* of its kind: struct xp_park, struct xp_domain, struct xp_hv */
};

struct xp_timers {
    struct xp_heap heap;
};

static inline bool xp_timer_is_set(const struct xp_timer *t) { return t->node.at != XP_HEAP_OFF; }

/* Zeroed is a valid, empty queue. */
void xp_timers_free(struct xp_timers *q);

/* A timer that is not set. */
void xp_timer_init(struct xp_timer *t, enum xp_timer_kind kind, void *owner);

/* Due at deadline from now on, wherever it was before. -XEN_ENOMEM: as it was. */
int xp_timer_set(struct xp_timers *q, struct xp_timer *t, int64_t deadline);

/* Not due any more. Twice is harmless. */
void xp_timer_cancel(struct xp_timers *q, struct xp_timer *t);

/* Takes one whose deadline is at most now, the least first; NULL: none. */
struct xp_timer *xp_timers_take(struct xp_timers *q, int64_t now);

/* The least deadline, or INT64_MAX. */
int64_t xp_timers_next(const struct xp_timers *q);

#endif
