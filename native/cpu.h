/*
 * cpu.h: the CPUs that domains run on, who runs on each, and how a decision of the scheduler is carried out on real processes.
 *
 * The scheduler proper is pure (scheduler.h); here it meets the kernel. Made once for a hypervisor that has one (xp_cpus_start);
 * everything but the two kinds of threads below is reached with the hypervisor's lock held.
 *   1. Nothing is done to anybody while no more domains want to run than there are CPUs: only the busy sensor listens (cpu_busy.h).
 *   2. Contended, each CPU has a chosen domain, pinned, and a sentinel thread just below it, which goes on the moment the chosen one
 *      blocks: a block is seen at once, without polling. Slices end by a timer; who wakes is seen by the kernel's record of it
 *      (cpu_watch.h). By real-time classes (cpu_class.h), or by stopping who waits (cpu_stop.h, cpu_look.h).
 *   3. What is believed of a domain may be wrong for some microseconds, never for long: one that is chosen and does not run lets
 *      its sentinel go on, one that is taken for asleep and runs is on record.
 *   4. A domain is charged what the kernel's clock says its process has used (all threads), whatever was believed, less what it
 *      handed over; and what the hypervisor and others spent for it (cpu_spent.h).
 *
 * Tour H:210
 */
#ifndef XP_CPU_H
#define XP_CPU_H

#include "cpu_busy.h"
#include "cpu_hand.h"
#include "cpu_host.h"
#include "cpu_watch.h"
#include "scheduler.h"
#include "spent.h"

#include <pthread.h>

#define XP_CPUS_MAX 1024u
#define XP_CPU_VOLUNTARY 1u      /* number of an XP_TT_sched_sleep record */

struct xp_hv;
struct xp_domain;
struct xp_cpus;

/* A domain's place among the CPUs (xp_vcpu.place). */
struct xp_place {
    struct xp_classed process;
    struct xp_watches watches;
    struct xp_busy busy;
    bool known;                  /* between xp_cpu_add and xp_cpu_remove */
    int64_t charged_ns;          /* of its CPU clock: what was charged */
    struct xp_spent spent;       /* cpu_spent.h: what others spend for it, and it for others */
};

struct xp_cpu {
    struct xp_cpus *cpus;
    uint32_t nr;                 /* ours, from 0 */
    int32_t host;                /* the kernel's number */
    pthread_t sentinel;
    _Atomic uint32_t gate;       /* 0: the sentinel sleeps on it */
    struct xp_domain *current;
    int64_t slice_end;           /* system time */
    _Atomic int32_t chosen_pid;  /* current's, or 0: for the sentinel, which has no lock */
    _Atomic bool suspect;        /* the sentinel has seen it blocked */
    xp_domid_t left;             /* who was last put to waiting here and is not watched yet; 0: nobody */
    int64_t seen_since;          /* the sentinel's own: cpu_look.c */
    uint32_t nr_seen;
    struct xp_host_cpu host_turn;
};

struct xp_cpus {
    struct xp_hv *hv;
    const struct xp_hand *hand;
    struct xp_sched sched;
    uint32_t nr, nr_sentinels;
    struct xp_cpu *cpu;
    pthread_t watcher;
    _Atomic uint32_t watcher_tid;    /* 0: not yet */
    bool has_watcher;
    int epoll_fd, timer_fd, signal_fd, stop_fd, suspect_fd;
    int64_t timer_at;            /* what timer_fd is set to; XP_FOREVER: nothing */
    bool contended;
    bool leaving;                /* some are as they were already */
    int watch_fd;                /* cpu_watch.h; negative: there are no watches */
    struct xp_busy_epoch epoch;
    int64_t breath_ns;           /* cpu_host.h */
    int64_t slop_ns;             /* how much longer a slice lasts than it says */
    int32_t helper;              /* xp_cpus_helper: its pid, or 0 */
    int64_t calm_since;          /* nobody waits since; 0: somebody does */
    uint32_t nr_waiting;         /* runnable and not chosen */
    int64_t look_at;             /* cpu_look.h */
    uint32_t sweep;              /* the domain it goes on with */
    _Atomic bool stop;
    uint64_t nr_contended, nr_switches, nr_blocks, nr_wakes, nr_slices, nr_strayed, nr_stalls, nr_leaks;
    int64_t stalled_ns;
};

/* ---- for the policy thread: take the lock themselves ---- */

struct xp_cpus_info {
    uint32_t nr_cpus, nr_waiting;
    const char *scheduler, *dispatch;
    bool on, contended, watches;
    uint64_t nr_contended, nr_switches, nr_blocks, nr_wakes, nr_slices;
    uint64_t nr_strayed;         /* seen to run though they waited */
    uint64_t nr_stalls;          /* the watcher came more than 10 ms late: by stalled_ns in all */
    uint64_t nr_leaks;           /* domains that wait and were on a CPU in a breath or a turn of the host's */
    int64_t stalled_ns;
    int64_t ran_ns;              /* what its threads have used themselves */
    int64_t host_ns;             /* what the host's ordinary processes were seen to use of contended CPUs */
};

/*
 * Domains are scheduled on these host CPUs from now on; scheduler: "bvt" or "rr"; dispatch: "class", "stop", or NULL: the better one
 * that is allowed. -XEN_EPERM: real-time classes are refused; -XEN_EINVAL, -XEN_ENOMEM.
 */
int xp_cpus_start(struct xp_hv *hv, const char *scheduler, const char *dispatch, const uint32_t *host_cpus, uint32_t nr);
/* Everybody as he was; the threads end. Twice is harmless. */
void xp_cpus_stop(struct xp_hv *hv);
void xp_cpus_info(struct xp_hv *hv, struct xp_cpus_info *info);
/* A process that forks new domains for us: it and what it forks are among the asleep ones' class while CPUs are contended. */
void xp_cpus_helper(struct xp_hv *hv, int32_t pid);
/* xp_cpu_let_run by number. */
void xp_cpus_let_run(struct xp_hv *hv, xp_domid_t domid);

/* ---- within the core ---- */

/* Its process is there, or about to be dead. */
void xp_cpu_add(struct xp_domain *d);
void xp_cpu_remove(struct xp_domain *d);
/* It was killed: it gets a CPU at once, as even dying takes one. */
void xp_cpu_let_run(struct xp_domain *d);

/* ---- between cpu.c and cpu_threads.c ---- */

/* A step of a few domains each, so that others get the lock in between. True: there are more. */
bool xp_cpu_enter(struct xp_cpus *cpus, uint32_t *cursor);
bool xp_cpu_leave(struct xp_cpus *cpus);
void xp_cpu_blocked(struct xp_cpu *cpu);
void xp_cpu_woken(struct xp_domain *d);

/* One that waits was seen on a CPU: in a breath or a turn of the host's it is not to stay there. */
void xp_cpu_leaked(struct xp_domain *d);
/* A slice is over, or nobody has waited for long. */
void xp_cpu_due(struct xp_cpus *cpus);
void xp_cpu_ran(struct xp_domain *d, uint32_t nr);

/* ns that the sentinels and the watcher have used. */
int64_t xp_cpu_threads_ns(const struct xp_cpus *cpus);

#endif
