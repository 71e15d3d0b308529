/*
 * timescale.h: ticks of the TSC as nanoseconds, as Xen's vcpu_time_info says it: ns = (ticks << shift) * mul >> 32.
 *
 * Pure arithmetic, for both sides. A scale is a line: `ns` at `tsc`, and a slope. Source: public/xen.h (vcpu_time_info).
 *   1. Reading a scale before its own beginning gives its beginning, never a huge number.
 *   2. A scale that follows another begins on it (xp_timescale_follow): who reads first the old, then the new, never sees
 *      time go back.
 */
#ifndef XP_TIMESCALE_H
#define XP_TIMESCALE_H

#include "xp.h"

struct xp_timescale {
    uint64_t tsc;
    uint64_t ns;
    uint32_t mul;
    int8_t shift;
};

static inline uint64_t xp_timescale_ns(uint64_t tsc, uint64_t at, uint64_t ns, uint32_t mul, int8_t shift)
{
    int64_t ticks = (int64_t)(tsc - at);
    if (ticks <= 0)
        return ns;
    uint64_t scaled = shift >= 0 ? (uint64_t)ticks << shift : (uint64_t)ticks >> -shift;
    return ns + (uint64_t)(((unsigned __int128)scaled * mul) >> 32);
}

static inline uint64_t xp_timescale_read(const struct xp_timescale *s, uint64_t tsc)
{
    return xp_timescale_ns(tsc, s->tsc, s->ns, s->mul, s->shift);
}

/* The slope: ns for ticks, both above 0 and below 2^60; mul gets all 32 bits. */
void xp_timescale_slope(struct xp_timescale *s, uint64_t ticks, uint64_t ns);

/*
 * Lets s go on from tsc: true time there is `ns`, and ns_span pass in tick_span. Behind: set right at once. Ahead: slowed down so
 * that it is right after XP_SLEW_NS, at most to half its pace.
 */
void xp_timescale_follow(struct xp_timescale *s, uint64_t tsc, uint64_t ns, uint64_t tick_span, uint64_t ns_span);

#define XP_SLEW_NS 1000000000u

#endif
