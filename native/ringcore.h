/*
 * ringcore.h: indices, slots and checks of both ends of a ring, as inline steps; for ring.c and ringwait.c only.
 *
 * Callers have entered the end (ring_enter) and leave it afterwards. Pairing of the shared words, for requests
 * (responses are the same with the ends exchanged):
 *   slots, then req_prod (release)         with   req_prod (acquire), then slots;
 *   req_prod, fence, req_event (notify?)   with   req_event, fence, req_prod (final check): one sees the other.
 *
 * Tour R:080
 */
#ifndef XP_RINGCORE_H
#define XP_RINGCORE_H

#include <string.h>

#include "ring.h"

/* The peer broke a rule: the first reason stands. */
static inline int ring_refuse(struct xp_ring *r)
{
    xp_ring_close(r, -XEN_EILSEQ);
    return atomic_load_explicit(&r->closed, memory_order_relaxed);
}

/* 0: the caller is alone inside (and must leave); else why not. Acquire pairs with leave's release. */
static inline int ring_enter(struct xp_ring *r)
{
    if (atomic_exchange_explicit(&r->busy, 1, memory_order_acquire))
        return -XEN_EBUSY;
    int closed = atomic_load_explicit(&r->closed, memory_order_relaxed);
    if (closed)
        atomic_store_explicit(&r->busy, 0, memory_order_release);
    return closed;
}

static inline int ring_leave(struct xp_ring *r, int ret)
{
    atomic_store_explicit(&r->busy, 0, memory_order_release);
    return ret;
}

/* ---- slots ---- */

/* Word by word: what was just written in words and is read back wider waits until the store buffer has drained. */
static inline void ring_copy_word(uint8_t *to, const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    __asm__("" : "+r"(word));                /* no wider load */
    memcpy(to, &word, sizeof word);
}

/* The usual small entries without a call. */
static inline void ring_copy(void *to, const void *from, size_t size)
{
    if (size % 8 != 0 || size > 64) {
        memcpy(to, from, size);
        return;
    }
    for (size_t at = 0; at < size; at += 8)
        ring_copy_word((uint8_t *)to + at, (const uint8_t *)from + at);
}

static inline void ring_copy_id(void *to, const void *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else
        memcpy(to, from, size);
}

/* A slot in pages that do not follow one another may lie in two of them, or more if it is larger than a page. */
static inline void ring_copy_pieces(const struct xp_ring *r, size_t at, uint8_t *private, size_t size, bool out)
{
    while (size) {
        size_t in_page = at % XP_PAGE_SIZE;
        size_t piece = size < XP_PAGE_SIZE - in_page ? size : XP_PAGE_SIZE - in_page;
        uint8_t *shared = r->page[at / XP_PAGE_SIZE] + in_page;
        if (out)
            memcpy(shared, private, piece);
        else
            memcpy(private, shared, piece);
        at += piece;
        private += piece;
        size -= piece;
    }
}

static inline size_t ring_slot_at(const struct xp_ring *r, uint32_t index)
{
    return XP_RING_SLOTS_AT + (size_t)(index & (r->nr_ents - 1)) * r->entry_size;
}

static inline void ring_slot_write(const struct xp_ring *r, uint32_t index, const void *from, size_t size)
{
    if (r->linear)
        ring_copy(r->linear + ring_slot_at(r, index), from, size);
    else
        ring_copy_pieces(r, ring_slot_at(r, index), (uint8_t *)(uintptr_t)from, size, true);
}

/* The one copy of invariant 2: after it the compiler may not look at the slot again. */
static inline void ring_slot_read(const struct xp_ring *r, uint32_t index, void *to, size_t size)
{
    if (r->linear)
        ring_copy(to, r->linear + ring_slot_at(r, index), size);
    else
        ring_copy_pieces(r, ring_slot_at(r, index), to, size, false);
    atomic_signal_fence(memory_order_seq_cst);
}

/* ---- producing and consuming, the same for both ends ---- */

static inline uint32_t ring_number(const struct xp_ring *r, uint32_t nr) { return (r->port & 0xffff) | nr << 16; }

/* Shows `prod`; 1 if the peer asked to be told between `old` (excluded) and `prod` (included). */
static inline int ring_push(struct xp_ring *r, _Atomic uint32_t *prod, const _Atomic uint32_t *event, uint32_t old, uint32_t new)
{
    XP_FAULT_POINT("ring.push.before_prod");
    atomic_store_explicit(prod, new, memory_order_release); /* with ring_produced() of the other end */
    XP_FAULT_POINT("ring.push.after_prod");
    atomic_thread_fence(memory_order_seq_cst); /* with the fence in ring_final_check() */
    uint32_t wanted_at = atomic_load_explicit(event, memory_order_relaxed);
    int told = (uint32_t)(new - wanted_at) < (uint32_t)(new - old);
    r->pushes++;
    xp_gtrace(r->tracer, XP_TRACE_rings, XP_TT_push, ring_number(r, new - old), new | (uint64_t)told << 32);
    r->notified += (unsigned)told;
    return told;
}

/* How many entries the peer has produced and we have not consumed; at most `limit` is possible. */
static inline int ring_produced(struct xp_ring *r, const _Atomic uint32_t *prod, uint32_t cons, uint32_t limit)
{
    uint32_t nr = atomic_load_explicit(prod, memory_order_acquire) - cons; /* with ring_push() of the other end */
    return nr > limit ? ring_refuse(r) : (int)nr;
}

static inline int ring_final_check(struct xp_ring *r, const _Atomic uint32_t *prod, _Atomic uint32_t *event, uint32_t cons,
                       uint32_t limit, uint32_t holdoff)
{
    atomic_store_explicit(event, cons + (holdoff ? holdoff : 1), memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* with the fence in ring_push() */
    XP_FAULT_POINT("ring.final_check.announced");
    return ring_produced(r, prod, cons, limit);
}

/* ---- the front ---- */

static inline void front_number(struct xp_front *f, uint8_t *req)
{
    uint64_t id = f->free_ids[--f->nr_free];
    f->id_used[id] = 1;
    f->id_at[id] = f->req_prod_pvt;
    ring_copy_id(req + f->layout.req_id_at, &id, f->layout.id_size); /* little endian */
}

/* Whether a response (copied already) answers a request that was pushed and is unanswered; then the id is free again. */
static inline bool front_answers(struct xp_front *f, const uint8_t *rsp)
{
    uint64_t id = 0;
    ring_copy_id(&id, rsp + f->layout.rsp_id_at, f->layout.id_size);
    if (id >= f->nr_ids || !f->id_used[id])
        return false;
    if ((uint32_t)(f->req_pushed - f->id_at[id] - 1) >= f->r.nr_ents)
        return false; /* put, but not pushed yet: a guess */
    f->id_used[id] = 0;
    f->free_ids[f->nr_free++] = (uint32_t)id;
    return true;
}

static inline int front_put(struct xp_front *f, void *reqs, uint32_t n)
{
    uint32_t room = f->r.nr_ents - (f->req_prod_pvt - f->rsp_cons);
    if (f->layout.id_size && room > f->nr_free)
        room = f->nr_free;
    n = n < room ? n : room;
    uint8_t *req = reqs;
    for (uint32_t i = 0; i < n; i++, req += f->r.req_size) {
        if (f->layout.id_size)
            front_number(f, req);
        ring_slot_write(&f->r, f->req_prod_pvt, req, f->r.req_size);
        f->req_prod_pvt++;
    }
    XP_FAULT_POINT("ring.push.copied");
    return (int)n;
}

static inline int front_push(struct xp_front *f)
{
    struct xp_sring *s = f->r.shared;
    uint32_t old = f->req_pushed;
    if (f->req_prod_pvt == old)
        return 0;
    f->req_pushed = f->req_prod_pvt;
    return ring_push(&f->r, &s->req_prod, &s->req_event, old, f->req_pushed);
}

static inline int front_get(struct xp_front *f, void *rsps, uint32_t max)
{
    int there = ring_produced(&f->r, &f->r.shared->rsp_prod, f->rsp_cons, f->req_pushed - f->rsp_cons);
    if (there < 0)
        return there;
    uint32_t n = (uint32_t)there < max ? (uint32_t)there : max;
    uint8_t *rsp = rsps;
    for (uint32_t i = 0; i < n; i++, rsp += f->r.rsp_size) {
        ring_slot_read(&f->r, f->rsp_cons + i, rsp, f->r.rsp_size);
        if (f->layout.id_size && !front_answers(f, rsp))
            return ring_refuse(&f->r);
    }
    XP_FAULT_POINT("ring.get.copied");
    f->rsp_cons += n;
    if (n != 0)
        xp_gtrace(f->r.tracer, XP_TRACE_rings, XP_TT_take, ring_number(&f->r, n), f->rsp_cons);
    return (int)n;
}

static inline int front_final_check(struct xp_front *f, uint32_t holdoff)
{
    struct xp_sring *s = f->r.shared;
    return ring_final_check(&f->r, &s->rsp_prod, &s->rsp_event, f->rsp_cons, f->req_pushed - f->rsp_cons, holdoff);
}

/* ---- the back ---- */

/* The front may have used every slot whose response it could have seen. */
static inline uint32_t back_most_requests(const struct xp_back *b)
{
    return b->r.nr_ents - (b->req_cons - b->rsp_pushed);
}

static inline int back_get(struct xp_back *b, void *reqs, uint32_t max)
{
    int there = ring_produced(&b->r, &b->r.shared->req_prod, b->req_cons, back_most_requests(b));
    if (there < 0)
        return there;
    uint32_t n = (uint32_t)there < max ? (uint32_t)there : max;
    uint8_t *req = reqs;
    for (uint32_t i = 0; i < n; i++, req += b->r.req_size)
        ring_slot_read(&b->r, b->req_cons + i, req, b->r.req_size);
    XP_FAULT_POINT("ring.get.copied");
    b->req_cons += n;
    if (n != 0)
        xp_gtrace(b->r.tracer, XP_TRACE_rings, XP_TT_take, ring_number(&b->r, n), b->req_cons);
    return (int)n;
}

static inline int back_put(struct xp_back *b, const void *rsps, uint32_t n)
{
    if (n > b->req_cons - b->rsp_prod_pvt)
        return -XEN_EINVAL;
    b->taken = 0;
    const uint8_t *rsp = rsps;
    for (uint32_t i = 0; i < n; i++, rsp += b->r.rsp_size)
        ring_slot_write(&b->r, b->rsp_prod_pvt + i, rsp, b->r.rsp_size);
    b->rsp_prod_pvt += n;
    XP_FAULT_POINT("ring.push.copied");
    return (int)n;
}

static inline int back_push(struct xp_back *b)
{
    struct xp_sring *s = b->r.shared;
    uint32_t old = b->rsp_pushed;
    if (b->rsp_prod_pvt == old)
        return 0;
    b->rsp_pushed = b->rsp_prod_pvt;
    return ring_push(&b->r, &s->rsp_prod, &s->rsp_event, old, b->rsp_pushed);
}

static inline int back_final_check(struct xp_back *b, uint32_t holdoff)
{
    struct xp_sring *s = b->r.shared;
    return ring_final_check(&b->r, &s->req_prod, &s->req_event, b->req_cons, back_most_requests(b), holdoff);
}

#endif
