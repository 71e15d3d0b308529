/* scheduler.c: see scheduler.h: the queue and the CPUs; bvt.c and round_robin.c say who goes first. */
#include "scheduler.h"

#include <stdlib.h>
#include <string.h>

static struct xp_sched_entity *of_queue(struct xp_heap_node *n)
{
    return n != NULL ? xp_heap_owner(n, struct xp_sched_entity, queue) : NULL;
}

static struct xp_sched_entity *first_of(const struct xp_sched *s)
{
    return of_queue(xp_heap_first(&s->queue));
}

const struct xp_sched_class *xp_sched_class_named(const char *name)
{
    const struct xp_sched_class *const all[] = {&xp_sched_bvt, &xp_sched_round_robin};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

int xp_sched_init(struct xp_sched *s, const struct xp_sched_class *class, uint32_t nr_cpus,
                  const struct xp_sched_settings *settings)
{
    struct xp_sched_settings set = settings != NULL ? *settings : (struct xp_sched_settings){0};
    if (set.ctx_allow_ns == 0)
        set.ctx_allow_ns = XP_SCHED_ALLOWANCE_NS;
    if (set.mcu_ns == 0)
        set.mcu_ns = XP_SCHED_MCU_NS;
    if (set.slice_ns == 0)
        set.slice_ns = XP_SCHED_RR_SLICE_NS;
    if (class == NULL || nr_cpus == 0 || nr_cpus > XP_SCHED_CPUS_MAX || set.mcu_ns < 0 || set.mcu_ns > XP_SCHED_NS_MAX
        || set.ctx_allow_ns < set.mcu_ns || set.ctx_allow_ns > XP_SCHED_NS_MAX
        || set.slice_ns < set.mcu_ns || set.slice_ns > XP_SCHED_NS_MAX)
        return -XEN_EINVAL;
    struct xp_sched_cpu *cpu = calloc(nr_cpus, sizeof *cpu);
    if (cpu == NULL)
        return -XEN_ENOMEM;
    for (uint32_t i = 0; i < nr_cpus; i++)
        cpu[i].horizon = INT64_MAX;
    *s = (struct xp_sched){.class = class, .set = set, .nr_cpus = nr_cpus, .cpu = cpu};
    return 0;
}

void xp_sched_free(struct xp_sched *s)
{
    free(s->cpu);
    xp_heap_free(&s->queue);
    xp_heap_free(&s->virtual);
    *s = (struct xp_sched){0};
}

int xp_sched_check(const struct xp_sched_params *p)
{
    bool limited = p->warp_limit_ns != 0;
    if (p->weight == 0 || p->weight > XP_SCHED_WEIGHT_MAX)
        return -XEN_EINVAL;
    if (p->warp_ns < 0 || p->warp_ns > XP_SCHED_WARP_MAX_NS || p->warp_limit_ns < 0)
        return -XEN_EINVAL;
    if (limited ? p->warp_period_ns <= p->warp_limit_ns || p->warp_period_ns > XP_SCHED_WARP_MAX_NS : p->warp_period_ns != 0)
        return -XEN_EINVAL;
    return 0;
}

/* ---- the queue ---- */

/* Waits from now on, behind those whom the class finds equal. */
static void enqueue(struct xp_sched *s, struct xp_sched_entity *e)
{
    xp_heap_set(&s->queue, &e->queue, s->class->due(s, e), ++s->order);
}

/* svt, after anybody came, went or was charged. */
static void advance(struct xp_sched *s)
{
    const struct xp_heap_node *least = xp_heap_first(&s->virtual);
    if (least != NULL && least->key > s->svt)
        s->svt = least->key;
}

/* Among those who run or wait, and in the sums over them. */
static void count_in(struct xp_sched *s, struct xp_sched_entity *e)
{
    xp_heap_set(&s->virtual, &e->virtual, e->avt, 0);
    s->weight += e->params.weight;
    s->served += (__int128)e->params.weight * e->avt;
    advance(s);
}

static void count_out(struct xp_sched *s, struct xp_sched_entity *e)
{
    xp_heap_take(&s->virtual, &e->virtual);
    s->weight -= e->params.weight;
    s->served -= (__int128)e->params.weight * e->avt;
}

/* Its virtual times have changed: its places, wherever it is. Among equals it keeps the one it had. */
static void count_again(struct xp_sched *s, struct xp_sched_entity *e)
{
    count_in(s, e);
    if (e->cpu < 0)
        xp_heap_set(&s->queue, &e->queue, s->class->due(s, e), e->queue.order);
}

/* Nobody's current any more: the CPU it leaves, or -1. */
static int32_t leave(struct xp_sched *s, struct xp_sched_entity *e)
{
    int32_t cpu = e->cpu;
    if (cpu < 0)
        return -1;
    s->cpu[cpu].current = NULL;
    s->cpu[cpu].asked = true;
    e->last_cpu = cpu;
    e->cpu = -1;
    return cpu;
}

/*
 * The CPU that must look at the queue as it is now, or -1: an idle one (`home` if it is), or the one whose current has to make
 * room first, if it was decided when nobody so urgent waited. One that was asked already will look anyway.
 */
static int32_t ask(struct xp_sched *s, int32_t home, int64_t now)
{
    struct xp_sched_entity *first = first_of(s);
    int32_t found = -1;
    int64_t least = INT64_MAX;
    bool idle = false;
    for (uint32_t i = 0; first != NULL && i < s->nr_cpus; i++) {
        struct xp_sched_cpu *c = &s->cpu[i];
        if (c->asked)
            continue;
        if (c->current == NULL) {
            if (!idle || (int32_t)i == home)
                found = (int32_t)i;
            idle = true;
        } else if (!idle && c->horizon > first->queue.key) {
            int64_t left = s->class->left(s, c->current, first, now);
            if (found < 0 || left < least) {
                found = (int32_t)i;
                least = left;
            }
        }
    }
    if (found >= 0)
        s->cpu[found].asked = true;
    return found;
}

/* ---- what happens to an entity ---- */

int xp_sched_add(struct xp_sched *s, struct xp_sched_entity *e, const struct xp_sched_params *params, int64_t now)
{
    struct xp_sched_params p = params != NULL ? *params : (struct xp_sched_params){.weight = XP_SCHED_WEIGHT};
    int ret = xp_sched_check(&p);
    if (ret == 0)
        ret = xp_heap_reserve(&s->queue, s->nr_entities + 1);
    if (ret == 0)
        ret = xp_heap_reserve(&s->virtual, s->nr_entities + 1);
    if (ret != 0)
        return ret;
    *e = (struct xp_sched_entity){.owner = e->owner, .domid = e->domid, .added = true, .cpu = -1, .last_cpu = -1, .params = p};
    xp_heap_node_init(&e->queue);
    xp_heap_node_init(&e->virtual);
    s->nr_entities++;
    s->class->add(s, e, now);
    return 0;
}

int32_t xp_sched_remove(struct xp_sched *s, struct xp_sched_entity *e, int64_t now)
{
    if (!e->added)
        return -1;
    int32_t cpu = xp_sched_sleep(s, e, now, true);
    e->added = false;
    s->nr_entities--;
    return cpu;
}

int xp_sched_adjust(struct xp_sched *s, struct xp_sched_entity *e, const struct xp_sched_params *params, int64_t now)
{
    int ret = xp_sched_check(params);
    if (ret != 0)
        return ret;
    if (e->runnable)
        count_out(s, e);
    e->params = *params;
    s->class->adjust(s, e, now);
    if (e->runnable)
        count_again(s, e);
    return 0;
}

int32_t xp_sched_wake(struct xp_sched *s, struct xp_sched_entity *e, int64_t now)
{
    if (e->runnable)
        return -1;
    s->class->wake(s, e, now);
    e->runnable = e->woken = true;
    count_in(s, e);
    enqueue(s, e);
    return ask(s, e->last_cpu, now);
}

int32_t xp_sched_sleep(struct xp_sched *s, struct xp_sched_entity *e, int64_t now, bool voluntary)
{
    (void)now;
    if (!e->runnable)
        return -1;
    xp_heap_take(&s->queue, &e->queue);
    count_out(s, e);
    advance(s);
    e->runnable = e->woken = false;
    e->claims = !voluntary;
    return leave(s, e);
}

void xp_sched_charge(struct xp_sched *s, struct xp_sched_entity *e, int64_t ran_ns, int64_t now)
{
    if (ran_ns <= 0)
        return;
    e->charged_ns += ran_ns;
    if (e->runnable)
        count_out(s, e);
    s->class->charge(s, e, ran_ns, now);
    if (e->runnable)
        count_again(s, e);
}

int64_t xp_sched_room(const struct xp_sched *s, const struct xp_sched_entity *e)
{
    return s->class->room(s, e);
}

/* ---- deciding ---- */

struct xp_sched_choice xp_sched_decide(struct xp_sched *s, uint32_t cpu, int64_t now)
{
    struct xp_sched_cpu *c = &s->cpu[cpu];
    struct xp_sched_entity *e = c->current;
    struct xp_sched_entity *first = first_of(s);
    c->asked = false;
    if (first != NULL && (e == NULL || s->class->left(s, e, first, now) <= 0)) {
        xp_heap_take(&s->queue, &first->queue);
        if (e != NULL) {
            (void)leave(s, e);
            c->asked = false;
            enqueue(s, e);
        }
        e = first;
        e->cpu = (int32_t)cpu;
        e->since = now;
        e->woken = false;
        c->current = e;
        first = first_of(s);
    }
    c->horizon = first != NULL ? first->queue.key : INT64_MAX;
    int64_t slice = XP_SCHED_FOREVER;
    if (e != NULL) {
        int64_t left = first != NULL ? s->class->left(s, e, first, now) : XP_SCHED_FOREVER;
        slice = s->class->limit(s, e);
        slice = left < slice ? left : slice;
        slice = slice < s->set.mcu_ns ? s->set.mcu_ns : slice;
    }
    return (struct xp_sched_choice){.next = e, .slice_ns = slice, .also = ask(s, -1, now)};
}
