/*
 * runstate.h: how a virtual CPU's life divides into running, runnable, blocked and offline. It adds up to its age, always.
 *
 * Running is what the kernel charged the process, runnable what its first thread waited for a CPU (/proc/PID/schedstat), offline
 * what Domain0 kept it stopped, blocked the rest. Source: public/vcpu.h. Called with the hypervisor's lock held.
 *   1. The four add up to state_entry_time less the time of creation.
 *   2. None of the four ever becomes less.
 *
 * Tour H:160
 */
#ifndef XP_RUNSTATE_H
#define XP_RUNSTATE_H

#include "domain.h"

#include <time.h>

/* The process's CPU clock, by pid (the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)). */
static inline clockid_t xp_cpu_clock(int32_t pid) { return (clockid_t)((~(uint32_t)pid << 3) | 2u); }

/* A timer of the kernel's on that clock: tells thread tid of ours by signal signo with `value`. 0, or -errno. */
int xp_cpu_timer(int32_t pid, int32_t tid, int signo, int value, timer_t *timer);

/* Virtual time: ns that the process has run; 0 if it is gone. */
int64_t xp_cpu_ns(int32_t pid);

/* ns its first thread has waited for a CPU; 0 where the kernel does not say. */
int64_t xp_waited_ns(struct xp_domain *d);

/* VCPUOP_get_runstate_info, VCPUOP_register_runstate_memory_area (address 0: none any more). -XEN_EFAULT. */
int64_t xp_runstate_get(struct xp_domain *d, uint64_t va);
int64_t xp_runstate_register(struct xp_domain *d, uint64_t va);

/* Writes the registered area; nothing without one. state: RUNSTATE_*, as of now. */
void xp_runstate_tell(struct xp_domain *d, int state);

/* The same, unless it was told a moment ago: for every call. */
void xp_runstate_called(struct xp_domain *d);

void xp_runstate_destroy(struct xp_domain *d);

/* Domain0 stops its process, or lets it go on. -XEN_ESRCH. */
int xp_domain_paused(struct xp_hv *hv, xp_domid_t domid, bool paused);

#endif
