/*
 * dispatch.h: the hypervisor's thread that answers hypercalls: asleep on bells.h, no GIL, no guest can hold it up.
 *
 *   1. A slot's number and arguments are copied once, then used; the page may change under us at any time.
 *   2. No domain gets more than its sixteen slots a turn, long calls are done in steps with others in between.
 *   3. Asleep, it is woken by a doorbell only; hv_awake tells a domain that it need not ring. The domain sets `submitted`,
 *      fence, reads hv_awake; we clear hv_awake, fence, read `submitted`: one sees the other.
 *
 * Tour H:030
 */
#ifndef XP_DISPATCH_H
#define XP_DISPATCH_H

#include "domain.h"
#include "hvlock.h"

/* Runs until xp_hv_stop. 0, or -errno of epoll. */
int xp_hv_run(struct xp_hv *hv);
void xp_hv_stop(struct xp_hv *hv);

/* Answers the caller that waits on a slot. */
void xp_call_complete(struct xp_domain *d, uint32_t slot, int64_t result);

/* Its doorbell is not listened to any more. */
void xp_dispatch_remove(struct xp_domain *d);

/* A doorbell was rung (bells.c): whose, or a domain that is gone. */
void xp_dispatch_rung(struct xp_hv *hv, uint64_t domid);

#endif
