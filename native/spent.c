/* spent.c: see spent.h. */
#include "spent.h"

#include <stdlib.h>

static void list(struct xp_spent_pool *p, struct xp_spent *s)
{
    if (s->link != NULL || s == &p->own)
        return;
    s->next = p->first;
    s->link = &p->first;
    if (s->next != NULL)
        s->next->link = &s->next;
    p->first = s;
}

static void unlist(struct xp_spent *s)
{
    if (s->link == NULL)
        return;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    s->next = NULL;
    s->link = NULL;
}

void xp_spent_add(struct xp_spent_pool *p, struct xp_spent *s, uint64_t tsc, uint32_t turns)
{
    if (s->exempt)
        s = &p->own;
    if (tsc > p->last)          /* another CPU's counter may be a little behind */
        s->ticks += tsc - p->last;
    p->last = tsc;
    s->turns += turns;
    list(p, s);
}

void xp_spent_give(struct xp_spent_pool *p, struct xp_spent *s, int64_t ns)
{
    if (s->exempt) {
        p->own.hypervisor_ns += ns;
        return;
    }
    s->due_ns += ns;
    list(p, s);
}

/* ---- settling ---- */

static int64_t ticks_ns(uint64_t ticks, uint64_t hz)
{
    return (int64_t)((unsigned __int128)ticks * 1000000000 / hz);
}

struct division {
    uint64_t hz;
    int64_t beyond;              /* ns that no ticks account for, */
    uint64_t turns;              /* to be divided by these */
    __int128 left_ns, left_weight;
};

/* In units of 1 / turns of a ns: exact. */
static __int128 weight_of(const struct division *d, const struct xp_spent *s)
{
    __int128 weight = (__int128)ticks_ns(s->ticks, d->hz) * (int64_t)(d->turns > 0 ? d->turns : 1);
    return weight + (__int128)s->turns * d->beyond;
}

/* Whatever is rounded off goes to those who come later: the last gets all that is left. */
static void settle_one(struct division *d, struct xp_spent *s)
{
    __int128 weight = weight_of(d, s);
    __int128 ns = d->left_weight > 0 ? d->left_ns * weight / d->left_weight : 0;
    d->left_weight -= weight;
    d->left_ns -= ns;
    s->due_ns += (int64_t)ns;
    s->ticks = 0;
    s->turns = 0;
}

void xp_spent_settle(struct xp_spent_pool *p, int64_t used_ns, uint64_t hz)
{
    struct division d = {.hz = hz, .turns = p->own.turns, .left_ns = used_ns < 0 ? 0 : used_ns};
    int64_t counted = ticks_ns(p->own.ticks, hz);
    for (struct xp_spent *s = p->first; s != NULL; s = s->next) {
        counted += ticks_ns(s->ticks, hz);
        d.turns += s->turns;
    }
    d.beyond = used_ns > counted && d.turns > 0 ? used_ns - counted : 0;
    d.left_weight = weight_of(&d, &p->own);
    for (struct xp_spent *s = p->first; s != NULL; s = s->next)
        d.left_weight += weight_of(&d, s);
    for (struct xp_spent *s = p->first; s != NULL; s = s->next)
        settle_one(&d, s);
    p->own.ticks = 0;
    p->own.turns = 0;
    p->own.hypervisor_ns += (int64_t)d.left_ns;
}

struct xp_spent *xp_spent_take(struct xp_spent_pool *p, int64_t *ns)
{
    struct xp_spent *s = p->first;
    if (s == NULL)
        return NULL;
    *ns = s->due_ns;
    s->hypervisor_ns += s->due_ns;
    s->due_ns = 0;
    unlist(s);
    return s;
}

void xp_spent_forget(struct xp_spent_pool *p, struct xp_spent *s)
{
    p->own.ticks += s->ticks;
    p->own.turns += s->turns;
    p->own.hypervisor_ns += s->due_ns;
    s->ticks = 0;
    s->turns = 0;
    s->due_ns = 0;
    unlist(s);
    free(s->payee);
    s->payee = NULL;
}

/* ---- handing over ---- */

static struct xp_payee *payee_of(const struct xp_spent *payer, xp_domid_t domid)
{
    for (uint32_t i = 0; payer->payee != NULL && i < XP_SPENT_PAYEES_MAX; i++)
        if (payer->payee[i].limit_ns > 0 && payer->payee[i].domid == domid)
            return &payer->payee[i];
    return NULL;
}

int xp_spent_pay(struct xp_spent *payer, xp_domid_t domid, int64_t born_ns, int64_t limit_ns, int64_t now)
{
    struct xp_payee *p = payee_of(payer, domid);
    if (limit_ns == 0) {
        if (p != NULL)
            p->limit_ns = 0;
        return 0;
    }
    if (payer->payee == NULL)
        payer->payee = calloc(XP_SPENT_PAYEES_MAX, sizeof *payer->payee);
    if (payer->payee == NULL)
        return -XEN_ENOMEM;
    for (uint32_t i = 0; p == NULL && i < XP_SPENT_PAYEES_MAX; i++)
        if (payer->payee[i].limit_ns == 0)
            p = &payer->payee[i];
    if (p == NULL)
        return -XEN_ENOSPC;
    if (p->limit_ns == 0 || p->domid != domid || p->born_ns != born_ns)
        *p = (struct xp_payee){.domid = domid, .born_ns = born_ns, .left_ns = limit_ns, .since_ns = now};
    p->limit_ns = limit_ns;
    p->left_ns = p->left_ns < limit_ns ? p->left_ns : limit_ns;
    return 0;
}

int64_t xp_spent_hand(struct xp_spent *from, xp_domid_t domid, int64_t born_ns, int64_t used_ns, struct xp_spent *payer,
                      int64_t wanted_ns, int64_t now)
{
    struct xp_payee *p = payee_of(payer, domid);
    if (p == NULL || p->born_ns != born_ns)
        return -XEN_EPERM;
    if (now - p->since_ns >= XP_SPENT_PERIOD_NS) {
        p->since_ns = now;
        p->left_ns = p->limit_ns;
    }
    if (from->mark_ns < used_ns - XP_SPENT_PERIOD_NS)
        from->mark_ns = used_ns - XP_SPENT_PERIOD_NS;
    int64_t ns = wanted_ns;
    ns = ns < p->left_ns ? ns : p->left_ns;
    ns = ns < used_ns - from->mark_ns ? ns : used_ns - from->mark_ns;
    if (ns <= 0)
        return 0;
    p->left_ns -= ns;
    from->mark_ns += ns;
    from->credit_ns += ns;
    from->handed_ns += ns;
    payer->paid_ns += ns;
    return ns;
}

int64_t xp_spent_without_credit(struct xp_spent *s, int64_t ran_ns)
{
    int64_t off = s->credit_ns < ran_ns ? s->credit_ns : ran_ns;
    s->credit_ns -= off;
    return ran_ns - off;
}
