/*
 * spin.c: the unhurried half of spin.h: what a spinner does once it has spun for a while.
 */
#include "spin.h"

#include <sched.h>

int xp_spin_look(struct xp_spin *s, const _Atomic uint32_t *peer_cpu, _Atomic uint32_t *my_cpu)
{
    struct xp_sem_waiter *w = s->w;
    if (s->mode == XP_WAIT_BLOCK)
        return 1;
    if (s->mode == XP_WAIT_ADAPTIVE && s->n == 0) {
        /* Spinning did not pay lately. */
        w->backoff--;
        return 1;
    }
    int64_t now = xp_now_ns();
    if (now >= s->deadline)
        return -XEN_ETIMEDOUT;
    bool same = false;
    if (my_cpu && peer_cpu) {
        uint32_t cpu = xp_cpu() + 1;
        /* A line that the peer reads: written only when it changes. Hints order nothing. */
        if (atomic_load_explicit(my_cpu, memory_order_relaxed) != cpu)
            atomic_store_explicit(my_cpu, cpu, memory_order_relaxed);
        same = atomic_load_explicit(peer_cpu, memory_order_relaxed) == cpu;
        w->near = same;
    }
    if (s->mode == XP_WAIT_ADAPTIVE) {
        if (s->until == 0)
            s->until = now + XP_SPIN_NS;
        if (same || now >= s->until) {
            w->fails += w->fails < XP_SPIN_BACKOFF_MAX;
            w->backoff = 1u << w->fails;
            return 1;
        }
    } else if (same || s->n >= s->yield) {
        (void)sched_yield();
        s->yield = s->n + XP_SPIN_YIELD;
    }
    s->n++;
    s->next = s->n + (same ? XP_SPIN_NEAR : XP_SPIN_SHORT) - 1;
    xp_relax();
    return 0;
}
