/*
 * cpu_decide.h: the steps of carrying a decision out: who is charged, who is put into which class, what the scheduler is told.
 *
 * For cpu.c alone; the hypervisor's lock is held. Everything that is told to the scheduler and everything that it answers is on record
 * (trace.h), in order: a run can be played again through the pure core.
 *   1. Before the scheduler is asked anything, those who run are charged up to now.
 *   2. Who is chosen is put there before who was there is taken away: between the two the CPU is not the sentinel's.
 *
 * Tour H:250
 */
#ifndef XP_CPU_DECIDE_H
#define XP_CPU_DECIDE_H

#include "cpu.h"
#include "domain.h"

static inline struct xp_place *place_of(struct xp_domain *d) { return &d->vcpu.place; }

/* Those who run, up to now. */
void xp_cpu_charge(struct xp_cpus *cpus, int64_t now);

/* Into a class; host: a CPU of the host's to pin it to, or -1: where it was. */
void xp_cpu_put(struct xp_cpus *cpus, struct xp_domain *d, enum xp_class class, int32_t host);

/* It is runnable: the scheduler knows. Returns the CPU to decide at once, or -1. */
int32_t xp_cpu_wants(struct xp_cpus *cpus, struct xp_domain *d, int64_t now);

/* The one of ours that it is pinned to, or NULL. */
struct xp_cpu *xp_cpu_pinned(struct xp_cpus *cpus, const struct xp_domain *d);

/* Whoever left this CPU last is off it by now, and watched from now on: it is not to run in a breath. */
void xp_cpu_watch_left(struct xp_cpus *cpus, struct xp_cpu *cpu);

/* Blocked: above the chosen ones, so that it is on a CPU as soon as it is woken, and seen there. */
void xp_cpu_sleeps(struct xp_cpus *cpus, struct xp_domain *d, int64_t now);

/* Asks who runs on a CPU from now on, and sees to it. */
void xp_cpu_decide(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now);

/* CPUs that have nobody take one who waits; sets the timer. After anything that changed. */
void xp_cpu_fill(struct xp_cpus *cpus, int64_t now);

/* Closed: the sentinel sleeps. */
void xp_cpu_set_gate(struct xp_cpu *cpu, uint32_t open);

#endif
