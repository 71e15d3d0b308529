/*
 * mmu.h: a processor's MMU: loads and stores by virtual address through page tables in machine memory, with a TLB.
 *
 * Owns struct xp_mmu, private to the process and to one thread of it. A domain's own code uses it; nobody trusts it.
 *   1. An access is looked up whole before any of it is done: one that faults has no effect, sets no A or D bit and
 *      changes no byte, also where only its last page faults. (Of a machine check while copying that is not promised.)
 *   2. A and D bits are set before the access, by `set_ad`: tables are write-protected in a domain, so there it is a
 *      hypercall. An entry that has its bits costs nothing.
 *   3. The TLB is flushed by what flushes a real one (enum xp_tlb_cause) and nothing else. The hypervisor says so by a
 *      generation in the call page, looked at before each access.
 *   4. A page fault is one only after `missing` and `store` had their say: an entry that is not there may be the hypervisor's
 *      doing, and a store into a page that is read-only a store into a page table (writable_pt.h). In shadow mode the tables
 *      that are walked are the hypervisor's, and every fault is asked about (shadow.h).
 *   5. An access that runs over the end of an address space, or over the gap of non-canonical addresses, is refused whole.
 *
 * Source: Intel SDM vol. 3 ch. 4.
 */
#ifndef XP_MMU_H
#define XP_MMU_H

#include "walk.h"

#include <stdatomic.h>

struct xp_ad { uint64_t maddr, bits; };

/* Sets A and D bits of n entries, the ones of one page's walk. 0 or -XEN_Exxx. */
typedef int (*xp_set_ad_fn)(void *context, const struct xp_ad *ad, uint32_t n);

/* A page fault of a walk. 0: look again; 1: a store that `store` does, whatever its length; else it is one, and *f what it is. */
typedef int (*xp_missing_fn)(void *context, struct xp_fault_info *f);

/* A store of 1, 2, 4 or 8 bytes, aligned, into a read-only page. 0: done. */
typedef int (*xp_store_fn)(void *context, const struct xp_fault_info *f, uint64_t maddr, uint64_t value, uint32_t bytes);

/* What is walked for a base pointer (shadow.h). */
typedef uint64_t (*xp_top_fn)(void *context, uint64_t mfn);

struct xp_mmu {
    struct xp_tlb tlb;
    struct xp_space space;
    xp_mfn_t top;                /* the base pointer */
    uint32_t asid;               /* tag of the address space, 1 to 4095 */
    uint32_t region_shift;       /* what a table of level 1 maps: 1 << this */
    uint32_t seen;               /* the generation that the TLB is of */
    const _Atomic uint32_t *generation; /* [HV], or `never` */
    _Atomic uint32_t never;      /* stays 0: nobody watches */
    xp_set_ad_fn set_ad;         /* NULL: written directly */
    xp_missing_fn missing;       /* NULL: a fault */
    xp_store_fn store;           /* NULL: a fault */
    xp_top_fn top_of;            /* NULL: the base pointer itself */
    void *context;
    uint64_t nr_walks, nr_ad;    /* walks, and entries whose bits were set */
    uint64_t nr_short;           /* walks that began at a table of level 1 found before */
    uint64_t nr_faults[19];      /* by vector */
};

/*
 * Machine memory of nr frames lies at base. mode: enum xp_paging; sets, ways: of the TLB. NULL: an argument is wrong, or no
 * memory. Until the first switch every access is a fault.
 */
struct xp_mmu *xp_mmu_new(uint32_t mode, void *base, uint64_t nr, uint32_t sets, uint32_t ways);
void xp_mmu_free(struct xp_mmu *m);

/* Another base pointer. asid 0: untagged, as on the processors of 2003: the TLB is flushed. -XEN_EINVAL: asid too large. */
int xp_mmu_switch(struct xp_mmu *m, uint64_t mfn, uint32_t asid);

void xp_mmu_flush(struct xp_mmu *m);
void xp_mmu_flush_page(struct xp_mmu *m, uint64_t va);
/* Where the hypervisor says that everything must go. */
void xp_mmu_watch(struct xp_mmu *m, const void *generation);

/* Where va lies in this process, if the TLB knows it and it may be used so; NULL: the long way must decide. */
static inline uint8_t *xp_mmu_hit(struct xp_mmu *m, uint64_t va, uint32_t access)
{
    uint64_t tag = (va & XP_PAGE_MASK) | m->asid;
    const struct xp_tlb_entry *e = xp_tlb_set(&m->tlb, tag);
    /* Pairs with the hypervisor's release: tables as they were changed before it are seen by the walks after. */
    uint32_t now = atomic_load_explicit(m->generation, memory_order_acquire);
    if (__builtin_expect(now != m->seen || e->tag != tag || (e->page & access) != 0, 0))
        return NULL;
    m->tlb.nr_hits++;
    return (uint8_t *)(uintptr_t)((e->page & XP_PAGE_MASK) | (va & ~XP_PAGE_MASK));
}

/* xp_mmu_translate where that finds nothing. */
int xp_mmu_translate_far(struct xp_mmu *m, uint64_t va, uint32_t access, uint64_t *maddr, struct xp_fault_info *f);

/* The machine address of va, with all effects of the access but its bytes. 0, -XEN_EFAULT and *f, or what set_ad said. */
static inline int xp_mmu_translate(struct xp_mmu *m, uint64_t va, uint32_t access, uint64_t *maddr, struct xp_fault_info *f)
{
    const uint8_t *p = xp_mmu_hit(m, va, access);
    if (__builtin_expect(p == NULL, 0))
        return xp_mmu_translate_far(m, va, access, maddr, f);
    *maddr = (uint64_t)(p - m->space.base);
    return 0;
}

/* access: XP_PF_U for a user's, XP_PF_I for code. Any length. Results as above. */
int xp_mmu_load(struct xp_mmu *m, uint64_t va, void *dst, uint64_t len, uint32_t access, struct xp_fault_info *f);
int xp_mmu_store(struct xp_mmu *m, uint64_t va, const void *src, uint64_t len, uint32_t access, struct xp_fault_info *f);

#endif
