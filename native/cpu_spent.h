/*
 * cpu_spent.h: what the hypervisor's threads and back ends spend for domains, charged to them by the scheduler.
 *
 * Brings spent.h together with the kernel's clocks and the scheduler. The hypervisor's lock is held, but for what the policy thread calls.
 *   1. Nobody is charged while CPUs are not contended: then nobody takes anything from anybody.
 *   2. Settled once a millisecond at most: all of what the kernel says the hypervisor's threads have used since.
 *   3. Long calls of a domain that is ahead of its share are held back while others run: waiting costs no CPU that it could be charged.
 *
 * Tour H:290
 */
#ifndef XP_CPU_SPENT_H
#define XP_CPU_SPENT_H

#include "spent.h"

struct xp_hv;
struct xp_domain;
struct xp_cpus;

#define XP_CPU_HOLD_NS 1000000   /* calls that are held back are looked at again so often */

/* CPUs are contended from now on, or not any more. */
void xp_cpu_spent_on(struct xp_cpus *cpus);
void xp_cpu_spent_off(struct xp_cpus *cpus);

/* Charges what is settled by now; those who run have been charged already. */
void xp_cpu_settle(struct xp_cpus *cpus, int64_t now);

/* For the dispatcher: may a long call of d's go on now? One predicted branch where nobody is charged. */
bool xp_cpu_ahead(struct xp_domain *d);
static inline bool xp_cpu_may_go_on(const struct xp_spent_pool *p, struct xp_domain *d)
{
    return __builtin_expect(!p->on, 1) || !xp_cpu_ahead(d);
}

/* Its own process used ran_ns: charged but for what it handed over. */
void xp_cpu_charge_ran(struct xp_cpus *cpus, struct xp_domain *d, int64_t ran_ns, int64_t now);

/* XP_OP_pay: lets domid hand over up to limit_ns in each period (0: no more). -XEN_ESRCH, -XEN_EINVAL, -XEN_ENOSPC, -XEN_ENOMEM. */
int64_t xp_cpu_pay(struct xp_domain *d, uint64_t domid, uint64_t limit_ns);

/* XP_OP_hand_over: so much of what d used was spent for domid. Returns how much of that it took. -XEN_ESRCH, -XEN_EPERM, -XEN_EINVAL. */
int64_t xp_cpu_hand_over(struct xp_domain *d, uint64_t domid, uint64_t ns);

/* ---- for the policy thread: take the lock themselves ---- */

struct xp_spent_info { int64_t hypervisor_ns, paid_ns, handed_ns; };

/* It worked for ns for a domain; nothing where nobody is charged, or the domain is gone. */
void xp_domain_spent(struct xp_hv *hv, xp_domid_t domid, int64_t ns);

/* Is anybody charged at the moment? Then what the policy thread does for domains is worth measuring. */
bool xp_hv_charges(struct xp_hv *hv);

/* It is never charged for what others spend (tests). -XEN_ESRCH. */
int xp_domain_exempt(struct xp_hv *hv, xp_domid_t domid);

/* In all; domid 0: what was spent for nobody. -XEN_ESRCH. */
int xp_domain_spent_info(struct xp_hv *hv, xp_domid_t domid, struct xp_spent_info *info);

#endif
