/* cpu.c: see cpu.h: domains come and go, contention begins and ends. Decisions are in cpu_decide.c, threads in cpu_threads.c. */
#include "cpu_decide.h"
#include "cpu_params.h"
#include "cpu_spent.h"

#include "dispatch.h"
#include "runstate.h"

#define RECENT_NS 2000000000     /* ran so lately: taken for runnable when contention begins */
#define ENTER_STEP 8u            /* domains: some 20 us each the first time */
#define LEAVE_STEP 32u

/* ---- contention begins and ends ---- */

/* False: nothing was to be done. */
static bool adopt(struct xp_cpus *cpus, struct xp_domain *d, int64_t now)
{
    struct xp_place *p = place_of(d);
    if (!p->known || p->process.class != XP_CLASS_NONE)
        return false;
    p->charged_ns = p->spent.mark_ns = xp_cpu_ns(d->pid);     /* what it used before it is charged for by nobody */
    if (p->busy.seen_ns != 0 && now - p->busy.seen_ns < RECENT_NS) {
        (void)xp_cpu_wants(cpus, d, now);
        xp_cpu_put(cpus, d, XP_CLASS_WAITING, -1);
        return true;
    }
    xp_cpu_sleeps(cpus, d, now);
    xp_busy_set(d, true, true);         /* it may be running at this moment, and not be switched in for long */
    return true;
}

bool xp_cpu_enter(struct xp_cpus *cpus, uint32_t *cursor)
{
    int64_t now = xp_hv_system_time(cpus->hv);
    uint32_t left = ENTER_STEP;
    xp_cpu_charge(cpus, now);
    if (*cursor == 0)
        xp_host_begin(cpus, now);
    for (; *cursor < XP_MAX_DOMAINS && left > 0; ++*cursor)
        if (cpus->hv->domains[*cursor] != NULL)
            left -= adopt(cpus, cpus->hv->domains[*cursor], now);
    xp_cpu_fill(cpus, now);
    return *cursor < XP_MAX_DOMAINS;
}

static void let_go(struct xp_cpus *cpus, struct xp_domain *d, int64_t now)
{
    xp_cpu_sleeps(cpus, d, now);
    xp_watch_disarm(&place_of(d)->watches);
    xp_cpu_put(cpus, d, XP_CLASS_NONE, -1);
    xp_busy_set(d, true, false);
}

bool xp_cpu_leave(struct xp_cpus *cpus)
{
    int64_t now = xp_hv_system_time(cpus->hv);
    uint32_t left = LEAVE_STEP;
    xp_cpu_charge(cpus, now);
    for (uint32_t i = 0; i < cpus->nr; i++) {
        cpus->cpu[i].current = NULL;
        xp_cpu_set_gate(&cpus->cpu[i], 0);
    }
    xp_host_end(cpus);
    for (uint32_t i = 0; i < XP_MAX_DOMAINS && left > 0; i++) {
        struct xp_domain *d = cpus->hv->domains[i];
        if (d == NULL || !place_of(d)->known || place_of(d)->process.class == XP_CLASS_NONE)
            continue;
        let_go(cpus, d, now);
        left--;
    }
    if (left == 0)
        return true;
    xp_cpu_spent_off(cpus);
    cpus->contended = cpus->leaving = false;
    cpus->epoch = (struct xp_busy_epoch){.number = cpus->epoch.number + 1};
    return false;
}

/* ---- domains come and go ---- */

void xp_cpu_add(struct xp_domain *d)
{
    struct xp_cpus *cpus = d->hv->cpus;
    struct xp_place *p = place_of(d);
    bool paused = p->process.paused;
    if (cpus == NULL || p->known || d->pid <= 0 || xp_class_open(&p->process, d->pid, d->pidfd) != 0)
        return;
    p->process.paused = paused;
    int64_t now = xp_hv_system_time(cpus->hv);
    d->vcpu.sched.owner = d;
    d->vcpu.sched.domid = d->domid;
    struct xp_sched_params given;
    if (xp_sched_add(&cpus->sched, &d->vcpu.sched, xp_cpu_given(d, &given), now) != 0) {
        xp_class_close(&p->process);
        return;
    }
    xp_cpu_record_params(d, XP_TT_sched_add, now);
    p->known = true;
    (void)cpus->hand->thread(d->pid, XP_CLASS_NONE);       /* born while there was contention (xp_cpus_helper), maybe over by now */
    if (xp_busy_watch(d, (int32_t)atomic_load_explicit(&cpus->watcher_tid, memory_order_relaxed)) == 0)
        xp_busy_set(d, true, false);
    if (!cpus->contended || cpus->leaving)
        return;
    p->busy.seen_ns = now;      /* it begins to run */
    xp_cpu_charge(cpus, now);
    (void)adopt(cpus, d, now);
    xp_cpu_fill(cpus, now);
}

void xp_cpu_remove(struct xp_domain *d)
{
    struct xp_cpus *cpus = d->hv->cpus;
    struct xp_place *p = place_of(d);
    if (cpus == NULL || !p->known)
        return;
    int64_t now = xp_hv_system_time(cpus->hv);
    xp_cpu_charge(cpus, now);
    p->known = false;
    cpus->nr_waiting -= p->process.class == XP_CLASS_WAITING;
    xp_watch_close(&p->watches);
    xp_busy_close(&p->busy);
    xp_class_close(&p->process);
    xp_trace(&cpus->hv->tracer, XP_TRACE_sched, XP_TT_sched_remove, d->domid, 0, (uint64_t)now);
    int32_t at = xp_sched_remove(&cpus->sched, &d->vcpu.sched, now);
    if (at >= 0) {
        cpus->cpu[at].current = NULL;
        if (!cpus->leaving)
            xp_cpu_decide(cpus, &cpus->cpu[at], now);
    }
    if (cpus->contended && !cpus->leaving)
        xp_cpu_fill(cpus, now);
}

void xp_cpu_let_run(struct xp_domain *d)
{
    if (d->hv->cpus != NULL && place_of(d)->process.class == XP_CLASS_WAITING)
        xp_cpu_put(d->hv->cpus, d, XP_CLASS_ASLEEP, -1);
}

void xp_cpus_helper(struct xp_hv *hv, int32_t pid)
{
    xp_hv_lock(hv);
    if (hv->cpus != NULL && hv->cpus->helper != pid) {
        hv->cpus->helper = pid;
        if (hv->cpus->contended && !hv->cpus->leaving)
            (void)hv->cpus->hand->family(pid, XP_CLASS_ASLEEP);
    }
    xp_hv_unlock(hv);
}

void xp_cpus_let_run(struct xp_hv *hv, xp_domid_t domid)
{
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    if (d != NULL)
        xp_cpu_let_run(d);
    xp_hv_unlock(hv);
}

static int64_t thread_ns(pthread_t thread)
{
    clockid_t clock;
    struct timespec t = {0};
    if (pthread_getcpuclockid(thread, &clock) == 0)
        (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t xp_cpu_threads_ns(const struct xp_cpus *cpus)
{
    int64_t sum = thread_ns(cpus->watcher);
    for (uint32_t i = 0; i < cpus->nr_sentinels; i++)
        sum += thread_ns(cpus->cpu[i].sentinel);
    return sum;
}

static int64_t host_ns(const struct xp_cpus *cpus)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < cpus->nr; i++)
        sum += cpus->cpu[i].host_turn.share.used_ns;
    return sum;
}

void xp_cpus_info(struct xp_hv *hv, struct xp_cpus_info *info)
{
    xp_hv_lock(hv);
    const struct xp_cpus *c = hv->cpus;
    *info = (struct xp_cpus_info){0};
    if (c != NULL)
        *info = (struct xp_cpus_info){
            .nr_cpus = c->nr, .nr_waiting = c->nr_waiting, .scheduler = c->sched.class->name, .dispatch = c->hand->name,
            .on = true, .contended = c->contended, .watches = c->watch_fd >= 0,
            .nr_contended = c->nr_contended, .nr_switches = c->nr_switches, .nr_blocks = c->nr_blocks,
            .nr_wakes = c->nr_wakes, .nr_slices = c->nr_slices, .nr_strayed = c->nr_strayed,
            .nr_stalls = c->nr_stalls, .nr_leaks = c->nr_leaks, .stalled_ns = c->stalled_ns, .ran_ns = xp_cpu_threads_ns(c),
            .host_ns = host_ns(c),
        };
    xp_hv_unlock(hv);
}
