/* timer.c: see timer.h: a binary heap. */
#include "timer.h"

#include <stdlib.h>

static void place(struct xp_timers *q, struct xp_timer *t, uint32_t at)
{
    q->heap[at] = t;
    t->at = at;
}

static void sift_up(struct xp_timers *q, uint32_t at)
{
    struct xp_timer *t = q->heap[at];
    while (at > 0 && t->deadline < q->heap[(at - 1) / 2]->deadline) {
        place(q, q->heap[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(q, t, at);
}

static void sift_down(struct xp_timers *q, uint32_t at)
{
    struct xp_timer *t = q->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= q->nr)
            break;
        if (child + 1 < q->nr && q->heap[child + 1]->deadline < q->heap[child]->deadline)
            child++;
        if (t->deadline <= q->heap[child]->deadline)
            break;
        place(q, q->heap[child], at);
        at = child;
    }
    place(q, t, at);
}

void xp_timers_free(struct xp_timers *q)
{
    free(q->heap);
    *q = (struct xp_timers){0};
}

void xp_timer_init(struct xp_timer *t, enum xp_timer_kind kind, void *owner)
{
    *t = (struct xp_timer){.at = XP_TIMER_OFF, .kind = (uint8_t)kind, .owner = owner};
}

int xp_timer_set(struct xp_timers *q, struct xp_timer *t, int64_t deadline)
{
    if (t->at == XP_TIMER_OFF) {
        if (q->nr == q->size) {
            uint32_t size = q->size == 0 ? 64 : 2 * q->size;
            struct xp_timer **heap = realloc(q->heap, size * sizeof *heap);
            if (heap == NULL)
                return -XEN_ENOMEM;
            q->heap = heap;
            q->size = size;
        }
        place(q, t, q->nr++);
    }
    t->deadline = deadline;
    sift_up(q, t->at);
    sift_down(q, t->at);
    return 0;
}

void xp_timer_cancel(struct xp_timers *q, struct xp_timer *t)
{
    uint32_t at = t->at;
    if (at == XP_TIMER_OFF)
        return;
    struct xp_timer *last = q->heap[--q->nr];
    t->at = XP_TIMER_OFF;
    if (last == t)
        return;
    place(q, last, at);
    sift_up(q, at);
    sift_down(q, last->at);
}

struct xp_timer *xp_timers_take(struct xp_timers *q, int64_t now)
{
    if (q->nr == 0 || q->heap[0]->deadline > now)
        return NULL;
    struct xp_timer *t = q->heap[0];
    xp_timer_cancel(q, t);
    return t;
}

int64_t xp_timers_next(const struct xp_timers *q)
{
    return q->nr > 0 ? q->heap[0]->deadline : INT64_MAX;
}
