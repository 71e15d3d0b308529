/*
 * stress_sem.c: two threads post, one waits, in every mode: no post is lost, none is made up. Argument: posts a thread.
 */
#include "sem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct poster { struct xp_sem *sem; uint32_t n; };

static void *post(void *arg)
{
    struct poster *p = arg;
    for (uint32_t i = 0; i < p->n; i++)
        (void)xp_sem_post(p->sem);
    return NULL;
}

int main(int argc, char **argv)
{
    const uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 100000;
    for (int mode = XP_WAIT_POLL; mode <= XP_WAIT_BLOCK; mode++) {
        struct xp_sem sem = {0};
        struct xp_sem_waiter waiter;
        struct poster poster = {&sem, n};
        pthread_t threads[2];
        uint32_t taken = 0;
        int ret = 0;
        xp_sem_waiter_init(&waiter);
        for (int i = 0; i < 2; i++)
            if (pthread_create(&threads[i], NULL, post, &poster) != 0)
                return 2;
        while (taken < 2 * n && (ret = xp_sem_wait(&sem, &waiter, mode, 2000000000)) == 0)
            taken++;
        for (int i = 0; i < 2; i++)
            (void)pthread_join(threads[i], NULL);
        if (ret == 0)
            ret = xp_sem_wait(&sem, &waiter, mode, 0) == -XEN_ETIMEDOUT ? 0 : 1;
        (void)printf("mode %d: taken %u of %u, %d\n", mode, taken, 2 * n, ret);
        if (taken != 2 * n || ret != 0)
            return 1;
    }
    return 0;
}
