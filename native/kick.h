/*
 * kick.h: the C core's way to tell a peer through the hypervisor (EVTCHNOP_send, posted) where xp_direct_send cannot.
 *
 * Lives in the guest's process. `va` is the address of a struct xen_evtchn_send in the domain's own frames that stays as
 * long as the kick may be used.
 */
#ifndef XP_KICK_H
#define XP_KICK_H

#include "gcall.h"

struct xp_kick {
    struct xp_gcall *calls;
    uint64_t va;
};

/* 0, or -XEN_EAGAIN: no call slot came free. Its type fits the callbacks of vchan.h. */
int xp_kick(void *kick);

#endif
