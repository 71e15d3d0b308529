/*
 * lockdown.h: the steps by which a domain's process confines itself, in their one right order.
 *
 * Called once by xenproc/guest/lockdown.py in a freshly forked child with a single thread. In C because the child has just
 * been forked: each page of Python that is touched first is copied, and that cost more than the steps themselves.
 *   1. A step that needs a privilege comes before the one that gives it up.
 *   2. Every step's outcome is in result[]: 0 done, -errno refused by the host, XP_STEP_SKIPPED not asked for.
 *   3. Where a step fails that would leave the child with more than it should have ([fatal]), nothing after it is
 *      tried and the call returns its -errno: the caller must end the process.
 *
 * Tour B:080
 */
#ifndef XP_LOCKDOWN_H
#define XP_LOCKDOWN_H

#include "xp.h"

enum xp_step {
    XP_STEP_threads = 0,         /* there is a single thread, so what follows holds for the whole process [fatal] */
    XP_STEP_limits = 1,          /* resource limits other than the address space [fatal] */
    XP_STEP_memory = 2,          /* the limit of the address space [fatal] */
    XP_STEP_uid = 3,             /* a uid and gid of its own [fatal] */
    XP_STEP_capabilities = 4,    /* none left [fatal] */
    XP_STEP_no_new_privs = 5,    /* [fatal]: without it neither Landlock nor the filter */
    XP_STEP_no_dump = 6,         /* no core dump, no ptrace, no /proc/PID/mem */
    XP_STEP_death_signal = 7,    /* SIGKILL when the hypervisor dies */
    XP_STEP_landlock = 8,
    XP_STEP_descriptors = 9,     /* all closed but those to be kept [fatal] */
    XP_STEP_seccomp = 10,        /* the filter, on every thread */
    XP_NR_STEPS = 11,
};

#define XP_STEP_SKIPPED 1

#define XP_LOCKDOWN_MAX_LIMITS 16
#define XP_LOCKDOWN_MAX_FDS 32
#define XP_LOCKDOWN_MAX_PLACES 16

struct xp_lockdown_limit { int32_t resource; uint32_t pad; uint64_t value; };

/* A constant of the filter that differs from domain to domain. */
enum xp_place_what { XP_PLACE_PID = 0, XP_PLACE_WINDOW_FIRST = 1, XP_PLACE_WINDOW_END = 2 };
struct xp_lockdown_place { uint32_t offset, what; };

/* The window is compared in units of 64 KiB, rounded outwards (xenproc/guest/filter.py). */
#define XP_WINDOW_UNIT_SHIFT 16

/* What is to be done. The server fills all of it once but the first group, which is the domain's. */
struct xp_lockdown {
    int64_t uid;                 /* -1: keep the server's */
    uint64_t window_base;        /* both 0: there is no window */
    uint64_t window_end;
    uint64_t private_bytes;      /* how much the address space may grow; 0: no limit */
    uint64_t max_fds;
    uint64_t max_threads;        /* counted by uid: set only with a uid of its own */
    uint32_t skip;               /* bit n: step n is left out (the tests show that each is needed) */
    uint32_t nr_keep;
    int32_t keep[XP_LOCKDOWN_MAX_FDS];   /* ascending */

    int32_t parent;              /* getppid() while the hypervisor lives */
    int32_t ruleset;             /* Landlock, or -1 */
    uint64_t vm_bytes;           /* of the server's address space: where to look first */
    const uint8_t *program;      /* the filter, nr_insns x 8 bytes: copied, then given this domain's constants */
    uint32_t nr_insns;
    uint32_t nr_places;
    struct xp_lockdown_place places[XP_LOCKDOWN_MAX_PLACES];
    uint32_t nr_limits;
    struct xp_lockdown_limit limits[XP_LOCKDOWN_MAX_LIMITS];

    int32_t result[XP_NR_STEPS];
};

/*
 * 0: every step that was asked for is done. 1: the host refused some, result[] says which. -errno: a fatal step failed.
 * Ends the process if the hypervisor is dead already.
 */
int xp_lockdown(struct xp_lockdown *plan);

#endif
