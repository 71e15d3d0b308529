/* tick.c: see tick.h. */
#include "tick.h"
#include <stdlib.h>
#include <time.h>

/* A pair (counter, clock) taken close together: the narrowest of a few tries, so that an interrupt between does not count. */
static void sample(uint64_t *tsc, int64_t *ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 16; i++) {
        struct timespec ts;
        uint64_t before = xp_tick_end();
        clock_gettime(CLOCK_MONOTONIC, &ts);
        uint64_t after = xp_tick_end();
        if (after - before >= best)
            continue;
        best = after - before;
        *tsc = before + best / 2;
        *ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    }
}

#define TRIES 4096u

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* TRIES durations of nothing, or of up to 63 idle turns, sorted. */
static void empty(uint64_t *out, unsigned turns)
{
    for (uint32_t i = 0; i < TRIES; i++) {
        uint64_t begin = xp_tick_begin();
        for (uint32_t n = i & turns; n > 0; n--)
            __asm__ volatile("");
        out[i] = xp_tick_end() - begin;
    }
    qsort(out, TRIES, sizeof *out, ascending);
}

/* The mean without the largest tenth: interrupts are in there. */
static uint64_t stamps_cost(uint64_t *space)
{
    uint64_t sum = 0, nr = TRIES - TRIES / 10;
    empty(space, 0);
    for (uint32_t i = 0; i < nr; i++)
        sum += space[i];
    return (sum + nr / 2) / nr;
}

/* The least gap between durations that are more than a tick apart (scaling by a hypervisor blurs a step by one tick). */
static uint64_t step(uint64_t *space)
{
    uint64_t least = UINT64_MAX;
    empty(space, 63);
    for (uint32_t i = 1; i < TRIES; i++) {
        uint64_t gap = space[i] - space[i - 1];
        if (gap > 1 && gap + 1 < least)
            least = gap + 1;
        /* Only where many lie: one odd interrupt is no step. */
        if (i > TRIES / 2 && least != UINT64_MAX)
            break;
    }
    return least == UINT64_MAX || least > 1000 ? 1 : least;
}

int xp_tick_calibrate(struct xp_tick *t, int64_t wait_ns)
{
    uint64_t tsc0 = 0, tsc1 = 0;
    int64_t ns0 = 0, ns1 = 0;
    sample(&tsc0, &ns0);
    struct timespec pause = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    while (nanosleep(&pause, &pause) != 0)
        ;
    sample(&tsc1, &ns1);
    if (tsc1 <= tsc0 || ns1 <= ns0)
        return -XEN_EINVAL;
    uint64_t *space = calloc(TRIES, sizeof *space);
    if (space == NULL)
        return -XEN_ENOMEM;
    t->cost = stamps_cost(space);
    t->grain = step(space);
    free(space);
    t->mult = (uint64_t)(((unsigned __int128)(uint64_t)(ns1 - ns0) << 32) / (tsc1 - tsc0));
    return 0;
}
