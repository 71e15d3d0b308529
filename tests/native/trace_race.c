/*
 * trace_race.c: several writers into one small ring of a trace, a lap apart and closer, and a reader while they run.
 *
 * Each record says in `value` what its other fields are: one that does not is torn. Built with XP_TEST_TORN, the reader's check is
 * left out and torn records must be seen. Prints records read, lost and torn, and how many were written.
 */
#include "trace.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NR 256u
#define WRITERS 3u

struct shared {
    struct xp_tracer tracer;
    _Atomic bool stop;
    _Atomic uint64_t written;
};

struct writer {
    struct shared *s;
    uint32_t number;
};

static uint64_t value_of(uint16_t type, uint16_t domid, uint32_t number)
{
    return ((uint64_t)number << 32 | (uint64_t)domid << 16 | type) * 0x9E3779B97F4A7C15u;
}

static void *write_all(void *arg)
{
    struct writer *w = arg;
    uint32_t i = w->number << 28;
    for (; !w->s->stop; i++) {
        uint16_t type = (uint16_t)(i % 13 + 1), domid = (uint16_t)(i * 7);
        xp_trace(&w->s->tracer, XP_TRACE_events, type, domid, i, value_of(type, domid, i));
    }
    w->s->written += i - (w->number << 28);
    return NULL;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    static struct shared s;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct xp_trace_seen seen[64];
    uint64_t pos = 0, lost = 0, torn = 0, read = 0;
    int64_t end = now_ns() + (argc > 1 ? atoll(argv[1]) : 500) * 1000000;
    int fd = memfd_create("trace", MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)xp_trace_ring_bytes(NR)) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0 ||
        xp_tracer_open(&s.tracer, fd, 1, NR, XP_TRACE_events) != 0)
        return 2;
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.s = &s, .number = i + 1};
        if (pthread_create(&threads[i], NULL, write_all, &writers[i]) != 0)
            return 2;
    }
    while (now_ns() < end) {
        uint32_t nr = xp_trace_read(s.tracer.memory, NR, &pos, seen, 64, &lost);
        for (uint32_t i = 0; i < nr; i++)
            torn += seen[i].value != value_of(seen[i].type, seen[i].domid, seen[i].number);
        read += nr;
    }
    s.stop = true;
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t nr; (nr = xp_trace_read(s.tracer.memory, NR, &pos, seen, 64, &lost)) > 0; read += nr)
        ;
    printf("read %lu lost %lu torn %lu written %lu\n", (unsigned long)read, (unsigned long)lost, (unsigned long)torn,
           (unsigned long)s.written);
    return 0;
}
