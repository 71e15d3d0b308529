/* timescale.c: see timescale.h. */
#include "timescale.h"

void xp_timescale_slope(struct xp_timescale *s, uint64_t ticks, uint64_t ns)
{
    /* ns / ticks lies between 2^(about - 1) and 2^(about + 1): the second try at the latest fits into 32 bits. */
    int about = __builtin_clzll(ticks) - __builtin_clzll(ns);
    int shift = about - 1 < -31 ? -31 : about - 1;
    unsigned __int128 mul = 0;
    for (; shift < 32; shift++) {
        mul = shift <= 0 ? ((unsigned __int128)ns << (32 - shift)) / ticks
                         : ((unsigned __int128)ns << 32) / ((unsigned __int128)ticks << shift);
        if (mul <= UINT32_MAX)
            break;
    }
    s->mul = mul <= UINT32_MAX ? (uint32_t)mul : UINT32_MAX;
    s->shift = (int8_t)(shift < 32 ? shift : 31);
}

void xp_timescale_follow(struct xp_timescale *s, uint64_t tsc, uint64_t ns, uint64_t tick_span, uint64_t ns_span)
{
    uint64_t mine = xp_timescale_read(s, tsc);
    if (tsc > s->tsc)
        s->tsc = tsc;
    if (mine > ns) {
        uint64_t ahead = mine - ns < XP_SLEW_NS / 2 ? mine - ns : XP_SLEW_NS / 2;
        s->ns = mine;
        ns_span -= (uint64_t)((unsigned __int128)ns_span * ahead / XP_SLEW_NS);
    } else {
        s->ns = ns;
    }
    xp_timescale_slope(s, tick_span, ns_span);
}
