/* cpu_decide.c: see cpu_decide.h. */
#include "cpu_decide.h"

#include "abi.h"
#include "cpu_look.h"
#include "cpu_spent.h"
#include "dispatch.h"
#include "runstate.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CALM_NS 100000000        /* nobody waited for so long: no contention any more */
#define SLOP_MIN_NS 20000        /* Xen's TIME_SLOP is 50 us */
#define SLOP_MAX_NS 200000
#define STALL_NS 10000000        /* a timer is not that late by itself */

/* ---- what the scheduler is told ---- */

static void charge_one(struct xp_cpus *cpus, struct xp_domain *d, int64_t now)
{
    struct xp_place *p = place_of(d);
    int64_t used = xp_cpu_ns(d->pid), ran = used - p->charged_ns;
    if (ran <= 0)
        return;
    p->charged_ns += ran;
    xp_cpu_charge_ran(cpus, d, ran, now);
}

void xp_cpu_charge(struct xp_cpus *cpus, int64_t now)
{
    for (uint32_t i = 0; i < cpus->nr; i++)
        if (cpus->cpu[i].current != NULL)
            charge_one(cpus, cpus->cpu[i].current, now);
    xp_cpu_settle(cpus, now);
}

void xp_cpu_watch_left(struct xp_cpus *cpus, struct xp_cpu *cpu)
{
    struct xp_domain *d = cpus->hv->domains[cpu->left];
    cpu->left = 0;
    if (cpus->watch_fd >= 0 && d != NULL && place_of(d)->known && place_of(d)->process.class == XP_CLASS_WAITING)
        (void)xp_watch_arm(&place_of(d)->watches, &place_of(d)->process, cpus->epoll_fd, d->domid);
}

static void leaves(struct xp_cpus *cpus, struct xp_domain *d)
{
    struct xp_cpu *cpu = xp_cpu_pinned(cpus, d);
    if (cpu == NULL)
        return;
    if (cpu->left != 0 && cpu->left != d->domid)
        xp_cpu_watch_left(cpus, cpu);
    cpu->left = d->domid;
}

struct xp_cpu *xp_cpu_pinned(struct xp_cpus *cpus, const struct xp_domain *d)
{
    for (uint32_t i = 0; i < cpus->nr; i++)
        if (cpus->cpu[i].host == d->vcpu.place.process.pinned)
            return &cpus->cpu[i];
    return NULL;
}

void xp_cpu_put(struct xp_cpus *cpus, struct xp_domain *d, enum xp_class class, int32_t host)
{
    struct xp_place *p = place_of(d);
    if (p->process.class == XP_CLASS_WAITING && class != XP_CLASS_WAITING && class != XP_CLASS_ASLEEP)
        xp_watch_disarm(&p->watches);
    if (class == XP_CLASS_WAITING && p->process.pinned < 0)
        host = cpus->cpu[d->domid % cpus->nr].host;     /* below a sentinel, not on a CPU that has none */
    cpus->nr_waiting -= p->process.class == XP_CLASS_WAITING;
    (void)cpus->hand->put(&p->process, class, host);  /* refused: it is gone, and its end is on the way */
    if (cpus->hand->runs != NULL && class != XP_CLASS_ASLEEP)
        xp_busy_set(d, class == XP_CLASS_WAITING, false);        /* one that waits is stopped: when it runs, somebody has continued it */
    cpus->nr_waiting += class == XP_CLASS_WAITING;
    if (class == XP_CLASS_WAITING && cpus->hand->runs == NULL)
        leaves(cpus, d);
    if (d->vcpu.runstate_area != 0 && class != XP_CLASS_NONE)
        xp_runstate_tell(d, class == XP_CLASS_CHOSEN || class == XP_CLASS_BREATHES ? RUNSTATE_running :
                            class == XP_CLASS_ASLEEP ? RUNSTATE_blocked : RUNSTATE_runnable);
}

int32_t xp_cpu_wants(struct xp_cpus *cpus, struct xp_domain *d, int64_t now)
{
    struct xp_place *p = place_of(d);
    xp_watch_disarm(&p->watches);
    xp_busy_set(d, false, false);
    if (d->vcpu.sched.runnable)
        return -1;
    cpus->nr_wakes++;
    xp_trace(&cpus->hv->tracer, XP_TRACE_sched, XP_TT_sched_wake, d->domid, 0, (uint64_t)now);
    return xp_sched_wake(&cpus->sched, &d->vcpu.sched, now);
}

void xp_cpu_sleeps(struct xp_cpus *cpus, struct xp_domain *d, int64_t now)
{
    struct xp_place *p = place_of(d);
    if (d->vcpu.sched.runnable) {
        cpus->nr_blocks++;
        xp_trace(&cpus->hv->tracer, XP_TRACE_sched, XP_TT_sched_sleep, d->domid, XP_CPU_VOLUNTARY, (uint64_t)now);
        (void)xp_sched_sleep(&cpus->sched, &d->vcpu.sched, now, true);
    }
    if (cpus->watch_fd < 0 || xp_watch_arm(&p->watches, &p->process, cpus->epoll_fd, d->domid) != 0)
        xp_busy_set(d, true, true);
    xp_cpu_put(cpus, d, XP_CLASS_ASLEEP, -1);
}

/* ---- decisions ---- */

void xp_cpu_set_gate(struct xp_cpu *cpu, uint32_t open)
{
    /* Pairs with the sentinel's look before it sleeps. */
    if (atomic_exchange_explicit(&cpu->gate, open, memory_order_acq_rel) == 0 && open != 0)
        (void)xp_futex_wake(&cpu->gate, 1);
}

static void set_timer(struct xp_cpus *cpus, int64_t now)
{
    int64_t at = XP_FOREVER;
    if (xp_look_due(cpus) < at)
        at = xp_look_due(cpus);
    for (uint32_t i = 0; i < cpus->nr; i++) {
        const struct xp_cpu *cpu = &cpus->cpu[i];
        if (cpu->current != NULL && cpu->slice_end < at)
            at = cpu->slice_end;
        if (cpu->current != NULL && cpu->host_turn.at < at)
            at = cpu->host_turn.at;
    }
    if (cpus->nr_waiting > 0 || cpus->hv->nr_continued > 0)
        cpus->calm_since = 0;
    else if (cpus->calm_since == 0)
        cpus->calm_since = now;
    if (cpus->calm_since != 0 && cpus->calm_since + CALM_NS < at)
        at = cpus->calm_since + CALM_NS;
    if (at == cpus->timer_at)
        return;
    cpus->timer_at = at;
    int64_t mono = at + cpus->hv->clock.boot_ns;
    struct itimerspec when = {0};
    if (at != XP_FOREVER)
        when.it_value = (struct timespec){.tv_sec = mono / 1000000000, .tv_nsec = mono % 1000000000};
    (void)timerfd_settime(cpus->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Returns the CPU to decide, too, or -1. */
static int32_t decide_one(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    struct xp_domain *was = cpu->current;
    struct xp_sched_choice choice = xp_sched_decide(&cpus->sched, cpu->nr, now);
    struct xp_domain *next = choice.next == NULL ? NULL : choice.next->owner;
    xp_domid_t domid = next == NULL ? 0 : next->domid;
    xp_trace(&cpus->hv->tracer, XP_TRACE_sched, XP_TT_sched_decide, domid, cpu->nr, (uint64_t)now);
    xp_trace(&cpus->hv->tracer, XP_TRACE_sched, XP_TT_sched_slice, domid, cpu->nr, (uint64_t)choice.slice_ns);
    cpu->current = next;
    atomic_store_explicit(&cpu->chosen_pid, next == NULL ? 0 : next->pid, memory_order_relaxed);
    cpu->slice_end = choice.slice_ns > XP_FOREVER - now - SLOP_MAX_NS ? XP_FOREVER : now + choice.slice_ns + cpus->slop_ns;
    enum xp_class class = xp_host_switch(cpus, cpu, was, next, now);
    if (next != NULL && place_of(next)->process.class != class)
        xp_cpu_put(cpus, next, class, cpu->host);
    /* Only now: between the two the CPU is never the sentinel's. */
    if (was != NULL && was != next)
        xp_cpu_put(cpus, was, XP_CLASS_WAITING, -1);
    xp_host_switched(cpus, cpu, was, now);
    cpus->nr_switches += next != was && next != NULL;
    xp_cpu_set_gate(cpu, next != NULL && class == XP_CLASS_CHOSEN);
    return choice.also;
}

void xp_cpu_decide(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    for (int32_t at = (int32_t)cpu->nr; at >= 0;)
        at = decide_one(cpus, &cpus->cpu[at], now);
}

void xp_cpu_fill(struct xp_cpus *cpus, int64_t now)
{
    for (uint32_t i = 0; i < cpus->nr && cpus->nr_waiting > 0; i++)
        if (cpus->cpu[i].current == NULL)
            xp_cpu_decide(cpus, &cpus->cpu[i], now);
    set_timer(cpus, now);
}

/* ---- what happens ---- */

void xp_cpu_blocked(struct xp_cpu *cpu)
{
    struct xp_cpus *cpus = cpu->cpus;
    int64_t now = xp_hv_system_time(cpus->hv);
    struct xp_domain *was = cpu->current;
    if (was == NULL || cpus->leaving) {
        xp_cpu_set_gate(cpu, 0);
        return;
    }
    xp_cpu_charge(cpus, now);
    cpu->current = NULL;
    xp_cpu_sleeps(cpus, was, now);
    xp_cpu_decide(cpus, cpu, now);
    xp_cpu_fill(cpus, now);
}

void xp_cpu_leaked(struct xp_domain *d)
{
    struct xp_cpus *cpus = d->hv->cpus;
    struct xp_cpu *cpu = xp_cpu_pinned(cpus, d);
    int64_t now = xp_hv_system_time(cpus->hv), before = place_of(d)->charged_ns;
    xp_watch_take(&place_of(d)->watches);
    if (!cpus->contended || cpus->leaving || cpu == NULL || cpu->current == NULL || cpu->host_turn.phase == XP_HOST_NONE)
        return;                 /* on its way out */
    cpus->nr_leaks++;
    charge_one(cpus, d, now);
    xp_host_leak(cpus, cpu, now, place_of(d)->charged_ns - before);
    xp_cpu_fill(cpus, now);
}

void xp_cpu_woken(struct xp_domain *d)
{
    struct xp_cpus *cpus = d->hv->cpus;
    struct xp_place *p = place_of(d);
    if (!cpus->contended || cpus->leaving || p->process.class != XP_CLASS_ASLEEP)
        return;
    int64_t now = xp_hv_system_time(cpus->hv);
    xp_cpu_charge(cpus, now);
    int32_t at = xp_cpu_wants(cpus, d, now);
    if (at >= 0)
        xp_cpu_decide(cpus, &cpus->cpu[at], now);
    if (p->process.class == XP_CLASS_ASLEEP)
        xp_cpu_put(cpus, d, XP_CLASS_WAITING, -1);
    xp_cpu_fill(cpus, now);
}

/*
 * A slice is CPU time, of which a little less passes than of time: interrupts, other machines on this one. The timer allows for so
 * much that it seldom comes too early, and never more than a fraction of the allowance.
 */
static void learn(struct xp_cpus *cpus, bool early)
{
    int64_t slop = cpus->slop_ns + (early ? SLOP_MIN_NS / 2 : -SLOP_MIN_NS / 16);
    cpus->slop_ns = slop < SLOP_MIN_NS ? SLOP_MIN_NS : slop > SLOP_MAX_NS ? SLOP_MAX_NS : slop;
}

/* The watcher itself got no CPU: the kernel kept real-time classes from running (sched_rt_runtime_us), or the host is elsewhere. */
static void note_stall(struct xp_cpus *cpus, int64_t now)
{
    int64_t late = cpus->timer_at == XP_FOREVER ? 0 : now - cpus->timer_at;
    if (late < STALL_NS)
        return;
    cpus->nr_stalls++;
    cpus->stalled_ns += late;
}

/* Those whose slices are over on other CPUs than this thread's, where the kernel has not counted lately. */
static void count_due(const struct xp_cpus *cpus, int64_t now)
{
    int here = sched_getcpu();
    for (uint32_t i = 0; i < cpus->nr; i++)
        if (cpus->cpu[i].current != NULL && cpus->cpu[i].slice_end <= now && cpus->cpu[i].host != here)
            xp_class_count(&place_of(cpus->cpu[i].current)->process);
}

void xp_cpu_due(struct xp_cpus *cpus)
{
    int64_t now = xp_hv_system_time(cpus->hv);
    note_stall(cpus, now);
    cpus->timer_at = XP_FOREVER;
    if (!cpus->contended || cpus->leaving)
        return;
    if (cpus->calm_since != 0 && now - cpus->calm_since >= CALM_NS) {
        cpus->leaving = true;
        return;
    }
    if (xp_look_due(cpus) <= now)
        xp_look(cpus, now);
    count_due(cpus, now);
    xp_cpu_charge(cpus, now);
    for (uint32_t i = 0; i < cpus->nr; i++)
        if (cpus->cpu[i].current != NULL && cpus->cpu[i].slice_end <= now) {
            const struct xp_domain *was = cpus->cpu[i].current;
            cpus->nr_slices++;
            xp_cpu_decide(cpus, &cpus->cpu[i], now);
            learn(cpus, cpus->cpu[i].current == was && cpus->nr_waiting > 0);
        }
    for (uint32_t i = 0; i < cpus->nr; i++)
        xp_host_due(cpus, &cpus->cpu[i], now);
    xp_cpu_fill(cpus, now);
}

void xp_cpu_ran(struct xp_domain *d, uint32_t nr)
{
    struct xp_cpus *cpus = d->hv->cpus;
    if (!cpus->contended) {
        if (xp_busy_seen(&cpus->epoch, d, nr, cpus->nr, xp_hv_system_time(cpus->hv))) {
            cpus->contended = true;
            cpus->calm_since = 0;
            cpus->nr_contended++;
            xp_cpu_spent_on(cpus);
        }
    } else if (place_of(d)->process.class == XP_CLASS_ASLEEP) {
        xp_cpu_woken(d);
    } else if (place_of(d)->process.class == XP_CLASS_WAITING) {
        xp_cpu_strayed(d);
    }
}

