/*
 * walk.c: see walk.h.
 */
#include "walk.h"

#include "fixup.h"

int xp_space_init(struct xp_space *s, uint32_t mode, void *base, uint64_t nr)
{
    const struct xp_paging_mode *m = xp_paging_mode(mode);
    if (m == NULL || ((uintptr_t)base & ~XP_PAGE_MASK) != 0 || nr > UINT64_MAX >> XP_PAGE_SHIFT)
        return -XEN_EINVAL;
    *s = (struct xp_space){.mode = m, .base = base, .nr = nr, .end = nr << XP_PAGE_SHIFT};
    for (uint32_t level = 1; level <= m->levels; level++)
        s->reserved[level] = xp_pte_reserved(m->levels, level);
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
        if (xp_is_pdpte(m, level))
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

/* What entries were seen to have: all of them, any of them. What they deny together is made of that once, at the end. */
struct seen { uint64_t all, any; };

static inline uint32_t denied_by(struct seen seen)
{
    return (~(uint32_t)seen.all & (XP_PTE_RW | XP_PTE_USER)) | (uint32_t)(seen.any >> 63) * XP_PF_I;
}

/* An entry of the table at this machine address, which must be sound and have A: where it leads. UINT64_MAX: it is not. */
static inline __attribute__((always_inline)) uint64_t step(const struct xp_space *s, uint64_t table, uint64_t va, uint32_t levels,
                                                           uint32_t level, bool wide, struct seen *seen, uint64_t *entry)
{
    uint32_t bits = wide ? 9 : 10, shift = XP_PAGE_SHIFT + bits * (level - 1);
    bool pdpte = levels == 3 && level == 3;
    uint32_t index = (uint32_t)(va >> shift) & (pdpte ? 3 : (1u << bits) - 1);
    *entry = xp_fix_load_or_0(s->base + table + (wide ? 8u : 4u) * index, wide);
    uint64_t must = pdpte ? XP_PTE_PRESENT : XP_PTE_PRESENT | XP_PTE_ACCESSED;
    uint64_t to = *entry & (wide ? 0x000ffffffffff000ull : 0xfffff000u);
    if ((*entry & (must | xp_pte_reserved(levels, level))) != must || to >= s->end)
        return UINT64_MAX;
    if (!pdpte) {
        seen->all &= *entry;
        seen->any |= *entry;
    }
    return to;
}

/* From a table of level 1 on. */
static inline __attribute__((always_inline)) uint64_t last(const struct xp_space *s, uint64_t leaf, uint64_t va, uint32_t access,
                                                           uint32_t levels, bool wide)
{
    struct seen seen = {.all = UINT64_MAX};
    uint32_t code = wide ? access : access & ~XP_PF_I;
    uint64_t entry, page = step(s, leaf & XP_PAGE_MASK, va, levels, 1, wide, &seen, &entry);
    uint32_t no = denied_by(seen) | ((uint32_t)leaf & (XP_PAGE_SIZE - 1));
    bool clean = (entry & XP_PTE_DIRTY) == 0;
    if (page == UINT64_MAX || (no & code) != 0 || (clean && (access & XP_PF_W) != 0))
        return UINT64_MAX;
    return page | no | (clean ? XP_PF_W : 0);
}

/* Inlined once for each mode, its levels and entries then being constants. */
static inline __attribute__((always_inline)) struct xp_found quick(const struct xp_space *s, uint64_t top, uint64_t va, uint32_t access,
                                                                   uint32_t levels, bool wide)
{
    struct seen seen = {.all = UINT64_MAX};
    uint64_t entry, table = top << XP_PAGE_SHIFT;
    if ((levels == 4 ? (uint64_t)((int64_t)(va << 16) >> 16) != va : va >> 32 != 0) || top >= s->nr)
        return (struct xp_found){.page = UINT64_MAX};
#pragma GCC unroll 4
    for (uint32_t level = levels; level > 1; level--) {
        table = step(s, table, va, levels, level, wide, &seen, &entry);
        if (table == UINT64_MAX)
            return (struct xp_found){.page = UINT64_MAX};
    }
    table |= denied_by(seen);
    return (struct xp_found){.page = last(s, table, va, access, levels, wide), .leaf = table};
}

struct xp_found xp_walk_quick(const struct xp_space *s, xp_mfn_t top, uint64_t va, uint32_t access)
{
    switch (s->mode->levels) {
    case 2: return quick(s, top.v, va, access, 2, false);
    case 3: return quick(s, top.v, va, access, 3, true);
    default: return quick(s, top.v, va, access, 4, true);
    }
}

uint64_t xp_walk_leaf(const struct xp_space *s, uint64_t leaf, uint64_t va, uint32_t access)
{
    switch (s->mode->levels) {
    case 2: return last(s, leaf, va, access, 2, false);
    case 3: return last(s, leaf, va, access, 3, true);
    default: return last(s, leaf, va, access, 4, true);
    }
}
