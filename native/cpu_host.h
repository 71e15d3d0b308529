/*
 * cpu_host.h: the host's ordinary class on each scheduled CPU is scheduled, too: it is Domain0 (host_share.h says how much it gets).
 *
 * A real-time class that fills a CPU is stopped by the kernel for 50 ms in each second, in one piece, wake-ups included (its
 * limit on real-time classes; its server for the ordinary class). So the chosen domain *breathes*: in each period it runs in the
 * ordinary class for a moment. That is also how the host's wants are seen: what the chosen one does not get then, somebody
 * else used. For cpu_decide.c alone; the hypervisor's lock is held.
 *   1. In each period of 28 ms in which a CPU has a chosen domain, that is in no real-time class for the part that the kernel keeps
 *      for others, and two fifths more: so it never has to enforce it.
 *   2. The host's turn: the chosen domain is below the host's ordinary processes, and above domains that wait; what they leave
 *      is its. Its slice waits for it.
 *   3. A switch ends a breath and a turn of the host's; what was left of them is made up for. None begins with a switch: who was there
 *      until then would go on, as the kernel's ordinary class takes nobody off the CPU before the next tick.
 *   4. A domain that waits and gets on the CPU all the same (it is in the ordinary class, too, and its part of it is a three-hundredth of a
 *      process's, in lumps of a tick) is seen there by its switch records, and the breath is over at once: some 20 us instead of 4 ms.
 *   5. While a CPU breathes or the host has its turn, its sentinel sleeps: a block is seen when that is over.
 *
 * Tour H:340
 */
#ifndef XP_CPU_HOST_H
#define XP_CPU_HOST_H

#include "cpu_class.h"
#include "host_share.h"

enum xp_host_phase { XP_HOST_NONE = 0, XP_HOST_BREATH, XP_HOST_TURN };

/* A CPU's. */
struct xp_host_cpu {
    struct xp_host_share share;
    enum xp_host_phase phase;
    int64_t at;                  /* system time: the phase ends; XP_FOREVER: never */
    int64_t since;               /* it began, or was counted up to */
    int64_t clock_ns;            /* of the current domain's CPU, then */
    int64_t left_ns;             /* of this period's breath */
    int64_t got_ns, used_ns;     /* in this breath (in all its parts) or turn: passed, and used by others than domains */
    bool turn_due;               /* the host's turn comes next, unless the current domain turns out to be blocked */
    bool cut;                    /* this phase ends with the switch that is going on */
};

struct xp_cpus;
struct xp_cpu;
struct xp_domain;

/* What the kernel keeps for others, from its settings: the length of a breath in each period, in ns. */
int64_t xp_host_breath_ns(void);

/* Contention begins; it ends. */
void xp_host_begin(struct xp_cpus *cpus, int64_t now);
void xp_host_end(struct xp_cpus *cpus);

/*
 * A domain that waits is on this CPU in a breath or turn, and was for so many ns: a breath is over, and goes on later; a turn is over
 * soon.
 */
void xp_host_leak(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now, int64_t leaked_ns);

/* A phase of this CPU's may be over. */
void xp_host_due(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now);

/* It was decided for this CPU: the class that `next` is to be in; and once everybody is in place. */
enum xp_class xp_host_switch(struct xp_cpus *cpus, struct xp_cpu *cpu, const struct xp_domain *was, const struct xp_domain *next,
                             int64_t now);
void xp_host_switched(struct xp_cpus *cpus, struct xp_cpu *cpu, const struct xp_domain *was, int64_t now);

#endif
