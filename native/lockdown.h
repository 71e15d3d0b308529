/*
 * lockdown.h: the steps by which a domain's process confines itself, in their one right order.
 *
 * Called once by xenproc/guest/lockdown.py in a freshly forked child with a single thread. In C because the child has just
 * been forked: each page of Python that is touched first is copied, and that cost more than the steps themselves.
 *   1. A step that needs a privilege comes before the one that gives it up.
 *   2. Every step's outcome is in result[]: 0 done, -errno refused by the host, XP_STEP_SKIPPED not asked for.
 *   3. Where a step fails that would leave the child with more than it should have (XP_STEP_fatal), nothing after it is
 *      tried and the call returns its -errno: the caller must end the process.
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

struct xp_lockdown_limit { int32_t resource; uint32_t pad; uint64_t value; };

/* What is to be done; filled by Python, most of it once in the server. */
struct xp_lockdown {
    int64_t uid;                 /* -1: keep the server's */
    int32_t parent;              /* getppid() while the hypervisor lives */
    int32_t ruleset;             /* Landlock, or -1 */
    uint64_t vm_hint;            /* where to look for the size of the address space, bytes */
    uint64_t private_bytes;      /* how much it may grow from there; 0: no limit */
    const uint8_t *program;      /* the filter, nr_insns x 8 bytes, to be copied and given this process's pid */
    uint32_t nr_insns;
    uint32_t nr_pid_places;
    uint32_t pid_places[8];      /* byte offsets in program */
    uint32_t nr_limits;
    uint32_t nr_keep;
    uint32_t skip;               /* bit n: leave step n out, to see what it is for (tests/hostile); not for XP_STEP_threads */
    struct xp_lockdown_limit limits[XP_LOCKDOWN_MAX_LIMITS];
    int32_t keep[XP_LOCKDOWN_MAX_FDS];   /* ascending */
    int32_t result[XP_NR_STEPS];
};

/*
 * 0: every step that was asked for is done. 1: the host refused some, result[] says which. -errno: a fatal step failed.
 * Ends the process if the hypervisor is dead already.
 */
int xp_lockdown(struct xp_lockdown *plan);

#endif
