/*
 * scheduler.h: who runs on which CPU, and for how long: the pure core, with Borrowed Virtual Time or round robin behind it.
 *
 * One for the hypervisor. Knows no clock, process or domain: time is an argument, what is decided is carried out by others
 * (cpu_*.c). Everything happens with the hypervisor's lock held. docs/bvt.md explains it.
 *   1. An entity that can run is either the current one of exactly one CPU, or waits in the one queue. A CPU's choice is
 *      changed by xp_sched_decide, xp_sched_sleep and xp_sched_remove only.
 *   2. Deterministic: the same calls give the same answers. Whom the class finds equal, the one queued first goes first.
 *   3. A call costs O(log n), and O(nr_cpus) where a CPU has to be found. Only init, add and free allocate.
 *   4. A slice is never less than one mcu: a CPU that has been given away does something.
 *
 * What the caller owes:
 *   - time (`now`, ns) never runs back;
 *   - before xp_sched_wake, _sleep, _remove, _adjust and _decide each CPU's current entity has been charged what it used so far;
 *   - when _wake, _sleep or _remove returned a CPU, when a slice is over, and when a choice names a CPU in `also`: _decide for
 *     that CPU, at once. It may be called at any other time too, and then changes nothing without a reason.
 *   - an entity whose process does not run although it was chosen (stopped by somebody else, say) is put to sleep: virtual time
 *     is CPU time, and one who uses none never gives way.
 *
 * Tour H:200
 */
#ifndef XP_SCHEDULER_H
#define XP_SCHEDULER_H

#include "heap.h"

#define XP_SCHED_FOREVER INT64_MAX       /* a slice: until something happens */
#define XP_SCHED_MCU_NS 100000           /* minimum charging unit: 100 us, as Xen */
#define XP_SCHED_ALLOWANCE_NS 5000000    /* context switch allowance: 5 ms, as Xen */
#define XP_SCHED_RR_SLICE_NS 10000000    /* round robin's slice: 10 ms, as Xen */
#define XP_SCHED_WEIGHT 256u             /* the default */
#define XP_SCHED_WEIGHT_MAX 65535u
#define XP_SCHED_WARP_MAX_NS 3600000000000
#define XP_SCHED_NS_MAX 1000000000       /* an allowance, an mcu, a slice */
#define XP_SCHED_CPUS_MAX 4096u

/* What Domain0 sets of one. All zero but the weight: no warp. */
struct xp_sched_params {
    uint32_t weight;             /* 1..XP_SCHED_WEIGHT_MAX: CPU time is in proportion to it */
    int64_t warp_ns;             /* how far back it borrows, as CPU time at the default weight; 0: it does not warp */
    int64_t warp_limit_ns;       /* L: CPU time it may use warped in each period; 0: no limit */
    int64_t warp_period_ns;      /* U: the period; more than L where L is set, otherwise 0 */
};

struct xp_sched_entity {
    void *owner;                 /* the caller's (struct xp_vcpu); never looked at here */
    uint16_t domid;              /* for traces */
    bool added;
    bool runnable;               /* runs or waits */
    bool woken;                  /* became runnable and has not run since */
    bool claims;                 /* it slept, but not of its own will */
    bool warped;                 /* evt is less than avt by its warp */
    int32_t cpu;                 /* it was chosen for, or -1 */
    int32_t last_cpu;            /* where it was before, or -1 */
    struct xp_sched_params params;
    int64_t avt, evt;            /* bvt.h; round robin leaves them 0 */
    int64_t rest;                /* of avt's last division */
    int64_t ahead_ns;            /* charged already and not used yet: less than one mcu */
    int64_t warp_used_ns;        /* warped, in this period */
    int64_t warp_since;          /* when this period began */
    int64_t since;               /* chosen at */
    int64_t charged_ns;          /* in all, as the caller told it */
    struct xp_heap_node queue;   /* among those who wait; its key: when the current one must give way */
    struct xp_heap_node virtual; /* among those who run or wait; its key: avt */
};

struct xp_sched_settings {       /* 0: the default */
    int64_t ctx_allow_ns;
    int64_t mcu_ns;
    int64_t slice_ns;            /* round robin's */
};

struct xp_sched_cpu {
    struct xp_sched_entity *current;     /* NULL: idle */
    int64_t horizon;             /* the key of the first in the queue when it was decided; INT64_MAX: nobody waited */
    bool asked;                  /* to be decided, as the caller was told */
};

struct xp_sched {
    const struct xp_sched_class *class;
    struct xp_sched_settings set;
    uint32_t nr_cpus;
    uint32_t nr_entities;        /* added */
    struct xp_sched_cpu *cpu;
    struct xp_heap queue;        /* who waits, the first to run first */
    struct xp_heap virtual;      /* who runs or waits, least avt first */
    int64_t svt;                 /* the least avt there was in `virtual`; it never goes back */
    int64_t weight;              /* of those in `virtual` */
    __int128 served;             /* the sum of their weight * avt */
    uint64_t order;              /* the last number that was given out */
};

struct xp_sched_choice {
    struct xp_sched_entity *next;        /* NULL: nobody */
    int64_t slice_ns;            /* decide again after so long, or XP_SCHED_FOREVER: when something happens */
    int32_t also;                /* a CPU to decide now too, as others wait now than when it was decided; or -1 */
};

/* What makes a scheduler; called by scheduler.c, which keeps the queue. */
struct xp_sched_class {
    const char *name;            /* as on the command line */

    /* Is new, its parameters changed, or it wakes: its virtual times. */
    void (*add)(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);
    void (*adjust)(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);
    void (*wake)(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);

    /* It used so much. */
    void (*charge)(struct xp_sched *s, struct xp_sched_entity *e, int64_t ran_ns, int64_t now);

    /* Its key in the queue, as it is put there. */
    int64_t (*due)(const struct xp_sched *s, const struct xp_sched_entity *e);

    /* For how long e may run on before `first`, who waits, takes its CPU: at most 0: now. */
    int64_t (*left)(const struct xp_sched *s, const struct xp_sched_entity *e, const struct xp_sched_entity *first, int64_t now);

    /* For how long it may run, whoever waits: XP_SCHED_FOREVER where nothing else ends it. */
    int64_t (*limit)(const struct xp_sched *s, const struct xp_sched_entity *e);

    /* As xp_sched_room. */
    int64_t (*room)(const struct xp_sched *s, const struct xp_sched_entity *e);
};

extern const struct xp_sched_class xp_sched_bvt, xp_sched_round_robin;

/* The class of that name, or NULL. */
const struct xp_sched_class *xp_sched_class_named(const char *name);

/* settings NULL: the defaults. -XEN_EINVAL, -XEN_ENOMEM: nothing was made. */
int xp_sched_init(struct xp_sched *s, const struct xp_sched_class *class, uint32_t nr_cpus,
                  const struct xp_sched_settings *settings);
void xp_sched_free(struct xp_sched *s);

/* Could these be one's parameters? 0 or -XEN_EINVAL. Whether they can be honoured beside the others' is not asked here. */
int xp_sched_check(const struct xp_sched_params *params);

/* Makes it known, asleep; e->owner and e->domid are the caller's. params NULL: the default weight, no warp. Errors as
 * xp_sched_check, -XEN_ENOMEM. */
int xp_sched_add(struct xp_sched *s, struct xp_sched_entity *e, const struct xp_sched_params *params, int64_t now);

/* Forgets it; twice is harmless. If it was a CPU's current, that CPU is idle and must be decided: the CPU, or -1. */
int32_t xp_sched_remove(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);

/* New weight and warp, whatever it does at the moment. Decide all CPUs afterwards. -XEN_EINVAL: as it was. */
int xp_sched_adjust(struct xp_sched *s, struct xp_sched_entity *e, const struct xp_sched_params *params, int64_t now);

/* It became runnable: the CPU to decide at once, or -1. Once it is runnable nothing happens. */
int32_t xp_sched_wake(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);

/* It blocked. voluntary: waits for something, or Domain0 paused it; otherwise (the fault of others, briefly) it keeps its claim.
 * If it was a CPU's current, that CPU is idle and must be decided: the CPU, or -1. */
int32_t xp_sched_sleep(struct xp_sched *s, struct xp_sched_entity *e, int64_t now, bool voluntary);

/* It used ran_ns of CPU time, others' for it included, up to now. Also when it sleeps or waits: then others spent it. */
void xp_sched_charge(struct xp_sched *s, struct xp_sched_entity *e, int64_t ran_ns, int64_t now);

/* For how long others may go on spending for it before it is ahead of its share: 0: not now; XP_SCHED_NS_MAX at most. */
int64_t xp_sched_room(const struct xp_sched *s, const struct xp_sched_entity *e);

/* Who runs on cpu from now on, and after how long to decide again. */
struct xp_sched_choice xp_sched_decide(struct xp_sched *s, uint32_t cpu, int64_t now);

#endif
