/*
 * diff_tables_grants.h: part of diff_tables.c: grants, in windows alone and in page tables; and deaths, which they outlive.
 *
 * A map (struct m_map) is a handle. With an entry it holds its frame twice: once itself, once by the level-1 entry, which goes
 * its own ways: overwritten, dropped with its table, moved. A handle that cannot find its entry lasts as long as its domain.
 */
#ifndef DIFF_TABLES_GRANTS_H
#define DIFF_TABLES_GRANTS_H

#include "diff_tables_compare.h"
#include "diff_tables_draw.h"

/* ---- the model ---- */

struct m_place { uint64_t mfn; uint32_t i; };

/* The entry for an address, or at one. */
static bool m_place(const struct m *m, uint32_t who, uint64_t address, bool is_pte, struct m_place *at)
{
    if (!is_pte)
        return m_find(m, who, address, &at->mfn, &at->i) == 0;
    *at = (struct m_place){.mfn = address >> 12, .i = (uint32_t)(address & 0xfff) / m->mode->size};
    return m_own(m, who, at->mfn) && m->frame[at->mfn].type == L1 && address % m->mode->size == 0;
}

static void m_replace(struct m *m, uint32_t who, struct m_place at, uint64_t entry)
{
    uint64_t old = m_read(m, at.mfn, at.i);
    m_write(m, at.mfn, at.i, entry);
    m->d[who].stale |= (old & P) != 0;
    m_drop(m, who, at.mfn, L1, old);
}

static void m_hold(struct m_frame *fr, bool writes)
{
    fr->refs++;
    fr->count += writes;
    fr->type = writes ? WRITABLE : fr->type;
}

static int16_t m_grant_map(struct m *m, uint32_t granter, uint64_t flags, uint64_t address, const struct m_map *map)
{
    struct m_place at = {0};
    if (map->writes && !m_may_write(m, granter, map->mfn))
        return GNTST_general_error;
    if (map->entry && !m_place(m, map->mapper, address, map->is_pte, &at))
        return GNTST_general_error;
    m_hold(&m->frame[map->mfn], map->writes);
    if (!map->entry)
        return GNTST_okay;
    m_hold(&m->frame[map->mfn], map->writes);
    m_replace(m, map->mapper, at, (uint64_t)map->mfn << 12 | P | AD | (map->writes ? RW : 0) | ((flags & 8) != 0 ? U : 0) |
              (flags >> 16 & 7) << 9 | (m->mode->size == 8 ? 1ull << 63 : 0));
    return GNTST_okay;
}

static bool m_maps(const struct m *m, struct m_place at, const struct m_map *map)
{
    uint64_t entry = m_read(m, at.mfn, at.i);
    return m_mfn(m, entry) == map->mfn && (entry & (P | RW)) == (map->writes ? P | RW : P);
}

static void forget_map(struct m *m, struct m_map *map)
{
    if (map->writes)
        m_put_type(&m->frame[map->mfn]);
    m->frame[map->mfn].refs--;
    *map = (struct m_map){0};
}

static int16_t m_grant_unmap(struct m *m, struct m_map *map, uint64_t address, uint64_t new_address, bool present)
{
    struct m_place at = {0}, from = {0};
    if (map->entry && address == 0)
        return GNTST_okay;
    if (!map->entry && new_address != 0)
        return GNTST_general_error;
    if (map->entry && (!m_place(m, map->mapper, address, map->is_pte, &at) || !m_maps(m, at, map)))
        return GNTST_general_error;
    if (new_address != 0 && (map->is_pte || !m_place(m, map->mapper, new_address, false, &from) || (from.mfn == at.mfn && from.i == at.i)))
        return GNTST_general_error;
    bool others = false;
    for (uint32_t i = 0; i < MAPS; i++)
        others |= &m->map[i] != map && m->map[i].mfn == map->mfn && m->map[i].mapper == map->mapper;
    if (!others && present)
        return GNTST_eagain;
    if (map->entry) {
        uint64_t entry = new_address != 0 ? m_read(m, from.mfn, from.i) : 0;
        if (new_address != 0)
            m_write(m, from.mfn, from.i, 0);
        m_replace(m, map->mapper, at, entry);
        m_flush(&m->d[map->mapper], XP_FLUSH_grant);
    }
    forget_map(m, map);
    return GNTST_okay;
}

/* ---- steps ---- */

static uint64_t any_place(struct m *m, uint32_t who, bool is_pte)
{
    if (one_in(m, 16))
        return (uint64_t[]){0, any_va(m), m->d[who].base << 12, m->mode->hole_from, 1ull << 47, any_frame(m, who) << 12 | 2}[pick(&m->f, 6)];
    if (is_pte)
        return typed(m, who, L1) << 12 | (uint64_t)pick(&m->f, 5) * m->mode->size;
    struct m_place at;
    uint64_t va = any_va(m);
    for (uint32_t tries = 0; tries < 16 && !m_place(m, who, va, false, &at); tries++)
        va = any_va(m);
    return va;
}

static void step_map(struct m *m, uint32_t who)
{
    static const uint32_t kinds[] = {2, 6, 2, 6, 18, 22, 10, 0x50002, 26};
    uint32_t granter = 1 + pick(&m->f, NR), slot = pick(&m->f, MAPS), kind = pick(&m->f, 9);
    if (granter == who || !m->d[granter].alive)
        return;
    uint64_t mfn = typed(m, granter, one_in(m, 3) ? WRITABLE : one_in(m, 3) ? L1 : NONE);
    if (!m_own(m, granter, mfn) || m->frame[mfn].hv || m->map[slot].mfn != 0)
        return;
    struct xen_grant_entry_v1 *entry = (struct xen_grant_entry_v1 *)hvtest_frame(m->t, m->d[granter].grants) + 8 + slot;
    struct xen_gnttab_map_grant_ref op = {.flags = kinds[kind], .ref = 8 + slot, .dom = (uint16_t)granter};
    struct m_map map = {.mfn = (uint32_t)mfn, .ref = 8 + slot, .mapper = who, .writes = (op.flags & 4) == 0,
                        .entry = kind >= 2, .is_pte = (op.flags & 16) != 0};
    if (map.entry)
        op.host_addr = any_place(m, who, map.is_pte);
    map.entry = op.host_addr != 0 || map.is_pte;
    if (!map.entry && (op.flags & 8) != 0)
        return;
    *entry = (struct xen_grant_entry_v1){.flags = 1, .domid = (uint16_t)who, .frame = (uint32_t)mfn};
    m->f.doing = "map_grant_ref";
    SAME(&m->f, hvtest_grant_op(m->t, (xp_domid_t)who, GNTTABOP_map_grant_ref, &op, sizeof op, 1), 0);
    int16_t expected = m_grant_map(m, granter, op.flags, op.host_addr, &map);
    tally(m, map.entry ? 30 : 28, expected);
    SAME(&m->f, op.status, expected);
    if (expected != GNTST_okay)
        return;
    map.handle = op.handle;
    m->map[slot] = map;
}

/* An address that ends its entry; 0: there is none. */
static uint64_t right_place(struct m *m, const struct m_map *map)
{
    struct m_place at;
    if (!map->is_pte) {
        for (uint32_t i = 0; i < 40; i++) {
            uint64_t va = any_va(m);
            if (va != 0 && m_place(m, map->mapper, va, false, &at) && m_maps(m, at, map))
                return va;
        }
        return 0;
    }
    for (at.mfn = m->d[map->mapper].first; at.mfn < m->d[map->mapper].first + PAGES; at.mfn++)
        for (at.i = 0; m->frame[at.mfn].type == L1 && at.i < m->mode->nr[1]; at.i++)
            if (m_maps(m, at, map))
                return at.mfn << 12 | (uint64_t)at.i * m->mode->size;
    return 0;
}

static int16_t unmap(struct m *m, struct m_map *map, uint64_t address, uint64_t new_address)
{
    uint32_t op_nr = map->entry ? 31 : 29;
    xp_domid_t mapper = (xp_domid_t)map->mapper;
    struct xen_gnttab_unmap_grant_ref op = {.handle = map->handle, .host_addr = address};
    struct xen_gnttab_unmap_and_replace with = {.handle = map->handle, .host_addr = address, .new_addr = new_address};
    m->f.doing = new_address != 0 ? "unmap_and_replace" : "unmap_grant_ref";
    bool present = hvtest_shown(m->t, mapper, map->mfn) != HVTEST_ABSENT;
    if (new_address != 0)
        SAME(&m->f, hvtest_grant_op(m->t, mapper, GNTTABOP_unmap_and_replace, &with, sizeof with, 1), 0);
    else
        SAME(&m->f, hvtest_grant_op(m->t, mapper, GNTTABOP_unmap_grant_ref, &op, sizeof op, 1), 0);
    int16_t expected = m_grant_unmap(m, map, address, new_address, present), status = new_address != 0 ? with.status : op.status;
    tally(m, op_nr, expected);
    SAME(&m->f, status, expected);
    return expected;
}

static void step_unmap(struct m *m)
{
    struct m_map *map = &m->map[pick(&m->f, MAPS)];
    if (map->mfn == 0)
        return;
    uint64_t address = !map->entry || one_in(m, 8) ? 0 : one_in(m, 8) ? any_place(m, map->mapper, map->is_pte) : right_place(m, map);
    if (!one_in(m, 8))
        hvtest_drop(m->t, (xp_domid_t)map->mapper, map->mfn);
    (void)unmap(m, map, address, one_in(m, 6) ? any_place(m, map->mapper, false) : 0);
}

/* ---- deaths ---- */

static bool ended(struct m *m, struct m_map *map)
{
    uint64_t address = map->entry ? right_place(m, map) : 0;
    if (map->entry && address == 0)
        return false;
    hvtest_drop(m->t, (xp_domid_t)map->mapper, map->mfn);
    return unmap(m, map, address, 0) == GNTST_okay;
}

/* What a domain and its pages held of others', and that it was. */
static void m_bury(struct m *m, uint32_t who)
{
    for (uint32_t i = 0; i < MAPS; i++)
        if (m->map[i].mfn != 0 && m->map[i].mapper == who)
            forget_map(m, &m->map[i]);
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++)
        for (uint32_t i = 0; m->frame[mfn].owner == who && m->frame[mfn].type == L1 && i < m->mode->nr[1]; i++) {
            uint64_t entry = m_read(m, mfn, i);
            if ((entry & P) != 0 && m->frame[m_mfn(m, entry)].owner != who)
                m_drop(m, who, mfn, L1, entry);
        }
    m->d[who].alive = false;
}

/* Those who use its pages end that first; who cannot dies with it. At last nothing is left of any of them. */
static void destroy(struct m *m, uint32_t who)
{
    bool dies[NR + 1] = {false};
    dies[who] = true;
    for (uint32_t i = 0; i < MAPS; i++) {
        struct m_map *map = &m->map[i];
        if (map->mfn == 0 || !dies[m->frame[map->mfn].owner] || dies[map->mapper] || ended(m, map))
            continue;
        dies[map->mapper] = true;
        i = UINT32_MAX;          /* from the start: somebody may use this one's, too */
    }
    m->f.doing = "death";
    for (uint32_t d = 1; d <= NR; d++)
        if (dies[d])
            hvtest_domain_kill(m->t, (xp_domid_t)d);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t d = 1; d <= NR; d++)
            while (dies[d] && real_of(m, d) != NULL && hvtest_domain_teardown(m->t, (xp_domid_t)d) == 1)
                continue;
    for (uint32_t d = 1; d <= NR; d++)
        if (dies[d])
            m_bury(m, d);
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++) {
        if (!dies[m->frame[mfn].owner])
            continue;
        SAME(&m->f, real_of(m, m->frame[mfn].owner) == NULL, true);
        SAME(&m->f, m->t->hv.linear != NULL ? m->t->hv.linear[mfn] : 0, 0);
        SAME(&m->f, m->t->hv.table_copies != NULL && m->t->hv.table_copies[mfn] != NULL, false);
        m->frame[mfn].owner = NOBODY;
    }
}

#endif
