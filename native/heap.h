/*
 * heap.h: a binary heap of nodes that lie in their owners' structures: least key first, equal keys by order.
 *
 * Pure, for whoever holds the lock of what it orders.
 *   1. A node is in at most one heap, at most once, and knows its place: taking it out or moving it costs O(log n).
 *   2. Room is made beforehand (xp_heap_reserve); nothing else allocates, nothing else fails.
 *   3. Keys and orders alone decide who is first: the same history gives the same order.
 */
#ifndef XP_HEAP_H
#define XP_HEAP_H

#include "xp.h"

#define XP_HEAP_OFF UINT32_MAX

struct xp_heap_node {
    int64_t key;
    uint64_t order;              /* breaks ties; its owner numbers it */
    uint32_t at;                 /* its place, or XP_HEAP_OFF */
};

struct xp_heap {
    struct xp_heap_node **node;
    uint32_t nr, size;
};

/* The structure that a node lies in. */
#define xp_heap_owner(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* Room for nr nodes in all. -XEN_ENOMEM: as it was. A zeroed heap is empty and has none. */
int xp_heap_reserve(struct xp_heap *h, uint32_t nr);

void xp_heap_free(struct xp_heap *h);

/* A node that is in no heap. */
static inline void xp_heap_node_init(struct xp_heap_node *n) { *n = (struct xp_heap_node){.at = XP_HEAP_OFF}; }

/* Puts it in, or moves it if it is there, with this key; there must be room. */
void xp_heap_set(struct xp_heap *h, struct xp_heap_node *n, int64_t key, uint64_t order);

/* Takes it out. Twice is harmless. */
void xp_heap_take(struct xp_heap *h, struct xp_heap_node *n);

/* The first, or NULL. */
static inline struct xp_heap_node *xp_heap_first(const struct xp_heap *h) { return h->nr > 0 ? h->node[0] : NULL; }

#endif
