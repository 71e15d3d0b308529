/* guest_time.c: see guest_time.h. */
#include "guest_time.h"

uint64_t xp_system_time(const struct xen_shared_info *si)
{
    return xp_time_read(&si->vcpu_info[0].time);
}

uint64_t xp_wall_clock_base(const struct xen_shared_info *si)
{
    uint32_t version;
    uint64_t sec, nsec;
    do {
        /* Pairs with the hypervisor's release of an even version (clock.c). */
        version = __atomic_load_n(&si->wc_version, __ATOMIC_ACQUIRE);
        sec = __atomic_load_n(&si->wc_sec, __ATOMIC_RELAXED) | (uint64_t)__atomic_load_n(&si->wc_sec_hi, __ATOMIC_RELAXED) << 32;
        nsec = __atomic_load_n(&si->wc_nsec, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((version & 1) != 0 || __atomic_load_n(&si->wc_version, __ATOMIC_RELAXED) != version);
    return sec * 1000000000u + nsec;
}

uint64_t xp_time_cost(const struct xen_shared_info *si, uint32_t n)
{
    uint64_t begin = xp_tsc(), sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += xp_time_read(&si->vcpu_info[0].time);
    __asm__ volatile("" : : "r"(sum));
    return xp_tsc() - begin;
}
