/* cpu_look.c: see cpu_look.h. */
#include "cpu_look.h"

#include "abi.h"
#include "cpu_decide.h"
#include "cpu_stop.h"
#include "dispatch.h"
#include "runstate.h"

#include <unistd.h>

#define SWEEP 64u                /* places of domains at a look */
#define ELSEWHERE_NS 1000000     /* a chosen one that is seen to run so often within this */
#define ELSEWHERE 16u            /* is on another CPU: no reason to stay awake */

int64_t xp_look_due(const struct xp_cpus *cpus)
{
    return cpus->hand->runs != NULL || cpus->watch_fd < 0 ? cpus->look_at : XP_FOREVER;
}

static bool runs(const struct xp_cpus *cpus, struct xp_domain *d)
{
    return cpus->hand->runs == NULL || cpus->hand->runs(&place_of(d)->process);
}

static void look_at_chosen(struct xp_cpu *cpu)
{
    struct xp_cpus *cpus = cpu->cpus;
    struct xp_domain *d = cpu->current;
    if (d == NULL)
        return;
    if (runs(cpus, d)) {
        xp_cpu_set_gate(cpu, 1);
        return;
    }
    xp_cpu_blocked(cpu);
    /* Woken between the two: before its watch was armed, so nothing would tell. */
    if (place_of(d)->process.class == XP_CLASS_ASLEEP && runs(cpus, d))
        xp_cpu_woken(d);
}

/* One that slept, and used CPU time that nobody saw: it is charged, and wants a CPU. */
static void look_at_sleeper(struct xp_domain *d)
{
    struct xp_place *p = place_of(d);
    if (p->known && p->process.class == XP_CLASS_ASLEEP && xp_cpu_ns(d->pid) - p->charged_ns >= XP_UNSEEN_NS)
        xp_cpu_woken(d);
}

void xp_look(struct xp_cpus *cpus, int64_t now)
{
    cpus->look_at = now + XP_LOOK_NS;
    for (uint32_t i = 0; cpus->hand->runs != NULL && i < cpus->nr; i++)
        look_at_chosen(&cpus->cpu[i]);
    for (uint32_t i = 0; cpus->watch_fd < 0 && i < SWEEP; i++) {
        struct xp_domain *d = cpus->hv->domains[cpus->sweep];
        if (d != NULL)
            look_at_sleeper(d);
        cpus->sweep = (cpus->sweep + 1) % XP_MAX_DOMAINS;
    }
}

void xp_look_suspected(struct xp_cpus *cpus)
{
    uint64_t nr;
    (void)!read(cpus->suspect_fd, &nr, sizeof nr);
    for (uint32_t i = 0; i < cpus->nr; i++)
        /* Pairs with the sentinel's store. */
        if (atomic_exchange_explicit(&cpus->cpu[i].suspect, false, memory_order_acquire) && cpus->contended && !cpus->leaving)
            look_at_chosen(&cpus->cpu[i]);
}

void xp_look_idle(struct xp_cpu *cpu)
{
    const uint64_t one = 1;
    uint32_t open = 1;
    int32_t pid = atomic_load_explicit(&cpu->chosen_pid, memory_order_relaxed);
    bool it_runs = pid > 0 && xp_stop_pid_runs(pid);
    int64_t now = xp_hv_system_time(cpu->cpus->hv);
    if (it_runs && (now - cpu->seen_since > ELSEWHERE_NS || cpu->nr_seen < ELSEWHERE)) {
        if (now - cpu->seen_since > ELSEWHERE_NS) {
            cpu->seen_since = now;
            cpu->nr_seen = 0;
        }
        cpu->nr_seen++;
        (void)sched_yield();
        return;
    }
    cpu->nr_seen = 0;
    /* Sleeps until the gate opens again: the watcher, or whoever decides next, does that. */
    (void)atomic_compare_exchange_strong_explicit(&cpu->gate, &open, 0, memory_order_acq_rel, memory_order_relaxed);
    if (it_runs)
        return;
    atomic_store_explicit(&cpu->suspect, true, memory_order_release);
    (void)!write(cpu->cpus->suspect_fd, &one, sizeof one);
}

int xp_cpu_pause(struct xp_domain *d, bool paused)
{
    struct xp_cpus *cpus = d->hv->cpus;
    struct xp_place *p = place_of(d);
    p->process.pidfd = d->pidfd;
    if (d->pid <= 0 || xp_stop_pause(&p->process, paused) != 0)
        return -XEN_ESRCH;
    bool had = p->process.class == XP_CLASS_CHOSEN || p->process.class == XP_CLASS_WAITING;
    if (!paused || cpus == NULL || cpus->hand->runs == NULL || !cpus->contended || cpus->leaving || !had)
        return 0;               /* by classes: its sentinel sees it, or the one of the CPU that it is chosen for */
    int64_t now = xp_hv_system_time(d->hv);
    int32_t at = d->vcpu.sched.cpu;
    xp_cpu_charge(cpus, now);
    if (at >= 0)
        cpus->cpu[at].current = NULL;
    xp_cpu_sleeps(cpus, d, now);
    if (at >= 0)
        xp_cpu_decide(cpus, &cpus->cpu[at], now);
    xp_cpu_fill(cpus, now);
    return 0;
}

void xp_cpu_strayed(struct xp_domain *d)
{
    struct xp_cpus *cpus = d->hv->cpus;
    if (cpus->hand->runs != NULL && xp_stop_again(&place_of(d)->process))
        cpus->nr_strayed++;
}
