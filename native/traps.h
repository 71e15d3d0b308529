/*
 * traps.h: what a guest kernel registers for its virtual CPU: trap table, callbacks, stack, fast trap, segment bases, debug
 * registers, the task-switched flag.
 *
 * Source: public/arch-x86/xen.h, public/callback.h, public/xen.h; the fast trap is the paper's (Xen 1.0's set_fast_trap), ours on the
 * wire. Called with the hypervisor's lock held. Everything is checked when it is registered:
 *   1. No selector of ring 0 in the 32-bit modes, nowhere one of the hypervisor's own descriptors: -XEN_EPERM.
 *   2. An address must be one the mode can have: -XEN_EINVAL.
 *   3. A call that is refused has no effect; of a trap table, entries before the refused one stay, as in Xen.
 * Where we differ from Xen: today's 64-bit Xen mends a selector of ring 0 in silence; set_callbacks ignores a bad address.
 *
 * Tour H:170
 */
#ifndef XP_TRAPS_H
#define XP_TRAPS_H

#include "domain.h"
#include "paging.h"

#define XP_TRAP_GATE_DPL 3u      /* bits of xen_trap_info.flags */
#define XP_TRAP_GATE_IF 4u

/* The ring its kernel runs in: 1, or 3 in 64-bit mode, where there is no other. */
static inline uint32_t xp_kernel_ring(const struct xp_domain *d)
{
    return d->mm.mode->va_bits == 32 ? 1 : 3;
}

/* The gate of a vector; address 0: none. */
struct xp_trap xp_trap_of(const struct xp_domain *d, uint32_t vector);

/* XP_OP_set_fast_trap: system calls by this vector go straight to the guest's kernel. 0: none. -XEN_EINVAL. */
int64_t xp_set_fast_trap(struct xp_domain *d, uint64_t vector);

void xp_traps_destroy(struct xp_domain *d);

#endif
