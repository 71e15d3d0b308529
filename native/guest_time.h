/*
 * guest_time.h: a domain's own reading of time, from shared_info and the TSC: no hypercall, no system call.
 *
 * Runs in the guest, trusts nobody but its own hypervisor. Source: public/xen.h (vcpu_time_info, wc_*).
 *   1. A value is whole: of one version, which was even. A reader tries again while the hypervisor writes.
 *   2. The counter may be read by the CPU before the version: then it is older than the scale, and reads as the scale's beginning.
 */
#ifndef XP_GUEST_TIME_H
#define XP_GUEST_TIME_H

#include "abi.h"
#include "timescale.h"

/* System time in ns. Some 3 ns on top of reading the counter. */
static inline uint64_t xp_time_read(const struct xen_vcpu_time_info *time)
{
    for (;;) {
        /* Pairs with the hypervisor's release of an even version (clock.c). */
        uint32_t version = __atomic_load_n(&time->version, __ATOMIC_ACQUIRE);
        uint64_t ns = xp_timescale_ns(xp_tsc(), __atomic_load_n(&time->tsc_timestamp, __ATOMIC_RELAXED),
                                      __atomic_load_n(&time->system_time, __ATOMIC_RELAXED),
                                      __atomic_load_n(&time->tsc_to_system_mul, __ATOMIC_RELAXED),
                                      __atomic_load_n(&time->tsc_shift, __ATOMIC_RELAXED));
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        bool whole = (version & 1) == 0 && __atomic_load_n(&time->version, __ATOMIC_RELAXED) == version;
#ifdef XP_TEST_TORN              /* the test of torn reads must be red without this check */
        whole = true;
#endif
        if (whole)
            return ns;
        xp_relax();
    }
}

/* System time in ns by vcpu 0's time info. */
uint64_t xp_system_time(const struct xen_shared_info *si);

/* ns since 1970 when system time was 0: wall clock = this + system time. */
uint64_t xp_wall_clock_base(const struct xen_shared_info *si);

/* What a read costs: n of them, in ticks of the TSC. */
uint64_t xp_time_cost(const struct xen_shared_info *si, uint32_t n);

#endif
