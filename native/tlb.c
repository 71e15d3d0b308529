/*
 * tlb.c: see tlb.h.
 */
#include "tlb.h"

#include <stdlib.h>
#include <string.h>

static size_t whole(const struct xp_tlb *t) { return (((size_t)t->set_mask + 1) << t->set_shift) * sizeof *t->entry; }

int xp_tlb_init(struct xp_tlb *t, uint32_t sets, uint32_t ways)
{
    *t = (struct xp_tlb){0};
    if (sets == 0 || sets > 65536 || (sets & (sets - 1)) != 0 || ways == 0 || ways > 16)
        return -XEN_EINVAL;
    t->set_mask = sets - 1;
    t->ways = ways;
    while (1u << t->set_shift < ways)
        t->set_shift++;
    t->entry = aligned_alloc(64, whole(t) < 64 ? 64 : whole(t));
    if (t->entry == NULL)
        return -XEN_ENOMEM;
    memset(t->entry, 0, whole(t));
    return 0;
}

void xp_tlb_free(struct xp_tlb *t)
{
    free(t->entry);
    *t = (struct xp_tlb){0};
}

/* The ways before `way` go one back, over it. */
static void make_room(struct xp_tlb_entry *set, uint32_t way)
{
    for (; way > 0; way--)
        set[way] = set[way - 1];
}

struct xp_tlb_entry *xp_tlb_find_behind(const struct xp_tlb *t, uint64_t tag)
{
    struct xp_tlb_entry *set = xp_tlb_set(t, tag);
    for (uint32_t way = 1; way < t->ways; way++) {
        if (set[way].tag == tag) {
            struct xp_tlb_entry found = set[way];
            make_room(set, way);
            *set = found;
            return set;
        }
    }
    return NULL;
}

void xp_tlb_insert(struct xp_tlb *t, uint64_t tag, uint64_t page)
{
    struct xp_tlb_entry *set = xp_tlb_set(t, tag), next = {.tag = tag, .page = page};
    uint32_t way = 0;
    if (set->tag == tag) {
        *set = next;
        return;
    }
    /* Each goes one back, until a place is empty. */
    do {
        struct xp_tlb_entry old = set[way];
        set[way] = next;
        next = old;
    } while (next.tag != 0 && ++way < t->ways);
    t->nr_evicted += next.tag != 0;
}

void xp_tlb_flush(struct xp_tlb *t, enum xp_tlb_cause cause)
{
    memset(t->entry, 0, whole(t));
    t->nr_flushes[cause]++;
}

void xp_tlb_flush_space(struct xp_tlb *t, uint32_t space, enum xp_tlb_cause cause)
{
    for (size_t i = 0; i < whole(t) / sizeof *t->entry; i++)
        if ((t->entry[i].tag & ~XP_PAGE_MASK) == space)
            t->entry[i] = (struct xp_tlb_entry){0};
    t->nr_flushes[cause]++;
}

void xp_tlb_flush_page(struct xp_tlb *t, uint64_t tag)
{
    struct xp_tlb_entry *e = xp_tlb_find(t, tag);
    if (e != NULL)
        *e = (struct xp_tlb_entry){0};
    t->nr_flushes[XP_TLB_page]++;
}
