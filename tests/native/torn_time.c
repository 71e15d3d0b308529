/*
 * torn_time.c: a writer of vcpu_time_info in a tight loop, and readers who must never see half of a version.
 *
 * Many worlds, in each of which the scale reads the counter itself: a value far from the counter was put together from two of them.
 * Prints the number of reads, of torn ones, and of those that went back. Built with XP_TEST_TORN, the reader's check is left out
 * and torn reads must be seen.
 */
#include "guest_time.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define WORLDS 1000u

struct shared {
    struct xen_vcpu_time_info time;
    _Atomic bool stop;
};

/* World n: n * 2^20 ns at n * 2^20 ticks, and a slope of exactly 1 (mul 2^31, shift 1). */
static void write_world(struct xen_vcpu_time_info *time, uint64_t n)
{
    __atomic_store_n(&time->version, time->version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&time->tsc_timestamp, n << 20, __ATOMIC_RELAXED);
    for (int i = 0; i < 20; i++)
        xp_relax();             /* half written for as long as it takes a reader to come by */
    __atomic_store_n(&time->system_time, n << 20, __ATOMIC_RELAXED);
    time->tsc_to_system_mul = 1u << 31;
    time->tsc_shift = 1;
    __atomic_store_n(&time->version, time->version + 1, __ATOMIC_RELEASE);
}

static void *writer(void *arg)
{
    struct shared *s = arg;
    for (uint64_t n = 1; !s->stop; n = n % WORLDS + 1) {
        write_world(&s->time, n);
        for (int i = 0; i < 20; i++)
            xp_relax();         /* whole for as long: a reader gets through also where others use the CPUs */
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct shared *s = calloc(1, sizeof *s);
    pthread_t thread;
    uint64_t reads = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000, torn = 0, back = 0, last = 0;
    if (s == NULL)
        return 2;
    write_world(&s->time, 1);
    if (pthread_create(&thread, NULL, writer, s) != 0)
        return 2;
    while (__atomic_load_n(&s->time.version, __ATOMIC_RELAXED) < 100)
        sched_yield();          /* the writer runs */
    for (uint64_t i = 0; i < reads; i++) {
        uint64_t before = xp_tsc(), ns = xp_time_read(&s->time), after = xp_tsc();
        torn += ns + 10000 < before || ns > after + 10000;
        back += ns + 10000 < last;
        last = ns;
    }
    s->stop = true;
    pthread_join(thread, NULL);
    printf("reads %lu torn %lu back %lu\n", (unsigned long)reads, (unsigned long)torn, (unsigned long)back);
    free(s);
    return 0;
}
