/*
 * trial.h: what this kernel can do for the machine's window, found by doing it on two pages; and for its scheduler.
 *
 * Owns nothing; everything it makes is gone when it returns. Called by xenproc/hv/host.py for `xenproc doctor`.
 *   1. A bit is set only if the step was done and its effect was seen, never from a version number.
 */
#ifndef XP_TRIAL_H
#define XP_TRIAL_H

#include "xp.h"

#define XP_UFFD_OPEN 1          /* userfaultfd(UFFD_USER_MODE_ONLY) */
#define XP_UFFD_SIGBUS 2        /* a fault is SIGBUS, or EFAULT inside a system call */
#define XP_UFFD_REGISTER 4      /* minor, missing and write-protect on shared memory */
#define XP_UFFD_CONTINUE 8      /* a frame is given */
#define XP_UFFD_WP 16           /* it is write-protected from outside, and that is lifted */
#define XP_UFFD_POISON 32       /* a frame that is still there is told from one that is gone */
#define XP_UFFD_ALL 63

/* Bits of the above; or -errno if there is no userfaultfd at all, or no memory to try with. */
int xp_uffd_trial(void);

/* 0 if an mseal'ed mapping withstands munmap, mprotect, mremap and mmap over it; else -errno of mseal, or -EPERM. */
int xp_mseal_trial(void);

/* May this process carry a scheduler's decisions out in this way (Hypervisor(dispatch=))? 0 or -errno; -XEN_EINVAL: there is no such way. */
int xp_dispatch_trial(const char *name);

/* 0 if the kernel records the switches of this process's children, as it is to record those of domains; else -errno. */
int xp_watch_trial(void);

#endif
