/*
 * gcall.c: see gcall.h.
 *
 * Tour G:040
 */
#include "gcall.h"
#include "tick.h"

#include <sched.h>
#include <unistd.h>

#define SPIN_NS 40000
#define ALL_SLOTS ((1u << XP_CALL_SLOTS) - 1)

void xp_gcall_init(struct xp_gcall *g, void *page, int doorbell)
{
    *g = (struct xp_gcall){.page = page, .doorbell = doorbell};
}

/*
 * Gives back what the hypervisor has answered of the abandoned. Who clears the bit owns the slot: only then is its state
 * looked at, as another thread may have given it back and abandoned it anew between a look and the clearing.
 */
static void reclaim(struct xp_gcall *g)
{
    uint32_t left = atomic_load_explicit(&g->abandoned, memory_order_relaxed);
    for (; left != 0; left &= left - 1) {
        uint32_t bit = left & -left, slot = (uint32_t)__builtin_ctz(left);
        /* Pairs with the release of who abandoned it. */
        if ((atomic_fetch_and_explicit(&g->abandoned, ~bit, memory_order_acq_rel) & bit) == 0)
            continue;
        if (atomic_load_explicit(&g->page->slot[slot].state, memory_order_acquire) == XP_SLOT_DONE)
            atomic_fetch_and_explicit(&g->busy, ~bit, memory_order_release);
        else
            atomic_fetch_or_explicit(&g->abandoned, bit, memory_order_release);
    }
}

static int try_take(struct xp_gcall *g)
{
    uint32_t busy = atomic_load_explicit(&g->busy, memory_order_relaxed);
    while ((~busy & ALL_SLOTS) != 0) {
        uint32_t slot = (uint32_t)__builtin_ctz(~busy);
        /* Pairs with the release of who gave it back. */
        if (atomic_compare_exchange_weak_explicit(&g->busy, &busy, busy | 1u << slot, memory_order_acquire,
                                                  memory_order_relaxed))
            return (int)slot;
    }
    return -XEN_EAGAIN;
}

static int take(struct xp_gcall *g, int64_t timeout_ns)
{
    int slot = try_take(g);
    if (slot >= 0)
        return slot;
    int64_t end = timeout_ns == XP_FOREVER ? XP_FOREVER : xp_now_ns() + timeout_ns;
    do {
        reclaim(g);
        slot = try_take(g);
        if (slot >= 0)
            return slot;
        sched_yield();
    } while (xp_now_ns() < end);
    return -XEN_EAGAIN;
}

/* A counter and no more: two threads may count one for two, which costs nobody a locked instruction. */
static void count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void give_back(struct xp_gcall *g, uint32_t slot)
{
    atomic_fetch_and_explicit(&g->busy, ~(1u << slot), memory_order_release);
}

static void submit(struct xp_gcall *g, uint32_t slot, uint32_t nr, const uint64_t args[6], uint32_t state)
{
    struct xp_call_slot *s = &g->page->slot[slot];
    const uint64_t one = 1;
    s->nr = nr;
    for (int i = 0; i < 6; i++)
        s->args[i] = args[i];
    XP_FAULT_POINT("hypercall.slot_filled");
    atomic_store_explicit(&s->state, state, memory_order_relaxed);
    XP_FAULT_POINT("hypercall.state_set");
    atomic_store_explicit(&g->page->gst_cpu, xp_cpu(), memory_order_relaxed);
    /* Publishes the slot (pairs with the exchange in serve), and orders it before the look at hv_awake (say_awake). */
    atomic_fetch_or_explicit(&g->page->submitted, 1u << slot, memory_order_seq_cst);
    XP_FAULT_POINT("hypercall.submitted");
    if (atomic_load_explicit(&g->page->hv_awake, memory_order_seq_cst) == 0) {
        count(&g->nr_rings);
        (void)!write(g->doorbell, &one, sizeof one);
        XP_FAULT_POINT("hypercall.rung");
    }
    count(&g->nr_calls);
}

static bool done(const struct xp_call_slot *s)
{
    return atomic_load_explicit(&s->state, memory_order_acquire) == XP_SLOT_DONE;
}

/* Spins while that may pay. POLL never gives up before the deadline, but yields so that nobody starves. */
static bool spin(struct xp_gcall *g, const struct xp_call_slot *s, int mode, int64_t end)
{
    int64_t now = xp_now_ns(), until = mode == XP_WAIT_POLL ? end : now + SPIN_NS;
    if (mode == XP_WAIT_ADAPTIVE) {
        uint32_t backoff = atomic_load_explicit(&g->backoff, memory_order_relaxed);
        if (backoff > 0) {
            atomic_store_explicit(&g->backoff, backoff - 1, memory_order_relaxed);
            return false;
        }
        /* An answer can come while we spin only from a hypervisor that runs elsewhere. */
        if (atomic_load_explicit(&g->page->hv_cpu, memory_order_relaxed) == xp_cpu())
            return false;
    }
    do {
        for (int i = 0; i < 200; i++) {
            if (done(s)) {
                atomic_store_explicit(&g->fails, 0, memory_order_relaxed);
                return true;
            }
            xp_relax();
        }
        int64_t later = xp_now_ns();
        if (mode == XP_WAIT_POLL && later - now > 20000) {
            sched_yield();
            later = xp_now_ns();
        }
        now = later;
    } while (now < until);
    uint32_t fails = atomic_load_explicit(&g->fails, memory_order_relaxed);
    fails = fails < 10 ? fails + 1 : 10;
    atomic_store_explicit(&g->fails, fails, memory_order_relaxed);
    atomic_store_explicit(&g->backoff, 1u << fails, memory_order_relaxed);
    return false;
}

static int await(struct xp_gcall *g, uint32_t slot, int mode, int64_t timeout_ns)
{
    struct xp_call_slot *s = &g->page->slot[slot];
    int64_t end = timeout_ns == XP_FOREVER ? XP_FOREVER : xp_now_ns() + timeout_ns;
    uint32_t expected = XP_SLOT_SUBMITTED;
    if (done(s) || (mode != XP_WAIT_BLOCK && spin(g, s, mode, end)))
        return 0;
    if (mode == XP_WAIT_POLL)
        return -XEN_ETIMEDOUT;
    /* From here the hypervisor must wake us: pairs with its exchange in xp_call_complete. */
    atomic_compare_exchange_strong_explicit(&s->state, &expected, XP_SLOT_SLEEPING, memory_order_acq_rel,
                                            memory_order_acquire);
    while (!done(s)) {
        int64_t left = end == XP_FOREVER ? XP_FOREVER : end - xp_now_ns();
        if (left <= 0)
            return -XEN_ETIMEDOUT;
        count(&g->nr_sleeps);
        (void)xp_futex_wait(&s->state, XP_SLOT_SLEEPING, left);
    }
    return 0;
}

int xp_gcall(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int mode, int64_t timeout_ns, int64_t *result)
{
    int slot = take(g, timeout_ns);
    if (slot < 0)
        return slot;
    submit(g, (uint32_t)slot, nr, args, mode == XP_WAIT_BLOCK ? XP_SLOT_SLEEPING : XP_SLOT_SUBMITTED);
    int ret = await(g, (uint32_t)slot, mode, timeout_ns);
    if (ret != 0) {
        atomic_fetch_or_explicit(&g->abandoned, 1u << slot, memory_order_release);
        return ret;
    }
    XP_FAULT_POINT("hypercall.answered");
    *result = g->page->slot[slot].result;
    give_back(g, (uint32_t)slot);
    return 0;
}

int xp_gcall_post(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int64_t timeout_ns)
{
    int slot = take(g, timeout_ns);
    if (slot < 0)
        return slot;
    submit(g, (uint32_t)slot, nr, args, XP_SLOT_SUBMITTED);
    atomic_fetch_or_explicit(&g->abandoned, 1u << slot, memory_order_release);
    return 0;
}

int xp_gcall_repeat(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int mode, int64_t timeout_ns, uint32_t n,
                    uint64_t *ticks)
{
    int64_t result;
    int ret = 0;
    for (uint32_t i = 0; i < n && ret == 0; i++) {
        uint64_t start = xp_tick_begin();
        ret = xp_gcall(g, nr, args, mode, timeout_ns, &result);
        ticks[i] = xp_tick_end() - start;
    }
    return ret;
}
