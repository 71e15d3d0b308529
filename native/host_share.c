/* host_share.c: see host_share.h. */
#include "host_share.h"

#include "bvt.h"

#define IDLE_PART 8              /* who uses less than this part of what it has does not want it */

void xp_host_share_anew(struct xp_host_share *s)
{
    s->wants = false;
    s->seen_ns = s->seen_used_ns = 0;
    s->lead = 0;
}

/* Who wants nothing is never behind, who does not by more than so much. */
static void bound(struct xp_host_share *s)
{
    int64_t least = s->wants ? -xp_bvt_units(XP_HOST_OWED_MAX_NS, s->weight) : 0;
    if (s->lead < least)
        s->lead = least;
}

void xp_host_share_domains(struct xp_host_share *s, int64_t ns, uint64_t weight)
{
    if (weight == 0)
        return;
    s->lead -= XP_BVT_UNITS_PER_NS * ns / (int64_t)weight;
    bound(s);
}

/* What was seen of its wants, by time: many short breaths say no more than one long one. */
static void judge(struct xp_host_share *s, int64_t got, int64_t used)
{
    s->seen_ns += got;
    s->seen_used_ns += used;
    int64_t of = s->seen_ns < XP_HOST_SEEN_MIN_NS ? XP_HOST_SEEN_MIN_NS : s->seen_ns;
    bool wanted = s->seen_used_ns * IDLE_PART > of;
    if (!wanted && s->seen_ns < XP_HOST_UNWANTED_NS)
        return;                 /* not known yet */
    s->wants = wanted;
    s->seen_ns = s->seen_used_ns = 0;
}

void xp_host_share_host(struct xp_host_share *s, int64_t got, int64_t used)
{
    judge(s, got, used);
    s->used_ns += used;
    s->lead += xp_bvt_units(used, s->weight);
    bound(s);
}

static int64_t owed(const struct xp_host_share *s)
{
    return s->lead < 0 ? -s->lead / XP_BVT_UNITS_PER_NS * (int64_t)s->weight : 0;
}

int64_t xp_host_share_turn(const struct xp_host_share *s)
{
    int64_t ns = s->wants ? owed(s) : 0;
    return ns < XP_HOST_TURN_MIN_NS ? 0 : ns < XP_HOST_TURN_NS ? ns : XP_HOST_TURN_NS;
}

int64_t xp_host_share_next(const struct xp_host_share *s, uint64_t weight, int64_t period)
{
    if (xp_host_share_turn(s) == 0)
        return period;
    /* Its turn was cut: the domains get what is theirs beside one turn, less if the host stays behind: they use some of its turns. */
    int64_t behind = owed(s) - XP_HOST_TURN_NS, beside = XP_HOST_TURN_NS - (behind > 0 ? behind : 0);
    int64_t ns = beside <= 0 ? 0 : (int64_t)((uint64_t)beside * weight / s->weight);
    return ns > period ? period : ns < XP_HOST_DOMAINS_MIN_NS ? XP_HOST_DOMAINS_MIN_NS : ns;
}
