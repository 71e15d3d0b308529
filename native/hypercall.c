/*
 * hypercall.c: see hypercall.h.
 */
#include "hypercall.h"

#include "abi.h"
#include "evtchn.h"
#include "grant.h"
#include "guestmem.h"
#include "park.h"

#define MULTICALL_STEP 32u       /* entries done before others get their turn */

typedef int64_t handler_fn(struct xp_domain *d, struct xp_call *call);

static int64_t do_multicall(struct xp_domain *d, struct xp_call *call);

static handler_fn *handler_of(uint32_t nr)
{
    switch (nr) {
    case __HYPERVISOR_memory_op: return xp_do_memory_op;
    case __HYPERVISOR_multicall: return do_multicall;
    case __HYPERVISOR_xen_version: return xp_do_xen_version;
    case __HYPERVISOR_console_io: return xp_do_console_io;
    case __HYPERVISOR_grant_table_op: return xp_do_grant_table_op;
    case __HYPERVISOR_vcpu_op: return xp_do_vcpu_op;
    case __HYPERVISOR_sched_op: return xp_do_sched_op;
    case __HYPERVISOR_event_channel_op: return xp_do_event_channel_op;
    case XP_HYPERVISOR_xenproc_op: return xp_do_xenproc_op;
    default: return NULL;
    }
}

int64_t xp_hypercall(struct xp_domain *d, struct xp_call *call)
{
    handler_fn *handler = handler_of(call->nr);
    return handler == NULL ? -XEN_ENOSYS : handler(d, call);
}

/* ---- multicall ---- */

/*
 * One entry. A long call inside is finished here, step by step, each bounded: its batch is charged to this call, which
 * yields between entries. A call that would block takes effect when the whole multicall is done, as a block in Xen takes
 * effect on the way back to the guest.
 */
static int64_t do_entry(struct xp_domain *d, const struct xen_multicall_entry *entry)
{
    struct xp_call inner = {.nr = (uint32_t)entry->op, .slot = XP_NO_SLOT};
    int64_t result;
    if (entry->op > UINT32_MAX)
        return -XEN_ENOSYS;
    if (entry->op == __HYPERVISOR_multicall)
        return -XEN_EINVAL;     /* as Xen: no multicall inside a multicall */
    for (int i = 0; i < 6; i++)
        inner.args[i] = entry->args[i];
    do
        result = xp_hypercall(d, &inner);
    while (result == XP_CALL_AGAIN);
    return result;
}

static int64_t do_multicall(struct xp_domain *d, struct xp_call *call)
{
    uint64_t va = call->args[0], nr = call->args[1];
    struct xen_multicall_entry entry;
    if (nr > UINT32_MAX)
        return -XEN_EINVAL;
    for (uint32_t step = 0; call->progress < nr; call->progress++, step++) {
        uint64_t at = va + call->progress * sizeof entry;
        if (step == MULTICALL_STEP)
            return XP_CALL_AGAIN;
        if (xp_copy_from_guest(d, &entry, at, sizeof entry) != 0)
            return -XEN_EFAULT;
        entry.result = (uint64_t)do_entry(d, &entry);
        if (d->state != XP_DS_RUNNING)
            return 0;
        if (xp_copy_to_guest(d, at, &entry, sizeof entry) != 0)
            return -XEN_EFAULT;
    }
    return 0;
}
