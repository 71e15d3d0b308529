/* A vchan with both ends in one address space, for the drivers; and bytes that tell where in a stream they stand. */
#ifndef VCHAN_PAIR_H
#define VCHAN_PAIR_H

#include "vchan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), fflush(stderr), _exit(1)))
#define SECOND INT64_C(1000000000)
#define EVENT_PAGE(pair) ((void *)((pair)->memory + XP_PAGE_SIZE))

struct pair {
    uint8_t *memory;
    uint8_t *pages[2][256];
    int fds[2];
    struct xp_direct event[2];
    struct xp_vchan server, client;
};

/* scattered: no two pages of a ring in one piece. */
static inline void pair_map(struct pair *p, uint32_t left, uint32_t right, bool scattered)
{
    memset(p, 0, sizeof(*p));
    p->memory = mmap(NULL, 1026u * XP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p->memory != MAP_FAILED);
    uint32_t next = 2, orders[2] = {left, right};
    for (int side = 0; side < 2; side++) {
        p->fds[side] = eventfd(0, EFD_NONBLOCK);
        for (uint32_t i = 0; orders[side] >= XP_PAGE_SHIFT && i < 1u << (orders[side] - XP_PAGE_SHIFT); i++) {
            p->pages[side][i] = p->memory + (size_t)next * XP_PAGE_SIZE;
            next += scattered ? 2 : 1;
        }
    }
    for (unsigned side = 0; side < 2; side++) {
        xp_direct_init(&p->event[side], EVENT_PAGE(p), side, p->fds[side], p->fds[1 - side]);
    }
    CHECK(xp_vchan_server(&p->server, p->memory, left, right, p->pages[0], p->pages[1], NULL, &p->event[0], NULL, NULL) == 0);
}

static inline void pair_connect(struct pair *p)
{
    struct xp_vchan_geometry g;
    CHECK(xp_vchan_geometry(p->memory, &g) == 0);
    CHECK(xp_vchan_client(&p->client, p->memory, &g, p->pages[0], p->pages[1], &p->event[1], NULL, NULL) == 0);
}

static inline void pair_unmap(struct pair *p)
{
    close(p->fds[0]);
    close(p->fds[1]);
    munmap(p->memory, 1026u * XP_PAGE_SIZE);
}

/* The byte at a position of stream `which`. */
static inline uint8_t byte_at(uint64_t position, uint32_t which)
{
    uint64_t x = (position + 1) * UINT64_C(0x9E3779B97F4A7C15) + which;
    return (uint8_t)(x >> 56);
}

static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

#endif
