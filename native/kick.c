/*
 * kick.c: see kick.h.
 */
#include "kick.h"

#include "abi.h"

#define SLOT_TIMEOUT_NS 1000000000

int xp_kick(void *arg)
{
    const struct xp_kick *kick = arg;
    const uint64_t args[6] = {EVTCHNOP_send, kick->va};
    return xp_gcall_post(kick->calls, __HYPERVISOR_event_channel_op, args, SLOT_TIMEOUT_NS);
}
