/*
 * diff_ring.c: native/ring.c against the ring model in C (written from tests/model/ring.py), through random steps of both
 * ends and of a hand that scribbles; a new ring after each that closes. Arguments: seed, number of steps.
 */
#include "diff.h"

#include "ring.h"

#include <string.h>
#include <sys/mman.h>

#define REQ 40u
#define RSP 24u
#define ID_AT 8u
#define MAX_NR 512u
#define BATCH 24u

struct m_end { uint32_t put_at, pushed, cons; bool closed; };

struct m_ring {
    uint32_t nr, req_prod, req_event, rsp_prod, rsp_event;
    uint8_t slot[MAX_NR][REQ];
    struct m_end front, back;
    uint32_t free[MAX_NR], nr_free, used_at[MAX_NR];
    bool used[MAX_NR];
    uint64_t taken[MAX_NR];
    uint32_t nr_taken;
};

struct both {
    struct diff d;
    struct m_ring m;
    struct xp_front front;
    struct xp_back back;
    uint8_t *memory;
    uint64_t pages[4];
    uint32_t nr_pages, next;
};

/* ---- the model ---- */

static int m_refuse(struct m_end *e) { e->closed = true; return -XEN_EILSEQ; }

static int m_there(struct m_end *e, uint32_t prod, uint32_t limit)
{
    uint32_t nr = prod - e->cons;
    return nr > limit ? m_refuse(e) : (int)nr;
}

static int m_push(struct m_end *e, uint32_t *prod, uint32_t event)
{
    uint32_t old = e->pushed;
    if (e->closed)
        return -XEN_EILSEQ;
    if (old == e->put_at)
        return 0;
    *prod = e->pushed = e->put_at;
    return (uint32_t)(e->pushed - event) < (uint32_t)(e->pushed - old);
}

static int m_front_put(struct m_ring *m, uint8_t *reqs, uint32_t n)
{
    uint32_t done = 0;
    if (m->front.closed)
        return -XEN_EILSEQ;
    for (; done < n && m->front.put_at - m->front.cons < m->nr; done++) {
        uint64_t id = m->free[--m->nr_free];
        m->used[id] = true;
        m->used_at[id] = m->front.put_at;
        memcpy(reqs + done * REQ + ID_AT, &id, 8);
        memcpy(m->slot[m->front.put_at++ % m->nr], reqs + done * REQ, REQ);
    }
    return (int)done;
}

static int m_front_get(struct m_ring *m, uint32_t max)
{
    struct m_end *e = &m->front;
    if (e->closed)
        return -XEN_EILSEQ;
    int there = m_there(e, m->rsp_prod, e->pushed - e->cons);
    if (there < 0)
        return there;
    uint32_t n = (uint32_t)there < max ? (uint32_t)there : max;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id;
        memcpy(&id, m->slot[(e->cons + i) % m->nr], 8);
        if (id >= m->nr || !m->used[id] || e->pushed - m->used_at[id] - 1 >= m->nr)
            return m_refuse(e);
        m->used[id] = false;
        m->free[m->nr_free++] = (uint32_t)id;
    }
    e->cons += n;
    return (int)n;
}

static uint32_t m_most(const struct m_ring *m) { return m->nr - (m->back.cons - m->back.pushed); }

static int m_back_get(struct m_ring *m, uint32_t max)
{
    struct m_end *e = &m->back;
    if (e->closed)
        return -XEN_EILSEQ;
    int there = m_there(e, m->req_prod, m_most(m));
    if (there < 0)
        return there;
    uint32_t n = (uint32_t)there < max ? (uint32_t)there : max;
    for (uint32_t i = 0; i < n; i++)
        memcpy(&m->taken[m->nr_taken++ % MAX_NR], m->slot[(e->cons + i) % m->nr] + ID_AT, 8);
    e->cons += n;
    return (int)n;
}

static int m_back_put(struct m_ring *m, const uint8_t *rsps, uint32_t n)
{
    if (m->back.closed)
        return -XEN_EILSEQ;
    if (n > m->back.cons - m->back.put_at)
        return -XEN_EINVAL;
    for (uint32_t i = 0; i < n; i++)
        memcpy(m->slot[m->back.put_at++ % m->nr], rsps + i * RSP, RSP);
    return (int)n;
}

/* ---- both ---- */

static uint8_t *place(struct both *b, uint32_t at)
{
    return (uint8_t *)(uintptr_t)b->pages[at / XP_PAGE_SIZE] + at % XP_PAGE_SIZE;
}

static void fresh(struct both *b)
{
    static const uint32_t starts[] = {0, 7, UINT32_MAX - 2, UINT32_MAX - 100};
    const struct xp_ring_layout layout = {.req_size = REQ, .rsp_size = RSP, .id_size = 8, .req_id_at = ID_AT};
    uint32_t start = starts[pick(&b->d, 4)];
    bool scattered = pick(&b->d, 2) != 0;
    xp_front_free(&b->front);
    b->nr_pages = 1 + pick(&b->d, 3);
    for (uint32_t i = 0; i < b->nr_pages; i++)
        b->pages[i] = (uint64_t)(uintptr_t)b->memory + XP_PAGE_SIZE * (scattered ? 2 * (b->nr_pages - 1 - i) : i);
    memset(b->memory, 0, 8 * XP_PAGE_SIZE);
    SAME(&b->d, xp_front_init(&b->front, &layout, b->pages, b->nr_pages, start), 0);
    SAME(&b->d, xp_back_init(&b->back, &layout, b->pages, b->nr_pages, start), 0);
    memset(&b->m, 0, sizeof b->m);
    b->m.nr = xp_ring_entries(&layout, b->nr_pages);
    b->m.req_prod = b->m.rsp_prod = start;
    b->m.req_event = b->m.rsp_event = start + 1;
    b->m.front = b->m.back = (struct m_end){start, start, start, false};
    for (uint32_t id = b->m.nr; id > 0; id--)
        b->m.free[b->m.nr_free++] = id - 1;
}

static int count(struct both *b, int ret)
{
    if (ret < 0)
        b->d.refused++;
    else
        b->d.accepted++;
    return ret;
}

static void front_step(struct both *b)
{
    uint8_t real[BATCH * REQ], model[BATCH * REQ], rsps[BATCH * RSP];
    uint32_t n = pick(&b->d, BATCH + 1), holdoff;
    switch (pick(&b->d, 4)) {
    case 0:
        b->d.doing = "front_put";
        for (uint32_t i = 0; i < sizeof real; i++)
            real[i] = (uint8_t)(b->next++ >> 2);
        memcpy(model, real, sizeof real);
        SAME(&b->d, count(b, xp_front_put(&b->front, real, n)), m_front_put(&b->m, model, n));
        SAME(&b->d, memcmp(real, model, sizeof real), 0);
        break;
    case 1:
        b->d.doing = "front_push";
        SAME(&b->d, count(b, xp_front_push(&b->front)), m_push(&b->m.front, &b->m.req_prod, b->m.req_event));
        break;
    case 2:
        b->d.doing = "front_get";
        SAME(&b->d, count(b, xp_front_get(&b->front, rsps, n)), m_front_get(&b->m, n));
        break;
    default:
        b->d.doing = "front_final_check";
        holdoff = pick(&b->d, 5);
        int got = xp_front_final_check(&b->front, holdoff);
        if (!b->m.front.closed)
            b->m.rsp_event = b->m.front.cons + (holdoff ? holdoff : 1);
        SAME(&b->d, count(b, got), b->m.front.closed ? -XEN_EILSEQ
             : m_there(&b->m.front, b->m.rsp_prod, b->m.front.pushed - b->m.front.cons));
    }
}

static void back_step(struct both *b)
{
    uint8_t reqs[BATCH * REQ], rsps[BATCH * RSP] = {0};
    uint32_t n = pick(&b->d, BATCH + 1), owed = b->m.back.cons - b->m.back.put_at, holdoff;
    switch (pick(&b->d, 4)) {
    case 0:
        b->d.doing = "back_get";
        SAME(&b->d, count(b, xp_back_get(&b->back, reqs, n)), m_back_get(&b->m, n));
        break;
    case 1:
        b->d.doing = "back_put";
        if (n > owed && pick(&b->d, 8) != 0)
            n = owed;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t id = pick(&b->d, 400) == 0 ? pick(&b->d, 1000) : b->m.taken[(b->m.nr_taken - owed + i) % MAX_NR];
            memcpy(rsps + i * RSP, &id, 8);
        }
        SAME(&b->d, count(b, xp_back_put(&b->back, rsps, n)), m_back_put(&b->m, rsps, n));
        break;
    case 2:
        b->d.doing = "back_push";
        SAME(&b->d, count(b, xp_back_push(&b->back)), m_push(&b->m.back, &b->m.rsp_prod, b->m.rsp_event));
        break;
    default:
        b->d.doing = "back_final_check";
        holdoff = pick(&b->d, 5);
        int got = xp_back_final_check(&b->back, holdoff);
        if (!b->m.back.closed)
            b->m.req_event = b->m.back.cons + (holdoff ? holdoff : 1);
        SAME(&b->d, count(b, got), b->m.back.closed ? -XEN_EILSEQ : m_there(&b->m.back, b->m.req_prod, m_most(&b->m)));
    }
}

static void scribble(struct both *b)
{
    uint32_t *words[] = {&b->m.req_prod, &b->m.req_event, &b->m.rsp_prod, &b->m.rsp_event};
    uint32_t at = pick(&b->d, 4);
    *words[at] += pick(&b->d, 2) ? pick(&b->d, 4) : pick(&b->d, UINT32_MAX);
    memcpy(place(b, at * 4), words[at], 4);
    b->d.failed++;
}

static void compare(struct both *b)
{
    const uint32_t *header = (const uint32_t *)(const void *)place(b, 0);
    SAME(&b->d, header[0], b->m.req_prod);
    SAME(&b->d, header[1], b->m.req_event);
    SAME(&b->d, header[2], b->m.rsp_prod);
    SAME(&b->d, header[3], b->m.rsp_event);
    SAME(&b->d, b->front.r.closed != 0, b->m.front.closed);
    SAME(&b->d, b->back.r.closed != 0, b->m.back.closed);
    uint32_t slot = pick(&b->d, b->m.nr), at = XP_RING_SLOTS_AT + slot * REQ;
    for (uint32_t i = 0; i < REQ; i++)
        SAME(&b->d, *place(b, at + i), b->m.slot[slot][i]);
}

int main(int argc, char **argv)
{
    static struct both b;
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 0) : 100000, closed_for = 0;
    b.d.rng = argc > 1 ? strtoull(argv[1], NULL, 0) * 0x9e3779b97f4a7c15u + 1 : 1;
    b.memory = mmap(NULL, 8 * XP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b.d.doing = "start";
    fresh(&b);
    for (b.d.step = 0; b.d.step < steps; b.d.step++) {
        if (pick(&b.d, 60) == 0)
            scribble(&b);
        else if (pick(&b.d, 2) == 0)
            front_step(&b);
        else
            back_step(&b);
        compare(&b);
        if ((b.m.front.closed || b.m.back.closed) && ++closed_for > 12) {
            fresh(&b);
            closed_for = 0;
        }
    }
    xp_front_free(&b.front);
    (void)printf("%" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64 " failures\n", b.d.accepted, b.d.refused, b.d.failed);
    return 0;
}
