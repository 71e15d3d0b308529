/* benchtlb.c: see benchtlb.h. */
#include "benchtlb.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCKS 1024u
#define FULL (XP_PTE_PRESENT | XP_PTE_RW | XP_PTE_USER | XP_PTE_ACCESSED | XP_PTE_DIRTY)

/* ---- the tables ---- */

static bool power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* How many tables of a level there are for so many pages; level 0: the pages. */
static uint64_t tables_of(const struct xp_paging_mode *m, uint32_t level, uint64_t pages)
{
    for (uint32_t i = 1; i <= level; i++)
        pages = (pages + m->level[i].nr - 1) / m->level[i].nr;
    return pages;
}

static void fill(struct xp_bench_tlb *t, const struct xp_paging_mode *m)
{
    uint64_t first = 1;          /* of the level's tables; the top is frame 1, as frame 0 is none */
    for (uint32_t level = m->levels; level > 0; level--) {
        uint64_t tables = tables_of(m, level, t->pages), below = tables_of(m, level - 1, t->pages);
        for (uint64_t i = 0; i < below; i++) {
            uint64_t frame = level == 1 ? t->first_data + i % t->nr_data : first + tables + i;
            void *table = t->base + ((first + i / m->level[level].nr) << XP_PAGE_SHIFT);
            xp_pt_write(m, table, (uint32_t)(i % m->level[level].nr), frame << XP_PAGE_SHIFT | (xp_is_pdpte(m, level) ? XP_PTE_PRESENT : FULL));
        }
        first += tables;
    }
    for (uint64_t i = 0; i < t->nr_data; i++) {
        uint64_t *page = (uint64_t *)(void *)(t->base + ((t->first_data + i) << XP_PAGE_SHIFT));
        memset(page, (int)(i & 0xff), XP_PAGE_SIZE);
        page[0] = i;
    }
}

struct xp_bench_tlb *xp_bench_tlb_new(uint32_t mode, uint64_t pages, uint64_t data, uint32_t sets, uint32_t ways)
{
    const struct xp_paging_mode *m = xp_paging_mode(mode);
    struct xp_bench_tlb *t;
    if (m == NULL || !power_of_two(pages) || !power_of_two(data) || tables_of(m, m->levels, pages) != 1)
        return NULL;
    t = aligned_alloc(64, (sizeof *t + 63) & ~(size_t)63);
    if (t == NULL)
        return NULL;
    *t = (struct xp_bench_tlb){.pages = pages, .nr_data = data, .first_data = 1};
    t->leaf_bits = m->entry_size == 4 ? 10 : 9;
    while (((uint64_t)1 << (t->leaf_bits + t->tables_bits)) < pages)
        t->tables_bits++;
    for (uint32_t level = 1; level <= m->levels; level++)
        t->first_data += tables_of(m, level, pages);
    t->nr_frames = t->first_data + data;
    t->base = mmap(NULL, t->nr_frames << XP_PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->base == MAP_FAILED) {
        free(t);
        return NULL;
    }
    fill(t, m);
    t->mmu = xp_mmu_new(mode, t->base, t->nr_frames, sets, ways);
    if (t->mmu == NULL || xp_mmu_switch(t->mmu, 1, 0) != 0) {
        xp_bench_tlb_free(t);
        return NULL;
    }
    return t;
}

void xp_bench_tlb_free(struct xp_bench_tlb *t)
{
    if (t == NULL)
        return;
    xp_mmu_free(t->mmu);
    munmap(t->base, t->nr_frames << XP_PAGE_SHIFT);
    free(t);
}

/* ---- the loops: n operations from t->at on; the sum of what came out ---- */

/* Each of `pages` numbers once, then again. */
static inline uint64_t next_at(const struct xp_bench_tlb *t, uint64_t at)
{
    return (at * 0x5851f42d4c957f2dull + 0x14057b7ef767814full) & (t->pages - 1);
}

/*
 * A number's page. The low bits of such numbers, which take turns evenly, choose the table of level 1, the others, which
 * nothing can foresee, the entry: so a table is met again only after all others, and no cache of tables has it.
 */
static inline uint64_t page_of(const struct xp_bench_tlb *t, uint64_t at)
{
    return (at >> t->tables_bits) + ((at << t->leaf_bits) & (t->pages - 1));
}

/* `last` is a machine address: its top bit is 0, which the compiler must not know: a page of that number more makes an address wait. */
static inline __attribute__((always_inline)) uint64_t behind(uint64_t va, uint64_t last, bool chained)
{
    __asm__ volatile("" : "+r"(last));
    return chained ? va + (last >> 63 << XP_PAGE_SHIFT) : va;
}

static inline uint64_t hits(struct xp_bench_tlb *t, uint64_t n, uint64_t pages, bool chained)
{
    struct xp_fault_info f;
    uint64_t sum = 0, maddr = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (xp_mmu_translate(t->mmu, behind((i & (pages - 1)) << XP_PAGE_SHIFT, maddr, chained), 0, &maddr, &f) != 0)
            return 0;
        sum += maddr;
    }
    return sum;
}

static inline uint64_t walks(struct xp_bench_tlb *t, uint64_t n, bool chained)
{
    struct xp_fault_info f;
    uint64_t sum = 0, maddr = 0, at = t->at;
    for (uint64_t i = 0; i < n; i++) {
        if (xp_mmu_translate(t->mmu, behind(page_of(t, at) << XP_PAGE_SHIFT, maddr, chained), 0, &maddr, &f) != 0)
            return 0;
        sum += maddr;
        at = next_at(t, at);
    }
    t->at = at;
    return sum;
}

/* Inlined for each mode: its levels are constants, as they are in the walk. */
static inline __attribute__((always_inline)) uint64_t chase(struct xp_bench_tlb *t, uint64_t n, bool chained, uint32_t levels,
                                                            uint32_t bits, bool wide)
{
    uint64_t sum = 0, found = 0, at = t->at;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t va = behind(page_of(t, at) << XP_PAGE_SHIFT, found, chained);
        found = 1u << XP_PAGE_SHIFT;
#pragma GCC unroll 4
        for (uint32_t level = levels; level > 0; level--) {
            uint64_t index = va >> (XP_PAGE_SHIFT + bits * (level - 1)) & ((1u << bits) - 1);
            const uint8_t *table = t->base + found;
            found = wide ? ((const uint64_t *)(const void *)table)[index] : ((const uint32_t *)(const void *)table)[index];
            found &= 0x000ffffffffff000ull;
        }
        sum += found;
        at = next_at(t, at);
    }
    t->at = at;
    return sum;
}

static uint64_t chases(struct xp_bench_tlb *t, uint64_t n, bool chained)
{
    switch (t->mmu->space.mode->levels) {
    case 2: return chained ? chase(t, n, true, 2, 10, false) : chase(t, n, false, 2, 10, false);
    case 3: return chained ? chase(t, n, true, 3, 9, true) : chase(t, n, false, 3, 9, true);
    default: return chained ? chase(t, n, true, 4, 9, true) : chase(t, n, false, 4, 9, true);
    }
}

static uint64_t loads(struct xp_bench_tlb *t, uint64_t n)
{
    struct xp_fault_info f;
    uint64_t sum = 0, at = t->at & (t->pages - 1);
    for (uint64_t i = 0; i < n; i++) {
        if (xp_mmu_load(t->mmu, at << XP_PAGE_SHIFT, t->page, XP_PAGE_SIZE, 0, &f) != 0)
            return 0;
        sum += *(const uint64_t *)(const void *)t->page;
        at = (at + 1) & (t->pages - 1);
    }
    t->at = at;
    return sum;
}

static uint64_t copies(struct xp_bench_tlb *t, uint64_t n)
{
    uint64_t sum = 0, at = t->at & (t->pages - 1);
    for (uint64_t i = 0; i < n; i++) {
        memcpy(t->page, t->base + ((t->first_data + (at & (t->nr_data - 1))) << XP_PAGE_SHIFT), XP_PAGE_SIZE);
        /* All of the page is wanted, not just its first word. */
        __asm__ volatile("" ::"r"(t->page) : "memory");
        sum += *(const uint64_t *)(const void *)t->page;
        at = (at + 1) & (t->pages - 1);
    }
    t->at = at;
    return sum;
}

static uint64_t enters(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        syscall(SYS_getppid);
    return 0;
}

static uint64_t hot(const struct xp_bench_tlb *t, uint32_t loop)
{
    const struct xp_tlb *tlb = &t->mmu->tlb;
    uint64_t sets = (tlb->set_mask >> (XP_PAGE_SHIFT - tlb->tag_shift)) + 1, all = loop == XP_BENCH_TLB_hit_behind ? sets * tlb->ways : sets;
    return all < t->pages ? all : t->pages;
}

static __attribute__((noinline)) uint64_t block(struct xp_bench_tlb *t, uint32_t loop, uint64_t n)
{
    switch (loop) {
    case XP_BENCH_TLB_hit:
    case XP_BENCH_TLB_hit_behind: return hits(t, n, hot(t, loop), false);
    case XP_BENCH_TLB_hit_chained: return hits(t, n, hot(t, loop), true);
    case XP_BENCH_TLB_walk: return walks(t, n, true);
    case XP_BENCH_TLB_walk_free: return walks(t, n, false);
    case XP_BENCH_TLB_chase: return chases(t, n, true);
    case XP_BENCH_TLB_chase_free: return chases(t, n, false);
    case XP_BENCH_TLB_load: return loads(t, n);
    case XP_BENCH_TLB_memcpy: return copies(t, n);
    default: return enters(n);
    }
}

/* ---- what must come out of a block that began at `at` ---- */

static bool as_expected(const struct xp_bench_tlb *t, uint32_t loop, uint64_t n, uint64_t at, uint64_t sum, uint64_t hit,
                        uint64_t missed, uint64_t found)
{
    uint64_t expected = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t page = loop <= XP_BENCH_TLB_hit_chained ? i & (hot(t, loop) - 1) : loop >= XP_BENCH_TLB_load ? at : page_of(t, at);
        uint64_t data = page & (t->nr_data - 1);
        expected += loop >= XP_BENCH_TLB_load ? data : (t->first_data + data) << XP_PAGE_SHIFT;
        at = loop >= XP_BENCH_TLB_load ? (at + 1) & (t->pages - 1) : next_at(t, at);
    }
    if (loop == XP_BENCH_TLB_getppid)
        return true;
    if (loop <= XP_BENCH_TLB_hit_chained)
        return sum == expected && hit == n && missed == 0;
    if (loop == XP_BENCH_TLB_walk || loop == XP_BENCH_TLB_walk_free)
        return sum == expected && hit == 0 && missed == n && found == 0;
    return sum == expected;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

double xp_bench_tlb_run(struct xp_bench_tlb *t, uint32_t loop, uint64_t n, const struct xp_tick *clock)
{
    uint64_t each = loop >= XP_BENCH_TLB_load ? 64 : loop >= XP_BENCH_TLB_walk ? 512 : 4096, ticks[BLOCKS];
    uint64_t nr = n / each < 1 ? 1 : n / each > BLOCKS ? BLOCKS : n / each;
    if (loop >= XP_BENCH_TLB_LOOPS)
        return -1;
    t->at &= t->pages - 1;
    xp_mmu_flush(t->mmu);
    block(t, loop, each < hot(t, XP_BENCH_TLB_hit_behind) ? hot(t, XP_BENCH_TLB_hit_behind) : each);
    for (uint64_t i = 0; i < nr; i++) {
        uint64_t hit = t->mmu->tlb.nr_hits, missed = t->mmu->tlb.nr_misses, found = t->mmu->nr_short, at = t->at;
        uint64_t begin = xp_tick_begin(), sum = block(t, loop, each);
        ticks[i] = xp_tick_end() - begin;
        if (!as_expected(t, loop, each, at, sum, t->mmu->tlb.nr_hits - hit, t->mmu->tlb.nr_misses - missed,
                         t->mmu->nr_short - found))
            return -1;
    }
    qsort(ticks, nr, sizeof *ticks, by_size);
    return (double)xp_tick_ns(clock, ticks[nr / 2], 0) / (double)each;
}
