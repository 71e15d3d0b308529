/* cpu_stop.c: see cpu_stop.h. */
#include "cpu_stop.h"

#include "runstate.h"
#include "sched_attr.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int xp_stop_slice(int32_t tid, uint64_t ns)
{
    struct linux_sched_attr attr;
    int ret = xp_attr_get(tid, &attr);
    if (ret != 0 || attr.policy != SCHED_OTHER)
        return ret;
    attr.runtime = ns;
    return xp_attr_set(tid, &attr);
}

void xp_stop_be_idle(void)
{
    const struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_IDLE, &none);
}

/* ---- what a process is at ---- */

/* The letter of /proc/PID/stat or /proc/PID/task/TID/stat: what follows the name, which may hold anything. 0: gone. */
static char state_letter(int fd)
{
    char text[128];              /* pid, a name of at most 64, the letter */
    ssize_t nr = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
    if (nr <= 0)
        return 0;
    text[nr] = 0;
    const char *end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}

static char state_of(const struct xp_classed *c, int32_t tid)
{
    char path[24];
    (void)snprintf(path, sizeof path, "%d/stat", tid);
    int fd = openat(c->task_fd, path, O_RDONLY | O_CLOEXEC);
    char letter = state_letter(fd);
    if (fd >= 0)
        close(fd);
    return letter;
}

struct search {
    const struct xp_classed *c;
    bool found;
};

static bool look_at_thread(void *arg, int32_t tid)
{
    struct search *s = arg;
    s->found = state_of(s->c, tid) == 'R';
    return !s->found;
}

static bool runs(const struct xp_classed *c)
{
    struct search s = {.c = c};
    int64_t before = xp_cpu_ns(c->pid);
    if (state_of(c, c->pid) == 'R')
        return true;
    if (xp_class_nr_threads(c) > 1)
        xp_class_threads(c, look_at_thread, &s);
    /* They are looked at one after the other: one may have woken another meanwhile and be asleep itself. */
    return s.found || xp_cpu_ns(c->pid) != before;
}

bool xp_stop_pid_runs(int32_t pid)
{
    struct xp_classed c;
    bool it_does = xp_class_open(&c, pid, -1) == 0 && runs(&c);
    xp_class_close(&c);
    return it_does;
}

/*
 * Has somebody stopped it while it was stopped already? The kernel keeps that signal pending, and a SIGCONT of ours would undo it. One
 * that is not stopped yet has ours pending.
 */
static bool others_stop_is_pending(const struct xp_classed *c)
{
    char text[2048];
    ssize_t nr = c->status_fd < 0 ? -1 : pread(c->status_fd, text, sizeof text - 1, 0);
    if (nr <= 0)
        return false;
    text[nr] = 0;
    const char *state = strstr(text, "\nState:\t"), *line = strstr(text, "\nShdPnd:");
    return state != NULL && state[8] == 'T' && line != NULL && (strtoull(line + 8, NULL, 16) >> (SIGSTOP - 1) & 1) != 0;
}

/* ---- stopping ---- */

static int send(const struct xp_classed *c, int signo)
{
    return syscall(SYS_pidfd_send_signal, c->pidfd, signo, NULL, 0) == 0 ? 0 : -errno;
}

static int stop(struct xp_classed *c)
{
    if (c->stopped || (!c->paused && state_of(c, c->pid) == 'T'))
        return 0;
    int ret = c->paused ? 0 : send(c, SIGSTOP);
    c->stopped = ret == 0;
    return ret;
}

static int go_on(struct xp_classed *c)
{
    if (!c->stopped)
        return 0;
    c->stopped = false;
    return c->paused || others_stop_is_pending(c) ? 0 : send(c, SIGCONT);
}

int xp_stop_pause(struct xp_classed *c, bool paused)
{
    if (c->paused == paused)
        return 0;
    int ret = c->stopped ? 0 : send(c, paused ? SIGSTOP : SIGCONT);
    if (ret == 0)
        c->paused = paused;
    return ret;
}

bool xp_stop_again(struct xp_classed *c)
{
    if (c->paused || !runs(c))
        return false;
    /* Ours may be pending yet, or have taken effect just now: afterwards there is exactly one. */
    c->stopped = send(c, SIGCONT) == 0 && send(c, SIGSTOP) == 0;
    return true;
}

/* ---- the hand ---- */

static bool slice_of_thread(void *arg, int32_t tid)
{
    (void)xp_stop_slice(tid, *(const uint64_t *)arg);
    return true;
}

static void pin(struct xp_classed *c, enum xp_class class, int32_t cpu)
{
    cpu_set_t set = c->own_cpus;
    if (class == XP_CLASS_NONE)
        cpu = -1;
    if (cpu == c->pinned || (cpu < 0 && class != XP_CLASS_NONE))
        return;
    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
    }
    c->pinned = cpu;             /* refused: it runs anywhere, and is looked at all the same */
    xp_class_pin(c, &set);
}

static int put(struct xp_classed *c, enum xp_class class, int32_t cpu)
{
    uint64_t slice = class == XP_CLASS_NONE ? 0 : XP_STOP_SLICE_NS;
    if ((class == XP_CLASS_NONE) != (c->class == XP_CLASS_NONE))
        xp_class_threads(c, slice_of_thread, &slice);
    pin(c, class, cpu);
    c->class = (uint8_t)class;
    return class == XP_CLASS_WAITING ? stop(c) : go_on(c);
}

static int slice_by_class(int32_t tid, enum xp_class class)
{
    return xp_stop_slice(tid, class == XP_CLASS_NONE ? 0 : XP_STOP_SLICE_NS);
}

static int allowed(void)
{
    return 0;                    /* whoever starts a process may stop it */
}

const struct xp_hand xp_hand_stop = {
    .name = "stop", .allowed = allowed, .put = put, .thread = slice_by_class, .family = slice_by_class, .runs = runs,
};

const struct xp_hand *xp_hand_named(const char *name)
{
    const struct xp_hand *const all[] = {&xp_hand_class, &xp_hand_stop};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (name == NULL ? all[i]->allowed() == 0 : strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}
