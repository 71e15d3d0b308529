/*
 * clock.c: see clock.h. Source: public/xen.h (vcpu_time_info, wc_*).
 */
#include "clock.h"

#include "abi.h"
#include "dispatch.h"
#include "guestmem.h"

#include <time.h>

#define FRESH_NS 1000000000      /* a comparison is good for so long */
#define SWEEP_NS 16000000000
#define SWEEP_STEP 256u          /* domains a step: some 50 us */
#define ANCHOR_NS 32000000000

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t xp_hv_system_time(const struct xp_hv *hv)
{
    return clock_ns(CLOCK_MONOTONIC) - hv->clock.boot_ns;
}

/* Both clocks at once, as nearly as a few tries get: an interrupt between would be an error of microseconds. */
static struct xp_moment moment(const struct xp_hv *hv)
{
    struct xp_moment best = {0};
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        uint64_t before = xp_tsc();
        int64_t ns = xp_hv_system_time(hv);
        uint64_t took = xp_tsc() - before;
        if (took >= least)
            continue;
        least = took;
        best = (struct xp_moment){.tsc = before + took / 2, .ns = ns};
    }
    return best;
}

static void compare(struct xp_hv *hv)
{
    struct xp_clock *c = &hv->clock;
    c->last = moment(hv);
    if (c->last.ns - c->mid.ns > ANCHOR_NS) {
        c->old = c->mid;
        c->mid = c->last;
    }
    c->news++;
}

void xp_clock_start(struct xp_hv *hv)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    struct xp_clock *c = &hv->clock;
    c->boot_ns = clock_ns(CLOCK_MONOTONIC);
    c->wall_ns = clock_ns(CLOCK_REALTIME);
    c->old = c->mid = moment(hv);
    nanosleep(&pause, NULL);
    compare(hv);
    xp_timer_init(&c->tick, XP_TIMER_CLOCK, hv);
}

uint64_t xp_clock_hz(const struct xp_clock *c)
{
    return (uint64_t)((unsigned __int128)(c->last.tsc - c->old.tsc) * 1000000000u / (uint64_t)(c->last.ns - c->old.ns));
}

/* ---- telling ---- */

/* True time at a TSC, from the last comparison on. */
static uint64_t true_ns(const struct xp_clock *c, uint64_t tsc)
{
    struct xp_timescale line = {.tsc = c->last.tsc, .ns = (uint64_t)c->last.ns};
    xp_timescale_slope(&line, c->last.tsc - c->old.tsc, (uint64_t)(c->last.ns - c->old.ns));
    return xp_timescale_read(&line, tsc);
}

static void fill(struct xen_vcpu_time_info *time, const struct xp_timescale *s)
{
    time->tsc_timestamp = s->tsc;
    time->system_time = s->ns;
    time->tsc_to_system_mul = s->mul;
    time->tsc_shift = s->shift;
    time->flags = XEN_PVCLOCK_TSC_STABLE_BIT;
}

/* The copy that the guest asked for. It named memory of its own when it did; it is looked at again each time. */
static void tell_area(struct xp_domain *d)
{
    struct xen_vcpu_time_info time = {.version = d->vcpu.time_version - 1};
    uint64_t va = d->vcpu.time_area;
    fill(&time, &d->vcpu.scale);
    if (xp_copy_to_guest(d, va, &time.version, sizeof time.version) != 0)
        return;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    (void)xp_copy_to_guest(d, va + sizeof time.version, (uint8_t *)&time + sizeof time.version,
                           sizeof time - sizeof time.version);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    (void)xp_copy_to_guest(d, va, &d->vcpu.time_version, sizeof time.version);
}

static void write_time(struct xp_domain *d)
{
    struct xp_vcpu *v = &d->vcpu;
    const struct xp_clock *c = &d->hv->clock;
    struct xen_vcpu_time_info *time = &((struct xen_shared_info *)d->shared_info)->vcpu_info[0].time;
    __atomic_store_n(&time->version, v->time_version + 1, __ATOMIC_RELAXED);
    /* Pairs with the reader's acquire of the version (guest_time.h): what follows is not seen under the old one. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t now = xp_tsc();
    xp_timescale_follow(&v->scale, now, true_ns(c, now), c->last.tsc - c->old.tsc, (uint64_t)(c->last.ns - c->old.ns));
    fill(time, &v->scale);
    v->time_version += 2;
    __atomic_store_n(&time->version, v->time_version, __ATOMIC_RELEASE);
    v->time_news = c->news;
    d->hv->clock.nr_told++;
    if (v->time_area != 0)
        tell_area(d);
}

static void write_wall(struct xp_domain *d)
{
    struct xen_shared_info *si = d->shared_info;
    uint64_t sec = (uint64_t)d->hv->clock.wall_ns / 1000000000u;
    __atomic_store_n(&si->wc_version, d->vcpu.wc_version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    si->wc_sec = (uint32_t)(sec & UINT32_MAX);
    si->wc_sec_hi = (uint32_t)(sec >> 32);
    si->wc_nsec = (uint32_t)((uint64_t)d->hv->clock.wall_ns % 1000000000u);
    d->vcpu.wc_version += 2;
    /* Pairs with the reader's acquire (guest_time.h). */
    __atomic_store_n(&si->wc_version, d->vcpu.wc_version, __ATOMIC_RELEASE);
}

static void set_tick(struct xp_hv *hv, int64_t at)
{
    /* Without memory for it: the next call tries again. */
    (void)xp_timer_set(&hv->timers, &hv->clock.tick, at);
}

void xp_clock_new_domain(struct xp_domain *d)
{
    write_time(d);
    write_wall(d);
    d->vcpu.time_news--;        /* its first call makes sure that the tick runs */
}

void xp_clock_tell(struct xp_domain *d)
{
    struct xp_clock *c = &d->hv->clock;
    int64_t now = xp_hv_system_time(d->hv);
    if (now - c->last.ns >= FRESH_NS)
        compare(d->hv);
    if (!xp_timer_is_set(&c->tick) || c->tick.node.key > now + FRESH_NS)
        set_tick(d->hv, now + FRESH_NS);
    write_time(d);
}

/* ---- the tick ---- */

/* A step over those who run without ever calling. True: more to do. */
static bool sweep(struct xp_hv *hv)
{
    uint32_t at = hv->clock.sweep_at;
    for (uint32_t i = 0; i < SWEEP_STEP && at < XP_MAX_DOMAINS; i++, at++) {
        struct xp_domain *d = hv->domains[at];
        if (d != NULL && d->shared_info != NULL && d->state == XP_DS_RUNNING && d->vcpu.time_news != hv->clock.news)
            write_time(d);
    }
    hv->clock.sweep_at = at < XP_MAX_DOMAINS ? at : 0;
    return hv->clock.sweep_at != 0;
}

void xp_clock_tick(struct xp_hv *hv, int64_t now)
{
    struct xp_clock *c = &hv->clock;
    if (c->sweep_at == 0) {
        if (hv->nr_domains <= 1)
            return;             /* the next domain's first call sets it again */
        compare(hv);
        if (now - c->swept_ns >= SWEEP_NS) {
            c->swept_ns = now;
            c->sweep_at = 1;
        }
    }
    if (c->sweep_at != 0 && sweep(hv)) {
        set_tick(hv, now);
        return;
    }
    set_tick(hv, now + (hv->nr_calls != c->calls_seen ? FRESH_NS : SWEEP_NS));
    c->calls_seen = hv->nr_calls;
}

/* ---- the wall clock ---- */

int xp_hv_set_wall_clock(struct xp_hv *hv, int64_t wall_ns, int64_t at_ns)
{
    if (wall_ns < 0 || at_ns < 0 || wall_ns < at_ns)
        return -XEN_EINVAL;
    for (uint32_t at = 0; at < XP_MAX_DOMAINS;) {
        xp_hv_lock(hv);
        hv->clock.wall_ns = wall_ns - at_ns;    /* before the first is told: who is created meanwhile has it, too */
        for (uint32_t i = 0; i < SWEEP_STEP && at < XP_MAX_DOMAINS; i++, at++) {
            struct xp_domain *d = hv->domains[at];
            if (d != NULL && d->shared_info != NULL && d->state != XP_DS_BUILDING)
                write_wall(d);
        }
        xp_hv_unlock(hv);
    }
    return 0;
}
