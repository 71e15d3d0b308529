/* cpu_params.c: see cpu_params.h. */
#include "cpu_params.h"

#include "cpu_decide.h"
#include "dispatch.h"

const struct xp_sched_params *xp_cpu_given(const struct xp_domain *d, struct xp_sched_params *copy)
{
    *copy = d->vcpu.sched.params;
    return copy->weight != 0 ? copy : NULL;
}

void xp_cpu_record_params(struct xp_domain *d, uint16_t type, int64_t now)
{
    const struct xp_sched_params *p = &d->vcpu.sched.params;
    const int64_t warp[] = {p->warp_ns, p->warp_limit_ns, p->warp_period_ns};
    for (uint32_t i = 0; i < 3; i++)
        xp_trace(&d->hv->tracer, XP_TRACE_sched, XP_TT_sched_warp, d->domid, i, (uint64_t)warp[i]);
    xp_trace(&d->hv->tracer, XP_TRACE_sched, type, d->domid, p->weight, (uint64_t)now);
}

static void adjust(struct xp_cpus *cpus, struct xp_domain *d, const struct xp_sched_params *params)
{
    int64_t now = xp_hv_system_time(cpus->hv);
    xp_cpu_charge(cpus, now);
    (void)xp_sched_adjust(&cpus->sched, &d->vcpu.sched, params, now);
    xp_cpu_record_params(d, XP_TT_sched_adjust, now);
    if (!cpus->contended || cpus->leaving)
        return;
    for (uint32_t i = 0; i < cpus->nr; i++)
        xp_cpu_decide(cpus, &cpus->cpu[i], now);
    xp_cpu_fill(cpus, now);
}

int xp_cpus_adjust(struct xp_hv *hv, xp_domid_t domid, const struct xp_sched_params *params)
{
    int ret = xp_sched_check(params);
    if (ret != 0)
        return ret;
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    if (d == NULL)
        ret = -XEN_ESRCH;
    else if (hv->cpus != NULL && place_of(d)->known)
        adjust(hv->cpus, d, params);
    else
        d->vcpu.sched.params = *params;
    xp_hv_unlock(hv);
    return ret;
}

int xp_cpus_params(struct xp_hv *hv, xp_domid_t domid, struct xp_sched_params *params, struct xp_cpus_state *state)
{
    xp_hv_lock(hv);
    const struct xp_domain *d = xp_hv_domain(hv, domid);
    if (d != NULL) {
        const struct xp_sched_entity *e = &d->vcpu.sched;
        *params = e->params;
        *state = (struct xp_cpus_state){
            .avt = e->avt, .evt = e->evt, .charged_ns = e->charged_ns, .warped = e->warped,
            .svt = hv->cpus != NULL ? hv->cpus->sched.svt : 0,
        };
    }
    xp_hv_unlock(hv);
    return d != NULL ? 0 : -XEN_ESRCH;
}

uint32_t xp_cpus_host_weight(struct xp_hv *hv)
{
    xp_hv_lock(hv);
    uint32_t weight = hv->cpus != NULL ? hv->cpus->cpu[0].host_turn.share.weight : 0;
    xp_hv_unlock(hv);
    return weight;
}

int xp_cpus_set_host_weight(struct xp_hv *hv, uint32_t weight)
{
    if (weight == 0 || weight > XP_SCHED_WEIGHT_MAX)
        return -XEN_EINVAL;
    xp_hv_lock(hv);
    struct xp_cpus *cpus = hv->cpus;
    for (uint32_t i = 0; cpus != NULL && i < cpus->nr; i++)
        cpus->cpu[i].host_turn.share.weight = weight;
    xp_hv_unlock(hv);
    return cpus != NULL ? 0 : -XEN_ENOSYS;
}
