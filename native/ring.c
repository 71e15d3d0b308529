/*
 * ring.c: making and closing the ends of a ring, and their steps without waiting.
 */
#include "ringcore.h"

#include <stdlib.h>

_Static_assert(offsetof(struct xp_sring, rsp_event) == offsetof(struct xen_sring_header, rsp_event), "Xen's header");
_Static_assert(sizeof(struct xen_sring_header) == XP_RING_SLOTS_AT, "slots follow the header");

/* ---- layout ---- */

static uint32_t entry_size(const struct xp_ring_layout *l)
{
    uint32_t larger = l->req_size > l->rsp_size ? l->req_size : l->rsp_size;
    return l->entry_size ? l->entry_size : larger;
}

static bool id_fits(const struct xp_ring_layout *l)
{
    if (l->id_size == 0)
        return true;
    if (l->id_size > 8 || (l->id_size & (l->id_size - 1)))
        return false;
    return l->id_size <= l->req_size && l->req_id_at <= l->req_size - l->id_size &&
           l->id_size <= l->rsp_size && l->rsp_id_at <= l->rsp_size - l->id_size;
}

uint32_t xp_ring_entries(const struct xp_ring_layout *l, uint32_t nr_pages)
{
    uint32_t size = entry_size(l);
    if (l->req_size == 0 || l->rsp_size == 0 || l->req_size > size || l->rsp_size > size || !id_fits(l) ||
        nr_pages == 0 || nr_pages > XP_RING_MAX_PAGES)
        return 0;
    uint32_t fit = (nr_pages * XP_PAGE_SIZE - XP_RING_SLOTS_AT) / size;
    return fit == 0 ? 0 : 1u << (31 - __builtin_clz(fit));
}

static int ring_init(struct xp_ring *r, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages)
{
    uint32_t nr_ents = xp_ring_entries(l, nr_pages);
    if (nr_ents == 0)
        return -XEN_EINVAL;
    *r = (struct xp_ring){.nr_ents = nr_ents, .entry_size = entry_size(l), .req_size = l->req_size,
                          .rsp_size = l->rsp_size, .nr_pages = nr_pages};
    bool linear = true;
    for (uint32_t i = 0; i < nr_pages; i++) {
        if (pages[i] == 0 || pages[i] % XP_PAGE_SIZE)
            return -XEN_EINVAL;
        r->page[i] = (uint8_t *)(uintptr_t)pages[i];
        linear = linear && pages[i] == pages[0] + i * XP_PAGE_SIZE;
    }
    r->shared = (struct xp_sring *)(void *)r->page[0];
    r->linear = linear ? r->page[0] : NULL;
    xp_sem_waiter_init(&r->alone);
    return 0;
}

void xp_ring_close(struct xp_ring *r, int error)
{
    int open = 0;
    (void)atomic_compare_exchange_strong_explicit(&r->closed, &open, error, memory_order_relaxed, memory_order_relaxed);
}

/* ---- the front ---- */

int xp_front_init(struct xp_front *f, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages, uint32_t start)
{
    *f = (struct xp_front){.req_prod_pvt = start, .req_pushed = start, .rsp_cons = start, .layout = *l};
    int ret = ring_init(&f->r, l, pages, nr_pages);
    if (ret)
        return ret;
    if (l->id_size) {
        f->nr_ids = l->id_size == 1 && f->r.nr_ents > 256 ? 256 : f->r.nr_ents;
        f->free_ids = calloc(f->nr_ids, sizeof *f->free_ids);
        f->id_at = calloc(f->nr_ids, sizeof *f->id_at);
        f->id_used = calloc(f->nr_ids, 1);
        if (!f->free_ids || !f->id_at || !f->id_used) {
            xp_front_free(f);
            return -XEN_ENOMEM;
        }
        for (uint32_t id = f->nr_ids; id > 0; id--)
            f->free_ids[f->nr_free++] = id - 1;
    }
    memset(f->r.page[0], 0, XP_RING_SLOTS_AT);
    struct xp_sring *s = f->r.shared;
    atomic_store_explicit(&s->req_event, start + 1, memory_order_relaxed);
    atomic_store_explicit(&s->rsp_event, start + 1, memory_order_relaxed);
    atomic_store_explicit(&s->rsp_prod, start, memory_order_relaxed);
    atomic_store_explicit(&s->req_prod, start, memory_order_release);
    return 0;
}

void xp_front_free(struct xp_front *f)
{
    xp_ring_close(&f->r, -XEN_ENOTCONN);
    free(f->free_ids);
    free(f->id_at);
    free(f->id_used);
    f->free_ids = f->id_at = NULL;
    f->id_used = NULL;
}

int xp_front_put(struct xp_front *f, void *reqs, uint32_t n)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, front_put(f, reqs, n));
}

int xp_front_push(struct xp_front *f)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, front_push(f));
}

int xp_front_get(struct xp_front *f, void *rsps, uint32_t max)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, front_get(f, rsps, max));
}

int xp_front_final_check(struct xp_front *f, uint32_t holdoff)
{
    int ret = ring_enter(&f->r);
    return ret ? ret : ring_leave(&f->r, front_final_check(f, holdoff));
}

/* ---- the back ---- */

int xp_back_init(struct xp_back *b, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages, uint32_t start)
{
    *b = (struct xp_back){.req_cons = start, .rsp_prod_pvt = start, .rsp_pushed = start, .id_size = l->id_size,
                          .req_id_at = l->req_id_at, .rsp_id_at = l->rsp_id_at};
    return ring_init(&b->r, l, pages, nr_pages);
}

int xp_back_get(struct xp_back *b, void *reqs, uint32_t max)
{
    int ret = ring_enter(&b->r);
    return ret ? ret : ring_leave(&b->r, back_get(b, reqs, max));
}

int xp_back_put(struct xp_back *b, const void *rsps, uint32_t n)
{
    int ret = ring_enter(&b->r);
    return ret ? ret : ring_leave(&b->r, back_put(b, rsps, n));
}

int xp_back_push(struct xp_back *b)
{
    int ret = ring_enter(&b->r);
    return ret ? ret : ring_leave(&b->r, back_push(b));
}

int xp_back_final_check(struct xp_back *b, uint32_t holdoff)
{
    int ret = ring_enter(&b->r);
    return ret ? ret : ring_leave(&b->r, back_final_check(b, holdoff));
}
