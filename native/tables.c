/*
 * tables.c: frames become page tables and cease to be: types and references given, entries validated and dropped. See mm.h.
 *
 * One engine for all paging modes, driven by paging.h's table. It has a stack instead of recursion, so that a step can end
 * anywhere and the next go on there: the top of the stack is a table whose entries are being taken (up) or dropped (down);
 * what an entry needs validated or dropped first is pushed above it.
 *
 * Tour M:150
 */
#include "mm.h"

#include "domain.h"
#include "hypercall.h"
#include "leaf.h"
#include "template.h"
#include "writable_pt.h"

#include <stdlib.h>
#include <string.h>

#define STEP_NS 100000           /* then others get their turn */
#define LOOK_EVERY 256u          /* entries between looks at the clock */
#define AHEAD 16u                /* entries whose frame's record is fetched in advance */

#define DESCEND 1                /* something was pushed that must be done first */

static struct xp_frame *frame_of(struct xp_domain *d, uint64_t mfn)
{
    return &d->hv->frames.table[mfn];
}

/* ---- time ---- */

void xp_mm_begin(struct xp_domain *d)
{
    d->mm.left = d->hv->mm_step != 0 ? d->hv->mm_step : LOOK_EVERY;
    d->mm.until = xp_now_ns() + STEP_NS;
}

static bool time_is_up(struct xp_domain *d)
{
    if (d->hv->mm_step != 0)
        return true;             /* a test wants to see every step */
    d->mm.left = LOOK_EVERY;
    return xp_now_ns() > d->mm.until;
}

bool xp_mm_spent(struct xp_domain *d, uint32_t entries)
{
    d->mm.left -= entries;
    return d->mm.left == 0 && time_is_up(d);
}

/* ---- the entries that count ---- */

static uint8_t *own_copy(struct xp_domain *d, uint64_t mfn)
{
    return d->hv->table_copies == NULL ? NULL : d->hv->table_copies[mfn];
}

void *xp_mm_table(struct xp_domain *d, xp_mfn_t mfn)
{
    uint8_t *copy = own_copy(d, mfn.v);
    return copy != NULL ? copy : xp_frame_ptr(&d->hv->frames, mfn);
}

void xp_mm_write(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry)
{
    uint8_t *copy = own_copy(d, mfn.v);
    if (copy != NULL)
        xp_pt_write(d->mm.mode, copy, index, entry);
    xp_pt_write(d->mm.mode, xp_frame_ptr(&d->hv->frames, mfn), index, entry);
}

int xp_mm_copy_table(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_hv *hv = d->hv;
    if (own_copy(d, mfn.v) != NULL)
        return 0;
    if (hv->table_copies == NULL)
        hv->table_copies = calloc(hv->frames.nr, sizeof *hv->table_copies);
    if (hv->table_copies == NULL || (hv->table_copies[mfn.v] = malloc(XP_PAGE_SIZE)) == NULL)
        return -XEN_ENOMEM;
    memcpy(hv->table_copies[mfn.v], xp_frame_ptr(&hv->frames, mfn), XP_PAGE_SIZE);
    return 0;
}

void xp_mm_free_copy(struct xp_domain *d, xp_mfn_t mfn)
{
    if (own_copy(d, mfn.v) == NULL)
        return;
    free(d->hv->table_copies[mfn.v]);
    d->hv->table_copies[mfn.v] = NULL;
}

/* ---- general references, and writable ones ---- */

int xp_mm_get_page(struct xp_domain *d, xp_mfn_t mfn)
{
    return xp_frame_owned(&d->hv->frames, mfn, d->domid) ? xp_frame_get(&d->hv->frames, mfn) : -XEN_EINVAL;
}

void xp_mm_put_page(struct xp_domain *d, xp_mfn_t mfn)
{
    (void)xp_frame_put(&d->hv->frames, mfn);
}

int xp_mm_get_writable(struct xp_domain *d, xp_mfn_t mfn)
{
    if (!xp_frame_owned(&d->hv->frames, mfn, d->domid) || !xp_type_writable(frame_of(d, mfn.v)))
        return -XEN_EINVAL;
    int ret = xp_frame_get(&d->hv->frames, mfn);
    if (ret != 0)
        return ret;
    frame_of(d, mfn.v)->type = XP_FT_WRITABLE;
    frame_of(d, mfn.v)->type_count++;
    return 0;
}

void xp_mm_put_writable(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frame *frame = frame_of(d, mfn.v);
    XP_BUG_ON(frame->type != XP_FT_WRITABLE || frame->type_count == 0);
    if (--frame->type_count == 0)
        frame->type = XP_FT_NONE;
    xp_mm_put_page(d, mfn);
}

/* ---- a table's type ---- */

/* Fails for a process that is gone. For another one it must not: it would find the page protected at some later store. */
static void unprotect(struct xp_domain *d, xp_mfn_t mfn)
{
    int ret = xp_window_protect(&d->window, mfn, false);
    if (ret != 0 && ret != -XEN_ESRCH)
        xp_domain_crash(d, "frame %#llx cannot be made writable again: error %d", (unsigned long long)mfn.v, -ret);
}

int xp_mm_protect(struct xp_domain *d, xp_mfn_t mfn, uint8_t type)
{
    struct xp_frame *frame = frame_of(d, mfn.v);
    int ret = xp_window_protect(&d->window, mfn, true);
    if (ret == 0 && xp_type_is_table(type) && d->window.uffd < 0)
        ret = xp_mm_copy_table(d, mfn);
    if (ret != 0) {
        unprotect(d, mfn);
        return ret;
    }
    if (d->mm.stale)
        xp_mm_flush(d, XP_FLUSH_type);
    xp_wpt_protected(d);
    frame->type = type;
    frame->type_count = 1;
    return 0;
}

void xp_mm_release(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frame *frame = frame_of(d, mfn.v);
    frame->type = XP_FT_NONE;
    frame->type_count = 0;
    frame->flags &= (uint8_t)~XP_FF_VALIDATED;
    xp_mm_free_copy(d, mfn);
    /* A frame that was given up is not in the window; of a dead process there is none. */
    if ((frame->flags & XP_FF_ALLOCATED) != 0 && d->state != XP_DS_DYING)
        unprotect(d, mfn);
}

static uint32_t entries_of(const struct xp_domain *d, uint32_t type)
{
    return d->mm.mode->level[xp_type_level(type)].nr;
}

static void push(struct xp_domain *d, uint64_t mfn, uint8_t type, bool down)
{
    XP_BUG_ON(d->mm.nr_work == XP_MM_DEPTH);
    d->mm.work[d->mm.nr_work++] = (struct xp_mm_work){
        .mfn = (uint32_t)mfn, .type = type, .down = down, .next = (uint16_t)(down ? entries_of(d, type) : 0)};
}

/* One more user of a table as `type`, with its reference: 0, DESCEND (must be validated first), -XEN_EINVAL... */
static int take_table(struct xp_domain *d, uint64_t mfn, uint8_t type)
{
    struct xp_frames *f = &d->hv->frames;
    if (!xp_frame_owned(f, xp_mfn(mfn), d->domid))
        return -XEN_EINVAL;
    struct xp_frame *frame = &f->table[mfn];
    if ((frame->flags & XP_FF_HV) != 0 || frame->ref_count == UINT32_MAX)
        return -XEN_EINVAL;
    if (frame->type_count > 0) {
        if (frame->type != type || (frame->flags & XP_FF_VALIDATED) == 0)
            return -XEN_EINVAL;
        frame->type_count++;
        frame->ref_count++;
        return 0;
    }
    int ret = xp_mm_protect(d, xp_mfn(mfn), type);
    if (ret != 0)
        return ret;
    frame->ref_count++;
    push(d, mfn, type, false);
    return DESCEND;
}

/* One user less: 0, or DESCEND: it was the last. */
static int drop_table(struct xp_domain *d, uint64_t mfn)
{
    struct xp_frame *frame = frame_of(d, mfn);
    XP_BUG_ON(!xp_type_is_table(frame->type) || frame->type_count == 0);
    if (frame->type_count == 1) {
        frame->flags &= (uint8_t)~XP_FF_VALIDATED;
        push(d, mfn, frame->type, true);
        return DESCEND;
    }
    frame->type_count--;
    xp_mm_put_page(d, xp_mfn(mfn));
    return 0;
}

/* ---- linear page tables: an entry that names a table of its own level, read-only ---- */

static bool may_be_linear(const struct xp_mm *mm, uint32_t level)
{
    return level >= 2 && !(level == 3 && mm->mode->levels == 3);    /* PAE's top level is no table to look through */
}

/*
 * To another table: that one must be validated, and neither may play both parts, or a ring of tables would keep itself.
 * To itself: nothing is counted.
 */
static int take_linear(struct xp_domain *d, uint64_t from, uint64_t to, uint64_t entry)
{
    struct xp_hv *hv = d->hv;
    struct xp_frame *frame = frame_of(d, to);
    if ((entry & XP_PTE_RW) != 0)
        return -XEN_EINVAL;
    if (from == to)
        return 0;
    if (hv->linear == NULL)
        hv->linear = calloc(hv->frames.nr, sizeof *hv->linear);
    if (hv->linear == NULL)
        return -XEN_ENOMEM;
    if ((frame->flags & XP_FF_VALIDATED) == 0 || hv->linear[from] < 0 || hv->linear[to] > 0 ||
        frame->ref_count == UINT32_MAX || hv->linear[to] == INT32_MIN)
        return -XEN_EINVAL;
    hv->linear[from]++;
    hv->linear[to]--;
    frame->type_count++;
    frame->ref_count++;
    return 0;
}

static int drop_linear(struct xp_domain *d, uint64_t from, uint64_t to)
{
    if (from == to)
        return 0;
    d->hv->linear[from]--;
    d->hv->linear[to]++;
    return drop_table(d, to);
}

/* ---- any entry ---- */

/* Do tables of this type carry the hypervisor's slots? Top-level tables do, and PAE's second level under the last slot. */
static bool carries_hole(const struct xp_mm *mm, uint32_t type)
{
    const struct xp_paging_mode *m = mm->mode;
    return xp_type_level(type) == m->hole_level && (m->hole_level == m->levels || type == XP_FT_L2_HOLE);
}

/* The top-level slot that PAE's hole hangs on: it must be there as long as the table is. */
static bool holds_hole(const struct xp_mm *mm, uint32_t level, uint32_t index)
{
    const struct xp_paging_mode *m = mm->mode;
    return level == m->hole_level + 1u && index == xp_pt_index(m, level, m->hole_start);
}

bool xp_mm_slot_fixed(const struct xp_mm *mm, uint32_t type, uint32_t index)
{
    uint32_t level = xp_type_level(type);
    const struct xp_paging_level *l = &mm->mode->level[level];
    return index >= l->nr || (carries_hole(mm, type) && index >= l->hole_first && index < l->hole_end) ||
           holds_hole(mm, level, index);
}

static int take(struct xp_domain *d, uint64_t from, uint8_t type, uint32_t index, uint64_t entry)
{
    const struct xp_mm *mm = &d->mm;
    uint32_t level = xp_type_level(type);
    if ((entry & XP_PTE_PRESENT) == 0)
        return 0;
    if ((entry & mm->mode->level[level].forbidden) != 0)
        return -XEN_EINVAL;
    if (xp_leaf_inject(d->hv))
        return -XEN_ENOMEM;
    if (level == 1)
        return xp_leaf_take(xp_leaf_of(d), entry);
    uint64_t mfn = xp_pte_mfn(mm->mode, entry);
    if (mfn < d->hv->frames.nr && frame_of(d, mfn)->type == type && may_be_linear(mm, level) &&
        xp_frame_owned(&d->hv->frames, xp_mfn(mfn), d->domid))
        return take_linear(d, from, mfn, entry);
    xp_wpt_note(d->hv, level, mfn, from, index);
    return take_table(d, mfn, holds_hole(mm, level, index) ? XP_FT_L2_HOLE : (uint8_t)(level - 1));
}

static int drop(struct xp_domain *d, uint64_t from, uint8_t type, uint64_t entry)
{
    if ((entry & XP_PTE_PRESENT) == 0)
        return 0;
    if (type == XP_FT_L1) {
        xp_leaf_drop(d, xp_leaf_of(d), entry);
        return 0;
    }
    uint64_t mfn = xp_pte_mfn(d->mm.mode, entry);
    return frame_of(d, mfn)->type == type ? drop_linear(d, from, mfn) : drop_table(d, mfn);
}

/* ---- the engine ---- */

static void fail(struct xp_domain *d, int error)
{
    d->mm.failed = error;
    d->mm.work[d->mm.nr_work - 1].down = true;
}

static void write_hole(struct xp_domain *d, const struct xp_mm_work *w)
{
    const struct xp_paging_level *l = &d->mm.mode->level[xp_type_level(w->type)];
    for (uint32_t i = l->hole_first; carries_hole(&d->mm, w->type) && i < l->hole_end; i++)
        xp_mm_write(d, xp_mfn(w->mfn), i, xp_template_entry(d->hv, d->mm.mode, i - l->hole_first));
}

/* The table on top is whole: what asked for it goes on behind its entry. */
static void validated(struct xp_domain *d, const struct xp_mm_work *w)
{
    struct xp_mm *mm = &d->mm;
    write_hole(d, w);
    frame_of(d, w->mfn)->flags |= XP_FF_VALIDATED;
    if (--mm->nr_work > 0)
        mm->work[mm->nr_work - 1].next++;
}

static inline void fetch_ahead(struct xp_domain *d, const void *table, uint32_t index, uint32_t nr)
{
    if (index < nr) {
        uint64_t mfn = xp_pte_mfn(d->mm.mode, xp_pt_read(d->mm.mode, table, index));
        __builtin_prefetch(&d->hv->frames.table[mfn < d->hv->frames.nr ? mfn : 0], 1);
    }
}

/* A level-1 table: nothing is ever pushed for its entries, so these are plain loops between looks at the clock. */
static int step_up_leaves(struct xp_domain *d, struct xp_mm_work *w)
{
    const uint32_t size = d->mm.mode->entry_size, nr = (uint32_t)XP_PAGE_SIZE / size;
    const void *table = xp_mm_table(d, xp_mfn(w->mfn));
    while (w->next < nr) {
        uint32_t from = w->next, to = nr - from < d->mm.left ? nr : from + d->mm.left;
        int error = 0;
        to = size == 4 ? xp_leaves_take(d, table, 4, from, to, &error) : xp_leaves_take(d, table, 8, from, to, &error);
        w->next = (uint16_t)to;
        bool spent = xp_mm_spent(d, to - from);
        if (error != 0) {
            fail(d, error);
            return spent ? XP_CALL_AGAIN : 0;
        }
        if (spent)
            return XP_CALL_AGAIN;
    }
    validated(d, w);
    return 0;
}

static int step_up(struct xp_domain *d, struct xp_mm_work *w)
{
    const struct xp_paging_mode *m = d->mm.mode;
    const uint32_t level = xp_type_level(w->type), nr = m->level[level].nr;
    const bool hole = carries_hole(&d->mm, w->type);
    const void *table = xp_mm_table(d, xp_mfn(w->mfn));
    for (; w->next < nr; w->next++) {
        if (hole && w->next >= m->level[level].hole_first && w->next < m->level[level].hole_end)
            continue;
        uint64_t entry = xp_pt_read(m, table, w->next);
        fetch_ahead(d, table, w->next + AHEAD, nr);
        int ret = holds_hole(&d->mm, level, w->next) && (entry & XP_PTE_PRESENT) == 0
                      ? -XEN_EINVAL : take(d, w->mfn, w->type, w->next, entry);
        if (ret < 0)
            fail(d, ret);
        if (ret != 0)
            return 0;
        if (xp_mm_spent(d, 1)) {
            w->next++;
            return XP_CALL_AGAIN;
        }
    }
    validated(d, w);
    return 0;
}

/* All entries are dropped: the frame is an ordinary one again. What had asked for it in vain is undone, too. */
static void dropped(struct xp_domain *d, const struct xp_mm_work *w)
{
    struct xp_mm *mm = &d->mm;
    xp_mm_release(d, xp_mfn(w->mfn));
    xp_mm_put_page(d, xp_mfn(w->mfn));
    if (--mm->nr_work > 0 && !mm->work[mm->nr_work - 1].down)
        mm->work[mm->nr_work - 1].down = true;
}

static int step_down_leaves(struct xp_domain *d, struct xp_mm_work *w)
{
    const void *table = xp_mm_table(d, xp_mfn(w->mfn));
    while (w->next > 0) {
        uint32_t to = w->next, from = to < d->mm.left ? 0 : to - d->mm.left;
        if (d->mm.mode->entry_size == 4)
            xp_leaves_drop(d, table, 4, from, to);
        else
            xp_leaves_drop(d, table, 8, from, to);
        w->next = (uint16_t)from;
        if (xp_mm_spent(d, to - from))
            return XP_CALL_AGAIN;
    }
    dropped(d, w);
    return 0;
}

static int step_down(struct xp_domain *d, struct xp_mm_work *w)
{
    const struct xp_paging_mode *m = d->mm.mode;
    const struct xp_paging_level *l = &m->level[xp_type_level(w->type)];
    const bool hole = carries_hole(&d->mm, w->type);
    const void *table = xp_mm_table(d, xp_mfn(w->mfn));
    while (w->next > 0) {
        w->next--;
        if (hole && w->next >= l->hole_first && w->next < l->hole_end)
            continue;
        fetch_ahead(d, table, w->next - AHEAD, w->next);
        if (drop(d, w->mfn, w->type, xp_pt_read(m, table, w->next)) == DESCEND)
            return 0;
        if (xp_mm_spent(d, 1))
            return XP_CALL_AGAIN;
    }
    dropped(d, w);
    return 0;
}

int xp_mm_run(struct xp_domain *d)
{
    struct xp_mm *mm = &d->mm;
    while (mm->nr_work > 0) {
        struct xp_mm_work *w = &mm->work[mm->nr_work - 1];
        int ret = w->type == XP_FT_L1 ? (w->down ? step_down_leaves(d, w) : step_up_leaves(d, w))
                                      : (w->down ? step_down(d, w) : step_up(d, w));
        if (ret != 0)
            return XP_CALL_AGAIN;
    }
    return 0;
}

/* ---- what operations ask for ---- */

/* 0 or -errno at once, or what the work stack comes to. */
static int settle(struct xp_domain *d, int ret)
{
    d->mm.failed = 0;
    if (ret != DESCEND)
        return ret;
    return xp_mm_run(d) != 0 ? XP_CALL_AGAIN : d->mm.failed;
}

int xp_mm_get_table(struct xp_domain *d, xp_mfn_t mfn, uint8_t type)
{
    return settle(d, take_table(d, mfn.v, type));
}

int xp_mm_put_table(struct xp_domain *d, xp_mfn_t mfn)
{
    return settle(d, drop_table(d, mfn.v));
}

int xp_mm_take_entry(struct xp_domain *d, xp_mfn_t mfn, uint8_t type, uint32_t index, uint64_t entry)
{
    return settle(d, take(d, mfn.v, type, index, entry));
}

int xp_mm_drop_entry(struct xp_domain *d, xp_mfn_t mfn, uint8_t type, uint64_t entry)
{
    return settle(d, drop(d, mfn.v, type, entry));
}
