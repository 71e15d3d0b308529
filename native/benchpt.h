/*
 * benchpt.h: the same changes of page tables made in several ways, timed whole: what `xenproc bench mmu` puts side by side.
 *
 * Runs in a domain, in C on all sides alike, so that no interpreter hides the difference. A way is how an entry gets its value
 * and what must follow the last one; the work around it is the same code. Used by xenproc/bench/mmu_ways_guest.py alone.
 *   1. What was asked for is there when the time ends: each page is read through the MMU, whose TLB had none of it.
 *   2. What a work changed is put back after its time, by batches, so that each begins with tables that are in use.
 *
 * Tour T:130
 */
#ifndef XP_BENCHPT_H
#define XP_BENCHPT_H

#include "mmu_guest.h"

enum xp_bench_pt_way {
    XP_BENCH_PT_direct = 0,      /* a call of mmu_update for each entry */
    XP_BENCH_PT_batched = 1,     /* 512 in a call, as guest/queue.py has it */
    XP_BENCH_PT_wpt = 2,         /* stores: writable page tables (the domain has the assist enabled) */
    XP_BENCH_PT_shadow = 3,      /* stores in shadow mode, each trapped: shadows are kept however many there are */
    XP_BENCH_PT_unshadow = 4,    /* the same, and a table with many of them loses its shadow */
    XP_BENCH_PT_WAYS = 5,
};

#define XP_BENCH_PT_BATCH 512u
#define XP_BENCH_PT_TABLES 64u
#define XP_BENCH_PT_ARGS 3u      /* pages: two of requests, one for all else */

struct xp_bench_pt {
    struct xp_gcall *calls;
    struct xp_mmu *mmu;          /* on the current address space */
    struct xp_mmu_link *link;
    uint8_t *args;               /* XP_BENCH_PT_ARGS pages of the domain's own */
    uint64_t stack, handler;     /* of a fault: where the kernel's stack begins, and who must be called */
    int64_t timeout_ns;
    uint32_t way;                /* enum xp_bench_pt_way */
    uint32_t nr;                 /* requests that wait */
};

struct xp_bench_pt_entry { uint64_t at, value, va; };    /* machine address; va: the page that it maps */

/* Each: 0 and the ticks it took, -XEN_EFAULT: a page was not as it must be, or what a call said. */

/* n entries that are empty get their values; each page is then read. */
int xp_bench_pt_build(struct xp_bench_pt *b, const struct xp_bench_pt_entry *entries, uint32_t n, uint64_t *ticks);

/*
 * As a copy-on-write fork does: the entries of nr tables of level 1 (parent: their frames) lose RW, and are copied without it
 * into as many pages (child) that are no tables yet; those become so by the pin of `top`. The TLB is flushed, and a page read
 * through each of the parent's tables (va: the first one's).
 */
int xp_bench_pt_fork(struct xp_bench_pt *b, const uint64_t *parent, const uint64_t *child, uint32_t nr, uint64_t top, uint64_t va,
                     uint64_t *ticks);

/* A load meets an empty entry, the hypervisor delivers the fault, the handler fills the entry and returns, the load is done again. */
int xp_bench_pt_fault(struct xp_bench_pt *b, const struct xp_bench_pt_entry *entry, uint64_t *ticks);

#endif
