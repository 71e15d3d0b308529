/*
 * scheduler_walk.c: random histories through the scheduler's core, everything about its state checked after every call.
 *
 * Usage: scheduler_walk SEED STEPS. Prints what it did; aborts on what must not be. Run under sanitizers.
 */
#include "bvt.h"

#include <stdio.h>
#include <stdlib.h>

#define NR 100

struct walk {
    struct xp_sched s;
    struct xp_sched_entity *e[NR];       /* each by itself: whoever looks beyond one is seen */
    uint64_t random;
    int64_t now, svt;
    uint64_t nr_decided, nr_preempted;
};

static uint64_t draw(struct walk *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % below;
}

static void must(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static struct xp_sched_params params(struct walk *w)
{
    struct xp_sched_params p = {.weight = 1 + (uint32_t)draw(w, XP_SCHED_WEIGHT_MAX)};
    if (draw(w, 3) == 0)
        p.warp_ns = (int64_t)draw(w, XP_SCHED_WARP_MAX_NS + 1);
    if (draw(w, 2) == 0) {
        p.warp_limit_ns = 1 + (int64_t)draw(w, 10000000);
        p.warp_period_ns = p.warp_limit_ns + 1 + (int64_t)draw(w, 100000000);
    }
    return p;
}

static void audit(struct walk *w)
{
    uint32_t nr_added = 0, nr_waiting = 0, nr_runnable = 0;
    int64_t weight = 0;
    __int128 served = 0;
    for (uint32_t i = 0; i < NR; i++) {
        struct xp_sched_entity *e = w->e[i];
        nr_added += e->added;
        must(e->added || (!e->runnable && e->cpu < 0), "one that was removed runs");
        if (!e->added)
            continue;
        must((e->virtual.at != XP_HEAP_OFF) == e->runnable, "runnable, and among them");
        must((e->queue.at != XP_HEAP_OFF) == (e->runnable && e->cpu < 0), "waits, and in the queue");
        must(e->cpu < 0 || w->s.cpu[e->cpu].current == e, "its CPU knows it");
        must(e->ahead_ns >= 0 && e->ahead_ns < w->s.set.mcu_ns, "less than an mcu is paid in advance");
        must(e->rest >= 0 && e->rest < (int64_t)e->params.weight, "what is left of a division");
        must(e->warped || e->evt == e->avt, "who is not warped has borrowed nothing");
        nr_waiting += e->runnable && e->cpu < 0;
        nr_runnable += e->runnable;
        weight += e->runnable ? e->params.weight : 0;
        served += e->runnable ? (__int128)e->params.weight * e->avt : 0;
    }
    must(nr_added == w->s.nr_entities && nr_waiting == w->s.queue.nr && nr_runnable == w->s.virtual.nr, "numbers");
    must(weight == w->s.weight && served == w->s.served, "sums");
    must(w->s.svt >= w->svt, "svt went back");
    w->svt = w->s.svt;
}

static void decide(struct walk *w, int32_t cpu)
{
    for (uint32_t i = 0; cpu >= 0; i++) {
        must(i < 2 * w->s.nr_cpus, "CPUs name each other for ever");
        struct xp_sched_entity *before = w->s.cpu[cpu].current;
        struct xp_sched_choice c = xp_sched_decide(&w->s, (uint32_t)cpu, w->now);
        must(c.slice_ns >= w->s.set.mcu_ns, "a slice of nothing");
        must(c.next == w->s.cpu[cpu].current && (c.next == NULL || c.next->cpu == cpu), "the choice is the current one");
        must(c.next != NULL || w->s.queue.nr == 0, "idle while somebody waits");
        w->nr_decided++;
        w->nr_preempted += before != NULL && c.next != before;
        cpu = c.also;
    }
}

static void charge_all(struct walk *w, int64_t ns)
{
    w->now += ns;
    for (uint32_t i = 0; i < w->s.nr_cpus; i++)
        if (w->s.cpu[i].current != NULL)
            xp_sched_charge(&w->s, w->s.cpu[i].current, ns - (int64_t)draw(w, 2), w->now);
}

static void step(struct walk *w)
{
    struct xp_sched_entity *e = w->e[draw(w, NR)];
    struct xp_sched_params p = params(w);
    charge_all(w, (int64_t)draw(w, draw(w, 2) ? 200000 : 20000000));
    switch (draw(w, 12)) {
    case 0:
        if (!e->added)
            must(xp_sched_add(&w->s, e, draw(w, 2) ? &p : NULL, w->now) == 0, "add");
        break;
    case 1: decide(w, xp_sched_remove(&w->s, e, w->now)); break;
    case 2:
        if (e->added)
            must(xp_sched_adjust(&w->s, e, &p, w->now) == 0, "adjust");
        for (uint32_t i = 0; i < w->s.nr_cpus; i++)
            decide(w, (int32_t)i);
        break;
    case 3: case 4: case 5: case 6:
        if (e->added)
            decide(w, xp_sched_wake(&w->s, e, w->now));
        break;
    case 7: case 8:
        if (e->added)
            decide(w, xp_sched_sleep(&w->s, e, w->now, draw(w, 4) > 0));
        break;
    case 9:
        if (e->added)
            xp_sched_charge(&w->s, e, (int64_t)draw(w, 1000000), w->now);
        break;
    default: decide(w, (int32_t)draw(w, w->s.nr_cpus));
    }
}

int main(int argc, char **argv)
{
    must(argc == 3, "usage: scheduler_walk SEED STEPS");
    struct walk w = {.random = 88172645463325252u + strtoull(argv[1], NULL, 10)};
    const struct xp_sched_class *class = xp_sched_class_named(draw(&w, 4) ? "bvt" : "rr");
    must(xp_sched_init(&w.s, class, 1 + (uint32_t)draw(&w, 5), NULL) == 0, "init");
    for (uint32_t i = 0; i < NR; i++) {
        w.e[i] = calloc(1, sizeof **w.e);
        must(w.e[i] != NULL && xp_sched_add(&w.s, w.e[i], NULL, 0) == 0, "add");
    }
    for (uint64_t steps = strtoull(argv[2], NULL, 10); steps > 0; steps--) {
        step(&w);
        audit(&w);
    }
    xp_sched_free(&w.s);
    for (uint32_t i = 0; i < NR; i++)
        free(w.e[i]);
    printf("decided %llu preempted %llu\n", (unsigned long long)w.nr_decided, (unsigned long long)w.nr_preempted);
    return 0;
}
