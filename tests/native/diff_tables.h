/*
 * diff_tables.h: the model of page tables that diff_tables.c holds against the real thing: Xen's rules by plain recursion.
 *
 * Written from the rules and the x86 formats, not from native/: the facts of the three modes stand here a second time. A
 * frame is a record and its bytes; of a table whose window cannot be protected also what the hypervisor last knew of it.
 */
#ifndef DIFF_TABLES_H
#define DIFF_TABLES_H

#include "abi.h"
#include "diff.h"
#include "hvtest.h"

#include <string.h>

#define NR 3u                    /* domains: numbers 1 to 3; 0 is not used */
#define PAGES 15u                /* of a domain; the first holds the arguments of its calls */
#define FRAMES 112u
#define NOBODY 0u

#define P 1u
#define RW 2u
#define U 4u
#define AD 0x60u

enum { NONE, L1, L2, L3, L4, SEG, WRITABLE, HOLED };

struct m_mode {
    uint32_t levels, size;       /* bytes of an entry */
    uint32_t nr[5], shift[5];
    uint32_t holed;              /* the type of tables that have the hypervisor's slots, and which */
    uint32_t hole_first, hole_end;
    uint64_t hole_from, hole_to; /* as addresses */
};

static const struct m_mode m_modes[] = {
    {2, 4, {0, 1024, 1024}, {0, 12, 22}, L2, 1008, 1024, 0xfc000000u, 0x100000000u},
    {3, 8, {0, 512, 512, 4}, {0, 12, 21, 30}, HOLED, 428, 512, 0xf5800000u, 0x100000000u},
    {4, 8, {0, 512, 512, 512, 512}, {0, 12, 21, 30, 39}, L4, 256, 272, 0xffff800000000000u, 0xffff880000000000u},
};

struct m_frame {
    uint32_t owner, type, count, refs;
    bool hv, pinned, validated, copied;
    uint32_t looks_into, looked_into;    /* linear entries in it, and in others of it */
    uint8_t data[XP_PAGE_SIZE], copy[XP_PAGE_SIZE];
};

struct m_map { uint32_t mfn, ref, mapper, handle; bool writes, entry, is_pte; };

#define MAPS 16u

struct m_domain {
    bool alive, stale;
    uint64_t first, base, user_base, gdt[14], nr_gdt, flushes[XP_FLUSH_CAUSES];
    uint64_t ldt, nr_ldt;
    uint64_t grants;             /* the frame of its grant table */
};

struct m {
    struct diff f;
    struct hvtest *t;
    const struct m_mode *mode;
    bool enforced;
    uint64_t hole[84];
    uint32_t inject;             /* so many entries on, taking one fails */
    uint64_t machines, limits;
    struct m_frame frame[FRAMES];
    struct m_domain d[NR + 1];
    struct m_map map[MAPS];
    uint64_t m2p[FRAMES];
    uint64_t seen[32][8];        /* operation and error */
};

static inline uint32_t m_level(uint32_t type) { return type == HOLED ? 2 : type; }
static inline bool m_table(uint32_t type) { return (type >= L1 && type <= L4) || type == HOLED; }
static inline bool m_in_hole(const struct m *m, uint32_t type, uint32_t i)
{
    return type == m->mode->holed && i >= m->mode->hole_first && i < m->mode->hole_end;
}
static inline uint64_t m_mfn(const struct m *m, uint64_t entry)
{
    return m->mode->size == 4 ? (uint32_t)entry >> 12 : (entry & 0xfffffffffffffu) >> 12;
}
static inline bool m_own(const struct m *m, uint32_t who, uint64_t mfn)
{
    return mfn < FRAMES && m->frame[mfn].owner == who && who != NOBODY;
}

static inline uint64_t m_read(const struct m *m, uint64_t mfn, uint32_t i)
{
    const struct m_frame *fr = &m->frame[mfn];
    uint64_t entry = 0;
    memcpy(&entry, (fr->copied ? fr->copy : fr->data) + i * m->mode->size, m->mode->size);
    return entry;
}

static inline void m_write(struct m *m, uint64_t mfn, uint32_t i, uint64_t entry)
{
    memcpy(m->frame[mfn].data + i * m->mode->size, &entry, m->mode->size);
    memcpy(m->frame[mfn].copy + i * m->mode->size, &entry, m->mode->size);
}

/* Bits that a present entry of a guest's must not have. */
static inline bool m_forbidden(const struct m *m, uint32_t level, uint64_t entry)
{
    bool pdpte = m->mode->levels == 3 && level == 3;
    uint64_t bad = 0x180;                                /* global, superpage */
    bad |= pdpte ? 0x66 : 0x18;                          /* PAE's top level has no RW, US, A, D; the others no caching */
    bad |= m->mode->size == 8 ? 0x7ff0000000000000u : 0;
    bad |= pdpte ? 1ull << 63 : 0;
    return (entry & bad) != 0;
}

static inline void m_flush(struct m_domain *d, uint32_t cause)
{
    d->flushes[cause]++;
    d->stale = d->stale && cause == XP_FLUSH_invlpg;
}

/* ---- types ---- */

static inline void m_put_type(struct m_frame *fr)
{
    if (--fr->count > 0)
        return;
    fr->type = NONE;
    fr->validated = fr->copied = false;
}

static inline void m_first_use(struct m *m, uint32_t who, uint64_t mfn, uint32_t type)
{
    struct m_frame *fr = &m->frame[mfn];
    if (m->d[who].stale)
        m_flush(&m->d[who], XP_FLUSH_type);
    fr->type = type;
    fr->count = 1;
    fr->copied = m_table(type) && !m->enforced;
    if (fr->copied)
        memcpy(fr->copy, fr->data, XP_PAGE_SIZE);
}

static void m_put_table(struct m *m, uint32_t who, uint64_t mfn);
static int m_get_table(struct m *m, uint32_t who, uint64_t mfn, uint32_t type);

static inline int m_take(struct m *m, uint32_t who, uint64_t mfn, uint32_t type, uint32_t i, uint64_t entry)
{
    uint32_t level = m_level(type);
    uint64_t to = m_mfn(m, entry);
    if ((entry & P) == 0)
        return 0;
    if (m_forbidden(m, level, entry))
        return -XEN_EINVAL;
    if (m->inject > 0 && --m->inject == 0)
        return -XEN_ENOMEM;
    struct m_frame *fr = m_own(m, who, to) ? &m->frame[to] : NULL;
    if (level == 1) {
        if (fr == NULL)
            return -XEN_EPERM;
        if ((entry & RW) != 0) {
            if (fr->count > 0 && fr->type != WRITABLE)
                return -XEN_EBUSY;
            fr->type = WRITABLE;
            fr->count++;
        }
        fr->refs++;
        return 0;
    }
    bool pae_top = m->mode->levels == 3 && level == 3;
    if (fr != NULL && fr->type == type && !pae_top) {    /* a linear entry */
        if ((entry & RW) != 0)
            return -XEN_EINVAL;
        if (to == mfn)
            return 0;
        if (!fr->validated || fr->looks_into > 0 || m->frame[mfn].looked_into > 0)
            return -XEN_EINVAL;
        m->frame[mfn].looks_into++;
        fr->looked_into++;
        fr->count++;
        fr->refs++;
        return 0;
    }
    return m_get_table(m, who, to, pae_top && i == 3 ? HOLED : level - 1);
}

static inline void m_drop(struct m *m, uint32_t who, uint64_t mfn, uint32_t type, uint64_t entry)
{
    uint64_t to = m_mfn(m, entry);
    if ((entry & P) == 0)
        return;
    if (type == L1) {
        if ((entry & RW) != 0)
            m_put_type(&m->frame[to]);
        m->frame[to].refs--;
        return;
    }
    bool linear = m->frame[to].type == type;
    if (linear && to == mfn)
        return;
    if (linear) {
        m->frame[mfn].looks_into--;
        m->frame[to].looked_into--;
    }
    m_put_table(m, who, to);
}

static inline int m_validate(struct m *m, uint32_t who, uint64_t mfn, uint32_t type)
{
    uint32_t nr = m->mode->nr[m_level(type)];
    for (uint32_t i = 0; i < nr; i++) {
        if (m_in_hole(m, type, i))
            continue;
        uint64_t entry = m_read(m, mfn, i);
        bool missing = m->mode->levels == 3 && type == L3 && i == 3 && (entry & P) == 0;
        int ret = missing ? -XEN_EINVAL : m_take(m, who, mfn, type, i, entry);
        if (ret == 0)
            continue;
        while (i-- > 0)
            if (!m_in_hole(m, type, i))
                m_drop(m, who, mfn, type, m_read(m, mfn, i));
        return ret;
    }
    for (uint32_t i = m->mode->hole_first; type == m->mode->holed && i < m->mode->hole_end; i++)
        m_write(m, mfn, i, m->hole[i - m->mode->hole_first]);
    return 0;
}

static inline int m_get_table(struct m *m, uint32_t who, uint64_t mfn, uint32_t type)
{
    if (!m_own(m, who, mfn) || m->frame[mfn].hv)
        return -XEN_EINVAL;
    struct m_frame *fr = &m->frame[mfn];
    if (fr->count > 0 && (fr->type != type || !fr->validated))
        return -XEN_EINVAL;
    fr->refs++;
    if (fr->count > 0) {
        fr->count++;
        return 0;
    }
    m_first_use(m, who, mfn, type);
    int ret = m_validate(m, who, mfn, type);
    fr->validated = ret == 0;
    if (ret != 0) {
        m_put_type(fr);
        fr->refs--;
    }
    return ret;
}

static inline void m_put_table(struct m *m, uint32_t who, uint64_t mfn)
{
    struct m_frame *fr = &m->frame[mfn];
    if (fr->count == 1) {
        fr->validated = false;
        for (uint32_t i = m->mode->nr[m_level(fr->type)]; i-- > 0;)
            if (!m_in_hole(m, fr->type, i))
                m_drop(m, who, mfn, fr->type, m_read(m, mfn, i));
    }
    m_put_type(fr);
    fr->refs--;
}

/* ---- entries changed ---- */

static inline int m_change(struct m *m, uint32_t who, uint64_t mfn, uint32_t i, uint64_t entry, bool keep)
{
    uint32_t type = m->frame[mfn].type, level = m_level(type);
    if (m_in_hole(m, type, i) || i >= m->mode->nr[level] || (m->mode->levels == 3 && level == 3 && i == 3))
        return -XEN_EINVAL;
    uint64_t old = m_read(m, mfn, i);
    if (keep)
        entry |= old & AD;
    bool same = (entry & P) != 0 && (old & P) != 0 && m_mfn(m, entry) == m_mfn(m, old) && (entry & RW) == (old & RW);
    if (same && m_forbidden(m, level, entry))
        return -XEN_EINVAL;
    int ret = same ? 0 : m_take(m, who, mfn, type, i, entry);
    if (ret != 0)
        return ret;
    m_write(m, mfn, i, entry);
    m->d[who].stale = m->d[who].stale || (old & P) != 0;
    if (!same)
        m_drop(m, who, mfn, type, old);
    return 0;
}

static inline bool m_may_write(const struct m *m, uint32_t who, uint64_t mfn)
{
    return m_own(m, who, mfn) && (m->frame[mfn].count == 0 || m->frame[mfn].type == WRITABLE);
}

static inline int m_update(struct m *m, uint32_t who, uint64_t ptr, uint64_t value)
{
    uint32_t size = m->mode->size, cmd = (uint32_t)(ptr % size), i = (uint32_t)(ptr % XP_PAGE_SIZE / size);
    uint64_t mfn = ptr / XP_PAGE_SIZE, entry = size == 4 ? value % (1ull << 32) : value;
    if (cmd > 3)
        return -XEN_ENOSYS;
    if (!m_own(m, who, mfn))
        return -XEN_EINVAL;
    if (cmd == 1) {
        m->m2p[mfn] = value;
        return 0;
    }
    if (m_table(m->frame[mfn].type))
        return m_change(m, who, mfn, i, entry, cmd == 2);
    if (m->frame[mfn].hv || !m_may_write(m, who, mfn))
        return -XEN_EINVAL;
    m_write(m, mfn, i, entry);
    return 0;
}

static inline bool m_canonical(const struct m *m, uint64_t va)
{
    return m->mode->levels < 4 ? va < 1ull << 32 : va < 1ull << 47 || va >= -(1ull << 47);
}

/* Where the level-1 entry for an address is. */
static inline int m_find(const struct m *m, uint32_t who, uint64_t va, uint64_t *mfn, uint32_t *i)
{
    uint64_t at = m->d[who].base;
    if (at == 0 || !m_canonical(m, va) || (va >= m->mode->hole_from && va < m->mode->hole_to))
        return -XEN_EINVAL;
    for (uint32_t level = m->mode->levels; level > 1; level--) {
        uint64_t e = m_read(m, at, (uint32_t)(va >> m->mode->shift[level]) % m->mode->nr[level]);
        if ((e & P) == 0)
            return -XEN_EINVAL;
        at = m_mfn(m, e);
    }
    if (m->frame[at].type != L1)
        return -XEN_EINVAL;
    *mfn = at;
    *i = (uint32_t)(va >> 12) % m->mode->nr[1];
    return 0;
}

static inline int m_va_mapping(struct m *m, uint32_t who, uint64_t va, uint64_t entry)
{
    uint64_t mfn;
    uint32_t i;
    int ret = m_find(m, who, va, &mfn, &i);
    return ret != 0 ? ret : m_change(m, who, mfn, i, m->mode->size == 4 ? (uint32_t)entry : entry, false);
}

/* ---- descriptors ---- */

/* As a guest may have it, or false. Intel's SDM: bits 32-63 hold type 8-11, S 12, DPL 13-14, P 15, limit 16-19, G 23. */
static inline bool m_descriptor(const struct m *m, uint64_t *value)
{
    uint64_t v = *value, ring = m->mode->levels == 4 ? 3 : 1, dpl = v >> 45 & 3;
    uint64_t type = v >> 40 & 15;
    bool memory = (v >> 44 & 1) != 0, pages = (v >> 55 & 1) != 0;
    if ((v >> 47 & 1) == 0)
        return true;
    if (dpl < ring)
        v = (v & ~(3ull << 45)) | ring << 45;
    if (!memory && type == 12) {
        uint64_t selector = v >> 16 & 0xffff;
        if (selector < 8 || selector >= 7168 * 8)
            return false;
        if ((selector & 3) < ring)
            v = (v & ~(3ull << 16)) | ring << 16;
    } else if (!memory && type != 0) {
        return false;
    }
    if (memory && m->mode->levels != 4) {
        uint64_t top = m->mode->hole_from, base = (v >> 16 & 0xffffff) | (v >> 56) << 24;
        uint64_t limit = (v & 0xffff) | (v >> 48 & 15) << 16, unit = pages ? 4096 : 1;
        if ((type & 12) == 4 || base >= top)
            return false;
        uint64_t most = (top - base) / unit;             /* whole units below the hole */
        if (base + (limit + 1) * unit > top) {
            if (most == 0 || most - 1 > 0xfffff)
                return false;
            limit = most - 1;
        }
        v = (v & ~0x000f00000000ffffull) | (limit & 0xffff) | (limit >> 16) << 48;
    }
    *value = v;
    return true;
}

static inline int m_get_segment(struct m *m, uint32_t who, uint64_t mfn)
{
    if (!m_own(m, who, mfn) || m->frame[mfn].hv)
        return -XEN_EINVAL;
    struct m_frame *fr = &m->frame[mfn];
    if (fr->count > 0 && fr->type != SEG)
        return -XEN_EINVAL;
    if (fr->count == 0) {
        m_first_use(m, who, mfn, SEG);
        for (uint32_t i = 0; i < XP_PAGE_SIZE; i += 8) { /* what was mended before a bad one stays so */
            uint64_t value;
            memcpy(&value, fr->data + i, 8);
            if (!m_descriptor(m, &value)) {
                m_put_type(fr);
                return -XEN_EINVAL;
            }
            memcpy(fr->data + i, &value, 8);
        }
        fr->validated = true;
    } else {
        fr->count++;
    }
    fr->refs++;
    return 0;
}

static inline void m_put_segment(struct m *m, uint64_t mfn)
{
    m_put_type(&m->frame[mfn]);
    m->frame[mfn].refs--;
}

static inline int m_set_gdt(struct m *m, uint32_t who, const uint64_t *mfns, uint64_t nr)
{
    struct m_domain *d = &m->d[who];
    for (uint64_t i = 0; i < nr; i++)
        if (m_get_segment(m, who, mfns[i]) != 0) {
            while (i-- > 0)
                m_put_segment(m, mfns[i]);
            return -XEN_EINVAL;
        }
    for (uint64_t i = 0; i < d->nr_gdt; i++)
        m_put_segment(m, d->gdt[i]);
    memcpy(d->gdt, mfns, nr * sizeof *mfns);
    d->nr_gdt = nr;
    return 0;
}

static inline int m_update_descriptor(struct m *m, uint32_t who, uint64_t at, uint64_t value)
{
    uint64_t mfn = at / XP_PAGE_SIZE;
    if (at % 8 != 0 || !m_descriptor(m, &value) || !m_own(m, who, mfn))
        return -XEN_EINVAL;
    if (m->frame[mfn].type != SEG && !m_may_write(m, who, mfn))
        return -XEN_EINVAL;
    memcpy(m->frame[mfn].data + at % XP_PAGE_SIZE, &value, 8);
    return 0;
}

#endif
