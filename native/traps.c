/* traps.c: see traps.h. */
#include "traps.h"

#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"

#include <stdlib.h>
#include <string.h>

#define VECTORS 256u
#define TABLE_STEP 256u          /* entries a step: some 10 us */
#define NMI_VECTOR 2u

/* ---- what may be registered ---- */

static bool selector_ok(const struct xp_domain *d, uint16_t selector)
{
    static const uint16_t flat64[] = {FLAT_RING3_CS64, FLAT_RING3_CS32, FLAT_RING3_SS64};
    static const uint16_t flat32[] = {XEN32_FLAT_RING1_CS, XEN32_FLAT_RING1_DS, XEN32_FLAT_RING3_CS, XEN32_FLAT_RING3_DS};
    bool narrow = xp_kernel_ring(d) == 1;
    if (narrow && (selector & 3) == 0)
        return false;
    if ((selector & 4) != 0 || selector >> 3 < FIRST_RESERVED_GDT_ENTRY)
        return true;            /* of the guest's own LDT or GDT, whose descriptors were checked when they were set */
    for (size_t i = 0; i < (narrow ? 4 : 3); i++)
        if (selector == (narrow ? flat32[i] : flat64[i]))
            return true;
    return false;
}

static bool address_ok(const struct xp_domain *d, uint64_t address)
{
    return xp_va_canonical(d->mm.mode, address);
}

struct xp_trap xp_trap_of(const struct xp_domain *d, uint32_t vector)
{
    return d->vcpu.traps != NULL && vector < VECTORS ? d->vcpu.traps[vector] : (struct xp_trap){0};
}

static int set_trap(struct xp_domain *d, uint32_t vector, struct xp_trap trap)
{
    if (d->vcpu.traps == NULL)
        d->vcpu.traps = calloc(VECTORS, sizeof *d->vcpu.traps);
    if (d->vcpu.traps == NULL)
        return -XEN_ENOMEM;
    d->vcpu.traps[vector] = trap;
    return 0;
}

void xp_traps_destroy(struct xp_domain *d)
{
    free(d->vcpu.traps);
    d->vcpu.traps = NULL;
}

/* ---- the trap table ---- */

static int take_entry(struct xp_domain *d, const struct xen_trap_info *info)
{
    if (!address_ok(d, info->address))
        return -XEN_EINVAL;
    if (!selector_ok(d, info->cs))
        return -XEN_EPERM;
    return set_trap(d, info->vector, (struct xp_trap){.address = info->address, .cs = info->cs, .flags = info->flags});
}

int64_t xp_do_set_trap_table(struct xp_domain *d, struct xp_call *call)
{
    uint64_t va = call->args[0];
    if (va == 0) {
        if (d->vcpu.traps != NULL)
            memset(d->vcpu.traps, 0, VECTORS * sizeof *d->vcpu.traps);
        return 0;
    }
    for (uint32_t i = 0; i < TABLE_STEP; i++, call->progress++) {
        struct xen_trap_info info;
        int ret = xp_copy_from_guest(d, &info, va + call->progress * sizeof info, sizeof info);
        if (ret == 0 && info.address == 0)
            return 0;
        if (ret == 0)
            ret = take_entry(d, &info);
        if (ret != 0)
            return ret;
    }
    return XP_CALL_AGAIN;
}

int64_t xp_set_fast_trap(struct xp_domain *d, uint64_t vector)
{
    struct xp_trap trap = xp_trap_of(d, (uint32_t)(vector & (VECTORS - 1)));
    if (vector != 0) {
        /* As Xen 1.0: 0x20 to 0x2f and 0x80 only, and no gate that masks events on the way: only the hypervisor could do that. */
        if (vector != 0x80 && (vector < 0x20 || vector > 0x2f))
            return -XEN_EINVAL;
        if (trap.address == 0 || (trap.flags & XP_TRAP_GATE_IF) != 0 || (trap.flags & XP_TRAP_GATE_DPL) != 3)
            return -XEN_EINVAL;
    }
    d->vcpu.fast_trap = (uint8_t)vector;
    return 0;
}

/* ---- callbacks ---- */

static int64_t register_callback(struct xp_domain *d, uint16_t type, uint16_t flags, uint64_t address)
{
    switch (type) {
    case CALLBACKTYPE_event:
    case CALLBACKTYPE_failsafe:
    case CALLBACKTYPE_syscall:
    case CALLBACKTYPE_sysenter:
    case CALLBACKTYPE_syscall32:
        if (!address_ok(d, address))
            return -XEN_EINVAL;
        d->vcpu.callback[type] = (struct xp_callback){.address = address, .masks = (flags & CALLBACKF_mask_events) != 0};
        return 0;
    case CALLBACKTYPE_nmi:
        if (!address_ok(d, address))
            return -XEN_EINVAL;
        return set_trap(d, NMI_VECTOR, (struct xp_trap){.address = address, .flags = XP_TRAP_GATE_IF});
    default:
        return -XEN_ENOSYS;
    }
}

static int64_t unregister_callback(struct xp_domain *d, uint16_t type)
{
    switch (type) {
    case CALLBACKTYPE_event:
    case CALLBACKTYPE_failsafe:
    case CALLBACKTYPE_syscall:
    case CALLBACKTYPE_sysenter:
    case CALLBACKTYPE_syscall32:
        return -XEN_EINVAL;     /* as Xen: these can be changed, not taken back */
    case CALLBACKTYPE_nmi:
        return set_trap(d, NMI_VECTOR, (struct xp_trap){0});
    default:
        return -XEN_ENOSYS;
    }
}

int64_t xp_do_callback_op(struct xp_domain *d, struct xp_call *call)
{
    struct xen_callback_register reg;
    struct xen_callback_unregister unreg;
    int ret;
    switch (call->args[0]) {
    case CALLBACKOP_register:
        ret = xp_copy_from_guest(d, &reg, call->args[1], sizeof reg);
        return ret != 0 ? ret : register_callback(d, reg.type, reg.flags, reg.address);
    case CALLBACKOP_unregister:
        ret = xp_copy_from_guest(d, &unreg, call->args[1], sizeof unreg);
        return ret != 0 ? ret : unregister_callback(d, unreg.type);
    default:
        return -XEN_ENOSYS;
    }
}

/* (event, failsafe, syscall): all of them or none. */
int64_t xp_do_set_callbacks(struct xp_domain *d, struct xp_call *call)
{
    static const uint16_t types[] = {CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall};
    for (int i = 0; i < 3; i++)
        if (!address_ok(d, call->args[i]))
            return -XEN_EINVAL;
    for (int i = 0; i < 3; i++)
        (void)register_callback(d, types[i], 0, call->args[i]);
    return 0;
}

int64_t xp_do_nmi_op(struct xp_domain *d, struct xp_call *call)
{
    struct xennmi_callback nmi;
    int ret;
    switch (call->args[0]) {
    case XENNMI_register_callback:
        ret = xp_copy_from_guest(d, &nmi, call->args[1], sizeof nmi);
        return ret != 0 ? ret : register_callback(d, CALLBACKTYPE_nmi, 0, nmi.handler_address);
    case XENNMI_unregister_callback:
        return unregister_callback(d, CALLBACKTYPE_nmi);
    default:
        return -XEN_ENOSYS;
    }
}

/* ---- stack, segments, floating point ---- */

int64_t xp_do_stack_switch(struct xp_domain *d, struct xp_call *call)
{
    uint64_t ss = call->args[0], sp = call->args[1];
    if (ss > UINT16_MAX)
        return -XEN_EINVAL;     /* the stack itself is looked at when it is used, as in Xen: it lies in the window, in any mode */
    if (!selector_ok(d, (uint16_t)ss))
        return -XEN_EPERM;
    d->vcpu.kernel_ss = (uint16_t)ss;
    d->vcpu.kernel_sp = sp;
    return 0;
}

int64_t xp_do_set_segment_base(struct xp_domain *d, struct xp_call *call)
{
    uint64_t which = call->args[0], base = call->args[1];
    if (which == SEGBASE_GS_USER_SEL) {
        if (base > UINT16_MAX || !selector_ok(d, (uint16_t)base))
            return -XEN_EINVAL;
        d->vcpu.gs_user_selector = (uint16_t)base;
        return 0;
    }
    if (which > SEGBASE_GS_KERNEL || !address_ok(d, base))
        return -XEN_EINVAL;
    d->vcpu.segment_base[which] = base;
    return 0;
}

int64_t xp_do_fpu_taskswitch(struct xp_domain *d, struct xp_call *call)
{
    d->vcpu.task_switched = call->args[0] != 0;
    return 0;
}
