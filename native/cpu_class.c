/* cpu_class.c: see cpu_class.h. */
#include "cpu_hand.h"
#include "sched_attr.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PASSES_MAX 64            /* of a process that makes threads as fast as they are moved */
#define OWN_ENTRIES 2u           /* links of /proc/PID/task besides its threads: . and .. */

struct linux_dirent {            /* what getdents64 fills in */
    uint64_t ino;
    int64_t off;
    uint16_t len;
    uint8_t type;
    char name[];
};

int xp_class_open(struct xp_classed *c, int32_t pid, int pidfd)
{
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    *c = (struct xp_classed){.pid = pid, .pidfd = pidfd, .pinned = -1, .status_fd = -1,
                             .task_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (pidfd >= 0)
        c->status_fd = open(path, O_RDONLY | O_CLOEXEC);
    c->own_nice = getpriority(PRIO_PROCESS, (id_t)pid);
    if (c->task_fd < 0 || sched_getaffinity(pid, sizeof c->own_cpus, &c->own_cpus) != 0)
        return -errno;
    return 0;
}

void xp_class_close(struct xp_classed *c)
{
    if (c->task_fd >= 0)
        close(c->task_fd);
    if (c->status_fd >= 0)
        close(c->status_fd);
    c->task_fd = c->status_fd = -1;
    c->class = XP_CLASS_NONE;
}

#define BREATHES_NICE (-5)       /* three times an ordinary process: the host's wants are seen, and a domain loses little */
#define YIELDS_NICE 5            /* a third of one; far above those that wait */

static struct linux_sched_attr attr_of(enum xp_class class, int32_t own_nice)
{
    struct linux_sched_attr attr = {.size = sizeof attr, .policy = SCHED_OTHER, .nice = own_nice};
    if (class == XP_CLASS_WAITING)
        attr.policy = SCHED_IDLE;
    else if (class == XP_CLASS_YIELDS)
        attr.nice = YIELDS_NICE;
    else if (class == XP_CLASS_BREATHES)
        attr.nice = BREATHES_NICE;
    else if (class != XP_CLASS_NONE)
        attr = (struct linux_sched_attr){.size = sizeof attr, .policy = SCHED_RR, .priority = (uint32_t)class};
    return attr;
}

static bool is_in(int32_t tid, const struct linux_sched_attr *attr)
{
    struct linux_sched_attr now;
    if (xp_attr_get(tid, &now) != 0)
        return true;            /* gone */
    return now.policy == attr->policy && now.priority == attr->priority && (attr->policy != SCHED_OTHER || now.nice == attr->nice);
}

/* NONE is priority 0 of the ordinary class; only real-time classes otherwise. */
static int set_policy(int32_t tid, enum xp_class class)
{
    const struct sched_param param = {.sched_priority = (int)class};
    return sched_setscheduler(tid, class == XP_CLASS_NONE ? SCHED_OTHER : SCHED_RR, &param) == 0 ? 0 : -errno;
}

static int set_thread(int32_t tid, enum xp_class class)
{
    const struct sched_param param = {.sched_priority = (int)class};
    int policy = class == XP_CLASS_NONE ? SCHED_OTHER : SCHED_RR | SCHED_RESET_ON_FORK;
    return sched_setscheduler(tid, policy, &param) == 0 ? 0 : -errno;
}

/* In a thread of its own, as nothing is to be left of it: a limit on priorities (RLIMIT_RTPRIO) may let a thread up, but not back. */
static void *try_all(void *arg)
{
    const enum xp_class order[] = {XP_CLASS_WAITING, XP_CLASS_YIELDS, XP_CLASS_BREATHES, XP_CLASS_ASLEEP, XP_CLASS_NONE};
    int32_t tid = (int32_t)gettid();
    int ret = set_thread(tid, XP_CLASS_HYPERVISOR);
    if (ret == 0)
        ret = set_thread(tid, XP_CLASS_NONE);
    for (size_t i = 0; ret == 0 && i < sizeof order / sizeof *order; i++) {
        struct linux_sched_attr attr = attr_of(order[i], 0);
        ret = xp_attr_set(tid, &attr);
    }
    *(int *)arg = ret;
    return NULL;
}

static int allowed(void)
{
    pthread_t thread;
    int ret = 0, error = pthread_create(&thread, NULL, try_all, &ret);
    if (error == 0)
        error = pthread_join(thread, NULL);
    return error != 0 ? -error : ret;
}

void xp_class_threads(const struct xp_classed *c, bool (*visit)(void *arg, int32_t tid), void *arg)
{
    _Alignas(struct linux_dirent) char buffer[4096];
    (void)lseek(c->task_fd, 0, SEEK_SET);
    for (;;) {
        long nr = syscall(SYS_getdents64, c->task_fd, buffer, sizeof buffer);
        if (nr <= 0)
            return;
        for (long at = 0; at < nr;) {
            const struct linux_dirent *entry = (const void *)(buffer + at);
            at += entry->len;
            int32_t tid = (int32_t)strtol(entry->name, NULL, 10);
            if (tid > 0 && !visit(arg, tid))
                return;
        }
    }
}

struct move {
    struct linux_sched_attr attr;
    const cpu_set_t *cpus;       /* NULL: as they are */
    int moved, error;
};

static int move_thread(int32_t tid, const struct move *m)
{
    /* CPUs first: a thread in its class has its CPUs, too, and so have those that it makes from then on. */
    if (m->cpus != NULL && sched_setaffinity(tid, sizeof *m->cpus, m->cpus) != 0 && errno == ESRCH)
        return -ESRCH;
    return xp_attr_set(tid, &m->attr);
}

static bool move_if_elsewhere(void *arg, int32_t tid)
{
    struct move *m = arg;
    if (is_in(tid, &m->attr))
        return true;
    int ret = move_thread(tid, m);
    m->moved += ret == 0;
    if (ret != 0 && ret != -ESRCH)
        m->error = ret;
    return ret == 0 || ret == -ESRCH;
}

uint32_t xp_class_nr_threads(const struct xp_classed *c)
{
    struct stat st;
    return fstat(c->task_fd, &st) == 0 && st.st_nlink > OWN_ENTRIES ? (uint32_t)st.st_nlink - OWN_ENTRIES : 0;
}

static bool pin_thread(void *arg, int32_t tid)
{
    (void)sched_setaffinity(tid, sizeof(cpu_set_t), arg);
    return true;
}

static bool count_thread(void *arg, int32_t tid)
{
    struct linux_sched_attr own;
    (void)arg;
    if (xp_attr_get(tid, &own) != 0)
        return true;            /* gone */
    struct linux_sched_attr like = own;
    if (own.policy == SCHED_RR)
        like.policy = SCHED_FIFO;
    else if (own.policy == SCHED_OTHER)
        like.policy = SCHED_BATCH;
    else
        return true;            /* waits, or its guest has chosen a class itself: as exact as the kernel has it */
    if (xp_attr_set(tid, &like) == 0)
        (void)xp_attr_set(tid, &own);
    return true;
}

void xp_class_count(const struct xp_classed *c)
{
    if (c->nr_threads == 1)
        (void)count_thread(NULL, c->pid);
    else
        xp_class_threads(c, count_thread, NULL);
}

void xp_class_pin(const struct xp_classed *c, const cpu_set_t *cpus)
{
    cpu_set_t set = *cpus;
    for (uint32_t before = 0; before < xp_class_nr_threads(c);) {       /* as long as it makes more meanwhile */
        before = xp_class_nr_threads(c);
        xp_class_threads(c, pin_thread, &set);
    }
}

static int put(struct xp_classed *c, enum xp_class class, int32_t cpu)
{
    cpu_set_t one;
    struct move m = {.attr = attr_of(class, c->own_nice)};
    if (class == XP_CLASS_NONE && c->pinned >= 0) {
        m.cpus = &c->own_cpus;
        cpu = -1;
    } else if (cpu >= 0 && cpu != c->pinned) {
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        m.cpus = &one;
    }
    if (class == c->class && m.cpus == NULL)
        return 0;
    int ret = move_thread(c->pid, &m);
    /* Who waited has made no thread since. */
    if (c->class != XP_CLASS_WAITING)
        c->nr_threads = xp_class_nr_threads(c);
    if (ret == 0 && c->nr_threads != 1)
        for (int pass = 0; pass < PASSES_MAX; pass++) {
            m.moved = 0;
            xp_class_threads(c, move_if_elsewhere, &m);
            if (m.moved == 0)
                break;
        }
    c->class = (uint8_t)class;
    if (m.cpus != NULL)
        c->pinned = cpu;
    return ret != 0 ? ret : m.error;
}

const struct xp_hand xp_hand_class = {
    .name = "class", .allowed = allowed, .put = put, .thread = set_thread, .family = set_policy,
};
