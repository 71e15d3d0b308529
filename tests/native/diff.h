/*
 * diff.h: what the differential drivers share: random numbers, the check that ends the run, time to stop.
 *
 * A driver runs the real thing and a model in C, written from the Python one, through the same random steps: arguments
 * seed and number of steps. The first disagreement prints both sides with the step, and the run ends with status 1.
 */
#ifndef DIFF_H
#define DIFF_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct diff {
    uint64_t rng, step, refused, accepted, failed;
    const char *doing;
};

/* xorshift64*: good enough, and the same everywhere. */
static inline uint32_t pick(struct diff *f, uint32_t below)
{
    f->rng ^= f->rng >> 12;
    f->rng ^= f->rng << 25;
    f->rng ^= f->rng >> 27;
    return (uint32_t)((f->rng * 0x2545f4914f6cdd1du) >> 32) % below;
}

#define SAME(f, real, model)                                                                                             \
    do {                                                                                                                 \
        int64_t r_ = (int64_t)(real), m_ = (int64_t)(model);                                                             \
        if (r_ != m_) {                                                                                                  \
            (void)printf("step %" PRIu64 " (%s): %s is %" PRId64 ", the model says %s = %" PRId64 "\n", (f)->step,       \
                         (f)->doing, #real, r_, #model, m_);                                                             \
            exit(1);                                                                                                     \
        }                                                                                                                \
    } while (0)

#endif
