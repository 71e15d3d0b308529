/*
 * dispatch.c: see dispatch.h.
 *
 * Tour H:040
 */
#include "dispatch.h"

#include "alarm.h"
#include "bells.h"
#include "cpu_spent.h"
#include "hypercall.h"
#include "park.h"
#include "runstate.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_NS 30000u           /* a spin pays if the next call comes sooner than a sleep and a wake would take */
#define SPIN_BACKOFF_MAX 4096u
#define TIMERS_TURN 64           /* timers a turn: then calls get theirs */

/* ---- calls ---- */

/* A slot has one call at a time: its newest entry, if the trace still has it. */
static void trace_result(struct xp_domain *d, uint32_t slot, int64_t result)
{
    for (uint64_t i = 0; i < XP_CALL_TRACE && i < d->nr_calls; i++) {
        struct xp_call_trace *t = &d->trace[(d->nr_calls - i) % XP_CALL_TRACE];
        if (t->slot == slot) {
            t->result = result;
            t->answered = 1;
            break;
        }
    }
}

void xp_call_complete(struct xp_domain *d, uint32_t slot, int64_t result)
{
    struct xp_call_slot *s = &d->calls->slot[slot];
    trace_result(d, slot, result);
    s->result = result;
    xp_trace(&d->hv->tracer, XP_TRACE_hypercalls, XP_TT_answer, d->domid, slot, (uint64_t)result);
    /* Pairs with the caller's acquire of DONE. */
    if (atomic_exchange_explicit(&s->state, XP_SLOT_DONE, memory_order_acq_rel) == XP_SLOT_SLEEPING)
        (void)xp_futex_wake(&s->state, 1);
}

static void keep_for_later(struct xp_domain *d, const struct xp_call *call)
{
    if (d->pending == NULL)
        d->pending = calloc(XP_CALL_SLOTS, sizeof *d->pending);
    if (d->pending == NULL) {
        xp_call_complete(d, call->slot, -XEN_ENOMEM);
        return;
    }
    d->pending[call->slot] = *call;
    d->hv->nr_continued += d->pending_mask == 0;
    d->pending_mask |= 1u << call->slot;
}

static void perform(struct xp_domain *d, struct xp_call *call)
{
    int64_t result = xp_hypercall(d, call);
    if (call->plain)
        xp_call_complete(d, call->slot, result);
    else if (result == XP_CALL_AGAIN)
        keep_for_later(d, call);
    else if (result != XP_CALL_PARK)
        xp_call_complete(d, call->slot, result);
}

static void take_slot(struct xp_domain *d, uint32_t slot)
{
    struct xp_call_slot *s = &d->calls->slot[slot];
    struct xp_call call = {.nr = s->nr, .slot = slot};
    for (int i = 0; i < 6; i++)
        call.args[i] = s->args[i];
    atomic_signal_fence(memory_order_acquire);      /* the compiler must not read them again */
    d->nr_calls++;
    d->hv->nr_calls++;
    d->trace[d->nr_calls % XP_CALL_TRACE] = (struct xp_call_trace){.nr = call.nr, .slot = (uint16_t)slot, .arg0 = call.args[0]};
    xp_trace(&d->hv->tracer, XP_TRACE_hypercalls, XP_TT_call, d->domid, (call.nr & 0xffff) | slot << 16, call.args[0]);
    perform(d, &call);
}

/* Everything a domain has submitted. True if there was anything. */
static bool serve(struct xp_domain *d)
{
    struct xp_call_page *page = d->calls;
    if (atomic_load_explicit(&page->submitted, memory_order_relaxed) == 0)
        return false;
    /* Pairs with the guest's release of a filled slot. */
    uint32_t mask = atomic_exchange_explicit(&page->submitted, 0, memory_order_acq_rel) & ((1u << XP_CALL_SLOTS) - 1);
    /* A slot that is still being worked on cannot be submitted again; whoever does so fools himself. */
    mask &= ~(d->parked_mask | d->pending_mask);
    if (d->vcpu.time_news != d->hv->clock.news)
        xp_clock_tell(d);
    if (d->vcpu.runstate_area != 0)
        xp_runstate_called(d);
    for (; mask != 0 && d->state == XP_DS_RUNNING; mask &= mask - 1)
        take_slot(d, (uint32_t)__builtin_ctz(mask));
    xp_spent_turn(&d->hv->spent, &d->vcpu.place.spent);
    return true;
}

/* One step of each domain's long calls, of those that are not held back. False: there was none. */
static bool continue_calls(struct xp_hv *hv)
{
    bool any = false;
    for (uint32_t i = 0; i < XP_MAX_DOMAINS && hv->nr_continued > 0; i++) {
        struct xp_domain *d = hv->domains[i];
        if (d == NULL || d->pending_mask == 0 || !xp_cpu_may_go_on(&hv->spent, d))
            continue;
        any = true;
        for (uint32_t left = d->pending_mask; left != 0; left &= left - 1) {
            uint32_t slot = (uint32_t)__builtin_ctz(left);
            struct xp_call call = d->pending[slot];
            d->pending_mask &= ~(1u << slot);
            hv->nr_continued -= d->pending_mask == 0;
            if (d->state == XP_DS_RUNNING)
                perform(d, &call);
        }
        xp_spent_turn(&hv->spent, &d->vcpu.place.spent);
    }
    return any;
}

/* ---- who is looked at without a doorbell ---- */

static void heat(struct xp_domain *d)
{
    struct xp_hv *hv = d->hv;
    if (d->hot)
        return;
    uint32_t at = hv->hot_clock++ % XP_HOT_MAX;
    struct xp_domain *old = hv->hot[at];
    if (old != NULL) {
        old->hot = false;
        atomic_store_explicit(&old->calls->hv_awake, 0, memory_order_seq_cst);
        (void)serve(old);       /* it may have submitted without ringing just before */
    }
    hv->hot[at] = d;
    d->hot = true;
    hv->awake = false;          /* its page does not say so yet */
}

static void cool(struct xp_domain *d)
{
    for (uint32_t i = 0; i < XP_HOT_MAX; i++)
        if (d->hv->hot[i] == d)
            d->hv->hot[i] = NULL;
    d->hot = false;
}

static bool serve_hot(struct xp_hv *hv)
{
    bool any = false;
    for (uint32_t i = 0; i < XP_HOT_MAX; i++)
        if (hv->hot[i] != NULL && hv->hot[i]->state == XP_DS_RUNNING)
            any |= serve(hv->hot[i]);
    return any;
}

static void say_awake(struct xp_hv *hv, bool awake)
{
    uint32_t cpu = xp_cpu();
    hv->awake = awake;
    for (uint32_t i = 0; i < XP_HOT_MAX; i++) {
        if (hv->hot[i] == NULL)
            continue;
        struct xp_call_page *page = hv->hot[i]->calls;
        atomic_store_explicit(&page->hv_cpu, cpu, memory_order_relaxed);
        atomic_store_explicit(&page->hv_awake, awake ? 1 : 0, memory_order_relaxed);
    }
    /* Pairs with the fence in the guest's submit (gcall.c). */
    atomic_thread_fence(memory_order_seq_cst);
}

void xp_dispatch_remove(struct xp_domain *d)
{
    cool(d);
    if (d->doorbell >= 0)
        xp_bells_remove(d->hv, d->doorbell);
}

/* ---- spinning and sleeping ---- */

/* Would a spin only keep the caller from running? */
static bool caller_shares_cpu(const struct xp_hv *hv)
{
    uint32_t cpu = xp_cpu();
    for (uint32_t i = 0; i < XP_HOT_MAX; i++)
        if (hv->hot[i] != NULL && atomic_load_explicit(&hv->hot[i]->calls->gst_cpu, memory_order_relaxed) == cpu)
            return true;
    return false;
}

static bool spin(struct xp_hv *hv, int64_t deadline)
{
    if (!hv->may_spin || hv->spin_ns == 0 || (hv->cpus != NULL && hv->cpus->contended))
        return false;
    if (hv->spin_backoff > 0) {
        hv->spin_backoff--;
        return false;
    }
    if (caller_shares_cpu(hv))
        return false;
    hv->nr_spins++;
    if (!hv->awake)
        say_awake(hv, true);
    int64_t end = xp_now_ns() + hv->spin_ns;
    bool cut = deadline != XP_FOREVER && deadline + hv->clock.boot_ns < end;
    if (cut)
        end = deadline + hv->clock.boot_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (serve_hot(hv)) {
                hv->nr_spin_hits++;
                hv->spin_fails = 0;
                return true;
            }
            xp_relax();
        }
        if (atomic_load_explicit(&hv->lock_wanted, memory_order_relaxed) != 0)
            return true;
    } while (xp_now_ns() < end);
    if (cut)
        return false;           /* no proof that nobody would have come */
    hv->spin_fails = hv->spin_fails < 12 ? hv->spin_fails + 1 : 12;
    hv->spin_backoff = (1u << hv->spin_fails) < SPIN_BACKOFF_MAX ? 1u << hv->spin_fails : SPIN_BACKOFF_MAX;
    return false;
}

void xp_dispatch_rung(struct xp_hv *hv, uint64_t domid)
{
    struct xp_domain *d = domid < XP_MAX_DOMAINS ? hv->domains[domid] : NULL;
    if (d == NULL || d->state != XP_DS_RUNNING)
        return;
    d->nr_doorbells++;
    if (serve(d))
        heat(d);
    else
        xp_spent_turn(&hv->spent, &d->vcpu.place.spent);
}

static int sleep_until_rung(struct xp_hv *hv, int64_t deadline)
{
    if (hv->awake)
        say_awake(hv, false);
    if (serve_hot(hv))
        return 0;
    hv->nr_sleeps++;
    xp_trace(&hv->tracer, XP_TRACE_sched, XP_TT_sleep, 0, 0, (uint64_t)deadline);
    int ret = xp_bells_wait(hv, deadline);
    xp_trace(&hv->tracer, XP_TRACE_sched, XP_TT_awake, 0, 0, 0);
    return ret;
}

/* Does what is due, a turn's worth; returns the next deadline. */
static int64_t run_timers(struct xp_hv *hv)
{
    if (hv->timers.heap.nr == 0)
        return XP_FOREVER;
    int64_t now = xp_hv_system_time(hv);
    struct xp_timer *t;
    for (int i = 0; i < TIMERS_TURN && (t = xp_timers_take(&hv->timers, now)) != NULL; i++)
        switch (t->kind) {
        case XP_TIMER_PARK: {
            struct xp_domain *d = ((struct xp_park *)t->owner)->d;
            xp_park_due(t->owner);
            xp_spent_turn(&hv->spent, &d->vcpu.place.spent);
            break;
        }
        case XP_TIMER_CLOCK:
            xp_clock_tick(hv, now);
            xp_spent_turn(&hv->spent, &hv->spent.own);
            break;
        default:
            xp_alarm_due(t->owner, t, now);
            xp_spent_turn(&hv->spent, &((struct xp_domain *)t->owner)->vcpu.place.spent);
            break;
        }
    return xp_timers_next(&hv->timers);
}

int xp_hv_run(struct xp_hv *hv)
{
    uint32_t turns = 0;
    int ret = xp_bells_listen(hv);
    if (ret != 0)
        return ret;
    hv->spin_ns = SPIN_NS;
    pthread_mutex_lock(&hv->lock);
    hv->dispatcher_tid = (int32_t)syscall(SYS_gettid);
    while (ret >= 0 && !atomic_load_explicit(&hv->stop, memory_order_acquire)) {
        xp_hv_let_in(hv);
        xp_spent_begin(&hv->spent);
        bool any = serve_hot(hv);
        any |= continue_calls(hv);
        int64_t deadline = run_timers(hv);
        if (hv->nr_continued > 0 && !any) {
            int64_t again = xp_hv_system_time(hv) + XP_CPU_HOLD_NS;
            deadline = again < deadline ? again : deadline;
        }
        if (any) {
            /* The cold ones must not wait for the hot ones to pause. */
            if (++turns % 32 == 0 || hv->nr_continued > 0)
                ret = xp_bells_look(hv);
            continue;
        }
        if (!spin(hv, deadline))
            ret = sleep_until_rung(hv, deadline);
    }
    pthread_mutex_unlock(&hv->lock);
    return ret < 0 ? ret : 0;
}

void xp_hv_stop(struct xp_hv *hv)
{
    const uint64_t one = 1;
    atomic_store_explicit(&hv->stop, true, memory_order_release);
    (void)!write(hv->kick_fd, &one, sizeof one);
}
