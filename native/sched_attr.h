/*
 * sched_attr.h: a thread's class with all that belongs to it, as the kernel's sched_getattr and sched_setattr have it; the libc here has
 * neither. The structure's first version: a slice (`runtime`, of the ordinary class) is in it.
 */
#ifndef XP_SCHED_ATTR_H
#define XP_SCHED_ATTR_H

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

struct linux_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* 0 or -errno; -ESRCH: it is gone. */
static inline int xp_attr_get(int32_t tid, struct linux_sched_attr *attr)
{
    *attr = (struct linux_sched_attr){.size = sizeof *attr};
    return syscall(SYS_sched_getattr, tid, attr, sizeof *attr, 0) == 0 ? 0 : -errno;
}

static inline int xp_attr_set(int32_t tid, const struct linux_sched_attr *attr)
{
    return syscall(SYS_sched_setattr, tid, attr, 0) == 0 ? 0 : -errno;
}

#endif
