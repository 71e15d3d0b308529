/*
 * hist.h: a histogram of nanoseconds, recorded in a few instructions, mergeable, in HdrHistogram's bucket layout.
 *
 * Owns struct xp_hist, which may lie in memory shared by the process that records and the one that reads; one of them
 * at a time. From 1 ns to 10 s with three significant digits: exact to 2047 ns, then 1024 steps for each power of two.
 *   1. index(value) and lowest(index) are HdrHistogram's for (lowest 1, highest 10^10, 3 digits): counts move unchanged.
 *   2. Nothing is dropped: above 10 s is counted at 10 s and in `over`; total is the sum of count[].
 * Source: the layout that HdrHistogram's Java, C and Python versions share.
 */
#ifndef XP_HIST_H
#define XP_HIST_H

#include "xp.h"

#define XP_HIST_HIGHEST 10000000000u
#define XP_HIST_LEN 25600u          /* (24 buckets + 1) * 1024 */

struct xp_hist {
    uint64_t total;
    uint64_t over;                  /* values above XP_HIST_HIGHEST */
    uint64_t min, max;              /* exact; min is UINT64_MAX while empty */
    uint64_t count[XP_HIST_LEN];
};

static inline uint32_t xp_hist_index(uint64_t ns)
{
    uint32_t bucket = 53u - (uint32_t)__builtin_clzll(ns | 2047u);
    return (bucket << 10) + (uint32_t)(ns >> bucket);
}

static inline void xp_hist_add(struct xp_hist *h, uint64_t ns, uint64_t n)
{
    if (ns < h->min)
        h->min = ns;
    if (ns > h->max)
        h->max = ns;
    if (ns > XP_HIST_HIGHEST) {
        h->over += n;
        ns = XP_HIST_HIGHEST;
    }
    h->count[xp_hist_index(ns)] += n;
    h->total += n;
}

void xp_hist_clear(struct xp_hist *h);
void xp_hist_record(struct xp_hist *h, uint64_t ns);

/* Records n durations; a negative one (a clock that ran back) counts as 0. */
void xp_hist_record_many(struct xp_hist *h, const int64_t *ns, size_t n);

void xp_hist_merge(struct xp_hist *to, const struct xp_hist *from);

/* The lowest and the highest value that share index's count. */
uint64_t xp_hist_lowest(uint32_t index);
uint64_t xp_hist_highest(uint32_t index);

/* HdrHistogram's value at percentile 0..100 (the highest equivalent value), but never above the exact maximum. Empty: 0. */
uint64_t xp_hist_percentile(const struct xp_hist *h, double percent);

/* The same, interpolated within its step: a median of 120 ns is then known better than to 1 ns. Empty: 0. */
double xp_hist_quantile(const struct xp_hist *h, double percent);

double xp_hist_mean(const struct xp_hist *h);

#endif
