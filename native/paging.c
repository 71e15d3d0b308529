/*
 * paging.c: see paging.h.
 *
 * Tour M:080
 */
#include "paging.h"

#include "abi.h"

/* Xen lets a guest without devices of its own set neither cache attributes nor global; bits 52 to 62 are reserved. */
#define FORBIDDEN_64 (0x7ff0000000000000ull | XP_PTE_GLOBAL | XP_PTE_PSE | XP_PTE_PWT | XP_PTE_PCD)
#define FORBIDDEN_32 ((uint64_t)(XP_PTE_GLOBAL | XP_PTE_PSE | XP_PTE_PWT | XP_PTE_PCD))
/* A PAE top-level entry is four bits and an address: RW, USER, A, D and NX are reserved there. */
#define FORBIDDEN_PDPTE (0xfff0000000000000ull | 0x1e6u)

#define FRAME_MASK_64 0x000ffffffffff000ull
#define L4_HOLE_FIRST 256u
#define L4_HOLE_END 272u

const struct xp_paging_mode *xp_paging_mode(uint32_t mode)
{
    static const struct xp_paging_mode modes[XP_PAGING_MODES] = {
        [XP_PAGING_X86_32] = {
            .name = "x86_32", .levels = 2, .entry_size = 4, .va_bits = 32, .frame_mask = 0xfffff000u,
            .hole_start = XEN32_HYPERVISOR_VIRT_START_NONPAE, .hole_end = (uint64_t)1 << 32,
            .m2p_start = XEN32_MACH2PHYS_VIRT_START_NONPAE, .hole_level = 2,
            .level = {
                [1] = {.shift = 12, .nr = 1024, .forbidden = FORBIDDEN_32},
                [2] = {.shift = 22, .nr = 1024, .forbidden = FORBIDDEN_32, .hole_first = 1008, .hole_end = 1024},
            },
        },
        [XP_PAGING_X86_32P] = {
            .name = "x86_32p", .levels = 3, .entry_size = 8, .va_bits = 32, .frame_mask = FRAME_MASK_64,
            .hole_start = XEN32_HYPERVISOR_VIRT_START_PAE, .hole_end = (uint64_t)1 << 32,
            .m2p_start = XEN32_MACH2PHYS_VIRT_START_PAE, .hole_level = 2,
            .level = {
                [1] = {.shift = 12, .nr = 512, .forbidden = FORBIDDEN_64},
                /* Only of the table under top-level slot 3; the others have no hole. */
                [2] = {.shift = 21, .nr = 512, .forbidden = FORBIDDEN_64, .hole_first = 428, .hole_end = 512},
                [3] = {.shift = 30, .nr = 4, .forbidden = FORBIDDEN_PDPTE},
            },
        },
        [XP_PAGING_X86_64] = {
            .name = "x86_64", .levels = 4, .entry_size = 8, .va_bits = 48, .frame_mask = FRAME_MASK_64,
            .hole_start = HYPERVISOR_VIRT_START, .hole_end = HYPERVISOR_VIRT_START + ((uint64_t)(L4_HOLE_END - L4_HOLE_FIRST) << 39),
            .m2p_start = MACH2PHYS_VIRT_START, .hole_level = 4,
            .level = {
                [1] = {.shift = 12, .nr = 512, .forbidden = FORBIDDEN_64},
                [2] = {.shift = 21, .nr = 512, .forbidden = FORBIDDEN_64},
                [3] = {.shift = 30, .nr = 512, .forbidden = FORBIDDEN_64},
                [4] = {.shift = 39, .nr = 512, .forbidden = FORBIDDEN_64, .hole_first = L4_HOLE_FIRST, .hole_end = L4_HOLE_END},
            },
        },
    };
    return mode < XP_PAGING_MODES ? &modes[mode] : NULL;
}
