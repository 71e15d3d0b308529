/*
 * abi.h: Xen's public ABI for x86 guests, as the core uses it: layouts, numbers, error codes. Includes all of it.
 *
 * Stands alone: plain C11 types, nothing of ours. Facts from Xen's public interface (version 0x00041300), held by
 * tests/abi against tests/abi/xen-public.json, both architectures, every field and every number.
 *   1. A struct of Xen's is `struct xen_NAME` (names that begin with "xen" there keep their name) with Xen's field
 *      names, laid out for a 64-bit guest; a guest pointer is a uint64_t, never a C pointer.
 *   2. Where a 32-bit guest sees another layout there is a `struct xen32_NAME` below it: pointers and unsigned long
 *      are uint32_t, 64-bit integers align to 4 (xen32_u64). Where there is none, the one layout serves both
 *      (a guest's copy may be aligned to 4 only: copy it, do not point into it).
 *   3. A constant has Xen's own name; one with another value for a 32-bit guest is XEN32_NAME there.
 *   4. [HV] and [GST] say who writes a field; IN and OUT are seen from the caller of a hypercall.
 * What xenproc adds of its own is in ours.h, never here.
 *
 * Tour A:020
 */
#ifndef XEN_ABI_H
#define XEN_ABI_H

#include "abi_errno.h"
#include "abi_hypercall.h"
#include "abi_event.h"
#include "abi_grant.h"
#include "abi_sched.h"
#include "abi_memory.h"
#include "abi_trap.h"
#include "abi_start.h"
#include "abi_io.h"
#include "abi_blkif.h"
#include "abi_netif.h"

#endif
