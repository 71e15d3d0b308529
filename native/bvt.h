/*
 * bvt.h: Borrowed Virtual Time (Duda and Cheriton, SOSP 1999) as a class of scheduler.h. Its rules; docs/bvt.md says why.
 *
 * Units: a unit of virtual time is an eighth of a nanosecond of CPU time at weight 1. CPU time t at weight w is 8 t / w units;
 * what the division leaves is kept in `rest`, so nothing drifts. An entity that never stops fills 63 bits in 36 years.
 *   1. avt += 8 t / w, t rounded up to whole mcus. What was charged too much (ahead_ns, less than one mcu) is taken off the next
 *      charge: in all, nobody is ever charged more than one mcu above what it used.
 *   2. evt = avt - 8 warp_ns / 256 while it is warped, otherwise avt.
 *   3. svt = the least avt of those who run or wait; it never goes back.
 *   4. Who wakes: avt = max(avt, svt, mean - 8 C / w), unless it slept against its will; mean is that of the avt of those who run
 *      or wait, by weight. Who is new begins at svt.
 *   5. Who waits is due when the current one's evt reaches evt + 8 C / w: w its own weight, C the context switch allowance, so
 *      that nobody who waits falls behind anybody by more than C of its own time. One that woke and has not run since is not
 *      held up by C: it is due as soon as the current one's evt is greater than its own.
 *   6. Who is due first runs next; of those equally due, who was queued first. The current one goes on until it has reached
 *      that, in whole mcus and never less than one (however far it is ahead already).
 *   7. Warp: it is warped while it has used less than warp_limit_ns of CPU time warped in this period, counted across slices. A
 *      period lasts warp_period_ns; the next begins when it is looked at after that: when it wakes, is charged or adjusted.
 *   8. Several CPUs have one queue. As nobody can use more than one of them, one who runs and is nevertheless behind the first
 *      in the queue (if nobody waits: behind another CPU's current) by more than both their allowances has been owed more than
 *      a CPU: it is brought forward to that. Borrowed time is not counted as being ahead.
 *   9. Others may spend time for one that sleeps: it is brought forward as if it woke, then charged. Room for that is left until its
 *      avt is C of its own time beyond the mean of 4: what is spent for it beyond its share has to wait.
 */
#ifndef XP_BVT_H
#define XP_BVT_H

#include "scheduler.h"

#define XP_BVT_UNITS_PER_NS 8            /* at weight 1 */

/* CPU time at a weight, as virtual time. */
static inline int64_t xp_bvt_units(int64_t ns, uint32_t weight)
{
    return XP_BVT_UNITS_PER_NS * ns / (int64_t)weight;
}

#endif
