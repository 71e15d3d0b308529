/*
 * abi_types.h: the few scalar types that the layouts of the public ABI need. See abi.h for the rules.
 */
#ifndef XEN_ABI_TYPES_H
#define XEN_ABI_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* 64-bit integers in a 32-bit guest's structs: aligned to 4. */
typedef uint64_t xen32_u64 __attribute__((aligned(4)));

enum { XEN_PAGE_SHIFT = 12 };

#endif
