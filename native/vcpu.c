/*
 * vcpu.c: HYPERVISOR_vcpu_op for the one virtual CPU of a Python guest. Source: public/vcpu.h.
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"

#include <time.h>

/* The process's CPU clock, by pid (the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)). */
static int64_t cpu_ns(int32_t pid)
{
    struct timespec t = {0};
    if (pid <= 0 || clock_gettime((clockid_t)((~(uint32_t)pid << 3) | 2u), &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Running is what the kernel charged; the rest of its life is called blocked until a scheduler of ours says better. */
static int64_t runstate(struct xp_domain *d, uint64_t va)
{
    int64_t now = xp_hv_system_time(d->hv);
    int64_t alive = now - d->created_ns, ran = cpu_ns(d->pid);
    struct xen_vcpu_runstate_info info = {.state = RUNSTATE_running, .state_entry_time = (uint64_t)now};
    if (ran > alive)
        ran = alive;
    info.time[RUNSTATE_running] = (uint64_t)ran;
    info.time[RUNSTATE_blocked] = (uint64_t)(alive - ran);
    return xp_copy_to_guest(d, va, &info, sizeof info);
}

int64_t xp_do_vcpu_op(struct xp_domain *d, struct xp_call *call)
{
    if (call->args[1] != 0)
        return -XEN_ENOENT;     /* no such virtual CPU */
    switch (call->args[0]) {
    case VCPUOP_initialise: return -XEN_EEXIST;
    case VCPUOP_up: return 0;
    case VCPUOP_is_up: return 1;
    case VCPUOP_get_runstate_info: return runstate(d, call->args[2]);
    case VCPUOP_get_physid: return -XEN_EINVAL;     /* as Xen for a domain that is not pinned */
    default: return -XEN_ENOSYS;
    }
}
