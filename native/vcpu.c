/*
 * vcpu.c: HYPERVISOR_vcpu_op for the one virtual CPU of a Python guest; what a virtual CPU begins and ends with. Source: public/vcpu.h.
 */
#include "vcpu.h"

#include "abi.h"
#include "alarm.h"
#include "clock.h"
#include "guestmem.h"
#include "hypercall.h"
#include "runstate.h"
#include "traps.h"

void xp_vcpu_init(struct xp_domain *d)
{
    d->vcpu.schedstat_fd = -1;
    d->vcpu.place.spent.owner = d;
    xp_alarm_init(d);
}

void xp_vcpu_destroy(struct xp_domain *d)
{
    xp_cpu_remove(d);
    xp_spent_forget(&d->hv->spent, &d->vcpu.place.spent);
    xp_alarm_destroy(d);
    xp_runstate_destroy(d);
    xp_traps_destroy(d);
    d->vcpu.time_area = 0;
}

static int64_t register_time(struct xp_domain *d, uint64_t arg)
{
    struct xen_vcpu_register_time_memory_area area;
    struct xen_vcpu_time_info none = {.version = 1};    /* odd: not there yet */
    int ret = xp_copy_from_guest(d, &area, arg, sizeof area);
    if (ret == 0 && area.addr.v != 0)
        ret = xp_copy_to_guest(d, area.addr.v, &none, sizeof none);
    if (ret != 0)
        return ret;
    d->vcpu.time_area = area.addr.v;
    if (area.addr.v != 0)
        xp_clock_tell(d);
    return 0;
}

static int64_t register_runstate(struct xp_domain *d, uint64_t arg)
{
    struct xen_vcpu_register_runstate_memory_area area;
    int ret = xp_copy_from_guest(d, &area, arg, sizeof area);
    return ret != 0 ? ret : xp_runstate_register(d, area.addr.v);
}

int64_t xp_do_vcpu_op(struct xp_domain *d, struct xp_call *call)
{
    uint64_t arg = call->args[2];
    if (call->args[1] != 0)
        return -XEN_ENOENT;     /* no such virtual CPU */
    switch (call->args[0]) {
    case VCPUOP_initialise: return -XEN_EEXIST;
    case VCPUOP_up: return 0;
    case VCPUOP_is_up: return 1;
    case VCPUOP_get_runstate_info: return xp_runstate_get(d, arg);
    case VCPUOP_register_runstate_memory_area: return register_runstate(d, arg);
    case VCPUOP_register_vcpu_time_memory_area: return register_time(d, arg);
    case VCPUOP_set_periodic_timer: return xp_alarm_set_periodic(d, arg);
    case VCPUOP_stop_periodic_timer: return xp_alarm_stop_periodic(d);
    case VCPUOP_set_singleshot_timer: return xp_alarm_set_singleshot(d, arg);
    case VCPUOP_stop_singleshot_timer: return xp_alarm_stop_singleshot(d);
    case VCPUOP_get_physid: return -XEN_EINVAL;     /* as Xen for a domain that is not pinned */
    default: return -XEN_ENOSYS;
    }
}
