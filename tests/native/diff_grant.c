/*
 * diff_grant.c: grant tables against a model in C, millions of random steps with failures in between. See diff.h.
 *
 * Four domains that grant to each other, map, copy, die; granters that rewrite entries in use; more handles than one
 * chunk of the maptrack holds, on frames whose numbers share hash chains.
 */
#include "diff_grant.h"

/* ---- one step on both ---- */

/* A failure was let in: the model does nothing (and what the caller was told is an error). */
static bool injected(struct m *m, int64_t ret, int16_t status)
{
    bool failed = hvtest_failed() != NULL;
    hvtest_fail_at(-1);
    if (failed)
        SAME(&m->f, ret == -XEN_EFAULT || (ret == 0 && status < 0), true);
    m->f.failed += failed;
    return failed;
}

static int64_t call(struct m *m, const char *doing, uint32_t who, uint32_t cmd, void *arg, uint64_t size)
{
    m->f.doing = doing;
    if (m_honest(m) && pick(&m->f, 8) == 0)
        hvtest_fail_at(pick(&m->f, 6));
    return hvtest_grant_op(m->t, (xp_domid_t)who, cmd, arg, size, 1);
}

static bool agreed(struct m *m, int64_t ret, int16_t status, int16_t expected)
{
    SAME(&m->f, ret, 0);
    SAME(&m->f, status, expected);
    m->f.accepted += status == GNTST_okay;
    m->f.refused += status != GNTST_okay;
    return status == GNTST_okay;
}

static uint32_t any_ref(struct m *m)
{
    static const uint32_t odd[] = {511, 512, 1023, 1024, UINT32_MAX};
    return pick(&m->f, 32) == 0 ? odd[pick(&m->f, 5)] : pick(&m->f, REFS);
}

static uint32_t any_frame(struct m *m, uint32_t who)
{
    switch (pick(&m->f, 16)) {
    case 0: return (uint32_t)m->t->first_mfn[pick(&m->f, NR)] + 1;
    case 1: return pick(&m->f, 2) == 0 ? 0 : UINT32_MAX;
    case 2: return (uint32_t)m->d[who].table;
    default: return (uint32_t)m->t->first_mfn[who] + 1 + pick(&m->f, PAGES - 1);
    }
}

static struct xen_grant_entry_v1 *entry_of(struct m *m, uint32_t who, uint32_t ref)
{
    return (struct xen_grant_entry_v1 *)hvtest_frame(m->t, m->d[who].table) + ref;
}

static void step_write_entry(struct m *m, uint32_t who)
{
    static const uint16_t kinds[] = {1, 1, 1, 1, 1, 5, 0, 2, 3, 0x101};
    uint32_t ref = pick(&m->f, REFS);
    struct m_entry *e = &m->d[who].entry[ref];
    if (e->readers + e->writers > 0 && pick(&m->f, 256) != 0)
        return;                 /* most granters wait till an entry is free */
    uint16_t kind = pick(&m->f, 64) == 0 ? 0x19 : kinds[pick(&m->f, 10)];
    *e = (struct m_entry){.flags = kind, .domid = (uint16_t)pick(&m->f, NR), .frame = any_frame(m, who),
                          .readers = e->readers, .writers = e->writers, .mfn = e->mfn, .user = e->user};
    *entry_of(m, who, ref) = (struct xen_grant_entry_v1){.flags = e->flags, .domid = e->domid, .frame = e->frame};
}

static void step_map(struct m *m, uint32_t who)
{
    static const uint32_t kinds[] = {2, 2, 2, 2, 6, 6, 6, 1, 5, 3, 7, 0, 10, 18};
    uint32_t dom = pick(&m->f, NR), ref = any_ref(m);
    for (uint32_t tries = 0; tries < 12 && (ref >= REFS || (m->d[dom].entry[ref].flags & 3) != 1 || m->d[dom].entry[ref].domid != who); tries++) {
        dom = pick(&m->f, NR);
        ref = pick(&m->f, REFS);
    }
    struct xen_gnttab_map_grant_ref op = {.flags = kinds[pick(&m->f, 14)], .ref = ref, .dom = (uint16_t)dom};
    int64_t ret = call(m, "map", who, GNTTABOP_map_grant_ref, &op, sizeof op);
    if (injected(m, ret, op.status))
        return;
    uint32_t handle = 0, mfn = 0;
    if (!agreed(m, ret, op.status, m_map(m, who, op.flags, ref, dom, &handle, &mfn)))
        return;
    SAME(&m->f, op.handle, handle);
    SAME(&m->f, op.dev_bus_addr, (uint64_t)mfn << XP_PAGE_SHIFT);
}

static void step_unmap(struct m *m, uint32_t who)
{
    struct m_domain *d = &m->d[who];
    struct xen_gnttab_unmap_grant_ref op = {.handle = pick(&m->f, HANDLES + 1)};
    for (uint32_t tries = 0; tries < 200 && (op.handle >= HANDLES || !d->handle[op.handle].used); tries++)
        op.handle = pick(&m->f, d->fresh + 1);
    const struct m_handle *h = op.handle < HANDLES && d->handle[op.handle].used ? &d->handle[op.handle] : NULL;
    uint32_t writers;
    bool last = h != NULL && m_others(d, op.handle, &writers) == 0;
    if (h != NULL && h->granter != who && (last ? pick(&m->f, 4) != 0 : pick(&m->f, 256) == 0)) {
        hvtest_drop(m->t, (xp_domid_t)who, h->mfn);
        d->shown[h->mfn] = 0;
    }
    if (pick(&m->f, 4) == 0)
        op.dev_bus_addr = (h != NULL ? (uint64_t)h->mfn << XP_PAGE_SHIFT : 0) + (pick(&m->f, 4) == 0 ? XP_PAGE_SIZE : 0);
    int64_t ret = call(m, "unmap", who, GNTTABOP_unmap_grant_ref, &op, sizeof op);
    if (!injected(m, ret, op.status))
        (void)agreed(m, ret, op.status, m_unmap(m, who, op.handle, op.dev_bus_addr));
}

static void step_copy(struct m *m, uint32_t who)
{
    uint32_t flags = pick(&m->f, 4);
    struct xen_gnttab_copy op = {.flags = (uint16_t)flags, .len = (uint16_t)pick(&m->f, 64)};
    struct xen_gnttab_copy_ptr *side[] = {&op.source, &op.dest};
    for (uint32_t i = 0; i < 2; i++) {
        bool by_ref = (flags >> i & 1) != 0;
        side[i]->offset = (uint16_t)(pick(&m->f, 8) == 0 ? 4090 : pick(&m->f, 4000));
        side[i]->domid = by_ref ? (uint16_t)pick(&m->f, NR) : pick(&m->f, 16) == 0 ? (uint16_t)who : DOMID_SELF;
        if (by_ref)
            side[i]->u.ref = any_ref(m);
        else
            side[i]->u.gmfn = any_frame(m, who);
        for (uint32_t tries = 0;
             by_ref && tries < 12 && (side[i]->u.ref >= REFS || m->d[side[i]->domid].entry[side[i]->u.ref].domid != who);
             tries++)
            side[i]->u.ref = pick(&m->f, REFS);
    }
    int64_t ret = call(m, "copy", who, GNTTABOP_copy, &op, sizeof op);
    if (!injected(m, ret, op.status))
        (void)agreed(m, ret, op.status, m_copy(m, who, &op));
}

static void create(struct m *m, uint32_t who)
{
    struct xen_gnttab_setup_table op = {.dom = DOMID_SELF, .nr_frames = 1};
    struct m_domain *d = &m->d[who];
    struct xp_limits limits = {
        .max_evtchns = 1, .max_grant_frames = 1, .max_maptrack = pick(&m->f, 2) == 0 ? HANDLES : 1 + pick(&m->f, 8)};
    if (hvtest_domain(m->t, (xp_domid_t)who) != NULL && hvtest_domain_teardown(m->t, (xp_domid_t)who) != 0)
        return;                 /* its number is a zombie's yet */
    m->f.doing = "create";
    if (hvtest_domain_create(m->t, (xp_domid_t)who, PAGES, limits) < 0)
        return;
    op.frame_list = HVTEST_BASE + (m->t->first_mfn[who] << XP_PAGE_SHIFT) + 2048;
    SAME(&m->f, hvtest_grant_op(m->t, (xp_domid_t)who, GNTTABOP_setup_table, &op, sizeof op, 1), 0);
    *d = (struct m_domain){.alive = true, .max_maptrack = limits.max_maptrack};
    SAME(&m->f, hvtest_grant_frames(m->t, (xp_domid_t)who, &d->table, 1), 1);
    for (uint64_t i = 0; i < FRAMES; i++)
        d->shown[i] = (uint8_t)hvtest_shown(m->t, (xp_domid_t)who, i);
    for (uint64_t mfn = m->t->first_mfn[who]; mfn < m->t->first_mfn[who] + PAGES; mfn++) {
        m->frame[mfn] = (struct m_frame){.refs = 1, .owner = (uint16_t)who, .allocated = true};
        memset(hvtest_frame(m->t, mfn), (int)mfn, XP_PAGE_SIZE);
        memset(m->frame[mfn].data, (int)mfn, XP_PAGE_SIZE);
    }
}

static void destroy(struct m *m, uint32_t who)
{
    m->f.doing = "destroy";
    m_destroy(m, who);
    hvtest_domain_kill(m->t, (xp_domid_t)who);
    while (hvtest_domain_teardown(m->t, (xp_domid_t)who) == 1)
        continue;
}

/* ---- comparing ---- */

static void compare_domain(struct m *m, uint32_t who)
{
    const struct m_domain *d = &m->d[who];
    uint32_t nr = 0;
    for (uint32_t ref = 0; ref < REFS; ref++) {
        struct xp_grant_pins pins = xp_grant_pins_of(hvtest_domain(m->t, (xp_domid_t)who), ref);
        const struct xen_grant_entry_v1 *real = entry_of(m, who, ref);
        SAME(&m->f, real->flags, d->entry[ref].flags);
        SAME(&m->f, pins.readers, d->entry[ref].readers);
        SAME(&m->f, pins.writers, d->entry[ref].writers);
    }
    for (uint32_t handle = 0; handle < d->fresh; handle++)
        nr += d->handle[handle].used;
    SAME(&m->f, hvtest_counts(m->t, (xp_domid_t)who).nr_maptrack, nr);
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++)
        SAME(&m->f, hvtest_shown(m->t, (xp_domid_t)who, mfn), d->shown[mfn]);
}

static void compare(struct m *m)
{
    for (uint32_t who = 0; who < NR; who++)
        if (m->d[who].alive)
            compare_domain(m, who);
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++) {
        struct xp_frame real = hvtest_frame_record(m->t, mfn);
        if (m->frame[mfn].refs == 0)
            continue;           /* free, or a table's */
        SAME(&m->f, real.ref_count, m->frame[mfn].refs);
        SAME(&m->f, real.type_count, m->frame[mfn].writers);
        SAME(&m->f, real.owner, m->frame[mfn].owner);
    }
}

/* The bytes too: seldom, as there are many. */
static void compare_memory(struct m *m)
{
    m->f.doing = "memory";
    for (uint32_t who = 0; who < NR; who++)
        for (uint64_t mfn = m->t->first_mfn[who] + 1; m->d[who].alive && mfn < m->t->first_mfn[who] + PAGES; mfn++)
            SAME(&m->f, memcmp(hvtest_frame(m->t, mfn), m->frame[mfn].data, XP_PAGE_SIZE), 0);
}

static void step(struct m *m)
{
    uint32_t who = pick(&m->f, NR);
    if (!m->d[who].alive) {
        create(m, who);
        return;
    }
    switch (pick(&m->f, 16)) {
    case 0: case 1: case 2: step_write_entry(m, who); break;
    case 3: case 4: case 5: case 6: case 7: step_map(m, who); break;
    case 8: case 9: case 10: case 11:
        /* Tides: handles pile up, then go. */
        if ((m->f.step >> 12 & 1) == 0 && pick(&m->f, 4) != 0)
            step_map(m, who);
        else
            step_unmap(m, who);
        break;
    case 12: case 13: case 14: step_copy(m, who); break;
    default:
        if (pick(&m->f, 128) == 0)
            destroy(m, who);
        break;
    }
}

int main(int argc, char **argv)
{
    static struct m m;
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    m.f.rng = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * 0x9e3779b97f4a7c15u + 1;
    m.t = hvtest_create(FRAMES);
    for (m.f.step = 0; m.f.step < steps; m.f.step++) {
        step(&m);
        m.most = m.d[0].fresh > m.most ? m.d[0].fresh : m.most;
        if (m.f.step % 16 == 0)
            compare(&m);
        if (m.f.step % 4096 == 0) {
            compare_memory(&m);
            SAME(&m.f, hvtest_audit(m.t) + hvtest_mm_audit(m.t), 0);
        }
    }
    hvtest_destroy(m.t);
    (void)printf("%" PRIu64 " steps, up to %u handles: %" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64 " failures let in\n", steps,
                 m.most, m.f.accepted, m.f.refused, m.f.failed);
    return 0;
}
