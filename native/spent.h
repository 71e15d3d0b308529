/*
 * spent.h: CPU time that others spend for a domain: the hypervisor's threads, and back ends that hand over what they spent.
 *
 * Pure bookkeeping, times are arguments; cpu_spent.c gives it clocks and charges what comes of it. One pool for the hypervisor, one
 * account a domain (xp_place.spent); the hypervisor's lock is held. docs/scheduling.md explains the rules.
 *   1. Nothing is lost or invented: a settlement divides what the kernel says the hypervisor's threads have used among
 *      the accounts, to the ns; what nobody was served with is the pool's own.
 *   2. It is divided by the ticks of the TSC each was served for; what the threads used beyond these ticks (to wake, to fall asleep)
 *      by the number of turns each took.
 *   3. What a back end hands over it has really used, within the last period, and hands over once; and the payer said beforehand
 *      that this one may, and how much in a period.
 *   4. What was handed over is taken off the back end's next charges: in the end both together are charged what was used.
 *
 * Tour H:280
 */
#ifndef XP_SPENT_H
#define XP_SPENT_H

#include "xp.h"

#define XP_SPENT_PERIOD_NS 100000000     /* a payer's limit is of so long; what a back end used longer ago cannot be handed over */
#define XP_SPENT_PAYEES_MAX 8u           /* back ends that one domain pays */

/* Who may hand time over to a domain, and how much. */
struct xp_payee {
    xp_domid_t domid;
    int64_t born_ns;             /* when that domain was made: another one of the same number is not meant */
    int64_t limit_ns;            /* in each period; 0: the place is free */
    int64_t left_ns, since_ns;   /* of the period under way, and when that began */
};

struct xp_spent {
    void *owner;                 /* the caller's (struct xp_domain) */
    bool exempt;                 /* what is done for it counts as the pool's own */
    struct xp_spent *next, **link;       /* among those with something unsettled; link NULL: it has nothing */
    uint64_t ticks;              /* since the last settlement */
    uint32_t turns;
    int64_t due_ns;              /* settled, and not charged yet */
    int64_t hypervisor_ns;       /* in all: what the hypervisor spent for it */
    int64_t paid_ns, handed_ns;  /* in all: handed over to it, and by it */
    int64_t credit_ns;           /* handed over by it, and not taken off its charges yet */
    int64_t mark_ns;             /* of its CPU clock: up to here it handed over, or it is too late to */
    struct xp_payee *payee;      /* XP_SPENT_PAYEES_MAX of them, made at the first */
};

struct xp_spent_pool {
    bool on;                     /* somebody is charged at all */
    uint64_t last;               /* TSC: whoever is served next has been served since */
    struct xp_spent *first;
    struct xp_spent own;         /* work for nobody */
    int64_t settled_ns;          /* of the clocks of the hypervisor's threads */
    int64_t settled_at;          /* system time */
};

/* ---- being served ---- */

void xp_spent_add(struct xp_spent_pool *p, struct xp_spent *s, uint64_t tsc, uint32_t turns);

/* A thread begins to serve, the lock just taken. */
static inline void xp_spent_begin(struct xp_spent_pool *p)
{
    if (__builtin_expect(p->on, 0))
        p->last = xp_tsc();
}

/* A turn for s is over: one predicted branch where nobody is charged. */
static inline void xp_spent_turn(struct xp_spent_pool *p, struct xp_spent *s)
{
    if (__builtin_expect(p->on, 0))
        xp_spent_add(p, s, xp_tsc(), 1);
}

/* Spent for s, as measured elsewhere; it becomes due at once. */
void xp_spent_give(struct xp_spent_pool *p, struct xp_spent *s, int64_t ns);

/* ---- settling ---- */

/* Divides used_ns, which all threads used since the last settlement. hz: of the TSC. */
void xp_spent_settle(struct xp_spent_pool *p, int64_t used_ns, uint64_t hz);

/* After a settlement: the next account with something due, and how much, which then is due no more; NULL: none is left. */
struct xp_spent *xp_spent_take(struct xp_spent_pool *p, int64_t *ns);

/* Its domain ends: what was spent for it and is not charged is the pool's own. */
void xp_spent_forget(struct xp_spent_pool *p, struct xp_spent *s);

/* ---- handing over ---- */

/* Lets domid, made at born_ns, hand over up to limit_ns in each period (0: no more). -XEN_ENOMEM, -XEN_ENOSPC: it pays as many. */
int xp_spent_pay(struct xp_spent *payer, xp_domid_t domid, int64_t born_ns, int64_t limit_ns, int64_t now);

/*
 * A back end (domid, born_ns), whose CPU clock reads used_ns, hands wanted_ns over to a payer: returns how much of it is: what it has
 * used and the payer pays. -XEN_EPERM: it does not pay this one.
 */
int64_t xp_spent_hand(struct xp_spent *from, xp_domid_t domid, int64_t born_ns, int64_t used_ns, struct xp_spent *payer,
                      int64_t wanted_ns, int64_t now);

/* It ran for ran_ns: how much of that it is charged itself. */
int64_t xp_spent_without_credit(struct xp_spent *s, int64_t ran_ns);

#endif
