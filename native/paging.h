/*
 * paging.h: the three paging modes as one table: levels, entry layout, which bits a guest may set, where the hole is.
 *
 * Validator, walker and tools read this table and know no mode by name. Source: Intel SDM vol. 3 ch. 4 for the
 * formats, Xen's public/arch-x86 headers for the holes, Xen's rules for what a paravirtual guest may put into an entry.
 *   1. An entry is handled as a 64-bit value in every mode; one of x86_32 has its upper half zero.
 *   2. Level 1 maps pages; the table of level `levels` is what a base pointer names.
 *   3. The slots of the hole are the hypervisor's: no guest writes them, they are the same in every table that has them.
 *
 * Tour M:070
 */
#ifndef XP_PAGING_H
#define XP_PAGING_H

#include "xp.h"

enum xp_paging { XP_PAGING_X86_32 = 0, XP_PAGING_X86_32P = 1, XP_PAGING_X86_64 = 2, XP_PAGING_MODES = 3 };

/* Bits of an entry, the same in all modes. */
#define XP_PTE_PRESENT 0x001u
#define XP_PTE_RW 0x002u
#define XP_PTE_USER 0x004u
#define XP_PTE_PWT 0x008u
#define XP_PTE_PCD 0x010u
#define XP_PTE_ACCESSED 0x020u
#define XP_PTE_DIRTY 0x040u
#define XP_PTE_PSE 0x080u                    /* level 2 and up: a superpage; level 1: PAT */
#define XP_PTE_GLOBAL 0x100u
#define XP_PTE_AVAIL 0xe00u
#define XP_PTE_NX ((uint64_t)1 << 63)

#define XP_PAGING_LEVELS 4u
#define XP_HOLE_SLOTS 84u                    /* the most that a table has: PAE */

struct xp_paging_level {
    uint8_t shift;               /* address bits below this level's index */
    uint16_t nr;                 /* entries of a table; the rest of its frame is ignored */
    uint64_t forbidden;          /* bits that a guest's present entry must not have */
    uint16_t hole_first, hole_end; /* the hypervisor's slots in a table that reaches the hole; equal: none */
};

struct xp_paging_mode {
    const char *name;            /* as in Xen's capability strings */
    uint8_t levels, entry_size, va_bits;
    uint64_t frame_mask;         /* where an entry holds its frame's address */
    uint64_t hole_start, hole_end; /* virtual addresses, [start, end) */
    uint64_t m2p_start;          /* where the machine-to-physical table appears in the hole */
    uint8_t hole_level;          /* the level whose tables carry the hypervisor's slots */
    struct xp_paging_level level[XP_PAGING_LEVELS + 1];    /* [1] to [levels] */
};

/* NULL: no such mode. */
const struct xp_paging_mode *xp_paging_mode(uint32_t mode);

static inline uint32_t xp_pt_index(const struct xp_paging_mode *m, uint32_t level, uint64_t va)
{
    return (uint32_t)(va >> m->level[level].shift) & (m->level[level].nr - 1u);
}

static inline uint64_t xp_pte_mfn(const struct xp_paging_mode *m, uint64_t entry)
{
    return (entry & m->frame_mask) >> XP_PAGE_SHIFT;
}

/* An entry of PAE's top level: no rights, no A. */
static inline bool xp_is_pdpte(const struct xp_paging_mode *m, uint32_t level) { return m->levels == 3 && level == 3; }

/* What an entry has that a processor has gone on by. */
static inline uint64_t xp_pte_must(const struct xp_paging_mode *m, uint32_t level)
{
    return xp_is_pdpte(m, level) ? XP_PTE_PRESENT : XP_PTE_PRESENT | XP_PTE_ACCESSED;
}

/* As the hardware sees it: 64-bit addresses must be sign-extended, 32-bit ones have no upper half. */
static inline bool xp_va_canonical(const struct xp_paging_mode *m, uint64_t va)
{
    return m->va_bits == 32 ? va >> 32 == 0 : (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

/* Entry number `index` of a table whose entries have this size: aligned, so one load. */
static inline uint64_t xp_entry_read(const void *table, uint32_t size, uint32_t index)
{
    return size == 8 ? __atomic_load_n((const uint64_t *)table + index, __ATOMIC_RELAXED)
                     : __atomic_load_n((const uint32_t *)table + index, __ATOMIC_RELAXED);
}

static inline void xp_entry_write(void *table, uint32_t size, uint32_t index, uint64_t entry)
{
    if (size == 8)
        __atomic_store_n((uint64_t *)table + index, entry, __ATOMIC_RELAXED);
    else
        __atomic_store_n((uint32_t *)table + index, (uint32_t)entry, __ATOMIC_RELAXED);
}

static inline uint64_t xp_pt_read(const struct xp_paging_mode *m, const void *table, uint32_t index)
{
    return xp_entry_read(table, m->entry_size, index);
}

static inline void xp_pt_write(const struct xp_paging_mode *m, void *table, uint32_t index, uint64_t entry)
{
    xp_entry_write(table, m->entry_size, index, entry);
}

#endif
