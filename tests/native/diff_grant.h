/*
 * diff_grant.h: the model of grant tables that diff_grant.c holds against the real thing: tests/model/grant.py in C.
 *
 * One frame of table each, of which the first few entries are used; frames are numbers with their bytes.
 */
#ifndef DIFF_GRANT_H
#define DIFF_GRANT_H

#include "abi.h"
#include "diff.h"
#include "hvtest.h"

#include <string.h>

#define NR 4u
#define PAGES 12u                /* of a domain's own; the first holds the arguments of its calls */
#define REFS 24u
#define HANDLES 150u
#define FRAMES 160u

struct m_entry {
    uint16_t flags, domid;
    uint32_t frame;
    uint32_t readers, writers, mfn;  /* uses */
    uint16_t user;
};

struct m_handle { bool used; uint16_t granter; uint32_t ref, flags, mfn; };

struct m_domain {
    bool alive;
    uint32_t max_maptrack, fresh, nr_freed, freed[HANDLES];
    uint64_t table;
    struct m_entry entry[REFS];
    struct m_handle handle[HANDLES];
    uint8_t shown[FRAMES];
};

struct m_frame { uint32_t refs, writers; uint16_t owner; bool allocated; uint8_t data[XP_PAGE_SIZE]; };

struct m {
    struct diff f;               /* the driver's */
    struct hvtest *t;
    uint32_t most;               /* handles that domain 0 ever had at once: more than a chunk of the maptrack */
    struct m_domain d[NR];
    struct m_frame frame[FRAMES];
};

/* ---- uses ---- */

static inline bool m_own(const struct m *m, uint32_t who, uint64_t mfn)
{
    return mfn < FRAMES && m->frame[mfn].refs > 0 && m->frame[mfn].owner == who && m->frame[mfn].allocated;
}

static inline void m_clear_stale(struct m_entry *e, bool readonly)
{
    if (!readonly && e->writers == 0)
        e->flags &= (uint16_t)~GTF_writing;
    if (e->readers + e->writers == 0)
        e->flags &= (uint16_t)~GTF_reading;
}

static inline int16_t m_pin(struct m *m, uint32_t granter, uint32_t ref, uint32_t user, bool readonly, bool map, uint32_t *mfn)
{
    if (ref >= XP_GRANTS_PER_FRAME)
        return GNTST_bad_gntref;
    if (ref >= REFS)
        return GNTST_general_error;     /* grants nothing */
    struct m_entry *e = &m->d[granter].entry[ref];
    bool used = e->readers + e->writers > 0, claims = !used || (!readonly && e->writers == 0);
    uint32_t mask = map ? GTF_type_mask | GTF_sub_page : GTF_type_mask;
    if (used && e->user != user)
        return GNTST_general_error;
    if (!used && ((e->flags & mask) != GTF_permit_access || e->domid != user))
        return GNTST_general_error;
    if (claims && !readonly && (e->flags & GTF_readonly) != 0)
        return GNTST_general_error;
    if (claims)
        e->flags |= readonly ? GTF_reading : GTF_reading | GTF_writing;
    *mfn = used ? e->mfn : e->frame;
    if (!m_own(m, granter, *mfn)) {
        if (claims)
            m_clear_stale(e, readonly);
        return GNTST_bad_page;
    }
    m->frame[*mfn].refs++;
    m->frame[*mfn].writers += !readonly;
    e->mfn = *mfn;
    e->user = (uint16_t)user;
    e->readers += readonly;
    e->writers += !readonly;
    return GNTST_okay;
}

static inline void m_unpin(struct m *m, uint32_t granter, uint32_t ref, uint32_t mfn, bool readonly)
{
    if (m->d[granter].alive) {
        struct m_entry *e = &m->d[granter].entry[ref];
        e->readers -= readonly;
        e->writers -= !readonly;
        m_clear_stale(e, readonly);
    }
    m->frame[mfn].writers -= !readonly;
    m->frame[mfn].refs--;
}

/* Do all use bits say what is so, and are all mapped pages there? Else an undone step may put that right. */
static inline bool m_honest(const struct m *m)
{
    for (uint32_t who = 0; who < NR; who++) {
        const struct m_domain *d = &m->d[who];
        for (uint32_t ref = 0; d->alive && ref < REFS; ref++) {
            const struct m_entry *e = &d->entry[ref];
            uint32_t want = (e->writers > 0 ? GTF_writing : 0u) | (e->readers + e->writers > 0 ? GTF_reading : 0u);
            if ((e->flags & (GTF_reading | GTF_writing)) != want)
                return false;
        }
        for (uint32_t i = 0; d->alive && i < d->fresh; i++)
            if (d->handle[i].used && d->handle[i].granter != who && d->shown[d->handle[i].mfn] == HVTEST_ABSENT)
                return false;
    }
    return true;
}

/* ---- handles ---- */

/* Other handles on the same frame; *writers of them. */
static inline uint32_t m_others(const struct m_domain *d, uint32_t handle, uint32_t *writers)
{
    uint32_t nr = 0;
    *writers = 0;
    for (uint32_t i = 0; i < d->fresh; i++) {
        if (i == handle || !d->handle[i].used || d->handle[i].mfn != d->handle[handle].mfn)
            continue;
        nr++;
        *writers += (d->handle[i].flags & GNTMAP_readonly) == 0;
    }
    return nr;
}

static inline int16_t m_map(struct m *m, uint32_t who, uint32_t flags, uint32_t ref, uint32_t dom, uint32_t *handle,
                            uint32_t *mfn)
{
    struct m_domain *d = &m->d[who];
    bool readonly = (flags & GNTMAP_readonly) != 0;
    uint32_t writers;
    if ((flags & (GNTMAP_host_map | GNTMAP_device_map)) == 0)
        return GNTST_bad_gntref;
    /* An entry at machine address 0: no table of anybody's. (Entries that are there: diff_tables.c.) */
    bool entry = (flags & GNTMAP_host_map) != 0 && (flags & GNTMAP_contains_pte) != 0;
    if (!entry && (flags & (GNTMAP_application_map | GNTMAP_contains_pte)) != 0)
        return GNTST_general_error;
    if (!m->d[dom].alive)
        return GNTST_bad_domain;
    if (d->nr_freed == 0 && d->fresh >= d->max_maptrack)
        return GNTST_no_device_space;
    int16_t status = m_pin(m, dom, ref, who, readonly, true, mfn);
    if (status == GNTST_okay && entry) {
        m_unpin(m, dom, ref, *mfn, readonly);
        status = GNTST_general_error;
    }
    if (status != GNTST_okay)
        return status;
    *handle = d->nr_freed > 0 ? d->freed[--d->nr_freed] : d->fresh++;
    d->handle[*handle] =
        (struct m_handle){.used = true, .granter = (uint16_t)dom, .ref = ref, .flags = flags & 7, .mfn = *mfn};
    if (dom != who) {
        (void)m_others(d, *handle, &writers);
        if (!readonly || writers > 0 || d->shown[*mfn] == HVTEST_RW)
            d->shown[*mfn] = HVTEST_RW;
        else
            d->shown[*mfn] = HVTEST_RO;
    }
    return GNTST_okay;
}

static inline int16_t m_unmap(struct m *m, uint32_t who, uint32_t handle, uint64_t dev_bus_addr)
{
    struct m_domain *d = &m->d[who];
    if (handle >= HANDLES || !d->handle[handle].used)
        return GNTST_bad_handle;
    struct m_handle h = d->handle[handle];
    uint32_t writers, others = m_others(d, handle, &writers);
    if (dev_bus_addr != 0 && dev_bus_addr != (uint64_t)h.mfn << XP_PAGE_SHIFT)
        return GNTST_general_error;
    if (h.granter != who && others == 0 && d->shown[h.mfn] != HVTEST_ABSENT)
        return GNTST_eagain;
    if (h.granter != who && others > 0 && writers == 0 && (h.flags & GNTMAP_readonly) == 0 &&
        d->shown[h.mfn] != HVTEST_ABSENT)
        d->shown[h.mfn] = HVTEST_RO;
    d->handle[handle].used = false;
    d->freed[d->nr_freed++] = handle;
    m_unpin(m, h.granter, h.ref, h.mfn, (h.flags & GNTMAP_readonly) != 0);
    return GNTST_okay;
}

/* ---- copying ---- */

static inline int16_t m_copy(struct m *m, uint32_t who, const struct xen_gnttab_copy *op)
{
    const struct xen_gnttab_copy_ptr *ptr[] = {&op->source, &op->dest};
    uint32_t mfn[2] = {0, 0}, dom[2];
    bool pinned[2] = {false, false};
    int16_t status = GNTST_okay;
    for (uint32_t i = 0; i < 2; i++) {
        bool by_ref = (op->flags >> i & 1) != 0;
        dom[i] = ptr[i]->domid == DOMID_SELF ? who : ptr[i]->domid;
        if (!by_ref && ptr[i]->domid != DOMID_SELF)
            return GNTST_permission_denied;
        if (!m->d[dom[i]].alive)
            return GNTST_bad_domain;
    }
    for (uint32_t i = 0; i < 2 && status == GNTST_okay; i++) {
        if ((op->flags >> i & 1) != 0) {
            status = m_pin(m, dom[i], ptr[i]->u.ref, who, i == 0, false, &mfn[i]);
            pinned[i] = status == GNTST_okay;
        } else {
            mfn[i] = (uint32_t)ptr[i]->u.gmfn;
            status = m_own(m, who, ptr[i]->u.gmfn) ? GNTST_okay : GNTST_bad_page;
        }
    }
    if (status == GNTST_okay && (op->source.offset + op->len > 4096 || op->dest.offset + op->len > 4096))
        status = GNTST_bad_copy_arg;
    if (status == GNTST_okay)
        memmove(m->frame[mfn[1]].data + op->dest.offset, m->frame[mfn[0]].data + op->source.offset, op->len);
    for (uint32_t i = 2; i-- > 0;)
        if (pinned[i])
            m_unpin(m, dom[i], ptr[i]->u.ref, mfn[i], i == 0);
    return status;
}

/* ---- the end ---- */

static inline void m_destroy(struct m *m, uint32_t who)
{
    struct m_domain *d = &m->d[who];
    d->alive = false;
    for (uint32_t i = 0; i < d->fresh; i++)
        if (d->handle[i].used)
            m_unpin(m, d->handle[i].granter, d->handle[i].ref, d->handle[i].mfn, (d->handle[i].flags & GNTMAP_readonly) != 0);
    for (uint32_t mfn = 1; mfn < FRAMES; mfn++)
        if (m_own(m, who, mfn)) {
            m->frame[mfn].allocated = false;
            m->frame[mfn].refs--;
        }
}

#endif
