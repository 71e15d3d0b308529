/*
 * stress_ring.c: both ends of a ring in two threads, waiting in every mode, for ThreadSanitizer. Argument: turns a mode.
 * With a second argument a third thread scribbles over the header and the event page meanwhile: the ends must come back, with
 * an error, before their deadline.
 */
#include "ring.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct side { struct xp_ring_wait wait; struct xp_direct direct; uint32_t n; int ret; void *end; };

static void *serve(void *arg)
{
    struct side *s = arg;
    s->ret = xp_back_serve(s->end, &s->wait, s->n, 4);
    return NULL;
}

struct scribbler { _Atomic uint32_t *words; _Atomic int stop; };

static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    uint32_t rng = 1;
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        rng = rng * 1664525u + 1013904223u;
        atomic_store_explicit(&s->words[rng >> 30], rng, memory_order_relaxed);
        for (int i = 0; i < 2000; i++)
            xp_relax();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 10000;
    const bool hostile = argc > 2;
    const struct xp_ring_layout layout = {.req_size = 16, .rsp_size = 16, .id_size = 8};
    int bad = 0;
    for (int mode = 0; mode < 3; mode++) {
        uint8_t *memory = mmap(NULL, 3 * XP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        uint64_t pages[1] = {(uint64_t)(uintptr_t)memory};
        struct xp_front front;
        struct xp_back back;
        struct side f = {.n = n, .end = &front}, b = {.n = n, .end = &back};
        pthread_t server, hand;
        struct scribbler s = {.words = (_Atomic uint32_t *)(void *)memory};
        xp_direct_init(&f.direct, memory + XP_PAGE_SIZE, 0, -1, -1);
        xp_direct_init(&b.direct, memory + XP_PAGE_SIZE, 1, -1, -1);
        f.wait = (struct xp_ring_wait){&f.direct, hostile ? 1000000000 : 20000000000, mode};
        b.wait = (struct xp_ring_wait){&b.direct, hostile ? 1000000000 : 20000000000, mode};
        if (xp_front_init(&front, &layout, pages, 1, UINT32_MAX - 5) != 0 ||
            xp_back_init(&back, &layout, pages, 1, UINT32_MAX - 5) != 0)
            return 2;
        if (pthread_create(&server, NULL, serve, &b) != 0 || (hostile && pthread_create(&hand, NULL, scribble, &s) != 0))
            return 2;
        f.ret = xp_front_pingpong(&front, &f.wait, n, 1, NULL);
        atomic_store_explicit(&s.stop, f.ret != 0, memory_order_relaxed);
        (void)pthread_join(server, NULL);
        atomic_store_explicit(&s.stop, 1, memory_order_relaxed);
        if (hostile)
            (void)pthread_join(hand, NULL);
        (void)printf("mode %d: front %d, back %d\n", mode, f.ret, b.ret);
        bad |= hostile ? f.ret >= 0 && b.ret >= 0 && n > 100000 : f.ret != 0 || b.ret != 0;
        xp_front_free(&front);
        (void)munmap(memory, 3 * XP_PAGE_SIZE);
    }
    return bad;
}
