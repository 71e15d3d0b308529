/*
 * trace.h: what happens, as it happens: records of 32 bytes in one ring of memory a CPU, shared with whoever reads them.
 *
 * The reader (xenproc trace) makes the memory and hands over its descriptor, sealed against shrinking; the hypervisor writes and reads
 * nothing back that it acts on. Off costs one predicted branch; on, an atomic add and a few stores.
 *   1. Writers wait for nobody: a position is taken by an atomic add, the oldest records are overwritten.
 *   2. A record carries a check over its position and contents. One that is half written, overwritten while it is read, or mixed
 *      by two writers a lap apart does not fit its check and is dropped and counted, never shown.
 *   3. Readers change nothing that a writer looks at, but the head, whose bits beyond the ring's size do not matter.
 *
 * Tour H:190
 */
#ifndef XP_TRACE_H
#define XP_TRACE_H

#include "xp.h"

#include <stdatomic.h>

enum xp_trace_class { XP_TRACE_hypercalls = 1, XP_TRACE_events = 2, XP_TRACE_traps = 4, XP_TRACE_sched = 8, XP_TRACE_life = 16,
                      XP_TRACE_rings = 32 };

enum xp_trace_type {
    XP_TT_none = 0,
    XP_TT_call,          /* number: hypercall | slot << 16, value: first argument */
    XP_TT_answer,        /* number: slot, value: result */
    XP_TT_event,         /* number: port whose bit was set, value: 1: it is masked */
    XP_TT_upcall,        /* the domain is told */
    XP_TT_trap,          /* number: vector, value: address */
    XP_TT_block,         /* number: slot, value: enum xp_park_kind */
    XP_TT_wake,          /* number: slot, value: result */
    XP_TT_alarm,         /* number: enum xp_timer_kind */
    XP_TT_pause,         /* number: 1 stopped, 0 continued */
    XP_TT_start,
    XP_TT_end,
    XP_TT_sleep,         /* the dispatcher, value: until when */
    XP_TT_awake,
    /* What the CPU scheduler was told and answered, in order: enough to play a run again. value: now, system time, but for slice. */
    XP_TT_sched_add,     /* number: weight */
    XP_TT_sched_remove,
    XP_TT_sched_wake,
    XP_TT_sched_sleep,   /* number: 1 voluntary */
    XP_TT_sched_charge,  /* number: ns it ran */
    XP_TT_sched_decide,  /* number: CPU, domid: who was chosen, 0: nobody */
    XP_TT_sched_slice,   /* of the decision before, number: CPU, value: ns */
    XP_TT_sched_adjust,  /* number: the new weight */
    XP_TT_sched_spent,   /* as charge: the hypervisor spent it for this domain */
    XP_TT_sched_paid,    /* as charge: a back end did, and handed it over */
    XP_TT_sched_warp,    /* of the add or adjust that follows, number: 0 warp, 1 its limit, 2 its period, value: ns */

    /* Recorded by a domain (gtrace.h); number: the port of the ring's or channel's event, for push and take | how many << 16. */
    XP_TT_GUEST_FIRST = 64,
    XP_TT_push = 64,     /* value: the index, bit 32: the peer wants to be told */
    XP_TT_take,          /* value: the index */
    XP_TT_send,          /* an event straight to the peer, value: 1 it was woken, 0 it was awake */
    XP_TT_wait,          /* sleeps until an event comes */
    XP_TT_woken,         /* value: result */
    XP_TT_GUEST_LAST = XP_TT_woken,
};

struct xp_trace_record {
    _Atomic uint64_t check;
    uint64_t tsc;
    uint16_t type;
    uint16_t domid;
    uint32_t number;
    uint64_t value;
};
_Static_assert(sizeof(struct xp_trace_record) == 32, "two records a cache line");

struct xp_trace_ring {
    _Atomic uint64_t head;       /* records ever begun */
    uint8_t pad[56];
    struct xp_trace_record record[];
};

#define XP_TRACE_CPUS_MAX 1024u

/* Bytes of a trace's memory; nr_records: a power of two. */
static inline uint64_t xp_trace_ring_bytes(uint32_t nr_records)
{
    return sizeof(struct xp_trace_ring) + (uint64_t)nr_records * sizeof(struct xp_trace_record);
}

struct xp_tracer {
    _Atomic uint32_t classes;    /* what is recorded; 0: off */
    uint8_t *memory;
    uint64_t bytes;
    uint32_t nr_cpus, nr_records;
};

/* Takes the memory behind fd: nr_cpus rings. -XEN_EINVAL: not that long, not sealed, no power of two; -errno. */
int xp_tracer_open(struct xp_tracer *t, int fd, uint32_t nr_cpus, uint32_t nr_records, uint32_t classes);
void xp_tracer_close(struct xp_tracer *t);

static inline bool xp_tracer_on(const struct xp_tracer *t) { return atomic_load_explicit(&t->classes, memory_order_relaxed) != 0; }

/* Into one ring of nr_records. */
void xp_trace_put_in(struct xp_trace_ring *ring, uint32_t nr_records, uint64_t tsc, uint16_t type, uint16_t domid, uint32_t number,
                     uint64_t value);

void xp_trace_put(struct xp_tracer *t, uint16_t type, uint16_t domid, uint32_t number, uint64_t value);

/* The one branch. */
static inline void xp_trace(struct xp_tracer *t, uint32_t class, uint16_t type, uint16_t domid, uint32_t number, uint64_t value)
{
    if (__builtin_expect((atomic_load_explicit(&t->classes, memory_order_relaxed) & class) != 0, 0))
        xp_trace_put(t, type, domid, number, value);
}

/* ---- reading ---- */

struct xp_trace_seen {
    uint64_t tsc, value;
    uint32_t number;
    uint16_t type, domid;
};

/*
 * Copies up to max whole records of a ring from *pos on, in order; *lost grows by those that were overwritten or torn. Stops before
 * one that is being written, unless the ring has gone on for long.
 */
uint32_t xp_trace_read(const void *ring, uint32_t nr_records, uint64_t *pos, struct xp_trace_seen *out, uint32_t max, uint64_t *lost);

/* Puts a record read elsewhere into cpu's ring (any number), as domid's. */
void xp_trace_copy(struct xp_tracer *t, const struct xp_trace_seen *record, uint32_t cpu, uint16_t domid);

/* What a record costs: n of them, in ticks of the TSC. */
uint64_t xp_trace_cost(struct xp_tracer *t, uint32_t n);

#endif
