/*
 * os.h: system calls of Linux that Python has no door to: namespaces, mounts, a fork that makes a sibling.
 *
 * Owns nothing. Called while a pen is built and while a domain is forked, never on a hot path and only from a process
 * with a single thread (xp_single_threaded says whether it has one). Source: the manual pages of the calls named.
 *   1. A call returns 0, a descriptor or a pid, or -errno (Linux's own number); nothing is printed, nothing is retried.
 *   2. xp_clone leaves glibc's view of the child right: its cached thread id and its robust list are the child's.
 */
#ifndef XP_OS_H
#define XP_OS_H

#include "xp.h"

/* ---- processes ---- */

/*
 * fork() with flags: XP_CLONE_PARENT makes a sibling (its parent is ours), XP_CLONE_NEW* new namespaces. Returns the
 * pid, as this process's pid namespace numbers it, in the parent and 0 in the child. With pidfd not NULL the parent
 * gets a pidfd there. No atfork handler runs: the caller brackets it with PyOS_BeforeFork and its two partners.
 * -EBUSY: this process has more than one thread. -ENOTSUP: no way found to tell libc its new thread id.
 */
int xp_clone(uint64_t flags, int *pidfd);

/* 1 if this process has a single thread, 0 if it has more, -errno if the kernel does not say. */
int xp_single_threaded(void);

int xp_unshare(int flags);
int xp_setns(int fd, int flags);

/*
 * The life of the pen's pid 1: closes every descriptor but `lifeline`, gives up every capability, lets the kernel reap
 * its children, and ends when its parent dies or when the other end of `lifeline` is closed, whichever is seen first;
 * then the kernel kills all that lives in its pid namespace. Needs no Python once it runs. Does not return.
 */
void xp_keeper(int lifeline) __attribute__((noreturn));

/* Closes every descriptor but keep[0..nr), which must ascend. */
int xp_close_others(const int *keep, uint32_t nr);

/* ---- mounts ---- */

int xp_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int xp_umount2(const char *target, int flags);
int xp_pivot_root(const char *new_root, const char *put_old);

/* A detached copy of what is mounted at path, submounts included: a descriptor to attach elsewhere by xp_move_mount. */
int xp_open_tree(const char *path);
int xp_move_mount(int tree, int to_dirfd, const char *to_path);

/* Sets attributes (XP_MOUNT_ATTR_*) on the mount at `path` relative to dirfd ("": the descriptor itself). */
int xp_mount_setattr(int dirfd, const char *path, uint64_t set, bool recursive);

#define XP_CLONE_VM 0x100
#define XP_CLONE_PARENT 0x8000
#define XP_CLONE_NEWNS 0x20000
#define XP_CLONE_NEWUTS 0x4000000
#define XP_CLONE_NEWIPC 0x8000000
#define XP_CLONE_NEWUSER 0x10000000
#define XP_CLONE_NEWPID 0x20000000
#define XP_CLONE_NEWNET 0x40000000

#define XP_MS_REC_PRIVATE 0x44000
#define XP_MNT_DETACH 2
#define XP_MOUNT_ATTR_RDONLY 1
#define XP_MOUNT_ATTR_NOSUID 2
#define XP_MOUNT_ATTR_NODEV 4

/* Seals [address, address + len): no unmapping, moving or changing of rights any more. -ENOSYS before Linux 6.10. */
int xp_mseal(uint64_t address, uint64_t len);

#endif
