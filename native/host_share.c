/* host_share.c: see host_share.h. */
#include "host_share.h"

#include "bvt.h"

#define IDLE_PART 8              /* who uses less than this part of what it has does not want it */

void xp_host_share_anew(struct xp_host_share *s)
{
    s->wants = false;
    s->unwanted = 0;
    s->lead = 0;
}

void xp_host_share_domains(struct xp_host_share *s, int64_t ns, uint64_t weight)
{
    if (weight == 0 || (!s->wants && s->lead <= 0))
        return;
    s->lead -= XP_BVT_UNITS_PER_NS * ns / (int64_t)weight;
}

void xp_host_share_host(struct xp_host_share *s, int64_t got, int64_t used)
{
    if (used * IDLE_PART > got) {
        if (!s->wants && s->lead < 0)
            s->lead = 0;
        s->wants = true;
        s->unwanted = 0;
    } else if (s->wants && ++s->unwanted >= XP_HOST_UNWANTED) {
        s->wants = false;
    }
    s->used_ns += used;
    s->lead += xp_bvt_units(used, s->weight);
    if (!s->wants && s->lead < 0)
        s->lead = 0;
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
