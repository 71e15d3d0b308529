/*
 * tick.h: the time stamp counter as nanoseconds, for measuring what is shorter than a clock call.
 *
 * Owns struct xp_tick, a plain value that may be copied to any process of the same host.
 *   1. xp_tick_begin is not moved below what is measured, xp_tick_end is not taken before its last load (lfence).
 *   2. A difference that runs backwards (a counter that CPUs do not share) is 0, never huge.
 */
#ifndef XP_TICK_H
#define XP_TICK_H

#include "xp.h"

struct xp_tick {
    uint64_t mult;               /* ns = ticks * mult >> 32 */
};

/* Compares the counter with CLOCK_MONOTONIC for wait_ns (20 ms gives some ten parts in a million). -XEN_EINVAL: it stands still. */
int xp_tick_calibrate(struct xp_tick *t, int64_t wait_ns);

static inline uint64_t xp_tick_begin(void)
{
    uint64_t now = xp_tsc();
    __builtin_ia32_lfence();
    return now;
}

static inline uint64_t xp_tick_end(void)
{
    __builtin_ia32_lfence();
    return xp_tsc();
}

static inline uint64_t xp_tick_ns(const struct xp_tick *t, uint64_t begin, uint64_t end)
{
    if (end <= begin)
        return 0;
    return (uint64_t)(((unsigned __int128)(end - begin) * t->mult + (1u << 31)) >> 32);
}

#endif
