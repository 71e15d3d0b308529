/*
 * mmu.c: see mmu.h.
 */
#include "mmu.h"

#include "fixup.h"

#include <stdlib.h>
#include <string.h>

#define LOOKS 4u                 /* at most, for one access */
#define UNTAGGED 1u              /* the tag of spaces that have none: flushed at each switch */

struct xp_mmu *xp_mmu_new(uint32_t mode, void *base, uint64_t nr, uint32_t sets, uint32_t ways)
{
    struct xp_mmu *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    if (xp_space_init(&m->space, mode, base, nr) != 0 || xp_tlb_init(&m->tlb, sets, ways) != 0) {
        free(m);
        return NULL;
    }
    m->region_shift = m->space.mode->level[2].shift;
    m->top = xp_mfn(UINT64_MAX >> XP_PAGE_SHIFT);
    m->asid = UNTAGGED;
    m->generation = &m->never;
    return m;
}

void xp_mmu_free(struct xp_mmu *m)
{
    if (m != NULL)
        xp_tlb_free(&m->tlb);
    free(m);
}

int xp_mmu_switch(struct xp_mmu *m, uint64_t mfn, uint32_t asid)
{
    if (asid >= XP_TLB_SPACES || asid == UNTAGGED)
        return -XEN_EINVAL;
    m->top = xp_mfn(m->top_of != NULL ? m->top_of(m->context, mfn) : mfn);
    m->asid = asid == 0 ? UNTAGGED : asid;
    if (asid == 0)
        xp_tlb_flush_space(&m->tlb, UNTAGGED, XP_TLB_switch);
    return 0;
}

void xp_mmu_flush(struct xp_mmu *m) { xp_tlb_flush(&m->tlb, XP_TLB_asked); }

void xp_mmu_flush_page(struct xp_mmu *m, uint64_t va) { xp_tlb_flush_page(&m->tlb, (va & XP_PAGE_MASK) | m->asid); }

void xp_mmu_watch(struct xp_mmu *m, const void *generation)
{
    m->generation = generation != NULL ? generation : &m->never;
    m->seen = atomic_load_explicit(m->generation, memory_order_acquire);
    xp_tlb_flush(&m->tlb, XP_TLB_generation);
}

static int set_bits(const struct xp_space *s, const struct xp_ad *ad)
{
    void *entry = s->base + ad->maddr;
    return s->mode->entry_size == 8 ? xp_fix_or64(entry, ad->bits) : xp_fix_or32(entry, (uint32_t)ad->bits);
}

/* What the walk owes its entries, from the top down. */
static int pay(struct xp_mmu *m, const struct xp_walk *w, uint64_t va, struct xp_fault_info *f)
{
    struct xp_ad ad[XP_PAGING_LEVELS];
    uint32_t n = 0;
    for (uint32_t level = m->space.mode->levels; level > 0; level--)
        if (w->step[level].owed != 0)
            ad[n++] = (struct xp_ad){.maddr = w->step[level].maddr, .bits = w->step[level].owed};
    m->nr_ad += n;
    if (m->set_ad != NULL)
        return m->set_ad(m->context, ad, n);
    for (uint32_t i = 0; i < n; i++) {
        if (set_bits(&m->space, &ad[i]) != 0) {
            *f = (struct xp_fault_info){.va = va, .maddr = ad[i].maddr, .vector = XP_VECTOR_machine_check};
            return -XEN_EFAULT;
        }
    }
    return 0;
}

/* The walk that pays. 0 and the page's machine address | what is denied. */
static __attribute__((noinline)) int walk(struct xp_mmu *m, uint64_t va, uint32_t access, uint64_t *page, struct xp_fault_info *f)
{
    struct xp_walk w;
    int ret = xp_walk(&m->space, m->top, va, access, &w, f);
    if (ret == 0 && w.owing != 0)
        ret = pay(m, &w, va, f);
    if (ret != 0)
        return ret;
    *page = w.maddr | w.denied;
    if ((access & XP_PF_W) == 0 && (w.step[1].entry & XP_PTE_DIRTY) == 0)
        *page |= XP_PF_W;
    return 0;
}

/* The quick walk, from a table found before if there is one; else what it finds is kept. */
static inline uint64_t walk_quick(struct xp_mmu *m, uint64_t va, uint32_t access)
{
    uint32_t shift = m->region_shift;
    uint64_t region = va >> shift << shift | m->asid;
    struct xp_tlb_table *known = xp_tlb_table(&m->tlb, region, shift);
    if (known->tag == region) {
        m->nr_short++;
        return xp_walk_leaf(&m->space, known->leaf, va, access);
    }
    struct xp_found found = xp_walk_quick(&m->space, m->top, va, access);
    if (found.page != UINT64_MAX)
        *known = (struct xp_tlb_table){.tag = region, .leaf = found.leaf};
    return found.page;
}

/* Not in its set of the TLB, or not for this: the walk decides. */
static inline int miss(struct xp_mmu *m, struct xp_tlb_entry *set, uint64_t va, uint32_t access, uint8_t **p, struct xp_fault_info *f)
{
    m->tlb.nr_misses++;
    m->nr_walks++;
    uint64_t page = walk_quick(m, va, access);
    if (__builtin_expect(page == UINT64_MAX, 0)) {
        int ret = walk(m, va, access, &page, f);
        if (ret != 0)
            return ret;
    }
    xp_tlb_insert(&m->tlb, set, (va & XP_PAGE_MASK) | m->asid, (uint64_t)(uintptr_t)m->space.base + page);
    *p = m->space.base + (page & XP_PAGE_MASK) + (va & ~XP_PAGE_MASK);
    return 0;
}

static inline void look_at_generation(struct xp_mmu *m)
{
    uint32_t now = atomic_load_explicit(m->generation, memory_order_acquire);
    if (__builtin_expect(now != m->seen, 0)) {
        m->seen = now;
        xp_tlb_flush(&m->tlb, XP_TLB_generation);
    }
}

/* Whatever xp_mmu_hit did not know: it is not the first way, or that one denies it, or nothing of the TLB holds any more. */
static inline int not_first(struct xp_mmu *m, uint64_t va, uint32_t access, uint8_t **p, struct xp_fault_info *f)
{
    look_at_generation(m);
    uint64_t tag = (va & XP_PAGE_MASK) | m->asid;
    struct xp_tlb_entry *set = xp_tlb_set(&m->tlb, tag);
    const struct xp_tlb_entry *e = xp_tlb_find_behind(&m->tlb, set, tag);
    if (e == NULL || (e->page & access) != 0)
        return miss(m, set, va, access, p, f);
    m->tlb.nr_hits++;
    *p = (uint8_t *)(uintptr_t)((e->page & XP_PAGE_MASK) | (va & ~XP_PAGE_MASK));
    return 0;
}

static __attribute__((noinline)) int far(struct xp_mmu *m, uint64_t va, uint32_t access, uint8_t **p, struct xp_fault_info *f)
{
    return not_first(m, va, access, p, f);
}

static __attribute__((noinline)) int count(struct xp_mmu *m, int ret, const struct xp_fault_info *f)
{
    if (ret == -XEN_EFAULT)
        m->nr_faults[f->vector]++;
    return ret;
}

/* Invariant 4: 0: for a reason that is gone now. */
static int ask(struct xp_mmu *m, struct xp_fault_info *f)
{
    return m->missing == NULL || f->vector != XP_VECTOR_page_fault ? -XEN_EFAULT : m->missing(m->context, f);
}

static __attribute__((noinline)) int translate_again(struct xp_mmu *m, uint64_t va, uint32_t access, uint64_t *maddr, int ret,
                                                     struct xp_fault_info *f)
{
    uint8_t *p = NULL;
    for (uint32_t i = 0; i < LOOKS && ret == -XEN_EFAULT && ask(m, f) == 0; i++)
        ret = far(m, va, access, &p, f);
    if (ret != 0)
        return count(m, ret, f);
    *maddr = (uint64_t)(p - m->space.base);
    return 0;
}

int xp_mmu_translate_far(struct xp_mmu *m, uint64_t va, uint32_t access, uint64_t *maddr, struct xp_fault_info *f)
{
    uint8_t *p;
    int ret = not_first(m, va, access, &p, f);
    if (__builtin_expect(ret != 0, 0))
        return translate_again(m, va, access, maddr, ret, f);
    *maddr = (uint64_t)(p - m->space.base);
    return 0;
}

/* Invariant 5. */
static int check_span(struct xp_mmu *m, uint64_t va, uint64_t len, struct xp_fault_info *f)
{
    const struct xp_paging_mode *mode = m->space.mode;
    uint64_t last = va + (len - 1);
    if (last >= va && xp_va_canonical(mode, va) && xp_va_canonical(mode, last) && (va ^ last) >> 63 == 0)
        return 0;
    *f = (struct xp_fault_info){.va = va, .vector = XP_VECTOR_protection};
    return -XEN_EFAULT;
}

/* Invariant 1: would each page of it let us? Without effects. */
static int probe(struct xp_mmu *m, uint64_t va, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    int ret = check_span(m, va, len, f);
    for (uint64_t done = 0; ret == 0 && done < len;) {
        const struct xp_tlb_entry *e = xp_tlb_find(&m->tlb, ((va + done) & XP_PAGE_MASK) | m->asid);
        if (e == NULL || (e->page & access) != 0) {
            struct xp_walk w;
            m->nr_walks++;
            ret = xp_walk(&m->space, m->top, va + done, access, &w, f);
        }
        done += XP_PAGE_SIZE - ((va + done) & ~XP_PAGE_MASK);
    }
    return ret;
}

static inline int copy(struct xp_mmu *m, uint64_t va, void *own, uint64_t n, uint32_t access, struct xp_fault_info *f)
{
    uint8_t *p = xp_mmu_hit(m, va, access);
    int ret = p != NULL ? 0 : far(m, va, access, &p, f);
    if (ret != 0)
        return ret;
    int failed = (access & XP_PF_W) != 0 ? xp_fix_copy(p, own, n) : xp_fix_copy(own, p, n);
    if (__builtin_expect(failed == 0, 1))
        return 0;
    *f = (struct xp_fault_info){.va = va, .maddr = (uint64_t)(p - m->space.base), .vector = XP_VECTOR_machine_check};
    return -XEN_EFAULT;
}

static int over_edges(struct xp_mmu *m, uint64_t va, void *own, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    look_at_generation(m);
    int ret = probe(m, va, len, access, f);
    for (uint64_t done = 0; ret == 0 && done < len;) {
        uint64_t room = XP_PAGE_SIZE - ((va + done) & ~XP_PAGE_MASK), n = len - done < room ? len - done : room;
        ret = copy(m, va + done, (uint8_t *)own + done, n, access, f);
        done += n;
    }
    return ret;
}

static inline int attempt(struct xp_mmu *m, uint64_t va, void *own, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    return __builtin_expect(len <= XP_PAGE_SIZE - (va & ~XP_PAGE_MASK), 1) ? copy(m, va, own, len, access, f)
                                                                           : over_edges(m, va, own, len, access, f);
}

/* Invariant 4: a word into a page that the level-1 entry lets nobody write. */
static int store_for_us(struct xp_mmu *m, uint64_t va, const void *own, uint64_t len, const struct xp_fault_info *f)
{
    uint64_t value = 0, entry;
    uint32_t failed = 0;
    if (m->store == NULL || f->vector != XP_VECTOR_page_fault || (f->error_code & ~XP_PF_U) != (XP_PF_P | XP_PF_W) || f->level != 1 ||
        len > sizeof value || (len & (len - 1)) != 0 || (va & (len - 1)) != 0)
        return -XEN_EFAULT;
    const uint8_t *at = m->space.base + f->maddr;
    entry = m->space.mode->entry_size == 8 ? xp_fix_load64(at, &failed) : xp_fix_load32(at, &failed);
    if (failed != 0 || (entry & XP_PTE_PRESENT) == 0)
        return -XEN_EFAULT;
    memcpy(&value, own, len);
    return m->store(m->context, f, (entry & m->space.mode->frame_mask) | (va & ~XP_PAGE_MASK), value, (uint32_t)len);
}

static int access_to(struct xp_mmu *m, uint64_t va, void *own, uint64_t len, uint32_t access, struct xp_fault_info *f);

/* A store of any length, some of it into tables: in words, so not as one (a later page that faults finds the first ones stored). */
static int store_words(struct xp_mmu *m, uint64_t va, void *own, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    int ret = 0;
    for (uint64_t done = 0, n; ret == 0 && done < len; done += n) {
        for (n = 8; n > len - done || ((va + done) & (n - 1)) != 0;)
            n /= 2;
        if (n == len)
            return store_for_us(m, va, own, len, f);
        ret = access_to(m, va + done, (uint8_t *)own + done, n, access, f);
    }
    return ret;
}

static __attribute__((noinline)) int failed_access(struct xp_mmu *m, uint64_t va, void *own, uint64_t len, uint32_t access, int ret,
                                                   struct xp_fault_info *f)
{
    int said = 0;
    uint64_t at = f->va;
    for (uint32_t i = 0; i < LOOKS && ret == -XEN_EFAULT && (said = ask(m, f)) == 0; i = f->va == at ? i + 1 : 0) {
        at = f->va;              /* each page of a long access has its looks */
        ret = attempt(m, va, own, len, access, f);
    }
    if (ret == -XEN_EFAULT && said == 1)
        return store_words(m, va, own, len, access, f) == 0 ? 0 : count(m, ret, f);
    if (ret == -XEN_EFAULT && (access & XP_PF_W) != 0 && store_for_us(m, va, own, len, f) == 0)
        return 0;
    return ret == 0 ? 0 : count(m, ret, f);
}

static int access_to(struct xp_mmu *m, uint64_t va, void *own, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    if (len == 0)
        return 0;
    int ret = attempt(m, va, own, len, access, f);
    return __builtin_expect(ret == 0, 1) ? 0 : failed_access(m, va, own, len, access, ret, f);
}

int xp_mmu_load(struct xp_mmu *m, uint64_t va, void *dst, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    return access_to(m, va, dst, len, access & (XP_PF_U | XP_PF_I), f);
}

int xp_mmu_store(struct xp_mmu *m, uint64_t va, const void *src, uint64_t len, uint32_t access, struct xp_fault_info *f)
{
    /* A store only reads from src (copy). */
    return access_to(m, va, (void *)(uintptr_t)src, len, (access & XP_PF_U) | XP_PF_W, f);
}
