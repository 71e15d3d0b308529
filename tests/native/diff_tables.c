/*
 * diff_tables.c: page tables against a model in C, millions of random steps with failures in between. See diff.h.
 *
 * Three domains a machine that build, pin, load, change and grant; machines in turn of each paging mode, enforced and not,
 * with steps of all sizes, so that other domains' calls and deaths fall into the middle of an operation. Everything is
 * compared after each step: all records, what windows show, base pointers, flushes; every byte now and then.
 */
#include "diff_tables_compare.h"
#include "diff_tables_draw.h"
#include "diff_tables_ext.h"

static void tally(struct m *m, uint32_t op, int64_t expected);

#include "diff_tables_grants.h"

#define DONE_AT 4000u
#define UNTOUCHED 0xeeeeeeeeu
#define MACHINE_STEPS 20000u     /* then the next mode has its turn */

/* ---- calls ---- */

static void step_other(struct m *m, uint32_t who);

/* The operation is under way: the domain's next one waits, others' do not, and it may be the end of it. */
static bool in_the_middle(struct m *m, uint32_t who)
{
    struct xp_call call = m->t->call;
    uint32_t other = 1 + who % NR;
    const char *doing = m->f.doing;
    if (real_of(m, who)->mm.stage != XP_MM_idle) {
        const uint64_t args[6] = {0, 1, 0, DOMID_SELF};
        SAME(&m->f, hvtest_mm(m->t, (xp_domid_t)who, __HYPERVISOR_mmu_update, args, 3), XP_CALL_AGAIN);
    }
    if (m->d[other].alive && !m_uses(m, other, 0))
        step_other(m, other);
    compare(m, who, false);
    if (one_in(m, 8)) {
        destroy(m, who);
        return false;
    }
    m->t->call = call;
    m->inject = 0;
    m->f.doing = doing;
    return true;
}

/* A call, perhaps with a failure. INT64_MIN: its domain died meanwhile. */
static int64_t call(struct m *m, uint32_t who, uint32_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, bool failures)
{
    const uint64_t args[6] = {a, b, c, d};
    m->inject = 0;
    if (failures && one_in(m, 12))
        m->inject = one_in(m, 8) ? 1 + pick(&m->f, 600) : 1 + pick(&m->f, 12);
    else if (failures && one_in(m, 24))
        hvtest_fail_at(pick(&m->f, 8));
    hvtest_inject(m->t, m->inject);
    bool limited = failures && m->inject == 0 && m->t->hv.mm_step != 0 && hvtest_failed() == NULL && one_in(m, 16);
    if (limited)
        hvtest_fail_at(-1);
    int64_t ret = hvtest_mm(m->t, (xp_domid_t)who, nr, args, limited ? 1 + pick(&m->f, 40) : UINT32_MAX);
    hvtest_inject(m->t, 0);
    if (ret == XP_CALL_AGAIN)
        ret = in_the_middle(m, who) ? hvtest_continue(m->t, (xp_domid_t)who, UINT32_MAX) : INT64_MIN;
    return ret;
}

/*
 * A failure was let in somewhere: what was not done left nothing behind but what a validation mends on its way (the hole,
 * descriptors) and flushes that proved needless. A page whose protection could not be lifted is put right.
 */
static bool let_in(struct m *m)
{
    bool failed = hvtest_failed() != NULL;
    hvtest_fail_at(-1);
    m->f.failed += failed;
    return failed;
}

static void mend(struct m *m, uint32_t who)
{
    struct m_domain *d = &m->d[who];
    const struct xp_mm *mm = &real_of(m, who)->mm;
    for (uint64_t mfn = d->first + 1; mfn < d->first + PAGES; mfn++) {
        if (m->frame[mfn].count > 0 && m->frame[mfn].type != WRITABLE)
            continue;
        memcpy(m->frame[mfn].data, hvtest_frame(m->t, mfn), XP_PAGE_SIZE);
        m->t->shown[who][mfn] = HVTEST_RW;
    }
    SAME(&m->f, mm->stale && !d->stale, false);
    SAME(&m->f, mm->nr_flushes[XP_FLUSH_type] >= d->flushes[XP_FLUSH_type], true);
    d->stale = mm->stale;
    d->flushes[XP_FLUSH_type] = mm->nr_flushes[XP_FLUSH_type];
}

static void tally(struct m *m, uint32_t what, int64_t ret)
{
    static const int errors[] = {0, -XEN_EPERM, -XEN_ENOMEM, -XEN_EFAULT, -XEN_EBUSY, -XEN_EINVAL, -XEN_ENOSYS};
    uint32_t i = 0;
    while (i < 7 && errors[i] != ret)
        i++;
    m->seen[what][i]++;
    m->f.accepted += ret >= 0;
    m->f.refused += ret < 0;
}

#define BATCH 7u

/* A batch of either kind: requests or operations, already drawn. */
static void batch(struct m *m, uint32_t who, bool ext, const void *packed, uint32_t size, uint32_t count)
{
    uint8_t *args = hvtest_args(m->t, (xp_domid_t)who);
    uint32_t done = UNTOUCHED, expected_done = 0;
    uint64_t foreign = any_foreign(m, !ext), va = va_of(m, who, 0), pdone = va_of(m, who, DONE_AT), number = count;
    int64_t expected = m_foreign(m, who, foreign & 0xffff);
    if (expected == 0 && foreign >> 16 != 0 && foreign >> 16 != who + 1)
        expected = -XEN_EPERM;
    if (one_in(m, 200))
        number = one_in(m, 2) ? 1ull << 31 : ~0ull;
    if (expected == 0 && number > INT32_MAX)
        expected = -XEN_EINVAL;
    const bool refused = expected != 0;
    const bool unreadable = one_in(m, 200);
    if (unreadable)
        va = 8;
    if (one_in(m, 12))
        pdone = one_in(m, 2) ? 0 : 8;
    memcpy(args, packed, (size_t)size * count);
    memcpy(args + DONE_AT, &done, sizeof done);
    m->f.doing = ext ? "mmuext_op" : "mmu_update";
    int64_t ret = call(m, who, ext ? __HYPERVISOR_mmuext_op : __HYPERVISOR_mmu_update, va, number, pdone, foreign,
                       !unreadable && pdone == va_of(m, who, DONE_AT));
    if (ret == INT64_MIN)
        return;
    memcpy(&done, args + DONE_AT, sizeof done);
    const char *failed = hvtest_failed();
    const bool lost = failed != NULL && strcmp(failed, "copy_to") == 0;
    if (let_in(m) && !lost) {
        number = done;
        SAME(&m->f, number <= count && (number == count || ret < 0), true);
    }
    for (uint32_t i = 0; expected == 0 && i < (unreadable ? 0 : count); i++) {
        if (failed != NULL && !lost && i == number)
            break;
        const struct xen_mmu_update *req = (const struct xen_mmu_update *)packed + i;
        expected = ext ? m_ext(m, who, (const struct xen_mmuext_op *)packed + i) : m_update(m, who, req->ptr, req->val);
        tally(m, ext ? ((const struct xen_mmuext_op *)packed + i)->cmd % 24 : 24, expected);
        expected_done += expected == 0;
    }
    if (failed != NULL && !lost) {
        if (!refused)
            SAME(&m->f, expected, 0);    /* what it says was done could be done */
        mend(m, who);
        return;
    }
    if (expected == 0 && unreadable && count > 0)
        expected = -XEN_EFAULT;
    if (!refused && expected == 0 && (lost || pdone == 8))
        expected = -XEN_EFAULT;
    SAME(&m->f, ret, expected);
    SAME(&m->f, done, refused || lost || pdone != va_of(m, who, DONE_AT) ? UNTOUCHED : expected_done);
}

static void step_update(struct m *m, uint32_t who)
{
    struct xen_mmu_update req[48];
    uint32_t count = one_in(m, 64) ? 30 + pick(&m->f, 18) : 1 + pick(&m->f, BATCH - 1), size = m->mode->size;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t level = 1 + pick(&m->f, m->mode->levels), cmd = one_in(m, 2) ? 0 : pick(&m->f, 4);
        uint32_t type = m->mode->levels == 3 && level == 2 && one_in(m, 3) ? HOLED : level;
        uint64_t value = one_in(m, 3) ? 0 : any_entry(m, who, level);
        uint64_t mfn = typed(m, who, one_in(m, 12) ? WRITABLE : type), at = any_slot(m, level);
        if (cmd == 1 && one_in(m, 2))
            cmd = 2;
        if (one_in(m, 4) && mfn < FRAMES && m_table(m->frame[mfn].type)) /* other bits of the same entry */
            value = m_read(m, mfn, (uint32_t)at) ^ (1ull << pick(&m->f, 12) & 0xfffu);
        if (size == 8 && one_in(m, 200))
            cmd = 4 + pick(&m->f, 4);
        req[i] = (struct xen_mmu_update){.ptr = (mfn << 12) + at * size + cmd, .val = value};
    }
    batch(m, who, false, req, sizeof *req, count);
}

static void step_ext(struct m *m, uint32_t who)
{
    static const uint32_t cmds[] = {0, 1, 2, 3, 4, 4, 4, 5, 5, 15, 16, 17, 4, 0, 1, 2, 3};
    struct xen_mmuext_op op[BATCH];
    uint32_t count = 1 + pick(&m->f, 3);
    for (uint32_t i = 0; i < count; i++) {
        op[i] = (struct xen_mmuext_op){.cmd = one_in(m, 6) ? pick(&m->f, 24) : cmds[pick(&m->f, 17)]};
        op[i].arg1.mfn = typed(m, who, one_in(m, 2) ? NONE : op[i].cmd <= 3 ? op[i].cmd + 1 : m->mode->levels);
        op[i].arg2.src_mfn = any_frame(m, who);
        if (op[i].cmd == 4)              /* mostly what is pinned */
            for (uint32_t tries = 0; tries < 20 && !(m_own(m, who, op[i].arg1.mfn) && m->frame[op[i].arg1.mfn].pinned); tries++)
                op[i].arg1.mfn = any_frame(m, who);
        if (op[i].cmd <= 3 && one_in(m, 2))
            op[i].arg1.mfn = build(m, who), op[i].cmd = m->mode->levels - 1;
        if (op[i].cmd == 15 && one_in(m, 3))
            op[i].arg1.mfn = 0;
        if (op[i].cmd == 13) {
            op[i].arg1.linear_addr = any_va(m) + (one_in(m, 8) ? 4 : 0);
            op[i].arg2.nr_ents = one_in(m, 4) ? 8190 + pick(&m->f, 4) : pick(&m->f, 3);
        }
        if (op[i].cmd == 8 || op[i].cmd == 9)
            op[i].arg2.src_mfn = 8;
    }
    batch(m, who, true, op, sizeof *op, count);
}

static void step_base(struct m *m, uint32_t who)
{
    struct xen_mmuext_op op = {.cmd = m->mode->levels == 4 && one_in(m, 4) ? 15 : 5};
    op.arg1.mfn = build(m, who);
    if (op.arg1.mfn != 0)
        batch(m, who, true, &op, sizeof op, 1);
}

static void step_va(struct m *m, uint32_t who)
{
    uint64_t va = any_va(m), entry = one_in(m, 3) ? 0 : any_entry(m, who, 1), flags = 0, domid = any_foreign(m, false);
    const uint64_t where[] = {va_of(m, who, 64), 64, 4, 4, 0, 0};
    const bool other = one_in(m, 4), asks = one_in(m, 3);
    if (asks)
        flags = (1 + pick(&m->f, 3)) | where[pick(&m->f, 6)];
    int64_t expected = other ? m_foreign(m, who, domid) : 0;
    m->f.doing = "update_va_mapping";
    int64_t ret = call(m, who, other ? __HYPERVISOR_update_va_mapping_otherdomain : __HYPERVISOR_update_va_mapping, va, entry,
                       flags, domid, !asks);
    if (ret == INT64_MIN)
        return;
    bool failed = let_in(m);
    if (failed && ret < 0) {
        mend(m, who);
        return;
    }
    if (expected == 0)
        expected = m_va_mapping(m, who, va, entry);
    if (expected == 0 && ((flags & 3) == 1 || (flags & 3) == 2)) {
        if (flags >> 2 == 64u >> 2)
            expected = -XEN_EFAULT;
        else
            m_flush(&m->d[who], (flags & 3) == 1 ? XP_FLUSH_asked : XP_FLUSH_invlpg);
    }
    tally(m, 25, expected);
    if (failed)
        mend(m, who);
    SAME(&m->f, ret, expected);
}

static void step_gdt(struct m *m, uint32_t who)
{
    uint64_t mfns[15], entries = one_in(m, 32) ? 7160 + pick(&m->f, 20) : pick(&m->f, 2000), nr = (entries + 511) / 512;
    for (uint64_t i = 0; i < 15; i++) {
        mfns[i] = typed(m, who, one_in(m, 2) ? SEG : NONE);
        if (one_in(m, 2) && m_own(m, who, mfns[i]) && m->frame[mfns[i]].count == 0 && !m->frame[mfns[i]].hv) {
            blank(m, mfns[i]);
            for (uint32_t n = pick(&m->f, 4); n-- > 0;) {
                uint64_t value = any_descriptor(m);
                uint32_t at = pick(&m->f, 512) * 8;
                memcpy(m->frame[mfns[i]].data + at, &value, 8);
                memcpy((uint8_t *)hvtest_frame(m->t, mfns[i]) + at, &value, 8);
            }
        }
    }
    memcpy(hvtest_args(m->t, (xp_domid_t)who), mfns, sizeof mfns);
    m->f.doing = "set_gdt";
    bool unreadable = one_in(m, 64);
    int64_t ret = call(m, who, __HYPERVISOR_set_gdt, unreadable ? 8 : va_of(m, who, 0), entries, 0, 0, true);
    if (ret == INT64_MIN)
        return;
    bool failed = let_in(m);
    if (failed && ret < 0) {
        mend(m, who);
        return;
    }
    int64_t expected = entries > 7168 ? -XEN_EINVAL : unreadable && nr > 0 ? -XEN_EFAULT : m_set_gdt(m, who, mfns, nr);
    tally(m, 26, expected);
    if (failed)
        mend(m, who);
    SAME(&m->f, ret, expected);
}

static void step_descriptor(struct m *m, uint32_t who)
{
    uint64_t at = typed(m, who, one_in(m, 3) ? NONE : SEG) << 12 | pick(&m->f, 512) * 8 | (one_in(m, 16) ? 4 : 0);
    uint64_t value = any_descriptor(m);
    m->f.doing = "update_descriptor";
    int64_t ret = call(m, who, __HYPERVISOR_update_descriptor, at, value, 0, 0, false);
    int64_t expected = m_update_descriptor(m, who, at, value);
    tally(m, 27, expected);
    SAME(&m->f, ret, expected);
}

/* ---- domains and machines ---- */

static void own_frame(struct m *m, uint32_t who, uint64_t mfn, bool hv)
{
    struct m_frame *fr = &m->frame[mfn];
    *fr = (struct m_frame){.owner = who, .refs = 1, .hv = hv};
    memcpy(fr->data, hvtest_frame(m->t, mfn), XP_PAGE_SIZE);
    m->m2p[mfn] = hvtest_m2p(m->t, mfn);
}

static void create(struct m *m, uint32_t who)
{
    struct xen_gnttab_setup_table op = {.dom = DOMID_SELF, .nr_frames = 1};
    struct xp_limits limits = {.max_evtchns = 1, .max_grant_frames = 1, .max_maptrack = 32};
    struct m_domain *d = &m->d[who];
    m->f.doing = "create";
    int64_t first = hvtest_domain_create(m->t, (xp_domid_t)who, PAGES, limits);
    SAME(&m->f, first > 0, true);
    *d = (struct m_domain){.alive = true, .first = (uint64_t)first};
    op.frame_list = va_of(m, who, 2048);
    SAME(&m->f, hvtest_grant_op(m->t, (xp_domid_t)who, GNTTABOP_setup_table, &op, sizeof op, 1), 0);
    SAME(&m->f, hvtest_grant_frames(m->t, (xp_domid_t)who, &d->grants, 1), 1);
    for (uint64_t mfn = d->first; mfn < d->first + PAGES; mfn++)
        own_frame(m, who, mfn, false);
    own_frame(m, who, real_of(m, who)->shared_info_mfn.v, true);
    own_frame(m, who, d->grants, true);
}

static void step_other(struct m *m, uint32_t who)
{
    uint32_t step = m->t->hv.mm_step;
    m->t->hv.mm_step = 0;                /* not another one into the middle of it */
    switch (pick(&m->f, 3)) {
    case 0: step_update(m, who); break;
    case 1: step_ext(m, who); break;
    default: step_va(m, who); break;
    }
    m->t->hv.mm_step = step;
}

static void step(struct m *m)
{
    uint32_t who = 1 + pick(&m->f, NR);
    if (!m->d[who].alive) {
        create(m, who);
        return;
    }
    switch (pick(&m->f, 32)) {
    case 0: case 1: case 2: case 3: case 4: step_scribble(m, who); break;
    case 5: case 6: case 7: step_base(m, who); break;
    case 8: case 9: case 10: case 11: case 12: case 13: case 14: step_ext(m, who); break;
    case 15: case 16: case 17: case 18: case 19: step_va(m, who); break;
    case 20: step_gdt(m, who); break;
    case 21: step_descriptor(m, who); break;
    case 22: case 25: step_map(m, who); break;
    case 23: case 26: step_unmap(m); break;
    case 24:
        if (one_in(m, 32))
            destroy(m, who);
        break;
    default: step_update(m, who); break;
    }
}

/* What the hypervisor puts into the hole: made by it, so read from it; but guests may only read there. */
static void next_machine(struct m *m)
{
    static const uint32_t steps[] = {0, 7, 64, 1};
    m->mode = &m_modes[m->machines % 3];
    m->enforced = m->machines / 3 % 2 == 0;
    m->t = hvtest_create(FRAMES);
    (void)hvtest_tables(m->t, m->enforced, steps[m->machines % 4]);
    hvtest_paging(m->t, (uint32_t)(m->machines % 3));
    memset(m->frame, 0, sizeof m->frame);
    memset(m->d, 0, sizeof m->d);
    memset(m->map, 0, sizeof m->map);
    memcpy(m->hole, m->t->hv.hole[m->mode->levels - 2], sizeof m->hole);
    for (uint32_t i = 0; i < 84; i++) {
        SAME(&m->f, m->hole[i] & RW, 0);
        if (m->hole[i] != 0)
            SAME(&m->f, hvtest_frame_record(m->t, m_mfn(m, m->hole[i])).owner, DOMID_XEN);
    }
    m->machines++;
}

static void end_machine(struct m *m)
{
    for (uint32_t who = 1; who <= NR; who++)
        if (m->d[who].alive)
            destroy(m, who);
    SAME(&m->f, hvtest_audit(m->t), 0);
    hvtest_destroy(m->t);
}

int main(int argc, char **argv)
{
    static struct m m;
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    uint64_t each = steps / 12 < MACHINE_STEPS ? steps / 12 + 1 : MACHINE_STEPS;
    m.f.rng = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * 0x9e3779b97f4a7c15u + 1;
    next_machine(&m);
    for (m.f.step = 0; m.f.step < steps; m.f.step++) {
        step(&m);
        compare(&m, 0, m.f.step % 64 == 0);
        if (m.f.step % 1024 == 0)
            SAME(&m.f, hvtest_mm_audit(m.t), 0);
        if (m.f.step % each == each - 1) {
            end_machine(&m);
            next_machine(&m);
        }
    }
    end_machine(&m);
    for (uint32_t i = 0; argc > 3 && i < 32; i++)        /* a third argument: how often each result of each operation */
        for (uint32_t e = 0; e < 8; e++)
            (void)printf("%" PRIu64 "%s", m.seen[i][e], e == 7 ? "\n" : " ");
    (void)printf("%" PRIu64 " steps: %" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64 " failures let in\n", steps,
                 m.f.accepted, m.f.refused, m.f.failed);
    return 0;
}
