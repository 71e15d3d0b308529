/*
 * cpu_look.h: looking where nothing tells: at chosen domains that do not run, and at sleepers that nobody watches.
 *
 * Where decisions are carried out by stopping (cpu_stop.h) a sentinel is in the kernel's idle class. It goes on when its CPU has nothing
 * else to do, and now and then when it has: so it looks. It cannot leave that class again, and therefore never takes the hypervisor's lock: it
 * tells the watcher. Where the host has other work for the CPU, it does not go on at all: chosen ones are looked at every
 * XP_LOOK_NS besides. Belongs to cpu.c.
 *   1. A chosen domain that blocks is known to within XP_LOOK_NS, and at once where its CPU has nothing else to do.
 *   2. Without watches (cpu_watch.h) nobody who is taken for asleep uses more than XP_UNSEEN_NS without being told to the scheduler, by
 *      the time that the sweep has passed all domains once.
 *
 * Tour H:320
 */
#ifndef XP_CPU_LOOK_H
#define XP_CPU_LOOK_H

#include "cpu.h"

#define XP_LOOK_NS 4000000
#define XP_UNSEEN_NS 1000000

/* When to look next; XP_FOREVER: everything is told by others. */
int64_t xp_look_due(const struct xp_cpus *cpus);

/* The watcher, the lock held: at all; at those CPUs whose sentinels have told. */
void xp_look(struct xp_cpus *cpus, int64_t now);
void xp_look_suspected(struct xp_cpus *cpus);

/* A sentinel in the idle class, without the lock: it is on its CPU, and the gate is open. */
void xp_look_idle(struct xp_cpu *cpu);

/* Domain0 stops a domain, or lets it go on; the lock held. 0 or -XEN_ESRCH. */
int xp_cpu_pause(struct xp_domain *d, bool paused);

/* It runs though it waits for its turn: somebody has continued it. */
void xp_cpu_strayed(struct xp_domain *d);

#endif
