/*
 * tlb.c: see tlb.h.
 */
#include "tlb.h"

#include <stdlib.h>
#include <string.h>

#define ENTRY_SHIFT 4u
_Static_assert(sizeof(struct xp_tlb_entry) == 1u << ENTRY_SHIFT, "an entry's offset is its number shifted");

/* In bytes. */
static size_t whole(const struct xp_tlb *t) { return t->set_mask + ((size_t)1 << (t->set_shift + ENTRY_SHIFT)); }

static void forget_tables(struct xp_tlb *t) { memset(t->table, 0, sizeof t->table); }

int xp_tlb_init(struct xp_tlb *t, uint32_t sets, uint32_t ways)
{
    *t = (struct xp_tlb){0};
    if (sets == 0 || sets > 65536 || (sets & (sets - 1)) != 0 || ways == 0 || ways > 16)
        return -XEN_EINVAL;
    t->ways = ways;
    while (1u << t->set_shift < ways)
        t->set_shift++;
    t->set_mask = (uint64_t)(sets - 1) << (t->set_shift + ENTRY_SHIFT);
    t->tag_shift = XP_PAGE_SHIFT - (t->set_shift + ENTRY_SHIFT);
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

void xp_tlb_flush(struct xp_tlb *t, enum xp_tlb_cause cause)
{
    memset(t->entry, 0, whole(t));
    forget_tables(t);
    t->nr_flushes[cause]++;
}

void xp_tlb_flush_space(struct xp_tlb *t, uint32_t space, enum xp_tlb_cause cause)
{
    for (size_t i = 0; i < whole(t) / sizeof *t->entry; i++)
        if ((t->entry[i].tag & ~XP_PAGE_MASK) == space)
            t->entry[i] = (struct xp_tlb_entry){0};
    forget_tables(t);
    t->nr_flushes[cause]++;
}

void xp_tlb_flush_page(struct xp_tlb *t, uint64_t tag)
{
    struct xp_tlb_entry *e = xp_tlb_find(t, tag);
    if (e != NULL)
        *e = (struct xp_tlb_entry){0};
    forget_tables(t);
    t->nr_flushes[XP_TLB_page]++;
}
