/* os.c: see os.h. */
#include "os.h"
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers that the headers of an older build host may lack; the same on every architecture. */
#define NR_OPEN_TREE 428
#define NR_MOVE_MOUNT 429
#define NR_CLOSE_RANGE 436
#define NR_MOUNT_SETATTR 442
#define NR_MSEAL 462

#define OPEN_TREE_CLONE_ 1u
#define MOVE_MOUNT_F_EMPTY_PATH_ 4u
#define AT_RECURSIVE_ 0x8000u

static int result(long ret) { return ret < 0 ? -errno : (int)ret; }

int xp_single_threaded(void)
{
    /* Asking to stop sharing what a single thread shares with nobody is a no-op; with more threads it is EINVAL. */
    if (syscall(SYS_unshare, CLONE_THREAD) == 0)
        return 1;
    return errno == EINVAL ? 0 : -errno;
}

/*
 * Where libc keeps this thread's id: the kernel clears that word at the thread's end, so it often knows the address
 * (glibc; not musl, and not without CONFIG_CHECKPOINT_RESTORE). Otherwise it is looked for in the thread's descriptor,
 * where it must be the only word of that value in the first 2 KiB.
 */
static pid_t *cached_tid(void)
{
    pid_t tid = (pid_t)syscall(SYS_gettid);
    pid_t *known = NULL;
    if (prctl(PR_GET_TID_ADDRESS, &known, 0, 0, 0) == 0 && known != NULL && *known == tid)
        return known;
    pid_t *descriptor = (pid_t *)(void *)pthread_self(), *found = NULL;
    for (size_t i = 0; i < 2048 / sizeof *descriptor; i++) {
        if (descriptor[i] != tid)
            continue;
        if (found != NULL)
            return NULL;
        found = &descriptor[i];
    }
    return found;
}

int xp_clone(uint64_t flags, int *pidfd)
{
    int single = xp_single_threaded();
    if (single == 0)
        return -EBUSY;     /* another thread's locks would be held for ever in the child */
    pid_t *tid = cached_tid();
    if (tid == NULL)
        return -ENOTSUP;
    void *robust = NULL;
    size_t robust_len = 0;
    long have_robust = syscall(SYS_get_robust_list, 0, &robust, &robust_len);
    flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
    if (pidfd != NULL)
        flags |= CLONE_PIDFD;
    long pid = syscall(SYS_clone, flags, NULL, pidfd, tid, 0);
    if (pid == 0 && have_robust == 0 && robust != NULL)
        (void)syscall(SYS_set_robust_list, robust, robust_len);   /* the kernel does not pass it on, glibc expects it */
    return result(pid);
}

int xp_unshare(int flags) { return result(syscall(SYS_unshare, flags)); }

int xp_setns(int fd, int flags) { return result(syscall(SYS_setns, fd, flags)); }

int xp_close_others(const int *keep, uint32_t nr)
{
    unsigned int from = 0;
    for (uint32_t i = 0; i < nr; i++) {
        if (keep[i] < 0 || (unsigned int)keep[i] < from)
            return -EINVAL;
        unsigned int fd = (unsigned int)keep[i];
        if (fd > from && syscall(NR_CLOSE_RANGE, from, fd - 1, 0) != 0)
            return -errno;
        from = fd + 1;
    }
    return result(syscall(NR_CLOSE_RANGE, from, ~0u, 0));
}

void xp_keeper(int lifeline)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, by_default = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int sig = 1; sig < 32; sig++)
        (void)sigaction(sig, &by_default, NULL);     /* to an init, the default of a signal from its own pen is: nothing */
    (void)sigaction(SIGCHLD, &ignore, NULL);          /* the kernel reaps for us */
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_NAME, "xenproc-keeper", 0, 0, 0);
    (void)xp_close_others(&lifeline, 1);
    (void)xp_drop_caps();
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* A parent that died before that line is seen here: its end of the lifeline is closed. */
    struct pollfd wait = {.fd = lifeline, .events = 0};
    while (poll(&wait, 1, -1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

int xp_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data)
{
    return result(mount(source, target, type, flags, data));
}

int xp_umount2(const char *target, int flags) { return result(umount2(target, flags)); }

int xp_pivot_root(const char *new_root, const char *put_old)
{
    return result(syscall(SYS_pivot_root, new_root, put_old));
}

int xp_open_tree(const char *path)
{
    return result(syscall(NR_OPEN_TREE, AT_FDCWD, path, OPEN_TREE_CLONE_ | (unsigned int)O_CLOEXEC | AT_RECURSIVE_));
}

int xp_move_mount(int tree, int to_dirfd, const char *to_path)
{
    return result(syscall(NR_MOVE_MOUNT, tree, "", to_dirfd, to_path, MOVE_MOUNT_F_EMPTY_PATH_));
}

int xp_mount_setattr(int dirfd, const char *path, uint64_t set, bool recursive)
{
    struct { uint64_t set, clear, propagation, userns_fd; } attr = {.set = set};
    unsigned int flags = (recursive ? AT_RECURSIVE_ : 0) | (*path == '\0' ? (unsigned int)AT_EMPTY_PATH : 0);
    return result(syscall(NR_MOUNT_SETATTR, dirfd, path, flags, &attr, sizeof attr));
}

int xp_mseal(uint64_t address, uint64_t len)
{
    return result(syscall(NR_MSEAL, address, len, 0));
}
