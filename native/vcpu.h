/*
 * vcpu.h: a virtual CPU as the hypervisor keeps it: its clock, alarms and run state. A Python guest has one.
 *
 * Owned by its domain (xp_domain.vcpu), reached with the hypervisor's lock held; nothing here lies in memory that a guest can
 * write. Who owns which part is said at it.
 *
 * Tour H:130
 */
#ifndef XP_VCPU_H
#define XP_VCPU_H

#include "cpu.h"
#include "timer.h"
#include "timescale.h"

#include <time.h>

/* A gate of the trap table; address 0: none. */
struct xp_trap {
    uint64_t address;
    uint16_t cs;
    uint8_t flags;               /* as in struct xen_trap_info */
};

struct xp_callback {
    uint64_t address;            /* 0: none */
    bool masks;                  /* upcalls are masked when it is entered */
};

#define XP_CALLBACKS 8u          /* CALLBACKTYPE_* */

struct xp_vcpu {

    /* clock.c: what its vcpu_time_info says, kept here, as the page can be scribbled on */
    struct xp_timescale scale;
    uint32_t time_version;       /* even */
    uint32_t wc_version;         /* even */
    uint32_t time_news;          /* the clock's `news` when it was last written */
    uint64_t time_area;          /* a second copy goes there (register_vcpu_time_memory_area), 0: none */

    /* alarm.c */
    struct xp_timer singleshot;
    struct xp_timer periodic;
    int64_t period_ns;
    timer_t virtual_timer;       /* the kernel's, on the process's CPU clock */
    bool has_virtual_timer;
    int64_t virtual_deadline;    /* ns of virtual time; 0: not set */
    uint64_t nr_alarms;          /* that went off */

    /* runstate.c */
    uint64_t runstate_area;      /* register_runstate_memory_area, 0: none */
    int schedstat_fd;            /* /proc/<pid>/schedstat once it was needed, or -1 */
    int64_t paused_since;        /* system time, or 0 */
    int64_t paused_ns;           /* of earlier pauses */
    int64_t blocked_ns;          /* as told last: never less */
    int64_t runstate_told_ns;    /* when the area was last written */

    /* scheduler.c, cpu.c */
    struct xp_sched_entity sched;
    struct xp_place place;

    /* traps.c, debugreg.c */
    struct xp_trap *traps;       /* 256 of them, made at the first that is set */
    struct xp_callback callback[XP_CALLBACKS];
    uint16_t kernel_ss, gs_user_selector;
    uint8_t fast_trap;           /* vector that goes straight to the kernel, 0: none */
    bool task_switched;
    uint64_t kernel_sp;
    uint64_t segment_base[3];    /* SEGBASE_FS, GS_USER, GS_KERNEL */
    uint64_t debugreg[8];

    /* bounce.c: traps that came through the hypervisor, and returns */
    uint64_t nr_page_faults, nr_syscalls, nr_other_traps, nr_irets;
};

struct xp_domain;

/* At the domain's creation, and before its process's death is acted on. */
void xp_vcpu_init(struct xp_domain *d);
void xp_vcpu_destroy(struct xp_domain *d);

#endif
