/* trace.c: see trace.h. */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define UNDER_WAY 256u           /* a record this near to the head may still be being written */

/* ---- the check ---- */

static uint64_t check_of(uint64_t pos, uint64_t tsc, uint64_t word, uint64_t value)
{
    uint64_t mix = (tsc ^ value << 23 ^ value >> 41 ^ word << 47 ^ word >> 17) * 0x9E3779B97F4A7C15u;
    /* Never 0, which is what fresh memory says. */
    return (pos + 1) << 32 | ((mix ^ mix >> 32) & UINT32_MAX) | 1;
}

static uint64_t word_of(uint16_t type, uint16_t domid, uint32_t number)
{
    return (uint64_t)number << 32 | (uint64_t)domid << 16 | type;
}

/* ---- writing ---- */

static struct xp_trace_ring *ring_of(const struct xp_tracer *t, uint32_t cpu)
{
    return (struct xp_trace_ring *)(void *)(t->memory + cpu % t->nr_cpus * xp_trace_ring_bytes(t->nr_records));
}

void xp_trace_put_in(struct xp_trace_ring *ring, uint32_t nr_records, uint64_t tsc, uint16_t type, uint16_t domid, uint32_t number,
                     uint64_t value)
{
    uint64_t pos = atomic_fetch_add_explicit(&ring->head, 1, memory_order_relaxed);
    struct xp_trace_record *r = &ring->record[pos & (nr_records - 1)];
    atomic_store_explicit(&r->check, 0, memory_order_relaxed);
    /* Pairs with the reader's fence: it does not see what follows under the old check. */
    atomic_thread_fence(memory_order_release);
    __atomic_store_n(&r->tsc, tsc, __ATOMIC_RELAXED);
    __atomic_store_n(&r->type, type, __ATOMIC_RELAXED);
    __atomic_store_n(&r->domid, domid, __ATOMIC_RELAXED);
    __atomic_store_n(&r->number, number, __ATOMIC_RELAXED);
    __atomic_store_n(&r->value, value, __ATOMIC_RELAXED);
    /* Pairs with the reader's acquire. */
    atomic_store_explicit(&r->check, check_of(pos, tsc, word_of(type, domid, number), value), memory_order_release);
}

void xp_trace_put(struct xp_tracer *t, uint16_t type, uint16_t domid, uint32_t number, uint64_t value)
{
    /* A move to another CPU meanwhile only means a ring with two writers. */
    xp_trace_put_in(ring_of(t, (uint32_t)sched_getcpu()), t->nr_records, xp_tsc(), type, domid, number, value);
}

void xp_trace_copy(struct xp_tracer *t, const struct xp_trace_seen *r, uint32_t cpu, uint16_t domid)
{
    xp_trace_put_in(ring_of(t, cpu), t->nr_records, r->tsc, r->type, domid, r->number, r->value);
}

int xp_tracer_open(struct xp_tracer *t, int fd, uint32_t nr_cpus, uint32_t nr_records, uint32_t classes)
{
    struct stat st;
    uint64_t bytes = nr_cpus * xp_trace_ring_bytes(nr_records);
    if (nr_cpus == 0 || nr_cpus > XP_TRACE_CPUS_MAX || nr_records < UNDER_WAY || (nr_records & (nr_records - 1)) != 0)
        return -XEN_EINVAL;
    /* Who made it could shrink it under us, and a store would kill us: it must be sealed. */
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size < bytes)
        return -XEN_EINVAL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    xp_tracer_close(t);
    t->memory = memory;
    t->bytes = bytes;
    t->nr_cpus = nr_cpus;
    t->nr_records = nr_records;
    atomic_store_explicit(&t->classes, classes, memory_order_relaxed);
    return 0;
}

void xp_tracer_close(struct xp_tracer *t)
{
    atomic_store_explicit(&t->classes, 0, memory_order_relaxed);
    if (t->memory != NULL)
        munmap(t->memory, t->bytes);
    t->memory = NULL;
}

/* ---- reading ---- */

static bool read_one(const struct xp_trace_record *r, uint64_t pos, struct xp_trace_seen *seen)
{
    uint64_t check = atomic_load_explicit(&r->check, memory_order_acquire);
    seen->tsc = __atomic_load_n(&r->tsc, __ATOMIC_RELAXED);
    seen->type = __atomic_load_n(&r->type, __ATOMIC_RELAXED);
    seen->domid = __atomic_load_n(&r->domid, __ATOMIC_RELAXED);
    seen->number = __atomic_load_n(&r->number, __ATOMIC_RELAXED);
    seen->value = __atomic_load_n(&r->value, __ATOMIC_RELAXED);
    atomic_thread_fence(memory_order_acquire);
    /* The position is in the check: an older record's, or none yet, does not fit. */
    bool whole = check == check_of(pos, seen->tsc, word_of(seen->type, seen->domid, seen->number), seen->value) &&
                 check == atomic_load_explicit(&r->check, memory_order_relaxed);
#ifdef XP_TEST_TORN              /* the test of torn records must be red without this check */
    whole = true;
#endif
    return whole;
}

uint32_t xp_trace_read(const void *memory, uint32_t nr_records, uint64_t *pos, struct xp_trace_seen *out, uint32_t max, uint64_t *lost)
{
    const struct xp_trace_ring *ring = memory;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint32_t nr = 0;
    if (head < *pos || head - *pos > nr_records) {
        uint64_t oldest = head > nr_records ? head - nr_records : 0;
        *lost += oldest > *pos ? oldest - *pos : 0;
        *pos = oldest;
    }
    for (; *pos < head && nr < max; (*pos)++) {
        if (read_one(&ring->record[*pos & (nr_records - 1)], *pos, &out[nr]))
            nr++;
        else if (head - *pos < UNDER_WAY && atomic_load_explicit(&ring->head, memory_order_relaxed) - *pos < UNDER_WAY)
            break;
        else
            (*lost)++;
    }
    return nr;
}

uint64_t xp_trace_cost(struct xp_tracer *t, uint32_t n)
{
    uint64_t begin = xp_tsc();
    for (uint32_t i = 0; i < n; i++)
        xp_trace(t, XP_TRACE_hypercalls, XP_TT_call, 1, i, i);
    return xp_tsc() - begin;
}
