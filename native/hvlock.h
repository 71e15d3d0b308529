/*
 * hvlock.h: the hypervisor's one lock: the dispatcher's, which lets the policy thread in between two turns.
 *
 * Private to the hypervisor's process; no guest ever waits for it by name. The dispatcher holds it but while it sleeps.
 *   1. Who waits for it gets it after the turn under way, however busy the dispatcher is: a mutex alone is not fair.
 */
#ifndef XP_HVLOCK_H
#define XP_HVLOCK_H

struct xp_hv;

/* For the policy thread: the lock, let in by the dispatcher. */
void xp_hv_lock(struct xp_hv *hv);
void xp_hv_unlock(struct xp_hv *hv);

/* The dispatcher, between two turns: steps aside until whoever waits has had it. */
void xp_hv_let_in(struct xp_hv *hv);

#endif
