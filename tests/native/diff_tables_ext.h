/*
 * diff_tables_ext.h: the model's mmuext_op: pins, base pointers, flushes, descriptor tables, pages cleared and copied. See diff_tables.h.
 */
#ifndef DIFF_TABLES_EXT_H
#define DIFF_TABLES_EXT_H

#include "diff_tables.h"

/* ---- mmuext_op ---- */

static inline int m_new_base(struct m *m, uint32_t who, uint64_t *base, uint64_t mfn)
{
    int ret = mfn != 0 || base == &m->d[who].base ? m_get_table(m, who, mfn, m->mode->levels) : 0;
    if (ret != 0 || (mfn == 0 && *base == 0))
        return ret;
    uint64_t old = *base;
    *base = mfn;
    m_flush(&m->d[who], XP_FLUSH_baseptr);
    if (old != 0)
        m_put_table(m, who, old);
    return 0;
}

static inline int m_pin(struct m *m, uint32_t who, uint32_t level, uint64_t mfn)
{
    if (level > m->mode->levels || !m_own(m, who, mfn) || m->frame[mfn].pinned)
        return -XEN_EINVAL;
    int ret = m_get_table(m, who, mfn, level);
    m->frame[mfn].pinned = ret == 0;
    return ret;
}

static inline int m_unpin(struct m *m, uint32_t who, uint64_t mfn)
{
    if (!m_own(m, who, mfn) || !m->frame[mfn].pinned)
        return -XEN_EINVAL;
    m->frame[mfn].pinned = false;
    m_put_table(m, who, mfn);
    return 0;
}

static inline int m_ext(struct m *m, uint32_t who, const struct xen_mmuext_op *op)
{
    struct m_domain *d = &m->d[who];
    uint64_t arg = op->arg1.mfn, nr = op->arg2.nr_ents;
    switch (op->cmd) {
    case 0: case 1: case 2: case 3: return m_pin(m, who, op->cmd + 1, arg);
    case 4: return m_unpin(m, who, arg);
    case 5: return m_new_base(m, who, &d->base, arg);
    case 6: case 10: m_flush(d, XP_FLUSH_asked); return 0;
    case 7: case 11: m_flush(d, XP_FLUSH_invlpg); return 0;
    case 8: case 9: return -XEN_EINVAL;                  /* the mask is never where one can read it */
    case 12: return -XEN_EACCES;
    case 13:
        if (arg % 8 != 0 || nr > 8192 || !m_canonical(m, arg) || (arg >= m->mode->hole_from && arg < m->mode->hole_to))
            return -XEN_EINVAL;
        d->ldt = nr != 0 ? arg : 0;
        d->nr_ldt = nr;
        return 0;
    case 15: return m->mode->levels != 4 ? -XEN_EOPNOTSUPP : m_new_base(m, who, &d->user_base, arg);
    case 16: case 17:
        if ((op->cmd == 17 && !m_own(m, who, op->arg2.src_mfn)) || !m_may_write(m, who, arg))
            return -XEN_EINVAL;
        if (op->cmd == 16)
            memset(m->frame[arg].data, 0, XP_PAGE_SIZE);
        else
            memmove(m->frame[arg].data, m->frame[op->arg2.src_mfn].data, XP_PAGE_SIZE);
        return 0;
    case 18: return -XEN_EINVAL;
    case 19: case 20: return -XEN_EOPNOTSUPP;
    default: return -XEN_ENOSYS;
    }
}

#endif
