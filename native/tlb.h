/*
 * tlb.h: a translation look-aside buffer: sets and ways, tagged with the address space, with counters.
 *
 * Owned by one MMU (mmu.h), used by one thread. An entry is two words:
 *   tag:  virtual page | address space (1 to 4095); 0 is an empty entry, so a hit needs one comparison;
 *   page: address of the page in this process | what is denied, in the bits of x86's page-fault error code.
 *   1. A page that the tables let nobody write, or whose D bit is not set yet, denies W: the walk decides.
 *   2. A set's ways lie in the order of their last use: the first is nearly always the one.
 *   3. Only canonical addresses get in, so a hit needs no other check.
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

struct xp_tlb_entry { uint64_t tag, page; };

struct xp_tlb {
    struct xp_tlb_entry *entry;  /* sets << set_shift, the ways of a set side by side, aligned to a cache line */
    uint32_t set_mask, set_shift, ways;
    uint64_t nr_hits, nr_misses, nr_evicted;
    uint64_t nr_flushes[XP_TLB_CAUSES];
};

/* sets: a power of two up to 65536; ways: 1 to 16. -XEN_EINVAL, -XEN_ENOMEM. */
int xp_tlb_init(struct xp_tlb *t, uint32_t sets, uint32_t ways);
void xp_tlb_free(struct xp_tlb *t);

static inline struct xp_tlb_entry *xp_tlb_set(const struct xp_tlb *t, uint64_t tag)
{
    return &t->entry[(size_t)((tag >> XP_PAGE_SHIFT) & t->set_mask) << t->set_shift];
}

/* Looks behind the first way; what is found comes to the front. */
struct xp_tlb_entry *xp_tlb_find_behind(const struct xp_tlb *t, uint64_t tag);

static inline struct xp_tlb_entry *xp_tlb_find(const struct xp_tlb *t, uint64_t tag)
{
    struct xp_tlb_entry *e = xp_tlb_set(t, tag);
    return __builtin_expect(e->tag == tag, 1) ? e : xp_tlb_find_behind(t, tag);
}

/* After xp_tlb_find(tag): over what it found, or in front; what was used longest ago goes if no way is empty. */
void xp_tlb_insert(struct xp_tlb *t, uint64_t tag, uint64_t page);

void xp_tlb_flush(struct xp_tlb *t, enum xp_tlb_cause cause);
void xp_tlb_flush_space(struct xp_tlb *t, uint32_t space, enum xp_tlb_cause cause);
void xp_tlb_flush_page(struct xp_tlb *t, uint64_t tag);

#endif
