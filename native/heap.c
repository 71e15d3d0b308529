/* heap.c: see heap.h. */
#include "heap.h"

#include <stdlib.h>

static bool before(const struct xp_heap_node *a, const struct xp_heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void place(struct xp_heap *h, struct xp_heap_node *n, uint32_t at)
{
    h->node[at] = n;
    n->at = at;
}

static void sift_up(struct xp_heap *h, uint32_t at)
{
    struct xp_heap_node *n = h->node[at];
    while (at > 0 && before(n, h->node[(at - 1) / 2])) {
        place(h, h->node[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(h, n, at);
}

static void sift_down(struct xp_heap *h, uint32_t at)
{
    struct xp_heap_node *n = h->node[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= h->nr)
            break;
        if (child + 1 < h->nr && before(h->node[child + 1], h->node[child]))
            child++;
        if (!before(h->node[child], n))
            break;
        place(h, h->node[child], at);
        at = child;
    }
    place(h, n, at);
}

int xp_heap_reserve(struct xp_heap *h, uint32_t nr)
{
    if (nr <= h->size)
        return 0;
    uint32_t size = h->size == 0 ? 64 : h->size;
    while (size < nr)
        size *= 2;
    struct xp_heap_node **node = realloc(h->node, size * sizeof *node);
    if (node == NULL)
        return -XEN_ENOMEM;
    h->node = node;
    h->size = size;
    return 0;
}

void xp_heap_free(struct xp_heap *h)
{
    free(h->node);
    *h = (struct xp_heap){0};
}

void xp_heap_set(struct xp_heap *h, struct xp_heap_node *n, int64_t key, uint64_t order)
{
    n->key = key;
    n->order = order;
    if (n->at == XP_HEAP_OFF)
        place(h, n, h->nr++);
    sift_up(h, n->at);
    sift_down(h, n->at);
}

void xp_heap_take(struct xp_heap *h, struct xp_heap_node *n)
{
    uint32_t at = n->at;
    if (at == XP_HEAP_OFF)
        return;
    struct xp_heap_node *last = h->node[--h->nr];
    n->at = XP_HEAP_OFF;
    if (last == n)
        return;
    place(h, last, at);
    sift_up(h, at);
    sift_down(h, last->at);
}
