/*
 * debugreg.c: HYPERVISOR_set_debugreg and get_debugreg: a guest's breakpoints, kept for it; none of them in the hypervisor.
 *
 * Source: Intel SDM vol. 3 ch. 17 for the bits; Xen's rules for what a guest may set.
 *   1. An address in the hole, or one that the mode cannot have: -XEN_EPERM.
 *   2. General detect (it would trap the hypervisor's own moves) and breakpoints on I/O ports: -XEN_EPERM.
 *   3. Reserved bits read as the hardware has them, whatever was written.
 */
#include "abi.h"
#include "hypercall.h"
#include "paging.h"

#define DR_STATUS 6u
#define DR_CONTROL 7u
#define DR6_ZERO 0x1000u         /* and all above bit 31 */
#define DR6_ONE 0xffff0ff0u
#define DR7_ZERO 0xd800u         /* bits 11, 12, 14, 15 */
#define DR7_ONE 0x400u
#define DR7_GENERAL_DETECT 0x2000u
#define DR7_ENABLED 0xffu
#define DR7_IO 2u

static int set_address(struct xp_domain *d, uint64_t reg, uint64_t value)
{
    const struct xp_paging_mode *mode = d->mm.mode;
    uint64_t last = value + 7;  /* the widest breakpoint */
    if (!xp_va_canonical(mode, value) || last < value || (value < mode->hole_end && last >= mode->hole_start))
        return -XEN_EPERM;
    d->vcpu.debugreg[reg] = value;
    return 0;
}

static int set_control(struct xp_domain *d, uint64_t value)
{
    if ((value & DR7_GENERAL_DETECT) != 0)
        return -XEN_EPERM;
    for (int i = 0; i < 4; i++)
        if ((value >> (16 + 4 * i) & 3) == DR7_IO)
            return -XEN_EPERM;
    if ((value & DR7_ENABLED) == 0)
        value = 0;              /* no debugging */
    d->vcpu.debugreg[DR_CONTROL] = value == 0 ? 0 : (value & UINT32_MAX & ~(uint64_t)DR7_ZERO) | DR7_ONE;
    return 0;
}

int64_t xp_do_set_debugreg(struct xp_domain *d, struct xp_call *call)
{
    uint64_t reg = call->args[0], value = call->args[1];
    switch (reg) {
    case 0:
    case 1:
    case 2:
    case 3:
        return set_address(d, reg, value);
    case 4:                     /* without debug extensions 4 and 5 are other names of 6 and 7 */
    case DR_STATUS:
        d->vcpu.debugreg[DR_STATUS] = (value & UINT32_MAX & ~(uint64_t)DR6_ZERO) | DR6_ONE;
        return 0;
    case 5:
    case DR_CONTROL:
        return set_control(d, value);
    default:
        return -XEN_EINVAL;
    }
}

int64_t xp_do_get_debugreg(struct xp_domain *d, struct xp_call *call)
{
    uint64_t reg = call->args[0];
    if (reg > DR_CONTROL)
        return -XEN_EINVAL;
    call->plain = true;
    return (int64_t)d->vcpu.debugreg[reg == 4 || reg == 5 ? reg + 2 : reg];
}
