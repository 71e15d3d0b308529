/*
 * benchtlb.h: what an MMU's loads, hits and walks cost (mmu.h), beside the plain loops that they are compared with: memcpy of
 * the same pages, and a chase of pointers through the very same tables.
 *
 * Owns struct xp_bench_tlb: machine memory of its own, filled with page tables that map `pages` pages from address 0 on, and an
 * MMU on it. Used by `xenproc bench tlb` alone, in its own process.
 *   1. Each loop says what its TLB must have done (hit or missed) and which addresses must come out; else it fails.
 *   2. A time is the median of blocks of some microseconds each: an interrupt spoils its block, not the figure.
 *
 * Tour T:120
 */
#ifndef XP_BENCHTLB_H
#define XP_BENCHTLB_H

#include "mmu.h"
#include "tick.h"

enum xp_bench_tlb_loop {
    XP_BENCH_TLB_hit = 0,        /* pages one to a set: the first way has it */
    XP_BENCH_TLB_hit_behind = 1, /* as many pages as entries, in turn: always the way used longest ago */
    XP_BENCH_TLB_hit_chained = 2, /* the first, each address only known when the last translation is */
    XP_BENCH_TLB_walk = 3,       /* every page in turn, in no order: the TLB never has it; chained */
    XP_BENCH_TLB_walk_free = 4,  /* the same, addresses known beforehand: walks overlap */
    XP_BENCH_TLB_chase = 5,      /* the same tables and addresses, each entry loaded and followed, no more; chained */
    XP_BENCH_TLB_chase_free = 6,
    XP_BENCH_TLB_load = 7,       /* whole pages, one after the other, through the MMU */
    XP_BENCH_TLB_memcpy = 8,     /* the same pages where they lie */
    XP_BENCH_TLB_getppid = 9,    /* what entering the host's kernel costs */
    XP_BENCH_TLB_LOOPS = 10,
};

struct xp_bench_tlb {
    struct xp_mmu *mmu;
    uint8_t *base;
    uint64_t nr_frames, first_data, nr_data;
    uint64_t pages;              /* a power of two; page p is frame first_data + p % nr_data */
    uint64_t at;                 /* where the last loop stopped */
    uint32_t leaf_bits, tables_bits; /* a page number's: below, the entry of its table of level 1; above, which table */
    uint8_t page[XP_PAGE_SIZE] __attribute__((aligned(64)));
};

/* mode: enum xp_paging; pages, data: powers of two. NULL: an argument is wrong, or no memory. */
struct xp_bench_tlb *xp_bench_tlb_new(uint32_t mode, uint64_t pages, uint64_t data, uint32_t sets, uint32_t ways);
void xp_bench_tlb_free(struct xp_bench_tlb *t);

/* About n operations of enum xp_bench_tlb_loop: ns an operation; below 0: it did not do what it says (invariant 1). */
double xp_bench_tlb_run(struct xp_bench_tlb *t, uint32_t loop, uint64_t n, const struct xp_tick *clock);

#endif
