/*
 * bells.h: what wakes the hypervisor's dispatcher: the domains' doorbells, the policy thread's kick, the kernel's timers on
 * virtual time, and one timer for the earliest of its own deadlines. One epoll set, owned by the dispatcher's thread.
 *
 *   1. A sleep costs one system call: the kernel's timer is touched only when an earlier deadline than the one it is set to appears
 *      (a limit on each sleep would arm and cancel a timer each time: about 1 us of a blocking hypercall's 6).
 *   2. It may ring with nothing due (the deadline was put off): then it is set anew.
 */
#ifndef XP_BELLS_H
#define XP_BELLS_H

#include "domain.h"

/* In the dispatcher's thread, once: makes what it listens to. 0 or -errno. */
int xp_bells_listen(struct xp_hv *hv);

/* A doorbell (an eventfd) of a domain. 0 or -errno. */
int xp_bells_add(struct xp_hv *hv, int doorbell, xp_domid_t domid);
void xp_bells_remove(struct xp_hv *hv, int doorbell);

/* Acts on what has rung. wait: the lock is let go of, until something rings or it is deadline (system time). 0 or -errno. */
int xp_bells_look(struct xp_hv *hv);
int xp_bells_wait(struct xp_hv *hv, int64_t deadline);

#endif
