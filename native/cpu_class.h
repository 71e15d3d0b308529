/*
 * cpu_class.h: the class that a domain's threads are in while CPUs are contended: asleep above chosen above waiting.
 *
 * Classes of the kernel's. Belongs to cpu.c; the hypervisor's lock is held. From the highest, real-time (SCHED_RR, so that a domain's own
 * threads take turns): the hypervisor's own threads, domains that are blocked (whoever wakes is on a CPU at once, and is seen), the
 * chosen one of each CPU, that CPU's sentinel. Then the host's ordinary class, in which the chosen one is for moments (cpu_host.h):
 * it breathes, above the host's other processes, or yields, below them. Last (SCHED_IDLE) those that wait for their turn.
 *   1. A class holds for every thread of the process: new threads inherit theirs, so passes are made until one finds none to move.
 *   2. A chosen or waiting domain is pinned to the CPU it was last chosen for: with many threads it has one CPU, as with one.
 *   3. NONE is as the process was found: not real-time, on its own CPUs.
 *
 * Tour H:220
 */
#ifndef XP_CPU_CLASS_H
#define XP_CPU_CLASS_H

#include "xp.h"

#include <sched.h>

enum xp_class {
    XP_CLASS_NONE = 0, XP_CLASS_WAITING, XP_CLASS_YIELDS, XP_CLASS_BREATHES,
    XP_CLASS_SENTINEL, XP_CLASS_CHOSEN, XP_CLASS_ASLEEP, XP_CLASS_HYPERVISOR,       /* real-time priorities, too */
};

/* A process and what was done to it. */
struct xp_classed {
    cpu_set_t own_cpus;          /* where it may run when nobody pins it */
    int32_t pid;
    int pidfd;                   /* the caller's */
    int task_fd, status_fd;      /* /proc/<pid>/task and /status, or -1 */
    int32_t pinned;              /* host CPU, or -1 */
    int32_t own_nice;
    uint32_t nr_threads;         /* at the last move */
    uint8_t class;               /* enum xp_class */
    bool stopped, paused;        /* cpu_stop.h: by us, by Domain0 */
};

/* -errno: it is gone. */
int xp_class_open(struct xp_classed *c, int32_t pid, int pidfd);
void xp_class_close(struct xp_classed *c);

/* All its threads, to these CPUs, as far as that is allowed. */
void xp_class_pin(const struct xp_classed *c, const cpu_set_t *cpus);

/* Calls visit with each thread's number; stops at the first that returns false. */
void xp_class_threads(const struct xp_classed *c, bool (*visit)(void *arg, int32_t tid), void *arg);

/*
 * Brings the clock of a process's CPU time up to date: what a running thread uses is added to it at its CPU's ticks and switches, so
 * that another CPU reads up to a tick (4 ms at 250 Hz) too little. The kernel counts when the class of a thread changes: it does,
 * to its like (round robin and first come, ordinary and batch), and back. Some 5 us a thread; of no effect where it is not allowed.
 */
void xp_class_count(const struct xp_classed *c);

/* How many it has, as the kernel counts them: one call. */
uint32_t xp_class_nr_threads(const struct xp_classed *c);

#endif
