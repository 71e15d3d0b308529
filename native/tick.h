/*
 * tick.h: the time stamp counter as nanoseconds, for measuring what is shorter than a clock call.
 *
 * Owns struct xp_tick, a plain value that may be copied to any process of the same host.
 *   1. Nothing of what is measured begins before xp_tick_begin or is unfinished at xp_tick_end (lfence): what the CPU
 *      would do ahead of time, in the next round trip's favour, is not counted as saved.
 *   2. What the two stamps themselves cost is taken off. A difference that runs backwards is 0, never huge.
 *   3. Where the counter advances in steps (10 ns on some hosts) each duration gets a share of a step, evenly spread:
 *      a median of thousands is then finer than a step.
 */
#ifndef XP_TICK_H
#define XP_TICK_H

#include "xp.h"

struct xp_tick {
    uint64_t mult;               /* ns = ticks * mult >> 32 */
    uint64_t cost;               /* ticks between a begin and an end with nothing between */
    uint64_t grain;              /* ticks by which the counter advances at once */
};

/* Compares the counter with CLOCK_MONOTONIC for wait_ns (20 ms: some ten parts in a million). -XEN_EINVAL: it stands still. -XEN_ENOMEM. */
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

/* The ns of a duration in ticks; `salt`, any number that differs from one to the next, says which share of a step it gets. */
static inline uint64_t xp_tick_ns(const struct xp_tick *t, uint64_t ticks, uint64_t salt)
{
    uint64_t share = ((salt * 0x9E3779B97F4A7C15u >> 32) * t->grain) >> 32;
    uint64_t off = t->cost + t->grain / 2;
    if ((int64_t)ticks < 0 || ticks + share <= off)
        return 0;
    return (uint64_t)(((unsigned __int128)(ticks + share - off) * t->mult + (1u << 31)) >> 32);
}

#endif
