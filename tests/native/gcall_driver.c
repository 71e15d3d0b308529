/*
 * gcall_driver.c: the guest's side of the call page (gcall.c) against a dispatcher of the same protocol, as threads of one
 * process, for the sanitizers: every call answered once with its own answer, in all modes, posts and give-ups between.
 *
 * Usage: gcall_driver THREADS CALLS [hostile]. hostile: one more thread scribbles on every word of the page that a guest can
 * write; then nothing is promised but that everybody comes to an end.
 */
#include "gcall.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS_MAX 32

struct machine {
    struct xp_call_page page;
    struct xp_gcall g;
    int doorbell;
    uint32_t calls;
    _Atomic bool stop;
    _Atomic uint32_t working[XP_CALL_SLOTS];     /* a slot is worked on by one call at a time */
    _Atomic uint64_t answered, posted_sum, garbled;
};

struct worker {
    struct machine *m;
    pthread_t thread;
    uint32_t number;
    uint64_t wrong, timeouts, posted, submitted;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    return (x ^ x >> 33) >> 1;
}

/* dispatch.c's take_slot and xp_call_complete, with mix() as the hypercall. */
static void answer(struct machine *m, uint32_t slot, bool hostile)
{
    struct xp_call_slot *s = &m->page.slot[slot];
    uint64_t args[6];
    uint32_t nr = __atomic_load_n(&s->nr, __ATOMIC_RELAXED);
    for (int i = 0; i < 6; i++)
        args[i] = __atomic_load_n(&s->args[i], __ATOMIC_RELAXED);
    if (!hostile && (args[1] != mix(args[0]) || args[5] != args[0] + 5))
        atomic_fetch_add(&m->garbled, 1);
    if (nr == 2)
        atomic_fetch_add(&m->posted_sum, args[0]);
    s->result = (int64_t)mix(args[0] + nr);
    atomic_fetch_add(&m->answered, 1);
    if (atomic_exchange_explicit(&s->state, XP_SLOT_DONE, memory_order_acq_rel) == XP_SLOT_SLEEPING)
        (void)xp_futex_wake(&s->state, 1);
}

static void *dispatcher(void *arg)
{
    struct machine *m = arg;
    bool hostile = m->calls == 0;
    uint64_t count;
    for (uint32_t turn = 0; !atomic_load(&m->stop); turn++) {
        uint32_t mask = atomic_exchange_explicit(&m->page.submitted, 0, memory_order_acq_rel) & ((1u << XP_CALL_SLOTS) - 1);
        for (; mask != 0; mask &= mask - 1)
            answer(m, (uint32_t)__builtin_ctz(mask), hostile);
        /* Now asleep, now awake, as dispatch.c says it. */
        bool awake = turn / 256 % 2 == 0;
        atomic_store_explicit(&m->page.hv_awake, awake ? 1 : 0, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (!awake && atomic_load(&m->page.submitted) == 0)
            (void)!read(m->doorbell, &count, sizeof count);
    }
    return NULL;
}

static void *work(void *arg)
{
    static const int modes[] = {XP_WAIT_BLOCK, XP_WAIT_ADAPTIVE, XP_WAIT_POLL};
    struct worker *w = arg;
    struct machine *m = w->m;
    uint32_t n = m->calls != 0 ? m->calls : 2000;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t x = (uint64_t)w->number << 32 | i;
        const uint64_t args[6] = {x, mix(x), 0, 0, 0, x + 5};
        int64_t result = 0;
        if (i % 7 == 3) {
            bool posted = xp_gcall_post(&m->g, 2, args, 5000000000) == 0;
            w->posted += posted ? x : 0;
            w->submitted += posted;
            continue;
        }
        /* Now and then in no time at all: given up, and still answered later. */
        int64_t limit = i % 50 == 11 ? 1 : m->calls != 0 ? 5000000000 : 20000000;
        int ret = xp_gcall(&m->g, 1, args, modes[i % 3], limit, &result);
        w->timeouts += ret != 0;
        w->submitted += ret != -XEN_EAGAIN;         /* no slot came free: it was never asked */
        w->wrong += ret == 0 && result != (int64_t)mix(x + 1);
    }
    return NULL;
}

static void *scribble(void *arg)
{
    struct machine *m = arg;
    _Atomic uint32_t *words = (_Atomic uint32_t *)(void *)&m->page;
    for (uint64_t i = 1; !atomic_load(&m->stop); i++) {
        uint64_t random = mix(i * 0x9e3779b97f4a7c15u);
        /* Of the slots only the states: how the hypervisor copies arguments is not this driver's to try. */
        size_t at = i % 2 == 0 ? 32 + random % 32 : 64 + random % XP_CALL_SLOTS * 16;
        if (at < 48)        /* submitted and gst_cpu, the upcall semaphore: 16 to 47 */
            at -= 16;
        atomic_store_explicit(&words[at], (uint32_t)(random >> 40) % 6, memory_order_relaxed);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct machine *m = aligned_alloc(4096, (sizeof *m + 4095) / 4096 * 4096);
    struct worker workers[THREADS_MAX];
    pthread_t hv, bad;
    uint32_t nr = argc > 1 ? (uint32_t)atoi(argv[1]) : 4;
    bool hostile = argc > 3 && strcmp(argv[3], "hostile") == 0;
    if (m == NULL || nr > THREADS_MAX)
        return 2;
    memset(m, 0, sizeof *m);
    m->calls = hostile ? 0 : argc > 2 ? (uint32_t)atoi(argv[2]) : 10000;
    m->doorbell = eventfd(0, 0);
    xp_gcall_init(&m->g, &m->page, m->doorbell);
    pthread_create(&hv, NULL, dispatcher, m);
    if (hostile)
        pthread_create(&bad, NULL, scribble, m);
    for (uint32_t i = 0; i < nr; i++) {
        workers[i] = (struct worker){.m = m, .number = i};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    uint64_t wrong = 0, posted = 0, timeouts = 0, submitted = 0;
    for (uint32_t i = 0; i < nr; i++) {
        pthread_join(workers[i].thread, NULL);
        wrong += workers[i].wrong;
        posted += workers[i].posted;
        timeouts += workers[i].timeouts;
        submitted += workers[i].submitted;
    }
    /* What was posted or given up is answered before the end. */
    for (int i = 0; !hostile && i < 5000 && atomic_load(&m->answered) < submitted; i++)
        usleep(1000);
    atomic_store(&m->stop, true);
    (void)!write(m->doorbell, &(uint64_t){1}, 8);
    pthread_join(hv, NULL);
    if (hostile)
        pthread_join(bad, NULL);
    printf("answered %lu of %lu, wrong %lu, garbled %lu, posted %s, given up %lu\n", (unsigned long)m->answered,
           (unsigned long)submitted, (unsigned long)wrong, (unsigned long)m->garbled,
           m->posted_sum == posted ? "all" : "not all", (unsigned long)timeouts);
    bool good = hostile || (wrong == 0 && m->garbled == 0 && m->posted_sum == posted && m->answered == submitted);
    close(m->doorbell);
    free(m);
    return good ? 0 : 1;
}
