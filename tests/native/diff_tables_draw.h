/*
 * diff_tables_draw.h: random frames, entries, addresses, descriptors; and what guests do to their pages by themselves.
 */
#ifndef DIFF_TABLES_DRAW_H
#define DIFF_TABLES_DRAW_H

#include "diff_tables.h"

static inline bool one_in(struct m *m, uint32_t n) { return pick(&m->f, n) == 0; }

static inline uint64_t any_frame(struct m *m, uint32_t who)
{
    const struct m_domain *d = &m->d[who], *other = &m->d[1 + pick(&m->f, NR)];
    if (!one_in(m, 24))
        return d->first + 1 + pick(&m->f, PAGES - 1);
    const uint64_t odd[] = {0, 1, d->first + PAGES, FRAMES - 1, FRAMES, 1u << 19, other->alive ? other->first + 1 : 2};
    return odd[pick(&m->f, 7)];
}

/* Mostly one of this type. */
static inline uint64_t typed(struct m *m, uint32_t who, uint32_t type)
{
    for (uint32_t tries = 0, at = pick(&m->f, PAGES); tries < PAGES - 1 && !one_in(m, 12); tries++, at++) {
        uint64_t mfn = m->d[who].first + 1 + at % (PAGES - 1);
        if (m->frame[mfn].type == type)
            return mfn;
    }
    return any_frame(m, who);
}

static inline uint64_t any_entry(struct m *m, uint32_t who, uint32_t level)
{
    static const uint64_t usual[] = {0x67, 0x67, 0x67, 0x27, 0x05, 0x01, 0x03, 0x00, 0x25, 0x65};
    static const uint64_t odd[] = {0x1e7, 0x107, 0x87, 0x0f, 0x17, 0x800, 0x18, 0x21, 0x41, 0x02, 0x66};
    static const uint64_t high[] = {1ull << 52, 1ull << 62, 1ull << 63, 1ull << 51, 1ull << 40};
    bool pdpte = m->mode->levels == 3 && level == 3;
    uint64_t flags = one_in(m, 16) ? odd[pick(&m->f, 11)] : pdpte ? P : usual[pick(&m->f, 10)];
    if (one_in(m, 32) && m->mode->size == 8)
        flags |= high[pick(&m->f, 5)];
    uint32_t wanted = level == 1 ? (pick(&m->f, 8) == 0 ? L1 : pick(&m->f, 2) == 0 ? WRITABLE : NONE)
                      : one_in(m, 3) ? level : one_in(m, 4) ? NONE : pdpte && one_in(m, 4) ? HOLED : level - 1;
    if (level > 1 && wanted == level && !one_in(m, 4))
        flags &= ~(uint64_t)RW;  /* linear */
    return typed(m, who, wanted) << XP_PAGE_SHIFT | flags;
}

static inline uint32_t any_slot(struct m *m, uint32_t level)
{
    const uint32_t nr = m->mode->nr[level];
    const uint32_t odd[] = {m->mode->hole_first - 1, m->mode->hole_first, m->mode->hole_end - 1, m->mode->hole_end,
                            nr - 1, nr, 3};
    uint32_t slot = one_in(m, 6) ? odd[pick(&m->f, 7)] : pick(&m->f, 5);
    return slot % (XP_PAGE_SIZE / m->mode->size);
}

static inline uint64_t any_va(struct m *m)
{
    uint64_t va = 0;
    for (uint32_t level = 1; level <= m->mode->levels; level++)
        va |= (uint64_t)(one_in(m, 8) ? any_slot(m, level) % m->mode->nr[level] : pick(&m->f, 3)) << m->mode->shift[level];
    if (m->mode->levels == 4 && (va >> 47 & 1) != 0 && !one_in(m, 8))
        va |= 0xffffull << 48;
    const uint64_t odd[] = {m->mode->hole_from, m->mode->hole_to - 1, m->mode->hole_to, m->mode->hole_from - 1, 1ull << 47,
                            1ull << 32, va | 1ull << 50};
    return one_in(m, 24) ? odd[pick(&m->f, 7)] : va;
}

static inline uint64_t any_descriptor(struct m *m)
{
    uint64_t r = (uint64_t)pick(&m->f, UINT32_MAX) << 32 | pick(&m->f, UINT32_MAX);
    switch (pick(&m->f, 6)) {
    case 0: return r;
    case 1: return r & ~(1ull << 47);
    case 2: return (r & ~(0xffull << 40)) | 0x8cull << 40;             /* a call gate */
    case 3: return 0x00cf9b000000ffffu;
    default: return (r & ~(0xff00ull << 32)) | (0x90ull | (r & 0x6b)) << 40;
    }
}

/* ---- what guests do by themselves ---- */

static inline void poke(struct m *m, uint64_t mfn, uint32_t i, uint64_t entry)
{
    memcpy(m->frame[mfn].data + i * m->mode->size, &entry, m->mode->size);
    memcpy((uint8_t *)hvtest_frame(m->t, mfn) + i * m->mode->size, &entry, m->mode->size);
}

/* Into what it may write; where nobody enforces it, also into tables. */
static inline void step_scribble(struct m *m, uint32_t who)
{
    uint32_t level = 1 + pick(&m->f, m->mode->levels);
    uint64_t mfn = typed(m, who, NONE);
    const struct m_frame *fr = &m->frame[mfn % FRAMES];
    if (!m_own(m, who, mfn) || fr->hv || (!m_may_write(m, who, mfn) && !fr->copied))
        return;
    poke(m, mfn, any_slot(m, level), one_in(m, 3) ? 0 : any_entry(m, who, level));
}

static inline void blank(struct m *m, uint64_t mfn)
{
    memset(m->frame[mfn].data, 0, XP_PAGE_SIZE);
    memset(hvtest_frame(m->t, mfn), 0, XP_PAGE_SIZE);
}

/* One table of each level, and PAE's second one. The top, or 0: too few frames are free. */
static inline uint64_t build(struct m *m, uint32_t who)
{
    uint64_t chain[5], nr = 0;
    for (uint32_t i = 0, at = pick(&m->f, PAGES); i < PAGES - 1 && nr < 5; i++, at++) {
        uint64_t mfn = m->d[who].first + 1 + at % (PAGES - 1);
        if (m->frame[mfn].count == 0)
            chain[nr++] = mfn;
    }
    for (uint64_t i = 0; nr == 5 && i < 5; i++)
        blank(m, chain[i]);
    if (nr < 5)
        return 0;
    for (uint32_t level = m->mode->levels, i = 0; level > 1; level--, i++)
        poke(m, chain[i], 0, chain[i + 1] << 12 | (m->mode->levels == 3 && level == 3 ? 1 : 0x67));
    for (uint32_t i = 0; i < 3; i++)
        poke(m, chain[m->mode->levels - 1], i, any_entry(m, who, 1));
    if (m->mode->levels == 3)
        poke(m, chain[0], 3, chain[4] << 12 | 1);
    return chain[0];
}

/* ---- whose tables a call is said to be about ---- */

static inline int64_t m_foreign(const struct m *m, uint32_t who, uint64_t domid)
{
    if (domid == DOMID_SELF)
        return 0;
    if (domid == DOMID_IO || domid == DOMID_XEN)
        return -XEN_EPERM;
    return domid >= 1 && domid <= NR && domid != who && m->d[domid].alive ? -XEN_EPERM : -XEN_ESRCH;
}

static inline uint64_t any_foreign(struct m *m, bool two)
{
    static const uint64_t odd[] = {0, 1, 2, 3, 9, DOMID_IO, DOMID_XEN, 0x7fff};
    uint64_t foreign = one_in(m, 48) ? odd[pick(&m->f, 8)] : DOMID_SELF;
    return foreign | (two && one_in(m, 16) ? (uint64_t)(1 + pick(&m->f, 4)) << 16 : 0);
}

#endif
