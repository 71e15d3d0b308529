/* confine.c: see confine.h. */
#include "confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NR_LANDLOCK_CREATE_RULESET 444
#define NR_LANDLOCK_ADD_RULE 445
#define NR_LANDLOCK_RESTRICT_SELF 446
#define LANDLOCK_CREATE_RULESET_VERSION_ 1u
#define LANDLOCK_RULE_PATH_BENEATH_ 1
#define LAST_CAP 63

static int result(long ret) { return ret < 0 ? -errno : (int)ret; }

int xp_prctl(int op, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return result(prctl(op, a, b, c, d));
}

static int capset_to(const struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return result(syscall(SYS_capset, &header, data));
}

int xp_drop_caps(void)
{
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);    /* EINVAL before Linux 4.3, which had none */
    return capset_to(none);
}

int xp_effective_caps(uint64_t *caps)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    if (syscall(SYS_capget, &header, data) != 0)
        return -errno;
    *caps = (uint64_t)data[1].effective << 32 | data[0].effective;
    return 0;
}

int xp_drop_bounding(uint64_t keep)
{
    for (int cap = 0; cap <= LAST_CAP; cap++) {
        if (keep >> cap & 1)
            continue;
        int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (has < 0)
            break;                              /* beyond the kernel's last */
        if (has == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            return -errno;
    }
    return 0;
}

int xp_landlock_abi(void)
{
    return result(syscall(NR_LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION_));
}

int xp_landlock_create(uint64_t handled_fs, uint64_t handled_net, uint64_t scoped)
{
    struct { uint64_t fs, net, scoped; } attr = {handled_fs, handled_net, scoped};
    /* An older kernel takes the longer structure only if what it does not know is zero, which is the point of the call. */
    return result(syscall(NR_LANDLOCK_CREATE_RULESET, &attr, sizeof attr, 0));
}

int xp_landlock_allow(int ruleset, int fd, uint64_t access)
{
    struct __attribute__((packed)) { uint64_t allowed; int32_t parent_fd; } attr = {access, fd};
    return result(syscall(NR_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH_, &attr, 0));
}

int xp_landlock_restrict(int ruleset) { return result(syscall(NR_LANDLOCK_RESTRICT_SELF, ruleset, 0)); }

int xp_seccomp_install(const void *program, uint32_t nr)
{
    if (nr == 0 || nr > BPF_MAXINSNS)
        return -EINVAL;
    /* The kernel only reads through this pointer; its structure lacks the const. */
    union { const void *given; struct sock_filter *taken; } insns = {.given = program};
    struct sock_fprog prog = {.len = (unsigned short)nr, .filter = insns.taken};
    long ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    return ret > 0 ? -ESRCH : result(ret);      /* the id of a thread that could not be taken along */
}

/* Whether one more page fits below a limit of so many pages. */
static bool fits(uint64_t limit_pages, rlim_t hard)
{
    struct rlimit limit = {.rlim_cur = limit_pages * XP_PAGE_SIZE, .rlim_max = hard};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return false;               /* cannot be: never above the hard limit */
    void *page = mmap(NULL, XP_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    (void)munmap(page, XP_PAGE_SIZE);
    return true;
}

int64_t xp_vm_bytes(uint64_t hint, uint64_t grain)
{
    struct rlimit old;
    if (getrlimit(RLIMIT_AS, &old) != 0)
        return -errno;
    uint64_t top = 1ull << 35;      /* 2^47 bytes in pages */
    if (old.rlim_max != RLIM_INFINITY && old.rlim_max / XP_PAGE_SIZE < top)
        top = old.rlim_max / XP_PAGE_SIZE;
    uint64_t low = 0, high = top, at = hint / XP_PAGE_SIZE;     /* one more page fits at high (or it is the top), not at low */
    uint64_t end = grain > XP_PAGE_SIZE ? grain / XP_PAGE_SIZE : 1, step = end;
    if (at != 0 && at < top) {
        if (fits(at, old.rlim_max)) {
            for (high = at; high > step && fits(high - step, old.rlim_max); step *= 4)
                high -= step;
            low = high > step ? high - step : 0;
        } else {
            for (low = at; low + step < top && !fits(low + step, old.rlim_max); step *= 4)
                low += step;
            high = low + step < top ? low + step : top;
        }
    }
    while (high - low > end) {
        uint64_t middle = low + (high - low) / 2;
        if (fits(middle, old.rlim_max))
            high = middle;
        else
            low = middle;
    }
    if (setrlimit(RLIMIT_AS, &old) != 0)
        return -errno;
    return (int64_t)((high - 1) * XP_PAGE_SIZE);
}
