/* trial.c: see trial.h. */
#include "trial.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the headers of an older build host may lack (Linux 6.4 and 6.6). */
#define FEATURE_WP_SHMEM (1ull << 12)
#define FEATURE_POISON (1ull << 14)
#define CONTINUE_MODE_WP 2ull
struct poison { struct uffdio_range range; uint64_t mode; int64_t updated; };
#define IOC_POISON _IOWR(UFFDIO, 0x08, struct poison)

/* Whether the kernel, for us, can read or write there: the word itself is of no interest. */
static bool readable(const void *page) { return syscall(SYS_access, page, F_OK) == 0 || errno != EFAULT; }
static bool writable(void *page) { return syscall(SYS_clock_gettime, 0, page) == 0; }

static bool protect(int uffd, void *page, uint64_t mode)
{
    struct uffdio_writeprotect arg = {.range = {(uintptr_t)page, XP_PAGE_SIZE}, .mode = mode};
    return ioctl(uffd, UFFDIO_WRITEPROTECT, &arg) == 0;
}

/* 1: page was gone (and is now marked), 0: it is still there, -1: the kernel does not know the question. */
static int gone(int uffd, void *page)
{
    struct poison arg = {.range = {(uintptr_t)page, XP_PAGE_SIZE}};
    if (ioctl(uffd, IOC_POISON, &arg) == 0)
        return 1;
    return errno == EEXIST ? 0 : -1;
}

static int try_window(int uffd, void *page)
{
    int seen = XP_UFFD_OPEN;
    uint64_t wanted = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM | FEATURE_WP_SHMEM;
    struct uffdio_api api = {.api = UFFD_API, .features = wanted | FEATURE_POISON};
    if (ioctl(uffd, UFFDIO_API, &api) != 0)
        return seen;
    struct uffdio_register reg = {.range = {(uintptr_t)page, 2 * XP_PAGE_SIZE},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR};
    if (ioctl(uffd, UFFDIO_REGISTER, &reg) != 0)
        return seen;
    seen |= XP_UFFD_REGISTER;
    if (!readable(page))
        seen |= XP_UFFD_SIGBUS;
    struct uffdio_continue give = {.range = {(uintptr_t)page, XP_PAGE_SIZE}, .mode = CONTINUE_MODE_WP};
    if (ioctl(uffd, UFFDIO_CONTINUE, &give) != 0)
        return seen;
    bool was_protected = readable(page) && !writable(page);
    bool lifted = protect(uffd, page, 0) && writable(page);
    if (lifted)
        seen |= XP_UFFD_CONTINUE;
    if (was_protected && lifted && protect(uffd, page, UFFDIO_WRITEPROTECT_MODE_WP) && !writable(page) && protect(uffd, page, 0))
        seen |= XP_UFFD_WP;
    if (gone(uffd, page) == 0 && madvise(page, XP_PAGE_SIZE, MADV_DONTNEED) == 0 && gone(uffd, page) == 1 && !readable(page))
        seen |= XP_UFFD_POISON;
    return seen;
}

int xp_uffd_trial(void)
{
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (uffd < 0)
        return -errno;
    int seen = -ENOMEM, fd = memfd_create("xenproc-trial", MFD_CLOEXEC);
    if (fd >= 0 && posix_fallocate(fd, 0, 2 * XP_PAGE_SIZE) == 0) {
        void *page = mmap(NULL, 2 * XP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED) {
            seen = try_window(uffd, page);
            (void)munmap(page, 2 * XP_PAGE_SIZE);
        }
    }
    if (fd >= 0)
        (void)close(fd);
    (void)close(uffd);
    return seen;
}

int xp_mseal_trial(void)
{
    /* In a child of its own: a sealed mapping cannot be taken down again. */
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        size_t len = 2 * XP_PAGE_SIZE;
        char *page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int ret = page == MAP_FAILED ? -ENOMEM : xp_mseal((uintptr_t)page, len);
        if (ret < 0)
            _exit(-ret & 0xff);
        bool moved = mremap(page, XP_PAGE_SIZE, len, MREMAP_MAYMOVE) != MAP_FAILED || mremap(page, 0, XP_PAGE_SIZE, MREMAP_MAYMOVE) != MAP_FAILED;
        bool replaced = mmap(page, XP_PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
        bool changed = mprotect(page, len, PROT_READ) == 0, unmapped = munmap(page, len) == 0;
        _exit(moved || replaced || changed || unmapped ? EPERM : 0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EPERM;
}
