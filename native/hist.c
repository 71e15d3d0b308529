/* hist.c: see hist.h. */
#include "hist.h"
#include <string.h>

_Static_assert(XP_HIST_LEN == 25 * 1024, "2048 << 23 is the first power above 10^10: 24 buckets");

void xp_hist_clear(struct xp_hist *h)
{
    memset(h, 0, sizeof *h);
    h->min = UINT64_MAX;
}

void xp_hist_record(struct xp_hist *h, uint64_t ns)
{
    xp_hist_add(h, ns, 1);
}

void xp_hist_record_many(struct xp_hist *h, const int64_t *ns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        xp_hist_add(h, ns[i] < 0 ? 0 : (uint64_t)ns[i], 1);
}

void xp_hist_merge(struct xp_hist *to, const struct xp_hist *from)
{
    for (uint32_t i = 0; i < XP_HIST_LEN; i++)
        to->count[i] += from->count[i];
    to->total += from->total;
    to->over += from->over;
    if (from->min < to->min)
        to->min = from->min;
    if (from->max > to->max)
        to->max = from->max;
}

static uint32_t shift_of(uint32_t index)
{
    return index < 2048 ? 0 : (index >> 10) - 1;
}

uint64_t xp_hist_lowest(uint32_t index)
{
    uint32_t shift = shift_of(index);
    return (uint64_t)(index - (shift << 10)) << shift;
}

uint64_t xp_hist_highest(uint32_t index)
{
    return xp_hist_lowest(index) + ((uint64_t)1 << shift_of(index)) - 1;
}

/* Which of the sorted values stands at percent: HdrHistogram's rounding, from 1 to total. */
static uint64_t rank_at(const struct xp_hist *h, double percent)
{
    if (percent > 100)
        percent = 100;
    uint64_t rank = percent > 0 ? (uint64_t)(percent * (double)h->total / 100 + 0.5) : 1;
    if (rank < 1)
        rank = 1;
    return rank > h->total ? h->total : rank;
}

/* The index that holds the value of this rank; *below is how many values stand before it. */
static uint32_t index_of_rank(const struct xp_hist *h, uint64_t rank, uint64_t *below)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < XP_HIST_LEN; i++) {
        if (seen + h->count[i] >= rank) {
            *below = seen;
            return i;
        }
        seen += h->count[i];
    }
    *below = seen;
    return XP_HIST_LEN - 1;
}

uint64_t xp_hist_percentile(const struct xp_hist *h, double percent)
{
    if (h->total == 0)
        return 0;
    uint64_t below;
    uint32_t index = index_of_rank(h, rank_at(h, percent), &below);
    uint64_t value = percent > 0 ? xp_hist_highest(index) : xp_hist_lowest(index);
    return value > h->max ? h->max : value;
}

double xp_hist_quantile(const struct xp_hist *h, double percent)
{
    if (h->total == 0)
        return 0;
    uint64_t below, rank = rank_at(h, percent);
    uint32_t index = index_of_rank(h, rank, &below);
    /* A step of width w stands for [lowest - 1/2, lowest + w - 1/2): values were rounded to whole ns. */
    double width = (double)((uint64_t)1 << shift_of(index));
    double inside = ((double)(rank - below) - 0.5) / (double)h->count[index];
    double value = (double)xp_hist_lowest(index) - 0.5 + width * inside;
    if (value < (double)h->min)
        value = (double)h->min;
    return value > (double)h->max ? (double)h->max : value;
}

double xp_hist_mean(const struct xp_hist *h)
{
    if (h->total == 0)
        return 0;
    double sum = 0;
    for (uint32_t i = 0; i < XP_HIST_LEN; i++) {
        if (h->count[i])
            sum += (double)h->count[i] * ((double)xp_hist_lowest(i) + (double)xp_hist_highest(i)) / 2;
    }
    return sum / (double)h->total;
}
