/*
 * alarm.h: a virtual CPU's alarms: a periodic and a singleshot one on real time, one on virtual time. Each goes off as VIRQ_TIMER.
 *
 * Source: public/vcpu.h (VCPUOP_*_timer), public/xen.h (set_timer_op). Called by the dispatcher with the hypervisor's lock held.
 *   1. set_timer_op and VCPUOP_set_singleshot_timer set the same alarm, as in Xen.
 *   2. Virtual time is the CPU time of the domain's process; its alarm is the kernel's own timer on that clock, so a domain
 *      that sleeps costs nothing. It comes late by up to a tick of the kernel, never early.
 * Where we differ from Xen: the periodic alarm is off until it is asked for (Xen: 100 Hz), and wakes a blocked domain, too.
 *
 * Tour H:150
 */
#ifndef XP_ALARM_H
#define XP_ALARM_H

#include "domain.h"

void xp_alarm_init(struct xp_domain *d);
void xp_alarm_destroy(struct xp_domain *d);

/* VCPUOP_*_timer, arguments at va. -XEN_EFAULT, -XEN_EINVAL (period), -XEN_ETIME (passed already), -XEN_ENOMEM. */
int64_t xp_alarm_set_periodic(struct xp_domain *d, uint64_t va);
int64_t xp_alarm_stop_periodic(struct xp_domain *d);
int64_t xp_alarm_set_singleshot(struct xp_domain *d, uint64_t va);
int64_t xp_alarm_stop_singleshot(struct xp_domain *d);

/* Ours (XP_OP_set_virtual_timer): ns of virtual time, 0: none. -XEN_EINVAL, -XEN_ENOMEM. */
int64_t xp_alarm_set_virtual(struct xp_domain *d, uint64_t deadline);

/* One of the two on real time is due. */
void xp_alarm_due(struct xp_domain *d, struct xp_timer *t, int64_t now);

/* In the dispatcher's thread: makes hv->virtual_fd; takes what it says. 0 or -errno. */
int xp_alarm_listen(struct xp_hv *hv);
void xp_alarm_virtual_due(struct xp_hv *hv);

#endif
