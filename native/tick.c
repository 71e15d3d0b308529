/* tick.c: see tick.h. */
#include "tick.h"
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
    t->mult = (uint64_t)(((unsigned __int128)(uint64_t)(ns1 - ns0) << 32) / (tsc1 - tsc0));
    return 0;
}
