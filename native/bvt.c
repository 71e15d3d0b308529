/* bvt.c: see bvt.h; the numbers are its rules'. */
#include "bvt.h"

static int64_t warp_units(const struct xp_sched_entity *e)
{
    return xp_bvt_units(e->params.warp_ns, XP_SCHED_WEIGHT);
}

static int64_t allowance(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    int64_t units = xp_bvt_units(s->set.ctx_allow_ns, e->params.weight);
    return units > 0 ? units : 1;
}

/* 7 and 2. */
static void set_evt(struct xp_sched_entity *e, int64_t now)
{
    const struct xp_sched_params *p = &e->params;
    if (now - e->warp_since >= p->warp_period_ns) {
        e->warp_used_ns = 0;
        e->warp_since = now;
    }
    e->warped = p->warp_ns > 0 && (p->warp_limit_ns == 0 || e->warp_used_ns < p->warp_limit_ns);
    e->evt = e->avt - (e->warped ? warp_units(e) : 0);
}

static void bring_forward(struct xp_sched_entity *e, int64_t avt)
{
    if (e->avt >= avt)
        return;
    e->avt = avt;
    e->rest = 0;
}

static void add(struct xp_sched *s, struct xp_sched_entity *e, int64_t now)
{
    e->avt = s->svt;
    e->warp_since = now;
    set_evt(e, now);
}

static void adjust(struct xp_sched *s, struct xp_sched_entity *e, int64_t now)
{
    (void)s;
    e->rest = 0;                 /* counted in fractions of the weight: less than a unit */
    set_evt(e, now);
}

/* The avt that one who sleeps has if it wakes now. */
static int64_t avt_awake(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    if (e->claims)
        return e->avt;
    int64_t avt = e->avt > s->svt ? e->avt : s->svt;
    if (s->weight > 0) {
        int64_t least = (int64_t)(s->served / s->weight) - allowance(s, e);
        avt = avt > least ? avt : least;
    }
    return avt;
}

static void wake(struct xp_sched *s, struct xp_sched_entity *e, int64_t now)
{
    bring_forward(e, avt_awake(s, e));
    set_evt(e, now);
}

/* 8: what e, which runs, is brought forward to; INT64_MIN: it alone wants a CPU. */
static int64_t floor_of(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    const struct xp_heap_node *first = xp_heap_first(&s->queue);
    int64_t most = INT64_MIN;
    if (first != NULL) {
        const struct xp_sched_entity *w = xp_heap_owner(first, struct xp_sched_entity, queue);
        most = w->avt - warp_units(w) - allowance(s, w);
    }
    for (uint32_t i = 0; first == NULL && i < s->nr_cpus; i++) {
        const struct xp_sched_entity *c = s->cpu[i].current;
        if (c == NULL || c == e)
            continue;
        int64_t avt = c->avt - warp_units(c) - allowance(s, c);
        most = avt > most ? avt : most;
    }
    return most == INT64_MIN ? most : most - allowance(s, e);
}

static void charge(struct xp_sched *s, struct xp_sched_entity *e, int64_t ran_ns, int64_t now)
{
    if (!e->runnable)
        bring_forward(e, avt_awake(s, e));       /* 9 */
    if (e->warped)
        e->warp_used_ns += ran_ns;
    int64_t over = ran_ns - e->ahead_ns;
    int64_t mcus = over > 0 ? (over + s->set.mcu_ns - 1) / s->set.mcu_ns : 0;
    e->ahead_ns = mcus * s->set.mcu_ns - over;
    int64_t units = XP_BVT_UNITS_PER_NS * mcus * s->set.mcu_ns + e->rest;
    e->avt += units / (int64_t)e->params.weight;
    e->rest = units % (int64_t)e->params.weight;
    if (e->cpu >= 0 && s->nr_cpus > 1)
        bring_forward(e, floor_of(s, e));
    set_evt(e, now);
}

/* 5. */
static int64_t due(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    return e->evt + (e->woken ? 1 : allowance(s, e));
}

/* 6. */
static int64_t left(const struct xp_sched *s, const struct xp_sched_entity *e, const struct xp_sched_entity *first, int64_t now)
{
    (void)now;
    int64_t ahead = first->queue.key - e->evt, weight = e->params.weight;
    if (ahead <= 0)
        return 0;
    if (ahead > INT64_MAX / 2 / weight)
        return XP_SCHED_FOREVER;
    int64_t mcu = XP_BVT_UNITS_PER_NS * s->set.mcu_ns;
    int64_t mcus = (ahead * weight - e->rest + mcu - 1) / mcu;
    return mcus * s->set.mcu_ns + e->ahead_ns;
}

/* 9. */
static int64_t room(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    int64_t avt = e->runnable ? e->avt : avt_awake(s, e);
    int64_t mean = s->weight > 0 ? (int64_t)(s->served / s->weight) : avt;
    int64_t units = mean + allowance(s, e) - avt;
    if (units <= 0)
        return 0;
    __int128 ns = (__int128)units * e->params.weight / XP_BVT_UNITS_PER_NS;
    return ns < XP_SCHED_NS_MAX ? (int64_t)ns : XP_SCHED_NS_MAX;
}

static int64_t limit(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    (void)s;
    return e->warped && e->params.warp_limit_ns > 0 ? e->params.warp_limit_ns - e->warp_used_ns : XP_SCHED_FOREVER;
}

const struct xp_sched_class xp_sched_bvt = {
    .name = "bvt", .add = add, .adjust = adjust, .wake = wake, .charge = charge, .due = due, .left = left, .limit = limit,
    .room = room,
};
