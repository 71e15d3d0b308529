/*
 * shadow.c: shadows made, found, evicted and ended: see shadow.h.
 *
 * Tour M:220
 */
#include "shadow.h"

#include "template.h"

#include <stdlib.h>
#include <string.h>

/* ---- the pool ---- */

int xp_shadow_enable(struct xp_domain *d, uint32_t nr)
{
    struct xp_frames *f = &d->hv->frames;
    xp_mfn_t first;
    if (nr < XP_SHADOW_POOL_MIN || nr > XP_SHADOW_POOL_MAX)
        return -XEN_EINVAL;
    if (d->hv->shadow_hints == NULL)
        d->hv->shadow_hints = calloc(f->nr, sizeof *d->hv->shadow_hints);
    struct xp_shadow *s = calloc(1, sizeof *s + nr * sizeof *s->page);
    if (d->hv->shadow_hints == NULL || s == NULL || xp_frames_alloc_run(f, d->domid, nr, XP_FF_HV, &first) != 0) {
        free(s);
        return -XEN_ENOMEM;
    }
    s->first = first.v;
    s->nr = s->nr_free = nr;
    s->doomed = s->base = s->user_base = XP_SHADOW_NONE;
    memset(s->chain, 0xff, sizeof s->chain);
    for (uint32_t i = 0; i < nr; i++) {
        s->page[i].next = (uint16_t)(i + 1 < nr ? i + 1 : XP_SHADOW_NONE);
        f->table[first.v + i].type = XP_FT_SHADOW;
        f->table[first.v + i].type_count = 1;
    }
    d->shadow = s;
    return 0;
}

int xp_shadow_give(struct xp_domain *d)
{
    return d->shadow == NULL ? 0 : xp_window_give(&d->window, xp_mfn(d->shadow->first), d->shadow->nr, true);
}

/* ---- found ---- */

static uint16_t *chain_of(struct xp_shadow *s, uint64_t table, uint8_t kind)
{
    return &s->chain[(table * 8 + kind) * 0x9e3779b97f4a7c15ull >> 55];
}

_Static_assert(XP_SHADOW_POOL_MAX == 1u << (64 - 55), "a chain for each hash");

uint16_t xp_shadow_find(const struct xp_domain *d, uint64_t table, uint8_t kind)
{
    uint16_t at = *chain_of(d->shadow, table, kind);
    while (at != XP_SHADOW_NONE && (d->shadow->page[at].table != table || d->shadow->page[at].kind != kind))
        at = d->shadow->page[at].next;
    return at;
}

static void unchain(struct xp_shadow *s, uint32_t page)
{
    uint16_t *at = chain_of(s, s->page[page].table, s->page[page].kind);
    while (*at != page)
        at = &s->page[*at].next;
    *at = s->page[page].next;
}

/* ---- the hole ---- */

bool xp_shadow_is_hole(const struct xp_domain *d, uint32_t kind, uint32_t index)
{
    const struct xp_paging_mode *m = d->mm.mode;
    const struct xp_paging_level *l = &m->level[xp_type_level(kind)];
    return xp_type_level(kind) == m->hole_level && (m->hole_level == m->levels || kind == XP_FT_L2_HOLE) &&
           index >= l->hole_first && index < l->hole_end;
}

uint8_t xp_shadow_below(const struct xp_domain *d, uint32_t kind, uint32_t index)
{
    const struct xp_paging_mode *m = d->mm.mode;
    uint32_t level = xp_type_level(kind);
    bool holds = level == m->hole_level + 1u && index == xp_pt_index(m, level, m->hole_start);
    return holds ? XP_FT_L2_HOLE : (uint8_t)(level - 1);
}

static void write_hole(struct xp_domain *d, uint32_t page)
{
    const struct xp_shadow_page *p = &d->shadow->page[page];
    const struct xp_paging_level *l = &d->mm.mode->level[xp_type_level(p->kind)];
    for (uint32_t i = l->hole_first; i < l->hole_end && xp_shadow_is_hole(d, p->kind, i); i++)
        xp_mm_write(d, xp_mfn(xp_shadow_mfn(d->shadow, page)), i, xp_template_entry(d->hv, d->mm.mode, i - l->hole_first));
}

/* ---- ended ---- */

/* One shadow less of a table: the last one's end makes it an ordinary page. */
static void unshadow(struct xp_domain *d, uint32_t table)
{
    struct xp_frame *frame = &d->hv->frames.table[table];
    if (frame->type_count > 1)
        frame->type_count--;
    else
        xp_mm_release(d, xp_mfn(table));
    xp_mm_put_page(d, xp_mfn(table));
}

void xp_shadow_doom(struct xp_domain *d, uint32_t page)
{
    struct xp_shadow *s = d->shadow;
    struct xp_shadow_page *p = &s->page[page];
    XP_BUG_ON(p->doomed || p->users != 0);
    unchain(s, page);
    unshadow(d, p->table);
    p->doomed = true;
    p->next = s->doomed;
    s->doomed = (uint16_t)page;
    s->flush = true;
}

void xp_shadow_unused(struct xp_domain *d, uint32_t page)
{
    const struct xp_shadow_page *p = &d->shadow->page[page];
    if (p->users == 0 && !p->doomed && !xp_shadow_is_top(d, p->kind))
        xp_shadow_doom(d, page);
}

void xp_shadow_unlink_all(struct xp_domain *d, uint32_t page)
{
    struct xp_shadow *s = d->shadow;
    struct xp_shadow_page *p = &s->page[page];
    const struct xp_paging_mode *m = d->mm.mode;
    uint32_t up = p->up >> 10, index = p->up & 1023;
    const uint64_t mfn = xp_shadow_mfn(s, page);
    if (p->users > 0 && s->page[up].table != 0 && s->page[up].kind > XP_FT_L1 && index < xp_shadow_nr(d, s->page[up].kind) &&
        xp_pte_mfn(m, xp_pt_read(m, xp_shadow_table(d, up), index)) == mfn)
        xp_shadow_unlink(d, up, index);
    for (uint32_t i = 0; p->users > 0 && i < s->nr; i++)
        for (uint32_t j = 0; s->page[i].table != 0 && s->page[i].kind > XP_FT_L1 && p->users > 0 && j < xp_shadow_nr(d, s->page[i].kind); j++)
            if (xp_pte_mfn(m, xp_pt_read(m, xp_shadow_table(d, i), j)) == mfn)
                xp_shadow_unlink(d, i, j);
}

/* Nobody's any more, whoever names it now. */
static void end_one(struct xp_domain *d, uint16_t page)
{
    xp_shadow_unlink_all(d, page);
    if (!d->shadow->page[page].doomed)
        xp_shadow_doom(d, page);
}

static bool is_base(const struct xp_shadow *s, uint32_t page) { return page == s->base || page == s->user_base; }

bool xp_shadow_end(struct xp_domain *d, uint64_t table)
{
    struct xp_shadow *s = d->shadow;
    const struct xp_frame *frame = &d->hv->frames.table[table];
    for (uint8_t kind = XP_FT_L1; frame->type == XP_FT_SHADOWED && kind <= XP_FT_L2_HOLE; kind++) {
        uint16_t page = xp_shadow_find(d, table, kind);
        if (page == XP_SHADOW_NONE || is_base(s, page))
            continue;
        s->count.unshadowed++;
        end_one(d, page);
    }
    return frame->type != XP_FT_SHADOWED;
}

static void put_free(struct xp_shadow *s, uint16_t page)
{
    s->page[page].next = s->free;
    s->free = page;
    s->nr_free++;
}

/* What a doomed shadow's entries hold; then it is free. */
static void reap(struct xp_domain *d)
{
    struct xp_shadow *s = d->shadow;
    uint16_t page = s->doomed;
    struct xp_shadow_page *p = &s->page[page];
    s->doomed = p->next;
    for (uint32_t i = 0; p->nr_present > 0 && i < xp_shadow_nr(d, p->kind); i++) {
        if (xp_shadow_is_hole(d, p->kind, i))
            continue;
        if (p->kind == XP_FT_L1)
            (void)xp_shadow_set_leaf(d, page, i, 0);
        else
            xp_shadow_unlink(d, page, i);
    }
    *p = (struct xp_shadow_page){0};
    put_free(s, page);
}

void xp_shadow_flush(struct xp_domain *d)
{
    if (d->shadow->flush && d->state != XP_DS_DYING)
        xp_mm_flush(d, XP_FLUSH_type);
    d->shadow->flush = false;
}

bool xp_shadow_settle(struct xp_domain *d)
{
    struct xp_shadow *s = d->shadow;
    if (s == NULL)
        return true;
    while (s->doomed != XP_SHADOW_NONE) {
        reap(d);
        if (s->doomed != XP_SHADOW_NONE && (d->hv->mm_step != 0 || xp_now_ns() > d->mm.until)) {
            xp_shadow_flush(d);
            return false;
        }
    }
    xp_shadow_flush(d);
    return true;
}

/* ---- made ---- */

/* The one that no walk came through for the longest time: of roots that are nobody's, then of all but the path under way. */
static uint16_t oldest(const struct xp_domain *d)
{
    const struct xp_shadow *s = d->shadow;
    uint16_t best = XP_SHADOW_NONE;
    bool best_root = false;
    for (uint32_t i = 0; i < s->nr; i++) {
        const struct xp_shadow_page *p = &s->page[i];
        bool root = xp_shadow_is_top(d, p->kind);
        if (p->table == 0 || p->doomed || p->used == s->now || (root && p->users != 0))
            continue;
        if (best == XP_SHADOW_NONE || root > best_root || (root == best_root && p->used < s->page[best].used)) {
            best = (uint16_t)i;
            best_root = root;
        }
    }
    return best;
}

static int evict(struct xp_domain *d)
{
    struct xp_shadow *s = d->shadow;
    uint16_t page = oldest(d);
    if (page == XP_SHADOW_NONE)
        return -XEN_ENOMEM;
    s->count.evicted++;
    end_one(d, page);
    return 0;
}

static int take_free(struct xp_domain *d)
{
    struct xp_shadow *s = d->shadow;
    if (s->free == XP_SHADOW_NONE || s->nr_free == 0) {
        if (s->doomed == XP_SHADOW_NONE && evict(d) != 0)
            return -XEN_ENOMEM;
        reap(d);
    }
    uint16_t page = s->free;
    int ret = d->window.uffd < 0 ? xp_mm_copy_table(d, xp_mfn(xp_shadow_mfn(s, page))) : 0;
    if (ret != 0)
        return ret;
    s->free = s->page[page].next;
    s->nr_free--;
    return page;
}

/* The guest's table gets one shadow more. */
static int protect(struct xp_domain *d, uint64_t table)
{
    struct xp_frame *frame = &d->hv->frames.table[table];
    if (frame->ref_count == UINT32_MAX)
        return -XEN_EBUSY;
    if (frame->type_count > 0 && frame->type == XP_FT_SHADOWED) {
        frame->type_count++;
        frame->ref_count++;
        return 0;
    }
    if (frame->type_count > 0 && !xp_shadow_unwrite(d, table))
        return -XEN_EBUSY;
    int ret = xp_mm_protect(d, xp_mfn(table), XP_FT_SHADOWED);
    if (ret == 0)
        frame->ref_count++;
    return ret;
}

int xp_shadow_get(struct xp_domain *d, uint64_t table, uint8_t kind)
{
    struct xp_shadow *s = d->shadow;
    if (!xp_frame_owned(&d->hv->frames, xp_mfn(table), d->domid) || (d->hv->frames.table[table].flags & XP_FF_HV) != 0)
        return -XEN_EINVAL;
    uint16_t found = xp_shadow_find(d, table, kind);
    if (found != XP_SHADOW_NONE)
        return found;
    int page = take_free(d);
    if (page < 0)
        return page;
    int ret = protect(d, table);
    if (ret != 0) {
        put_free(s, (uint16_t)page);
        return ret;
    }
    uint16_t *chain = chain_of(s, table, kind);
    s->page[page] = (struct xp_shadow_page){.used = s->now, .table = (uint32_t)table, .kind = kind, .next = *chain};
    *chain = (uint16_t)page;
    for (uint32_t i = 0; i < XP_PAGE_SIZE / sizeof(uint64_t); i++)
        xp_entry_write(xp_frame_ptr(&d->hv->frames, xp_mfn(xp_shadow_mfn(s, (uint32_t)page))), 8, i, 0);
    if (d->window.uffd < 0)
        memset(xp_shadow_table(d, (uint32_t)page), 0, XP_PAGE_SIZE);
    write_hole(d, (uint32_t)page);
    s->count.made++;
    return page;
}

/* ---- the end of a domain ---- */

int xp_shadow_teardown(struct xp_domain *d)
{
    struct xp_shadow *s = d->shadow;
    if (s == NULL)
        return 0;
    const uint16_t bases[] = {s->base, s->user_base};
    s->base = s->user_base = XP_SHADOW_NONE;
    for (uint32_t i = 0; i < 2; i++)
        if (bases[i] != XP_SHADOW_NONE)
            s->page[bases[i]].users--;
    for (uint32_t i = 0; i < s->nr; i++)
        if (s->page[i].table != 0 && !s->page[i].doomed && s->page[i].users == 0)
            xp_shadow_doom(d, i);
    if (!xp_shadow_settle(d))
        return 1;
    for (uint32_t i = 0; i < s->nr; i++) {
        uint64_t mfn = xp_shadow_mfn(s, i);
        xp_mm_free_copy(d, xp_mfn(mfn));
        d->hv->frames.table[mfn].type = XP_FT_NONE;
        d->hv->frames.table[mfn].type_count = 0;
        (void)xp_frame_release(&d->hv->frames, xp_mfn(mfn), d->domid);
    }
    free(s);
    d->shadow = NULL;
    return 0;
}
