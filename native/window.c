/*
 * window.c: see window.h. userfaultfd on shared memory: "minor" faults of pages that exist in the object but not in this
 * process are refused with SIGBUS, UFFDIO_CONTINUE maps one, UFFDIO_WRITEPROTECT changes it, all from outside.
 *
 * Tour M:050
 */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's headers; values from the kernel's ABI. */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((uint64_t)1 << 1)
#endif
#ifndef UFFDIO_POISON
struct uffdio_poison {
    struct uffdio_range range;
    __u64 mode;
    __s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define NEEDED_FEATURES                                                                                      \
    (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
     UFFD_FEATURE_POISON)

static int watch(void *at, uint64_t size)
{
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (uffd < 0)
        return -errno;
    struct uffdio_api api = {.api = UFFD_API, .features = NEEDED_FEATURES};
    struct uffdio_register reg = {
        .range = {.start = (uint64_t)(uintptr_t)at, .len = size},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
    };
    if (ioctl(uffd, UFFDIO_API, &api) != 0 || ioctl(uffd, UFFDIO_REGISTER, &reg) != 0) {
        int error = errno;
        close(uffd);
        return error == EINVAL ? -XEN_EOPNOTSUPP : -error;
    }
    return uffd;
}

int xp_window_map(int memory_fd, uint64_t nr, uint64_t want, uint64_t *base)
{
    uint64_t size = nr << XP_PAGE_SHIFT;
    void *at = mmap((void *)(uintptr_t)want, size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE | (want != 0 ? MAP_FIXED_NOREPLACE : 0), memory_fd, 0);
    if (at == MAP_FAILED && want != 0)
        at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    /* userfaultfd does not follow a fork: a child would have every frame. It gets no window at all. */
    if (madvise(at, size, MADV_DONTFORK) != 0 || madvise(at, size, MADV_DONTDUMP) != 0) {
        int error = errno;
        munmap(at, size);
        return -error;
    }
    *base = (uint64_t)(uintptr_t)at;
    return 0;
}

int xp_window_open(int memory_fd, uint64_t nr, uint64_t want, uint64_t *base)
{
    int ret = xp_window_map(memory_fd, nr, want, base);
    if (ret != 0)
        return ret;
    ret = watch((void *)(uintptr_t)*base, nr << XP_PAGE_SHIFT);
    if (ret < 0)
        munmap((void *)(uintptr_t)*base, nr << XP_PAGE_SHIFT);
    return ret;
}

static uint64_t address(const struct xp_window *w, xp_mfn_t mfn)
{
    return w->base + (mfn.v << XP_PAGE_SHIFT);
}

static int give_run(const struct xp_window *w, uint64_t start, uint64_t len, uint64_t mode, uint64_t *mapped)
{
    struct uffdio_continue cont = {.range = {.start = start, .len = len}, .mode = mode};
    int ret = ioctl(w->uffd, UFFDIO_CONTINUE, &cont);
    *mapped = cont.mapped > 0 ? (uint64_t)cont.mapped : 0;
    return ret == 0 ? 0 : -errno;
}

int xp_window_give(const struct xp_window *w, xp_mfn_t first, uint64_t nr, bool readonly)
{
    if (w->uffd < 0)
        return 0;
    if (first.v >= w->nr || nr > w->nr - first.v)
        return -XEN_EINVAL;
    uint64_t start = address(w, first), left = nr << XP_PAGE_SHIFT, mapped;
    while (left > 0) {
        int ret = give_run(w, start, left, readonly ? UFFDIO_CONTINUE_MODE_WP : 0, &mapped);
        if (ret == -EEXIST && mapped == 0)
            mapped = XP_PAGE_SIZE;      /* given already */
        else if (ret != 0 && ret != -EAGAIN && ret != -EEXIST)
            return ret;
        start += mapped;
        left -= mapped;
    }
    return 0;
}

int xp_window_protect(const struct xp_window *w, xp_mfn_t mfn, bool readonly)
{
    if (w->uffd < 0)
        return 0;
    struct uffdio_writeprotect wp = {
        .range = {.start = address(w, mfn), .len = XP_PAGE_SIZE},
        .mode = readonly ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    while (ioctl(w->uffd, UFFDIO_WRITEPROTECT, &wp) != 0)
        if (errno != EAGAIN)
            return -errno;
    return 0;
}

/* Is the page in the process's page tables? Its own kernel's answer (pagemap), not its word. */
static bool present(const struct xp_window *w, xp_mfn_t mfn)
{
    uint64_t entry = 0;
    off_t at = (off_t)(address(w, mfn) >> XP_PAGE_SHIFT) * (off_t)sizeof entry;
    if (w->pagemap_fd < 0 || pread(w->pagemap_fd, &entry, sizeof entry, at) != (ssize_t)sizeof entry)
        return true;            /* cannot tell: believe the worse */
    return (entry >> 63) != 0;
}

/* 1: poisoned now, so it was absent; 0: present or some marker is there; -errno. */
static int poison(const struct xp_window *w, xp_mfn_t mfn)
{
    struct uffdio_poison probe = {.range = {.start = address(w, mfn), .len = XP_PAGE_SIZE}};
    while (ioctl(w->uffd, UFFDIO_POISON, &probe) != 0) {
        if (errno == EEXIST)
            return 0;
        if (errno != EAGAIN)
            return -errno;
        probe.updated = 0;
    }
    return 1;
}

int xp_window_gone(const struct xp_window *w, xp_mfn_t mfn)
{
    if (w->uffd < 0)
        return 0;
    int ret = poison(w, mfn);
    if (ret == 1 || ret == -ESRCH)
        return 0;
    if (ret < 0)
        return ret;
    /*
     * A present page, a write-protect marker or an older poison. Never lift the protection to find out: a present page
     * would be writable meanwhile. An absent page cannot come back by itself, so "absent" stays true.
     */
    if (present(w, mfn))
        return xp_window_dead(w) ? 0 : -XEN_EBUSY;
    ret = xp_window_protect(w, mfn, false);
    if (ret == 0)
        ret = poison(w, mfn);
    return ret >= 0 || ret == -ESRCH ? 0 : ret;
}

bool xp_window_dead(const struct xp_window *w)
{
    if (w->uffd < 0)
        return true;
    /* An address just outside: maps nothing in a live address space, and a dead one answers -ESRCH before it looks. */
    struct uffdio_continue cont = {
        .range = {.start = w->base + (w->nr << XP_PAGE_SHIFT), .len = XP_PAGE_SIZE}};
    return ioctl(w->uffd, UFFDIO_CONTINUE, &cont) != 0 && errno == ESRCH;
}
