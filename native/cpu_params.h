/*
 * cpu_params.h: a domain's weight and warp, as Domain0 gives and changes them; on record, so that a run can be played again.
 *
 * The policy thread's: xp_cpus_* take the hypervisor's lock. A domain that is not scheduled yet, or on a hypervisor without a
 * scheduler, keeps what it was given.
 */
#ifndef XP_CPU_PARAMS_H
#define XP_CPU_PARAMS_H

#include "cpu.h"

struct xp_cpus_state {
    int64_t avt, evt, svt;       /* 0 where nothing is scheduled */
    int64_t charged_ns;
    bool warped;
};

/* From now on. -XEN_EINVAL as xp_sched_check, -XEN_ESRCH: no such domain. */
int xp_cpus_adjust(struct xp_hv *hv, xp_domid_t domid, const struct xp_sched_params *params);

/* As it is now; weight 0: it was given nothing. -XEN_ESRCH. */
int xp_cpus_params(struct xp_hv *hv, xp_domid_t domid, struct xp_sched_params *params, struct xp_cpus_state *state);

/* Domain0's weight, with which the host's ordinary class is scheduled on each CPU (cpu_host.h); 0: there is no scheduler. */
uint32_t xp_cpus_host_weight(struct xp_hv *hv);

/* -XEN_EINVAL: not a weight; -XEN_ENOSYS: there is no scheduler. */
int xp_cpus_set_host_weight(struct xp_hv *hv, uint32_t weight);

/* Within the core: what it was given before it was scheduled, or NULL. */
const struct xp_sched_params *xp_cpu_given(const struct xp_domain *d, struct xp_sched_params *copy);

/* Records them as of type (XP_TT_sched_add, _adjust): the warp first, then the weight. */
void xp_cpu_record_params(struct xp_domain *d, uint16_t type, int64_t now);

#endif
