/*
 * cpu_watch.h: learning that a blocked or waiting domain runs, whoever woke it: a peer, the kernel's timers, a descriptor.
 *
 * The kernel's own record of a thread's switches (perf, a software event of type dummy): armed while the domain is blocked, its
 * descriptor is ready as soon as the thread is on a CPU. Nothing stands on anybody's way of sending. Belongs to cpu.c.
 *   1. A watch is armed only while its domain is asleep or waits (one that waits is not to run in a breath: cpu_host.h): a chosen one
 *      is not slowed, and nobody is told of its switches.
 *   2. Where perf is not to be had the busy sensor (cpu_busy.h) sees the domain a few ms late.
 *
 * Tour H:230
 */
#ifndef XP_CPU_WATCH_H
#define XP_CPU_WATCH_H

#include "cpu_class.h"

#define XP_WATCHES_MAX 64u       /* threads of a domain that are watched; the busy sensor sees the others */

struct xp_watch {
    void *ring;
    int32_t tid;
    int fd;
};

struct xp_watches {
    struct xp_watch *watch;
    uint32_t nr, size;
    bool armed;
};

/* Watches every thread of the process from now on; news come from epoll_fd with this number. 0, or -errno: not all could be. */
int xp_watch_arm(struct xp_watches *w, const struct xp_classed *c, int epoll_fd, uint64_t number);

/* Takes what was recorded, and goes on: the next switch is news again. */
void xp_watch_take(const struct xp_watches *w);

/* No more; takes what was recorded. */
void xp_watch_disarm(struct xp_watches *w);
void xp_watch_close(struct xp_watches *w);

/*
 * A descriptor to keep as long as there will be watches, or -errno: there can be none. The kernel takes long over the first of
 * all (it patches itself, and waits until every CPU has passed by), not over those that follow.
 */
int xp_watch_begin(void);

#endif
