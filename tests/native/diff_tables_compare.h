/*
 * diff_tables_compare.h: what operations on page tables leave behind, the hypervisor's held against the model's.
 */
#ifndef DIFF_TABLES_COMPARE_H
#define DIFF_TABLES_COMPARE_H

#include "diff_tables.h"

static inline uint64_t va_of(const struct m *m, uint32_t who, uint64_t offset)
{
    return HVTEST_BASE + (m->d[who].first << XP_PAGE_SHIFT) + offset;
}

static inline struct xp_domain *real_of(struct m *m, uint32_t who) { return hvtest_domain(m->t, (xp_domid_t)who); }

/* ---- comparing ---- */

static inline void compare_frame(struct m *m, uint64_t mfn, bool bytes)
{
    const struct m_frame *fr = &m->frame[mfn];
    const struct xp_frame *real = &m->t->hv.frames.table[mfn];
    const uint32_t flags = XP_FF_ALLOCATED | XP_FF_HV | XP_FF_PINNED | XP_FF_VALIDATED;
    uint32_t expected = XP_FF_ALLOCATED | (fr->hv ? XP_FF_HV : 0u) | (fr->pinned ? XP_FF_PINNED : 0u) |
                        (fr->validated ? XP_FF_VALIDATED : 0u);
    SAME(&m->f, real->owner, fr->owner);
    SAME(&m->f, real->type, fr->type);
    SAME(&m->f, real->type_count, fr->count);
    SAME(&m->f, real->ref_count, fr->refs);
    SAME(&m->f, real->flags & flags, expected);
    int32_t linear = m->t->hv.linear != NULL ? m->t->hv.linear[mfn] : 0;
    SAME(&m->f, linear, (int64_t)fr->looks_into - fr->looked_into);
    bool copied = m->t->hv.table_copies != NULL && m->t->hv.table_copies[mfn] != NULL;
    SAME(&m->f, copied, fr->copied);
    if (!fr->hv)
        SAME(&m->f, hvtest_shown(m->t, (xp_domid_t)fr->owner, mfn),
             m_table(fr->type) || fr->type == SEG ? HVTEST_RO : HVTEST_RW);
    if (bytes && mfn != m->d[fr->owner].first && mfn != m->d[fr->owner].grants) {
        SAME(&m->f, memcmp(hvtest_frame(m->t, mfn), fr->data, XP_PAGE_SIZE), 0);
        if (copied)
            SAME(&m->f, memcmp(m->t->hv.table_copies[mfn], fr->copy, XP_PAGE_SIZE), 0);
    }
    SAME(&m->f, hvtest_m2p(m->t, mfn), m->m2p[mfn]);
}

static inline void compare_domain(struct m *m, uint32_t who)
{
    const struct m_domain *d = &m->d[who];
    const struct xp_mm *mm = &real_of(m, who)->mm;
    uint32_t pinned = 0;
    SAME(&m->f, mm->base.v, d->base);
    SAME(&m->f, mm->user_base.v, d->user_base);
    SAME(&m->f, mm->nr_gdt, d->nr_gdt);
    for (uint32_t i = 0; i < d->nr_gdt; i++)
        SAME(&m->f, mm->gdt[i].v, d->gdt[i]);
    SAME(&m->f, mm->ldt_address, d->ldt);
    SAME(&m->f, mm->ldt_entries, d->nr_ldt);
    SAME(&m->f, mm->stale, d->stale);
    for (uint32_t i = 0; i < XP_FLUSH_CAUSES; i++)
        SAME(&m->f, mm->nr_flushes[i], d->flushes[i]);
    SAME(&m->f, mm->stage, XP_MM_idle);
    SAME(&m->f, mm->nr_work, 0);
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++)
        pinned += m->frame[mfn].owner == who && m->frame[mfn].pinned;
    SAME(&m->f, mm->nr_pinned, pinned);
}

/* Does a domain map this frame of another (0: any)? */
static inline bool m_uses(const struct m *m, uint32_t who, uint64_t mfn)
{
    for (uint32_t i = 0; i < MAPS; i++)
        if (m->map[i].mapper == who && m->map[i].entry && (mfn == 0 || m->map[i].mfn == mfn))
            return true;
    return false;
}

/* All but a domain with an operation under way, and what its page tables may have of others. */
static inline void compare(struct m *m, uint32_t except, bool bytes)
{
    for (uint32_t who = 1; who <= NR; who++)
        if (m->d[who].alive && who != except)
            compare_domain(m, who);
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++) {
        const struct xp_frame *real = &m->t->hv.frames.table[mfn];
        if (m->frame[mfn].owner == NOBODY)
            SAME(&m->f, real->owner >= 1 && real->owner <= NR, false);
        else if (m->frame[mfn].owner != except && !m_uses(m, except, mfn))
            compare_frame(m, mfn, bytes);
    }
}

#endif
