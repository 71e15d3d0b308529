/* cpu_busy.c: see cpu_busy.h. */
#include "cpu_busy.h"

#include "domain.h"
#include "runstate.h"

#include <signal.h>

#define EPOCH_NS 40000000
#define EPOCH_STALE_NS 400000000 /* nobody ran for so long: begin anew */
#define FILLED_PCT 80            /* of the CPUs' time */
#define WAITED_PCT 15            /* of what they ran */

int xp_busy_signal(void)
{
    return SIGRTMIN + 5;        /* 4: alarms on virtual time */
}

int xp_busy_watch(struct xp_domain *d, int32_t tid)
{
    struct xp_busy *b = &d->vcpu.place.busy;
    if (b->has_timer)
        return 0;
    int ret = xp_cpu_timer(d->pid, tid, xp_busy_signal(), d->domid, &b->timer);
    b->has_timer = ret == 0;
    return ret;
}

void xp_busy_set(struct xp_domain *d, bool on, bool soon)
{
    struct xp_busy *b = &d->vcpu.place.busy;
    struct itimerspec every = {0};
    if (!b->has_timer || (!on && !b->is_set))
        return;
    b->is_set = on;
    if (on)
        every = (struct itimerspec){.it_value = {.tv_nsec = soon ? 1 : XP_BUSY_NS}, .it_interval = {.tv_nsec = XP_BUSY_NS}};
    (void)timer_settime(b->timer, 0, &every, NULL);
}

void xp_busy_close(struct xp_busy *b)
{
    if (b->has_timer)
        (void)timer_delete(b->timer);
    b->has_timer = false;
}

static bool is_contended(const struct xp_busy_epoch *e, uint32_t nr_cpus, int64_t now)
{
    return e->nr_domains > nr_cpus && (e->ran_ns * 100 >= (now - e->begun_ns) * nr_cpus * FILLED_PCT ||
                                       e->waited_ns * 100 >= e->ran_ns * WAITED_PCT);
}

bool xp_busy_seen(struct xp_busy_epoch *e, struct xp_domain *d, uint32_t nr, uint32_t nr_cpus, int64_t now)
{
    struct xp_busy *b = &d->vcpu.place.busy;
    bool contended = false;
    if (now - e->begun_ns >= EPOCH_NS) {
        contended = now - e->begun_ns < EPOCH_STALE_NS && is_contended(e, nr_cpus, now);
        *e = (struct xp_busy_epoch){.begun_ns = now, .number = e->number + 1};
    }
    if (b->epoch != e->number) {
        b->epoch = e->number;
        e->nr_domains++;
    }
    b->seen_ns = now;
    e->ran_ns += (int64_t)nr * XP_BUSY_NS;
    if (e->nr_domains > nr_cpus || b->waited_ns != 0) {
        /* Only now does it matter: reading it costs more than all the rest. */
        int64_t waited = xp_waited_ns(d);
        if (b->waited_ns != 0 && waited > b->waited_ns)
            e->waited_ns += waited - b->waited_ns;
        b->waited_ns = waited;
    }
    return contended;
}
