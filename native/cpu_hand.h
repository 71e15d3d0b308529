/*
 * cpu_hand.h: the two ways of carrying a decision out, behind one interface: real-time classes, or stopping and continuing.
 *
 * cpu.c and its neighbours say who is chosen, who waits and who sleeps; a hand sees to it. Called with the hypervisor's lock held.
 *   1. Neither decides anything: the same decisions, charges and records whichever hand is used.
 *   2. A hand may do less than it was asked (a process that is gone, one that somebody else has stopped): who is taken to run and does
 *      not is seen as any block is.
 *
 * Tour H:300
 */
#ifndef XP_CPU_HAND_H
#define XP_CPU_HAND_H

#include "cpu_class.h"

struct xp_hand {
    const char *name;            /* as Hypervisor(dispatch=) has it */

    /* May this process do it? 0 or -errno. */
    int (*allowed)(void);

    /* A domain, all its threads; cpu: a host CPU to pin to, or -1: where it was (NONE: its own). 0, -ESRCH, -EPERM. */
    int (*put)(struct xp_classed *c, enum xp_class class, int32_t cpu);

    /* A thread of the hypervisor's; one whose children are to be as it is. 0 or -errno. */
    int (*thread)(int32_t tid, enum xp_class class);
    int (*family)(int32_t tid, enum xp_class class);

    /* Does any of its threads run, or want to? NULL: a sentinel that goes on need not ask. */
    bool (*runs)(const struct xp_classed *c);
};

extern const struct xp_hand xp_hand_class, xp_hand_stop;

/* The one of that name, or the best that is allowed (NULL); NULL: there is none such. */
const struct xp_hand *xp_hand_named(const char *name);

#endif
