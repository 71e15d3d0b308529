/* cpu_spent.c: see cpu_spent.h. */
#include "cpu_spent.h"

#include "abi.h"
#include "cpu_decide.h"
#include "dispatch.h"
#include "runstate.h"

#define SETTLE_NS 1000000

/* What the hypervisor's threads have used since they began; the policy thread's work is measured by itself. */
static int64_t threads_ns(const struct xp_cpus *cpus)
{
    struct timespec t = {0};
    int32_t tid = cpus->hv->dispatcher_tid;
    if (tid != 0)
        (void)clock_gettime(xp_cpu_clock(tid) | 4, &t);  /* of one thread: the kernel's CPUCLOCK_PERTHREAD_MASK */
    return xp_cpu_threads_ns(cpus) + (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void charge(struct xp_cpus *cpus, struct xp_domain *d, uint16_t type, int64_t ns, int64_t now)
{
    while (ns > 0 && place_of(d)->known) {
        int64_t part = ns < UINT32_MAX ? ns : UINT32_MAX;
        xp_trace(&cpus->hv->tracer, XP_TRACE_sched, type, d->domid, (uint32_t)part, (uint64_t)now);
        xp_sched_charge(&cpus->sched, &d->vcpu.sched, part, now);
        ns -= part;
    }
}

static void settle(struct xp_cpus *cpus, int64_t now)
{
    struct xp_spent_pool *pool = &cpus->hv->spent;
    int64_t used = threads_ns(cpus), ns;
    struct xp_spent *s;
    xp_spent_settle(pool, used - pool->settled_ns, xp_clock_hz(&cpus->hv->clock));
    pool->settled_ns = used;
    pool->settled_at = now;
    while ((s = xp_spent_take(pool, &ns)) != NULL)
        charge(cpus, s->owner, XP_TT_sched_spent, ns, now);
}

void xp_cpu_settle(struct xp_cpus *cpus, int64_t now)
{
    if (cpus->hv->spent.on && now - cpus->hv->spent.settled_at >= SETTLE_NS)
        settle(cpus, now);
}

void xp_cpu_spent_on(struct xp_cpus *cpus)
{
    struct xp_spent_pool *pool = &cpus->hv->spent;
    pool->settled_ns = threads_ns(cpus);
    pool->settled_at = xp_hv_system_time(cpus->hv);
    pool->last = xp_tsc();
    pool->on = true;
}

void xp_cpu_spent_off(struct xp_cpus *cpus)
{
    if (cpus->hv->spent.on)
        settle(cpus, xp_hv_system_time(cpus->hv));
    cpus->hv->spent.on = false;
}

bool xp_cpu_ahead(struct xp_domain *d)
{
    struct xp_cpus *cpus = d->hv->cpus;
    int64_t now = xp_hv_system_time(d->hv);
    if (cpus->leaving || !place_of(d)->known || place_of(d)->spent.exempt)
        return false;
    if (now - d->hv->spent.settled_at >= SETTLE_NS)
        xp_cpu_charge(cpus, now);
    return d->vcpu.sched.cpu < 0 && xp_sched_room(&cpus->sched, &d->vcpu.sched) == 0;
}

void xp_cpu_charge_ran(struct xp_cpus *cpus, struct xp_domain *d, int64_t ran_ns, int64_t now)
{
    charge(cpus, d, XP_TT_sched_charge, xp_spent_without_credit(&place_of(d)->spent, ran_ns), now);
}

/* ---- back ends ---- */

int64_t xp_cpu_pay(struct xp_domain *d, uint64_t domid, uint64_t limit_ns)
{
    struct xp_domain *payee = domid < XP_MAX_DOMAINS ? xp_hv_domain(d->hv, (xp_domid_t)domid) : NULL;
    if (payee == NULL)
        return -XEN_ESRCH;
    if (payee == d || limit_ns > XP_SPENT_PERIOD_NS)
        return -XEN_EINVAL;
    return xp_spent_pay(&place_of(d)->spent, payee->domid, payee->created_ns, (int64_t)limit_ns, xp_hv_system_time(d->hv));
}

int64_t xp_cpu_hand_over(struct xp_domain *d, uint64_t domid, uint64_t ns)
{
    struct xp_cpus *cpus = d->hv->cpus;
    struct xp_domain *payer = domid < XP_MAX_DOMAINS ? xp_hv_domain(d->hv, (xp_domid_t)domid) : NULL;
    if (payer == NULL)
        return -XEN_ESRCH;
    if (payer == d || ns > INT64_MAX)
        return -XEN_EINVAL;
    bool charged = d->hv->spent.on && place_of(d)->known && place_of(payer)->known && !cpus->leaving;
    int64_t now = xp_hv_system_time(d->hv);
    int64_t room = 0;
    if (charged) {
        xp_cpu_charge(cpus, now);
        room = xp_sched_room(&cpus->sched, &payer->vcpu.sched);
    }
    /* Not beyond the payer's share: one that pays and never runs would lend its payee more than both are entitled to. */
    int64_t wanted = (int64_t)ns < room ? (int64_t)ns : room;
    int64_t taken = xp_spent_hand(&place_of(d)->spent, d->domid, d->created_ns, xp_cpu_ns(d->pid), &place_of(payer)->spent, wanted, now);
    if (taken > 0)
        charge(cpus, payer, XP_TT_sched_paid, taken, now);
    return taken;
}

/* ---- for the policy thread ---- */

void xp_domain_spent(struct xp_hv *hv, xp_domid_t domid, int64_t ns)
{
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    if (d != NULL && hv->spent.on && ns > 0)
        xp_spent_give(&hv->spent, &place_of(d)->spent, ns);
    xp_hv_unlock(hv);
}

bool xp_hv_charges(struct xp_hv *hv)
{
    xp_hv_lock(hv);
    bool on = hv->spent.on;
    xp_hv_unlock(hv);
    return on;
}

int xp_domain_exempt(struct xp_hv *hv, xp_domid_t domid)
{
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    if (d != NULL)
        place_of(d)->spent.exempt = true;
    xp_hv_unlock(hv);
    return d != NULL ? 0 : -XEN_ESRCH;
}

int xp_domain_spent_info(struct xp_hv *hv, xp_domid_t domid, struct xp_spent_info *info)
{
    xp_hv_lock(hv);
    struct xp_domain *d = domid == 0 ? NULL : xp_hv_domain(hv, domid);
    const struct xp_spent *s = domid == 0 ? &hv->spent.own : d != NULL ? &place_of(d)->spent : NULL;
    if (s != NULL)
        *info = (struct xp_spent_info){.hypervisor_ns = s->hypervisor_ns, .paid_ns = s->paid_ns, .handed_ns = s->handed_ns};
    xp_hv_unlock(hv);
    return s != NULL ? 0 : -XEN_ESRCH;
}
