/*
 * bounce.h: a trap that reaches the guest's kernel through the hypervisor, and the way back (iret).
 *
 * Page faults always come this way, as on the hardware only ring 0 can tell their address (PAPER.md A.2); system calls do unless
 * there is a fast trap; every other trap only if the guest found no handler itself. Source: Xen's bounce frame of 64-bit guests, with the
 * paper's extra word before it; DESIGN.md section 7.
 *   1. The frame lies on the guest's own stack: kernel_sp if a process of its was interrupted, else where its kernel's stack was.
 *   2. No handler, or a frame that cannot be written (a fault while delivering one): the domain ends, and says with which frame.
 *   3. What the frame says of rings is ours: the guest names no selector that it returns to ring 0 by.
 *
 * Tour H:180
 */
#ifndef XP_BOUNCE_H
#define XP_BOUNCE_H

#include "domain.h"

/* XP_OP_trap with its struct at va. -XEN_EFAULT, -XEN_EINVAL; XP_CALL_PARK where the domain ends. */
int64_t xp_bounce(struct xp_domain *d, uint64_t va);

#endif
