/* timer.c: see timer.h. */
#include "timer.h"

void xp_timers_free(struct xp_timers *q)
{
    xp_heap_free(&q->heap);
}

void xp_timer_init(struct xp_timer *t, enum xp_timer_kind kind, void *owner)
{
    *t = (struct xp_timer){.kind = (uint8_t)kind, .owner = owner};
    xp_heap_node_init(&t->node);
}

int xp_timer_set(struct xp_timers *q, struct xp_timer *t, int64_t deadline)
{
    int ret = xp_timer_is_set(t) ? 0 : xp_heap_reserve(&q->heap, q->heap.nr + 1);
    if (ret == 0)
        xp_heap_set(&q->heap, &t->node, deadline, 0);
    return ret;
}

void xp_timer_cancel(struct xp_timers *q, struct xp_timer *t)
{
    xp_heap_take(&q->heap, &t->node);
}

struct xp_timer *xp_timers_take(struct xp_timers *q, int64_t now)
{
    struct xp_heap_node *first = xp_heap_first(&q->heap);
    if (first == NULL || first->key > now)
        return NULL;
    xp_heap_take(&q->heap, first);
    return xp_heap_owner(first, struct xp_timer, node);
}

int64_t xp_timers_next(const struct xp_timers *q)
{
    const struct xp_heap_node *first = xp_heap_first(&q->heap);
    return first != NULL ? first->key : INT64_MAX;
}
