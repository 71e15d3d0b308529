/*
 * hypercall.c: see hypercall.h.
 *
 * Tour H:050
 */
#include "hypercall.h"

#include "abi.h"
#include "evtchn.h"
#include "grant.h"
#include "guestmem.h"
#include "park.h"

#define MULTICALL_NS 100000      /* a multicall's turn: then others get theirs; an entry alone is bounded by its own step */

typedef int64_t handler_fn(struct xp_domain *d, struct xp_call *call);

static int64_t do_multicall(struct xp_domain *d, struct xp_call *call);

static handler_fn *handler_of(uint32_t nr)
{
    switch (nr) {
    case __HYPERVISOR_mmu_update: return xp_do_mmu_update;
    case __HYPERVISOR_set_gdt: return xp_do_set_gdt;
    case __HYPERVISOR_update_descriptor: return xp_do_update_descriptor;
    case __HYPERVISOR_memory_op: return xp_do_memory_op;
    case __HYPERVISOR_multicall: return do_multicall;
    case __HYPERVISOR_set_timer_op: return xp_do_set_timer_op;
    case __HYPERVISOR_set_trap_table: return xp_do_set_trap_table;
    case __HYPERVISOR_stack_switch: return xp_do_stack_switch;
    case __HYPERVISOR_set_callbacks: return xp_do_set_callbacks;
    case __HYPERVISOR_fpu_taskswitch: return xp_do_fpu_taskswitch;
    case __HYPERVISOR_set_debugreg: return xp_do_set_debugreg;
    case __HYPERVISOR_get_debugreg: return xp_do_get_debugreg;
    case __HYPERVISOR_iret: return xp_do_iret;
    case __HYPERVISOR_set_segment_base: return xp_do_set_segment_base;
    case __HYPERVISOR_nmi_op: return xp_do_nmi_op;
    case __HYPERVISOR_callback_op: return xp_do_callback_op;
    case __HYPERVISOR_update_va_mapping: return xp_do_update_va_mapping;
    case __HYPERVISOR_update_va_mapping_otherdomain: return xp_do_update_va_mapping_otherdomain;
    case __HYPERVISOR_mmuext_op: return xp_do_mmuext_op;
    case __HYPERVISOR_vm_assist: return xp_do_vm_assist;
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
    if (handler == NULL)
        return -XEN_ENOSYS;
    /* From a process of the guest's, not its kernel. It reaches us by a trap only, and what is ours is no part of the machine. */
    if (atomic_load_explicit(&d->calls->gst_user, memory_order_relaxed) != 0 && call->nr != XP_HYPERVISOR_xenproc_op)
        return -XEN_EPERM;
    return handler(d, call);
}

/* ---- multicall ---- */

/*
 * One entry, or its next step where it is a long call. A call that would block takes effect when the whole multicall is
 * done, as a block in Xen takes effect on the way back to the guest.
 */
static int64_t do_entry(struct xp_domain *d, struct xp_call *call)
{
    struct xp_call inner = {.nr = (uint32_t)call->entry.op, .slot = XP_NO_SLOT, .progress = call->entry.progress};
    if (call->entry.op > UINT32_MAX)
        return -XEN_ENOSYS;
    if (call->entry.op == __HYPERVISOR_multicall)
        return -XEN_EINVAL;     /* as Xen: no multicall inside a multicall */
    for (int i = 0; i < 6; i++)
        inner.args[i] = call->entry.args[i];
    int64_t result = xp_hypercall(d, &inner);
    call->entry.progress = inner.progress;
    call->entry.under_way = result == XP_CALL_AGAIN && !inner.plain;
    return result;
}

static int take_entry(struct xp_domain *d, struct xp_call *call, uint64_t va)
{
    struct xen_multicall_entry entry;
    int ret = xp_copy_from_guest(d, &entry, va, sizeof entry);
    if (ret != 0)
        return ret;
    call->entry.op = entry.op;
    call->entry.progress = 0;
    for (int i = 0; i < 6; i++)
        call->entry.args[i] = entry.args[i];
    return 0;
}

static int64_t do_multicall(struct xp_domain *d, struct xp_call *call)
{
    uint64_t va = call->args[0], nr = call->args[1];
    if (nr > UINT32_MAX)
        return -XEN_EINVAL;
    for (int64_t until = xp_now_ns() + MULTICALL_NS; call->progress < nr; call->progress++) {
        uint64_t at = va + call->progress * sizeof(struct xen_multicall_entry);
        if (xp_now_ns() > until)
            return XP_CALL_AGAIN;
        if (!call->entry.under_way && take_entry(d, call, at) != 0)
            return -XEN_EFAULT;
        int64_t result = do_entry(d, call);
        if (call->entry.under_way)
            return XP_CALL_AGAIN;
        if (d->state != XP_DS_RUNNING)
            return 0;
        if (xp_copy_to_guest(d, at + offsetof(struct xen_multicall_entry, result), &result, sizeof result) != 0)
            return -XEN_EFAULT;
    }
    return 0;
}
