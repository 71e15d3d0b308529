/*
 * walk.h: what a set of page tables says about an address: the walk alone, which changes nothing.
 *
 * Used by the MMU of a domain (mmu.h) through its window, and by whoever else holds machine memory. Source: Intel SDM
 * vol. 3 ch. 4, for a processor with NX (not x86_32), write protection of the supervisor too (CR0.WP), without
 * superpages (Xen offers guests none: PSE above level 1 is a reserved bit) and whose physical addresses end where machine
 * memory ends (a frame beyond is a reserved bit).
 *   1. Tables are believed in nothing: no address outside [base, base + nr pages) is formed.
 *   2. A table that this process does not have is a machine check (fixup.h), never a crash.
 *   3. A walk that faults says so and has no effect; which A and D bits a successful one owes is in the result.
 */
#ifndef XP_WALK_H
#define XP_WALK_H

#include "paging.h"
#include "tlb.h"

/* Machine memory as one process sees it. */
#define XP_PTE_BITS_52_TO_62 0x7ff0000000000000ull
/* Of a PAE top-level entry: rights, A and D, PSE, G and NX, too. */
#define XP_PDPTE_RESERVED (XP_PTE_NX | XP_PTE_BITS_52_TO_62 | 0x1e6u)

/* Bits that no present entry of this level has: a processor faults for them. */
static inline __attribute__((always_inline)) uint64_t xp_pte_reserved(uint32_t levels, uint32_t level)
{
    uint64_t bits = level > 1 ? XP_PTE_PSE : 0;
    return levels != 3 ? bits : bits | (level == 3 ? XP_PDPTE_RESERVED : XP_PTE_BITS_52_TO_62);
}

struct xp_space {
    const struct xp_paging_mode *mode;
    uint8_t *base;
    uint64_t nr, end;            /* frames; the machine address behind the last */
    uint64_t reserved[XP_PAGING_LEVELS + 1];
};

/* mode: enum xp_paging. -XEN_EINVAL: no such mode, base is not a page's, or no machine has so many frames. */
int xp_space_init(struct xp_space *s, uint32_t mode, void *base, uint64_t nr);

/* As x86 numbers its exceptions. */
enum xp_vector { XP_VECTOR_protection = 13, XP_VECTOR_page_fault = 14, XP_VECTOR_machine_check = 18 };

struct xp_fault_info {
    uint64_t va;                 /* the address that could not be used */
    uint64_t maddr;              /* machine address of the entry that said no, or of what was missing; 0: none */
    uint32_t error_code;         /* XP_PF_*, of a page fault */
    uint8_t vector;              /* enum xp_vector */
    uint8_t level;               /* of that entry; 0: the page itself */
};

struct xp_walk_step {
    uint64_t maddr, entry;       /* machine address of the entry, and what it held */
    uint64_t owed;               /* bits of A and D that this access must set in it */
};

struct xp_walk {
    struct xp_walk_step step[XP_PAGING_LEVELS + 1];   /* [mode's levels] down to [1] */
    uint64_t maddr;              /* of the page */
    uint32_t denied;             /* XP_PF_W, _U, _I: by the entries' rights together */
    uint32_t owing;              /* entries with something owed */
};

/* access: XP_PF_W, _U, _I, or'ed; 0: the supervisor reads. 0, or -XEN_EFAULT and *f; entries seen so far are in *w. */
int xp_walk(const struct xp_space *s, xp_mfn_t top, uint64_t va, uint32_t access, struct xp_walk *w, struct xp_fault_info *f);

/* The rights that one entry denies. */
static inline uint32_t xp_pte_denies(uint64_t entry)
{
    uint32_t low = ~(uint32_t)entry & (XP_PTE_RW | XP_PTE_USER);     /* at the places of W and U */
    return low | (uint32_t)(entry >> 63) * XP_PF_I;
}

/* A page, and the table of level 1 that its entry is in; each with what is denied on the way to it in the low bits, as a TLB has it. */
struct xp_found { uint64_t page, leaf; };

/*
 * The walk of nearly always: both, if every entry is there, sound, has A (for a write D) and lets the access; in every other case
 * page is UINT64_MAX: then xp_walk knows.
 */
struct xp_found xp_walk_quick(const struct xp_space *s, xp_mfn_t top, uint64_t va, uint32_t access);

/* The same from the table of level 1 on that an earlier such walk found, for an address that it maps: the page. */
uint64_t xp_walk_leaf(const struct xp_space *s, uint64_t leaf, uint64_t va, uint32_t access);

#endif
