/*
 * tlb.h: a translation look-aside buffer: sets and ways, tagged with the address space, with counters.
 *
 * Owned by one MMU (mmu.h), used by one thread. An entry is two words:
 *   tag:  virtual page | address space (1 to 4095); 0 is an empty entry, so a hit needs one comparison;
 *   page: address of the page in this process | what is denied, in the bits of x86's page-fault error code.
 *   1. A page that the tables let nobody write, or whose D bit is not set yet, denies W: the walk decides.
 *   2. The first way of a set is the one last used, so nearly always the one. Another takes an empty way while the last is
 *      empty; then one of those behind the first goes, in turn (of one way that one).
 *   3. Only canonical addresses get in, so a hit needs no other check.
 *   4. Beside the entries lie a few tables of level 1 as walks found them (a processor's paging-structure cache), tagged alike.
 *      Whatever flushes anything flushes them all, invlpg too, as the SDM has it (vol. 3, 4.10.4.1).
 */
#ifndef XP_TLB_H
#define XP_TLB_H

#include "xp.h"

/* Kinds of access, of denial, and of the error code of a page fault: x86's bits. */
#define XP_PF_P 1u               /* the page is there: its rights, or a reserved bit, did not let it */
#define XP_PF_W 2u
#define XP_PF_U 4u
#define XP_PF_R 8u               /* a reserved bit was set */
#define XP_PF_I 16u              /* fetching an instruction */

#define XP_PAGE_MASK (~(uint64_t)(XP_PAGE_SIZE - 1u))
#define XP_TLB_SPACES 4096u

/* What a real TLB is flushed by. */
enum xp_tlb_cause {
    XP_TLB_switch = 0,           /* another base pointer, untagged */
    XP_TLB_asked = 1,            /* the guest asked for it */
    XP_TLB_page = 2,             /* one page (invlpg) */
    XP_TLB_generation = 3,       /* the hypervisor says so */
    XP_TLB_CAUSES = 4,
};

#define XP_TLB_TABLES 8u

struct xp_tlb_entry { uint64_t tag, page; };

/* A table of level 1: what it maps begins at tag's address. */
struct xp_tlb_table {
    uint64_t tag;                /* as an entry's; 0: none */
    uint64_t leaf;               /* its machine address | what the entries above it deny together */
};

struct xp_tlb {
    struct xp_tlb_entry *entry;  /* 1 << set_shift ways to a set, side by side, aligned to a cache line */
    uint64_t set_mask;           /* of the byte offset of a set */
    uint32_t tag_shift;          /* brings a tag's page to that offset */
    uint32_t set_shift, ways;
    uint32_t turn;               /* the way that went last */
    struct xp_tlb_table table[XP_TLB_TABLES];
    uint64_t nr_hits, nr_misses, nr_evicted;
    uint64_t nr_flushes[XP_TLB_CAUSES];
};

/* sets: a power of two up to 65536; ways: 1 to 16. -XEN_EINVAL, -XEN_ENOMEM. */
int xp_tlb_init(struct xp_tlb *t, uint32_t sets, uint32_t ways);
void xp_tlb_free(struct xp_tlb *t);

static inline struct xp_tlb_entry *xp_tlb_set(const struct xp_tlb *t, uint64_t tag)
{
    return (struct xp_tlb_entry *)(void *)((uint8_t *)t->entry + (tag >> t->tag_shift & t->set_mask));
}

/* Looks behind the first way; what is found there changes places with the first. */
static inline struct xp_tlb_entry *xp_tlb_find_behind(const struct xp_tlb *t, struct xp_tlb_entry *set, uint64_t tag)
{
    struct xp_tlb_entry *end = set + t->ways;
    for (struct xp_tlb_entry *e = set + 1; e < end; e++) {
        if (e->tag == tag) {
            struct xp_tlb_entry found = *e;
            *e = *set;
            *set = found;
            return set;
        }
    }
    return NULL;
}

static inline struct xp_tlb_entry *xp_tlb_find(const struct xp_tlb *t, uint64_t tag)
{
    struct xp_tlb_entry *e = xp_tlb_set(t, tag);
    return __builtin_expect(e->tag == tag, 1) ? e : xp_tlb_find_behind(t, e, tag);
}

/* After xp_tlb_find(tag), or find_behind, in its set: over what it found, or in front. */
static inline void xp_tlb_insert(struct xp_tlb *t, struct xp_tlb_entry *set, uint64_t tag, uint64_t page)
{
    struct xp_tlb_entry *e = set + (t->ways - 1);
    if (set->tag != tag) {
        if (e->tag != 0) {
            t->turn = t->turn + 1 < t->ways ? t->turn + 1 : t->ways > 1;
            e = set + t->turn;
            t->nr_evicted += e->tag != 0;
        } else {
            for (e = set; e->tag != 0;)
                e++;
        }
        *e = *set;
    }
    *set = (struct xp_tlb_entry){.tag = tag, .page = page};
}

/* Where the table for an address goes; region: its tag, cut to what a table of level 1 maps (1 << shift). */
static inline struct xp_tlb_table *xp_tlb_table(struct xp_tlb *t, uint64_t region, uint32_t shift)
{
    return &t->table[region >> shift & (XP_TLB_TABLES - 1)];
}

void xp_tlb_flush(struct xp_tlb *t, enum xp_tlb_cause cause);
void xp_tlb_flush_space(struct xp_tlb *t, uint32_t space, enum xp_tlb_cause cause);
void xp_tlb_flush_page(struct xp_tlb *t, uint64_t tag);

#endif
