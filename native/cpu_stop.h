/*
 * cpu_stop.h: decisions carried out without privilege: who waits is stopped (SIGSTOP), who is chosen is continued.
 *
 * The other hand of cpu_hand.h. A domain that is blocked is not stopped: a peer's post, a timer, a descriptor wake it as ever, and
 * it runs beside the chosen one until that is seen (cpu_watch.h, cpu_busy.h). docs/scheduling.md has the bound, and why.
 *   1. Ours, Domain0's and anybody else's stops are told apart: ours is `stopped`, Domain0's `paused`; a process that was stopped when
 *      we came, or has a stop pending when it is to go on, is somebody else's, and never continued here.
 *   2. A stopped process is dead at once when it is killed: nothing has to be continued for it.
 *   3. Signals go by the process's descriptor, never by its number.
 *
 * Tour H:310
 */
#ifndef XP_CPU_STOP_H
#define XP_CPU_STOP_H

#include "cpu_hand.h"

#define XP_STOP_SLICE_NS 100000  /* of the kernel's fair class: who wakes is on a CPU within so much, where the kernel has such slices */

/* Domain0 stops it, or lets it go on: with either hand, and without. 0 or -errno. */
int xp_stop_pause(struct xp_classed *c, bool paused);

/* Stops one that waits and runs all the same, as somebody has continued it. False: it does not run. */
bool xp_stop_again(struct xp_classed *c);

/* Does any thread of process pid run or want to? Needs nothing of ours: for a sentinel. */
bool xp_stop_pid_runs(int32_t pid);

/* A thread's request size in the fair class; 0: the kernel's own. Its policy and niceness stay. 0 or -errno. */
int xp_stop_slice(int32_t tid, uint64_t ns);

/* The calling thread: runs only where nobody else wants to. */
void xp_stop_be_idle(void);

#endif
