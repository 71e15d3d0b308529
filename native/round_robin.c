/*
 * round_robin.c: the other scheduler: everybody in turn, a slice each, whatever they weigh. See scheduler.h.
 *
 * A slice is real time since it was chosen. Who wakes waits behind those who wait. It is there to be compared with, and for
 * whoever wants none of bvt.c.
 */
#include "scheduler.h"

static void nothing(struct xp_sched *s, struct xp_sched_entity *e, int64_t now)
{
    (void)s;
    (void)e;
    (void)now;
}

static void charge(struct xp_sched *s, struct xp_sched_entity *e, int64_t ran_ns, int64_t now)
{
    (void)ran_ns;
    nothing(s, e, now);
}

/* All are equal: first come, first served. */
static int64_t due(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    (void)s;
    (void)e;
    return 0;
}

static int64_t left(const struct xp_sched *s, const struct xp_sched_entity *e, const struct xp_sched_entity *first, int64_t now)
{
    (void)first;
    return e->since + s->set.slice_ns - now;
}

static int64_t limit(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    (void)s;
    (void)e;
    return XP_SCHED_FOREVER;
}

static int64_t room(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    (void)s;
    (void)e;
    return XP_SCHED_NS_MAX;
}

const struct xp_sched_class xp_sched_round_robin = {
    .name = "rr", .add = nothing, .adjust = nothing, .wake = nothing, .charge = charge, .due = due, .left = left, .limit = limit,
    .room = room,
};
