/*
 * walk.c: see walk.h.
 */
#include "walk.h"

#include "fixup.h"

#define BITS_52_TO_62 0x7ff0000000000000ull
/* A PAE top-level entry has no rights and no A or D: those bits, PSE, G and NX are reserved. */
#define RESERVED_PDPTE (XP_PTE_NX | BITS_52_TO_62 | 0x1e6u)

static bool is_pdpte(const struct xp_paging_mode *m, uint32_t level) { return m->levels == 3 && level == 3; }

int xp_space_init(struct xp_space *s, uint32_t mode, void *base, uint64_t nr)
{
    const struct xp_paging_mode *m = xp_paging_mode(mode);
    if (m == NULL || ((uintptr_t)base & ~XP_PAGE_MASK) != 0)
        return -XEN_EINVAL;
    *s = (struct xp_space){.mode = m, .base = base, .nr = nr};
    for (uint32_t level = 1; level <= m->levels; level++) {
        s->reserved[level] = level > 1 ? XP_PTE_PSE : 0;
        if (m->levels == 3)
            s->reserved[level] |= is_pdpte(m, level) ? RESERVED_PDPTE : BITS_52_TO_62;
    }
    return 0;
}

static int fault(struct xp_fault_info *f, uint64_t va, uint8_t vector, uint32_t code, uint64_t maddr, uint32_t level)
{
    *f = (struct xp_fault_info){.va = va, .maddr = maddr, .error_code = code, .vector = vector, .level = (uint8_t)level};
    return -XEN_EFAULT;
}

_Static_assert(XP_PTE_RW == XP_PF_W && XP_PTE_USER == XP_PF_U, "an entry's rights lie where the error code has them");

int xp_walk(const struct xp_space *s, xp_mfn_t top, uint64_t va, uint32_t access, struct xp_walk *w, struct xp_fault_info *f)
{
    const struct xp_paging_mode *m = s->mode;
    uint32_t code = m->entry_size == 4 ? access & ~XP_PF_I : access;  /* without NX a fetch is a read */
    uint64_t mfn = top.v, maddr = 0;
    w->denied = w->owing = 0;
    if (!xp_va_canonical(m, va))
        return fault(f, va, XP_VECTOR_protection, 0, 0, 0);
    if (mfn >= s->nr)
        return fault(f, va, XP_VECTOR_machine_check, 0, mfn << XP_PAGE_SHIFT, m->levels);
    for (uint32_t level = m->levels; level > 0; level--) {
        maddr = (mfn << XP_PAGE_SHIFT) + (uint64_t)xp_pt_index(m, level, va) * m->entry_size;
        uint32_t failed = 0;
        uint64_t entry = m->entry_size == 8 ? xp_fix_load64(s->base + maddr, &failed) : xp_fix_load32(s->base + maddr, &failed);
        if (failed != 0)
            return fault(f, va, XP_VECTOR_machine_check, 0, maddr, level);
        mfn = xp_pte_mfn(m, entry);
        w->step[level] = (struct xp_walk_step){.maddr = maddr, .entry = entry};
        if ((entry & XP_PTE_PRESENT) == 0)
            return fault(f, va, XP_VECTOR_page_fault, code, maddr, level);
        if ((entry & s->reserved[level]) != 0 || mfn >= s->nr)
            return fault(f, va, XP_VECTOR_page_fault, code | XP_PF_P | XP_PF_R, maddr, level);
        if (is_pdpte(m, level))
            continue;
        w->denied |= xp_pte_denies(entry);
        uint64_t owed = XP_PTE_ACCESSED;
        if (level == 1 && (access & XP_PF_W) != 0)
            owed |= XP_PTE_DIRTY;
        w->step[level].owed = owed & ~entry;
        w->owing += w->step[level].owed != 0;
    }
    if ((w->denied & code) != 0)
        return fault(f, va, XP_VECTOR_page_fault, code | XP_PF_P, maddr, 1);
    w->maddr = mfn << XP_PAGE_SHIFT;
    return 0;
}

/* One entry, which must be sound and have A; its frame and, over what *no has, what it denies. UINT64_MAX: it is not. */
static inline __attribute__((always_inline)) uint64_t step(const struct xp_space *s, uint64_t mfn, uint64_t va, uint32_t levels,
                                                           uint32_t level, bool wide, uint64_t *entry, uint32_t *no)
{
    uint32_t bits = wide ? 9 : 10, shift = XP_PAGE_SHIFT + bits * (level - 1);
    bool pdpte = levels == 3 && level == 3;
    uint32_t index = (uint32_t)(va >> shift) & (pdpte ? 3 : (1u << bits) - 1);
    const uint8_t *table = s->base + (mfn << XP_PAGE_SHIFT);
    *entry = xp_fix_load_or_0(table + (wide ? 8u : 4u) * index, wide);
    mfn = (*entry & (wide ? 0x000ffffffffff000ull : 0xfffff000u)) >> XP_PAGE_SHIFT;
    uint64_t must = pdpte ? XP_PTE_PRESENT : XP_PTE_PRESENT | XP_PTE_ACCESSED;
    if ((*entry & (must | s->reserved[level])) != must || mfn >= s->nr)
        return UINT64_MAX;
    if (!pdpte)
        *no |= xp_pte_denies(*entry);
    return mfn;
}

/* From the table of level 1 at mfn on; no: what is denied above it. */
static inline __attribute__((always_inline)) uint64_t last(const struct xp_space *s, uint64_t mfn, uint64_t va, uint32_t access,
                                                           uint32_t no, uint32_t *denied, uint32_t levels, bool wide)
{
    uint32_t code = wide ? access : access & ~XP_PF_I;
    uint64_t entry;
    mfn = step(s, mfn, va, levels, 1, wide, &entry, &no);
    if (mfn == UINT64_MAX || (no & code) != 0 || ((entry & XP_PTE_DIRTY) == 0 && (access & XP_PF_W) != 0))
        return UINT64_MAX;
    *denied = no | ((entry & XP_PTE_DIRTY) == 0 ? XP_PF_W : 0);
    return mfn << XP_PAGE_SHIFT;
}

/* Inlined once for each mode, its levels and entries then being constants. */
static inline __attribute__((always_inline)) uint64_t quick(const struct xp_space *s, uint64_t mfn, uint64_t va, uint32_t access,
                                                            uint32_t *denied, struct xp_leaf *leaf, uint32_t levels, bool wide)
{
    uint32_t no = 0;
    uint64_t entry;
    if ((levels == 4 ? (uint64_t)((int64_t)(va << 16) >> 16) != va : va >> 32 != 0) || mfn >= s->nr)
        return UINT64_MAX;
#pragma GCC unroll 4
    for (uint32_t level = levels; level > 1; level--) {
        mfn = step(s, mfn, va, levels, level, wide, &entry, &no);
        if (mfn == UINT64_MAX)
            return UINT64_MAX;
    }
    *leaf = (struct xp_leaf){.mfn = mfn, .denied = no};
    return last(s, mfn, va, access, no, denied, levels, wide);
}

uint64_t xp_walk_quick(const struct xp_space *s, xp_mfn_t top, uint64_t va, uint32_t access, uint32_t *denied, struct xp_leaf *leaf)
{
    switch (s->mode->levels) {
    case 2: return quick(s, top.v, va, access, denied, leaf, 2, false);
    case 3: return quick(s, top.v, va, access, denied, leaf, 3, true);
    default: return quick(s, top.v, va, access, denied, leaf, 4, true);
    }
}

uint64_t xp_walk_leaf(const struct xp_space *s, struct xp_leaf leaf, uint64_t va, uint32_t access, uint32_t *denied)
{
    if (s->mode->entry_size == 4)
        return last(s, leaf.mfn, va, access, leaf.denied, denied, 2, false);
    return last(s, leaf.mfn, va, access, leaf.denied, denied, s->mode->levels, true);
}
