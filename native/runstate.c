/* runstate.c: see runstate.h. */
#include "runstate.h"

#include "abi.h"
#include "cpu_look.h"
#include "dispatch.h"
#include "guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define TOLD_NS 1000000          /* at calls, the area is written so often at most */

int64_t xp_cpu_ns(int32_t pid)
{
    struct timespec t = {0};
    if (pid <= 0 || clock_gettime(xp_cpu_clock(pid), &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int xp_cpu_timer(int32_t pid, int32_t tid, int signo, int value, timer_t *timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signo, .sigev_value = {.sival_int = value}};
    event._sigev_un._tid = tid;
    return timer_create(xp_cpu_clock(pid), &event, timer) == 0 ? 0 : -errno;
}

int64_t xp_waited_ns(struct xp_domain *d)
{
    char text[80] = {0};
    unsigned long long ran, waited;
    if (d->vcpu.schedstat_fd < 0 && d->pid > 0) {
        char path[40];
        (void)snprintf(path, sizeof path, "/proc/%d/schedstat", d->pid);
        d->vcpu.schedstat_fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (d->vcpu.schedstat_fd < 0 || pread(d->vcpu.schedstat_fd, text, sizeof text - 1, 0) <= 0 ||
        sscanf(text, "%llu %llu", &ran, &waited) != 2 || waited > INT64_MAX)
        return 0;
    return (int64_t)waited;
}

/* As much of it as is left; takes it off. */
static uint64_t part(int64_t *left, int64_t ns)
{
    int64_t mine = ns < 0 ? 0 : ns < *left ? ns : *left;
    *left -= mine;
    return (uint64_t)mine;
}

static void measure(struct xp_domain *d, int state, struct xen_vcpu_runstate_info *info)
{
    struct xp_vcpu *v = &d->vcpu;
    int64_t now = xp_hv_system_time(d->hv), left = now - d->created_ns;
    int64_t stopped = v->paused_ns + (v->paused_since != 0 ? now - v->paused_since : 0);
    *info = (struct xen_vcpu_runstate_info){.state = state, .state_entry_time = (uint64_t)now};
    /* What is certain first; what the kernel knows only afterwards (waiting for a CPU) never takes from what was told. */
    info->time[RUNSTATE_running] = part(&left, xp_cpu_ns(d->pid));
    info->time[RUNSTATE_offline] = part(&left, stopped);
    uint64_t told = part(&left, v->blocked_ns);
    info->time[RUNSTATE_runnable] = part(&left, xp_waited_ns(d));
    info->time[RUNSTATE_blocked] = told + (uint64_t)left;
    v->blocked_ns = (int64_t)info->time[RUNSTATE_blocked];
}

int64_t xp_runstate_get(struct xp_domain *d, uint64_t va)
{
    struct xen_vcpu_runstate_info info;
    measure(d, RUNSTATE_running, &info);        /* it calls */
    return xp_copy_to_guest(d, va, &info, sizeof info);
}

int64_t xp_runstate_register(struct xp_domain *d, uint64_t va)
{
    int64_t ret = va == 0 ? 0 : xp_runstate_get(d, va);
    if (ret == 0)
        d->vcpu.runstate_area = va;
    return ret;
}

void xp_runstate_tell(struct xp_domain *d, int state)
{
    struct xen_vcpu_runstate_info info;
    uint64_t va = d->vcpu.runstate_area;
    if (va == 0)
        return;
    measure(d, state, &info);
    d->vcpu.runstate_told_ns = (int64_t)info.state_entry_time;
    /* Looked at each time: the frame may have been given away since. Times first, so that a reader who waits for a new entry time has them. */
    const uint64_t times = offsetof(struct xen_vcpu_runstate_info, time);
    if (xp_copy_to_guest(d, va + times, info.time, sizeof info.time) != 0)
        return;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    (void)xp_copy_to_guest(d, va, &info, times);
}

void xp_runstate_called(struct xp_domain *d)
{
    if (xp_hv_system_time(d->hv) - d->vcpu.runstate_told_ns >= TOLD_NS)
        xp_runstate_tell(d, RUNSTATE_running);
}

void xp_runstate_destroy(struct xp_domain *d)
{
    d->vcpu.runstate_area = 0;
    if (d->vcpu.schedstat_fd >= 0)
        close(d->vcpu.schedstat_fd);
    d->vcpu.schedstat_fd = -1;
}

int xp_domain_paused(struct xp_hv *hv, xp_domid_t domid, bool paused)
{
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    int ret = d == NULL ? -XEN_ESRCH : xp_cpu_pause(d, paused);
    if (ret == 0) {
        int64_t now = xp_hv_system_time(hv);
        struct xp_vcpu *v = &d->vcpu;
        if (paused && v->paused_since == 0) {
            v->paused_since = now;
        } else if (!paused && v->paused_since != 0) {
            v->paused_ns += now - v->paused_since;
            v->paused_since = 0;
        }
        xp_trace(&hv->tracer, XP_TRACE_sched, XP_TT_pause, d->domid, paused, 0);
        xp_runstate_tell(d, paused ? RUNSTATE_offline : RUNSTATE_running);
    }
    xp_hv_unlock(hv);
    return ret;
}
