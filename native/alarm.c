/* alarm.c: see alarm.h. */
#include "alarm.h"

#include "abi.h"
#include "evtchn.h"
#include "guestmem.h"
#include "hypercall.h"
#include "runstate.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PERIOD_MIN_NS 1000000u                  /* as Xen */
#define PERIOD_MAX_NS (UINT64_MAX >> 2)         /* Xen's STIME_DELTA_MAX */
#define FAR_NS_SHIFT 50                         /* set_timer_op: further ahead (13 days) is a wrapped counter of the guest's */
#define WRAPPED_NS 100000000
#define VIRTUAL_ALARM UINT32_MAX                /* in a trace */
#define VIRTUAL_SIGNAL (SIGRTMIN + 4)

void xp_alarm_init(struct xp_domain *d)
{
    xp_timer_init(&d->vcpu.singleshot, XP_TIMER_SINGLESHOT, d);
    xp_timer_init(&d->vcpu.periodic, XP_TIMER_PERIODIC, d);
}

void xp_alarm_destroy(struct xp_domain *d)
{
    xp_timer_cancel(&d->hv->timers, &d->vcpu.singleshot);
    xp_timer_cancel(&d->hv->timers, &d->vcpu.periodic);
    if (d->vcpu.has_virtual_timer)
        (void)timer_delete(d->vcpu.virtual_timer);
    d->vcpu.has_virtual_timer = false;
    d->vcpu.virtual_deadline = 0;
}

static void go_off(struct xp_domain *d, uint32_t kind)
{
    xp_trace(&d->hv->tracer, XP_TRACE_events, XP_TT_alarm, d->domid, kind, 0);
    d->vcpu.nr_alarms++;
    xp_evtchn_raise_virq(d, VIRQ_TIMER);
}

void xp_alarm_due(struct xp_domain *d, struct xp_timer *t, int64_t now)
{
    if (d->state != XP_DS_RUNNING)
        return;
    if (t->kind == XP_TIMER_PERIODIC) {
        /* In step with the first one; those that were missed altogether are not made up for. */
        int64_t late = (now - t->node.key) % d->vcpu.period_ns;
        (void)xp_timer_set(&d->hv->timers, t, now - late + d->vcpu.period_ns);
    }
    go_off(d, t->kind);
}

/* ---- real time ---- */

int64_t xp_alarm_set_periodic(struct xp_domain *d, uint64_t va)
{
    struct xen_vcpu_set_periodic_timer set;
    int ret = xp_copy_from_guest(d, &set, va, sizeof set);
    if (ret != 0)
        return ret;
    if (set.period_ns < PERIOD_MIN_NS || set.period_ns > PERIOD_MAX_NS)
        return -XEN_EINVAL;
    ret = xp_timer_set(&d->hv->timers, &d->vcpu.periodic, xp_hv_system_time(d->hv) + (int64_t)set.period_ns);
    if (ret == 0)
        d->vcpu.period_ns = (int64_t)set.period_ns;
    return ret;
}

int64_t xp_alarm_stop_periodic(struct xp_domain *d)
{
    xp_timer_cancel(&d->hv->timers, &d->vcpu.periodic);
    return 0;
}

int64_t xp_alarm_set_singleshot(struct xp_domain *d, uint64_t va)
{
    struct xen_vcpu_set_singleshot_timer set;
    int ret = xp_copy_from_guest(d, &set, va, sizeof set);
    if (ret != 0)
        return ret;
    if ((set.flags & VCPU_SSHOTTMR_future) != 0 && set.timeout_abs_ns < (uint64_t)xp_hv_system_time(d->hv))
        return -XEN_ETIME;
    /* One that has passed, and a number beyond what system time can be (negative to Xen), goes off at once. */
    return xp_timer_set(&d->hv->timers, &d->vcpu.singleshot, set.timeout_abs_ns > INT64_MAX ? 0 : (int64_t)set.timeout_abs_ns);
}

int64_t xp_alarm_stop_singleshot(struct xp_domain *d)
{
    xp_timer_cancel(&d->hv->timers, &d->vcpu.singleshot);
    return 0;
}

int64_t xp_do_set_timer_op(struct xp_domain *d, struct xp_call *call)
{
    uint64_t timeout = call->args[0];
    int64_t now = xp_hv_system_time(d->hv);
    if (timeout == 0)
        return xp_alarm_stop_singleshot(d);
    /* As Xen does with what Linux asks for when its own counter has wrapped, or when it has no timer at all. */
    if (timeout > INT64_MAX || ((int64_t)timeout > now && ((int64_t)timeout - now) >> FAR_NS_SHIFT != 0))
        timeout = (uint64_t)now + WRAPPED_NS;
    return xp_timer_set(&d->hv->timers, &d->vcpu.singleshot, (int64_t)timeout);
}

/* ---- virtual time ---- */

int xp_alarm_listen(struct xp_hv *hv)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, VIRTUAL_SIGNAL);
    int ret = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (ret != 0)
        return -ret;
    hv->virtual_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return hv->virtual_fd < 0 ? -errno : 0;
}

static int make_virtual_timer(struct xp_domain *d)
{
    if (d->vcpu.has_virtual_timer)
        return 0;
    /* It tells this thread, the dispatcher's, which has the signal blocked and looks by virtual_fd. */
    int32_t tid = (int32_t)syscall(SYS_gettid);
    if (d->pid <= 0 || xp_cpu_timer(d->pid, tid, VIRTUAL_SIGNAL, d->domid, &d->vcpu.virtual_timer) != 0)
        return -XEN_ENOMEM;
    d->vcpu.has_virtual_timer = true;
    return 0;
}

int64_t xp_alarm_set_virtual(struct xp_domain *d, uint64_t deadline)
{
    const struct itimerspec at = {.it_value = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)}};
    if (deadline > INT64_MAX)
        return -XEN_EINVAL;
    int ret = deadline == 0 && !d->vcpu.has_virtual_timer ? 0 : make_virtual_timer(d);
    if (ret == 0 && d->vcpu.has_virtual_timer && timer_settime(d->vcpu.virtual_timer, TIMER_ABSTIME, &at, NULL) != 0)
        ret = -XEN_EINVAL;
    if (ret == 0)
        d->vcpu.virtual_deadline = (int64_t)deadline;
    return ret;
}

void xp_alarm_virtual_due(struct xp_hv *hv)
{
    struct signalfd_siginfo info;
    while (read(hv->virtual_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        struct xp_domain *d = info.ssi_int >= 0 ? xp_hv_domain(hv, (xp_domid_t)info.ssi_int) : NULL;
        /* Of a domain that is gone, or of an alarm set anew meanwhile: then another signal comes. */
        if (d == NULL || d->state != XP_DS_RUNNING || d->vcpu.virtual_deadline == 0 ||
            xp_cpu_ns(d->pid) < d->vcpu.virtual_deadline)
            continue;
        d->vcpu.virtual_deadline = 0;
        go_off(d, VIRTUAL_ALARM);
        xp_spent_turn(&hv->spent, &d->vcpu.place.spent);
    }
}
