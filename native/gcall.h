/*
 * gcall.h: the guest's side of the call page: submit a hypercall, wait for its answer, or post and go on.
 *
 * Owned by the domain's own process; any number of its threads may call at once, each takes a slot.
 *   1. A slot belongs to one thread from take to give back; a call given up at its deadline keeps the slot until the
 *      hypervisor has answered it.
 *   2. The doorbell is rung only if the hypervisor does not look by itself (hv_awake).
 *
 * Tour G:030
 */
#ifndef XP_GCALL_H
#define XP_GCALL_H

#include "ours.h"

struct xp_gcall {
    struct xp_call_page *page;
    int doorbell;                    /* eventfd */
    _Atomic uint32_t busy;           /* slots taken by our threads */
    _Atomic uint32_t abandoned;      /* of these: posted, or given up; free again once DONE */
    _Atomic uint32_t backoff, fails; /* adaptive: waits left before spinning is tried again; spins in a row that did not pay */
    _Atomic uint64_t nr_calls, nr_rings, nr_sleeps;  /* not exact where several threads call */
};

void xp_gcall_init(struct xp_gcall *g, void *page, int doorbell);

/*
 * Calls and waits. The result of the hypercall in *result and 0, or -XEN_ETIMEDOUT (it may still be carried out), or
 * -XEN_EAGAIN: no slot came free in time.
 */
int xp_gcall(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int mode, int64_t timeout_ns, int64_t *result);

/* Submits and returns: nobody waits for the answer (EVTCHNOP_send). 0, or -XEN_EAGAIN as above. */
int xp_gcall_post(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int64_t timeout_ns);

/* The same call n times in a row; ticks[n] gets each one's TSC ticks. 0 or the first error. For measuring. */
int xp_gcall_repeat(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int mode, int64_t timeout_ns, uint32_t n,
                    uint64_t *ticks);

#endif
