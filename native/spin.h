/*
 * spin.h: how long to spin before sleeping, in one place for semaphores, events and rings.
 *
 * Owns struct xp_spin, one wait's state on the stack; what is learnt from wait to wait stands in struct xp_sem_waiter.
 * A wait begins a spin, calls xp_spin while its condition is false, and ends the spin if it came true meanwhile.
 *   1. The first pauses cost nothing but pauses: no clock, no CPU number, no store.
 *   2. Nobody spins on long against a peer on his own CPU: he sleeps (ADAPTIVE) or yields each time (POLL).
 *   3. POLL yields now and then, so that more spinners than CPUs are slow, not dead. It never says "sleep".
 *   4. ADAPTIVE stops trying for a while after spins that did not pay, longer each time.
 *
 * Tour E:060
 */
#ifndef XP_SPIN_H
#define XP_SPIN_H

#include "sem.h"

#define XP_SPIN_SHORT 64u        /* pauses before the first look around, and between looks */
#define XP_SPIN_NEAR 4u          /* the same where the peer was seen on this CPU */
#define XP_SPIN_YIELD 2048u      /* POLL: pauses between yields */
#define XP_SPIN_NS 25000         /* ADAPTIVE: what a sleep and a wake between two CPUs cost */
#define XP_SPIN_BACKOFF_MAX 12u  /* ADAPTIVE: at most 2^this waits without a spin */

struct xp_spin {
    struct xp_sem_waiter *w;
    int64_t deadline;
    int64_t until;               /* ADAPTIVE: when to give up; 0 while the clock was not read */
    uint64_t n, next;            /* pauses so far; at which to look around */
    uint64_t yield;              /* POLL: at which to yield */
    int mode;
};

static inline struct xp_spin xp_spin_begin(struct xp_sem_waiter *w, int mode, int64_t deadline_ns)
{
    bool spins = (mode & 3) == XP_WAIT_POLL || ((mode & 3) == XP_WAIT_ADAPTIVE && w->backoff == 0);
    uint32_t first = w->near ? XP_SPIN_NEAR : XP_SPIN_SHORT;
    return (struct xp_spin){.w = w, .deadline = deadline_ns, .next = spins ? first : 0,
                            .yield = XP_SPIN_YIELD, .mode = mode & 3};
}

/* The part of xp_spin that is not hot: looks at CPUs and clock, yields. */
int xp_spin_look(struct xp_spin *s, const _Atomic uint32_t *peer_cpu, _Atomic uint32_t *my_cpu);

/*
 * One pause. 0: look at the condition again, 1: sleep, -XEN_ETIMEDOUT. The CPU hints (struct xp_event_half; number + 1,
 * 0 while unknown) may be NULL.
 */
static inline int xp_spin(struct xp_spin *s, const _Atomic uint32_t *peer_cpu, _Atomic uint32_t *my_cpu)
{
    if (s->n < s->next) {
        s->n++;
        xp_relax();
        return 0;
    }
    return xp_spin_look(s, peer_cpu, my_cpu);
}

/* The condition came true before xp_spin said to sleep. */
static inline void xp_spin_paid(struct xp_spin *s) { s->w->fails = 0; }

#endif
