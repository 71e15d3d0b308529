/*
 * bench_loops.c: histogram, clock and the loops of the limits, both ends in two threads, for the sanitizers.
 *
 * `bench_loops hist SEED STEPS`: random values against a sorted array. `bench_loops loops N`: lines, semaphores, events.
 */
#include "benchloops.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LIMIT_NS 20000000000
#define FAIL(...) do { fprintf(stderr, __VA_ARGS__); exit(1); } while (0)

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t next(uint64_t *rng)
{
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    return *rng >> 11;
}

static void hist(uint64_t seed, uint64_t steps)
{
    struct xp_hist *h = malloc(sizeof *h), *half = malloc(sizeof *half);
    uint64_t *values = calloc(steps, sizeof *values);
    if (h == NULL || half == NULL || values == NULL)
        FAIL("no memory\n");
    xp_hist_clear(h);
    xp_hist_clear(half);
    uint64_t over = 0;
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t value = next(&seed) >> (next(&seed) % 53);
        values[i] = value;
        over += value > XP_HIST_HIGHEST;
        xp_hist_record(i % 2 ? h : half, value);
    }
    xp_hist_merge(h, half);
    qsort(values, steps, sizeof *values, ascending);
    if (h->total != steps || h->over != over || h->min != values[0] || h->max != values[steps - 1])
        FAIL("totals: %lu of %lu, %lu over of %lu\n", h->total, steps, h->over, over);
    for (int percent = 0; percent <= 100; percent++) {
        uint64_t rank = (uint64_t)(percent * (double)steps / 100 + 0.5);
        uint64_t exact = values[rank < 1 ? 0 : rank - 1], got = xp_hist_percentile(h, percent);
        uint64_t capped = exact < XP_HIST_HIGHEST ? exact : XP_HIST_HIGHEST;
        if (got + capped / 1000 + 1 < capped || (exact <= XP_HIST_HIGHEST && got > exact + exact / 1000 + 1))
            FAIL("percentile %d: %lu, exact %lu\n", percent, got, exact);
    }
    printf("%lu values, %lu over\n", steps, over);
    free(values);
    free(half);
    free(h);
}

/* One end of one kind of loop. */
struct side { int kind; void *area; struct xp_direct direct; uint64_t n; int ret; };

static void *serve(void *arg)
{
    struct side *s = arg;
    if (s->kind < 2)
        s->ret = xp_bench_lines_server(s->area, s->n, s->kind, LIMIT_NS);
    else if (s->kind == 2)
        s->ret = xp_bench_sems_server(s->area, s->n);
    else
        s->ret = xp_bench_event_server(&s->direct, s->n, s->kind - 3, LIMIT_NS);
    return NULL;
}

static int ask(struct side *s, uint64_t stride, const struct xp_tick *t, struct xp_hist *h)
{
    if (s->kind < 2)
        return xp_bench_lines_client(s->area, s->n, stride, s->kind, LIMIT_NS, t, h);
    if (s->kind == 2)
        return xp_bench_sems_client(s->area, s->n, stride, t, h);
    return xp_bench_event_client(&s->direct, s->n, stride, s->kind - 3, LIMIT_NS, t, h);
}

static void loops(uint64_t n)
{
    struct xp_tick tick;
    struct xp_hist *h = malloc(sizeof *h);
    if (h == NULL || xp_tick_calibrate(&tick, 2000000) != 0)
        FAIL("no clock\n");
    for (int kind = 0; kind < 6; kind++) {
        void *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED || (kind == 2 && xp_bench_sems_init(area) != 0))
            FAIL("no area\n");
        struct side server = {.kind = kind, .area = area, .n = n}, client = server;
        xp_direct_init(&server.direct, area, 0, -1, -1);
        xp_direct_init(&client.direct, area, 1, -1, -1);
        for (uint64_t stride = 1; stride <= 7; stride += 6) {
            pthread_t thread;
            xp_hist_clear(h);
            if (pthread_create(&thread, NULL, serve, &server) != 0)
                FAIL("no thread\n");
            int ret = ask(&client, stride, &tick, h);
            pthread_join(thread, NULL);
            if (ret != 0 || server.ret != 0 || h->total != (n + stride - 1) / stride)
                FAIL("kind %d stride %lu: %d, %d, %lu of %lu\n", kind, stride, ret, server.ret, h->total, n);
        }
        if (ask(&client, 0, &tick, h) != -XEN_EINVAL)
            FAIL("kind %d: a stride of nothing\n", kind);
        munmap(area, 4096);
    }
    printf("%lu round trips of 6 kinds\n", n);
    free(h);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "hist") == 0)
        hist(strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0));
    else if (argc == 3 && strcmp(argv[1], "loops") == 0)
        loops(strtoull(argv[2], NULL, 0));
    else
        FAIL("usage: bench_loops hist SEED STEPS | loops N\n");
    return 0;
}
