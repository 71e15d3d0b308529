/*
 * host_share.h: Domain0's share of a CPU beside the domains', by Borrowed Virtual Time's rules: pure, time is an argument.
 *
 * What runs on a CPU besides domains (the user's program, back ends, whatever else the host does: its kernel's ordinary class) is
 * one party, with Domain0's weight; the domains, with the weights of those that want to run, the other. cpu_host.c carries it out.
 *   1. lead: how far the host's virtual time is ahead of the domains', in units of bvt.h. What either uses moves it by 8 ns / weight.
 *   2. What was not wanted is not saved up: a host that wants CPU time again is not behind. Nor is more than XP_HOST_OWED_MAX_NS that
 *      it wanted and was not given: domains are not kept waiting for long by what was long ago.
 *   3. It wants more if it used an eighth of the breaths and turns that it had since that was last known. One breath says little, as the
 *      kernel's ordinary class lets one run for a whole tick before another, and a short one less: XP_HOST_UNWANTED_NS say no.
 *   4. A turn of the host's is what it is owed, at most one allowance; behind it the domains get theirs before the next.
 *
 * Source: bvt.h.
 *
 * Tour H:330
 */
#ifndef XP_HOST_SHARE_H
#define XP_HOST_SHARE_H

#include "xp.h"

#define XP_HOST_TURN_NS 5000000          /* the longest turn: the context switch allowance */
#define XP_HOST_UNWANTED_NS 7500000      /* four breaths, where the kernel keeps 5% of each CPU for others */
#define XP_HOST_SEEN_MIN_NS 1000000      /* an eighth of less than this is nothing */
#define XP_HOST_OWED_MAX_NS 200000000
#define XP_HOST_TURN_MIN_NS 500000       /* not worth a switch */
#define XP_HOST_DOMAINS_MIN_NS 1000000   /* the domains' least turn between two of the host's */

struct xp_host_share {
    uint32_t weight;             /* Domain0's */
    bool wants;
    int64_t seen_ns, seen_used_ns;   /* breaths and turns since it was known whether it wants more; what it used of them */
    int64_t lead;
    int64_t used_ns;             /* by the host while CPUs were contended, as far as was seen */
};

/* Contention begins: until now the host had what it wanted. */
void xp_host_share_anew(struct xp_host_share *s);

/* The domains had the CPU for ns; weight: of those that want it, on one CPU. */
void xp_host_share_domains(struct xp_host_share *s, int64_t ns, uint64_t weight);

/* The host had `got` ns and used so much of them: wants says whether it would have used more. */
void xp_host_share_host(struct xp_host_share *s, int64_t got, int64_t used);

/* How long the host's turn is now; 0: none. */
int64_t xp_host_share_turn(const struct xp_host_share *s);

/* After how long to look again: period, unless the host is owed a turn before. */
int64_t xp_host_share_next(const struct xp_host_share *s, uint64_t weight, int64_t period);

#endif
