/*
 * fuzz_tables.c: page tables under random calls, half of them built to be accepted, the others of any bits; for the sanitizers.
 *
 * `fuzz_tables SEED STEPS`. Two domains in a random paging mode, enforced or not, that write their tables, call, are
 * interrupted between steps, lose pages, die in the middle. Checked against counts of the driver's own, exactly:
 *   1. Each frame's references and types are what allocations, entries, pins, base pointers and GDTs come to.
 *   2. No table and no descriptor page is writable in its owner's window; what an entry may write has type WRITABLE.
 *   3. No entry of a validated table leads to another's frame, and the hole's slots are the template's.
 *   4. A call of one request that fails leaves every record as it was, whatever failed in it.
 */
#include "diff.h"
#include "hvtest.h"

#include "abi.h"
#include "template.h"

#include <string.h>

#define FRAMES 224u
#define PAGES 56u
#define NR 3u                    /* domains 1 and 2 */
#define DONE_AT 4000u
#define LIST_AT 2048u

struct fuzz {
    struct diff f;
    struct hvtest *t;
    uint32_t mode;
    bool enforced;
    uint64_t interrupted, killed, undone, typed[8];
};

struct count { uint64_t refs, types; };

static struct xp_frame *record(struct fuzz *z, uint64_t mfn) { return &z->t->hv.frames.table[mfn]; }

static const struct xp_paging_mode *mode_of(const struct fuzz *z) { return xp_paging_mode(z->mode); }

/* ---- what should be ---- */

/* As the hypervisor must read it. */
static const void *entries_of(struct fuzz *z, uint64_t mfn)
{
    uint8_t **copies = z->t->hv.table_copies;
    return copies != NULL && copies[mfn] != NULL ? copies[mfn] : hvtest_frame(z->t, mfn);
}

/* Is it the hypervisor's slot? Written anew from the ABI's numbers, not asked of the thing that is tested. */
static bool in_hole(const struct fuzz *z, uint32_t type, uint32_t index, uint32_t *slot)
{
    uint32_t first = z->mode == XP_PAGING_X86_64 ? 256 : z->mode == XP_PAGING_X86_32P ? 428 : 1008;
    uint32_t end = z->mode == XP_PAGING_X86_64 ? 272 : z->mode == XP_PAGING_X86_32P ? 512 : 1024;
    uint32_t carrier = z->mode == XP_PAGING_X86_64 ? XP_FT_L4 : z->mode == XP_PAGING_X86_32P ? XP_FT_L2_HOLE : XP_FT_L2;
    *slot = index - first;
    return type == carrier && index >= first && index < end;
}

static void count_entry(struct fuzz *z, uint64_t mfn, uint32_t index, uint64_t entry, struct count *c)
{
    uint32_t type = record(z, mfn)->type, slot;
    uint64_t to = xp_pte_mfn(mode_of(z), entry);
    if (in_hole(z, type, index, &slot)) {
        SAME(&z->f, entry, xp_template_entry(&z->t->hv, mode_of(z), slot));
        return;
    }
    if ((entry & XP_PTE_PRESENT) == 0)
        return;
    SAME(&z->f, to < FRAMES, true);
    SAME(&z->f, record(z, to)->owner, record(z, mfn)->owner);
    if (type == XP_FT_L1) {
        c[to].refs++;
        c[to].types += (entry & XP_PTE_RW) != 0;
        SAME(&z->f, (entry & XP_PTE_RW) == 0 || record(z, to)->type == XP_FT_WRITABLE, true);
        return;
    }
    if (to == mfn)
        return;                  /* linear, to itself */
    c[to].refs++;
    c[to].types++;
    SAME(&z->f, (record(z, to)->flags & XP_FF_VALIDATED) != 0, true);
    if (record(z, to)->type == type)
        SAME(&z->f, entry & XP_PTE_RW, 0);
}

static void count_table(struct fuzz *z, uint64_t mfn, struct count *c)
{
    const void *table = entries_of(z, mfn);
    uint32_t level = record(z, mfn)->type == XP_FT_L2_HOLE ? 2 : record(z, mfn)->type;
    for (uint32_t i = 0; i < mode_of(z)->level[level].nr; i++)
        count_entry(z, mfn, i, xp_pt_read(mode_of(z), table, i), c);
}

static void count_root(struct count *c, uint64_t mfn)
{
    c[mfn].refs += mfn != 0;
    c[mfn].types += mfn != 0;
}

static bool is_table(uint32_t type) { return (type >= XP_FT_L1 && type <= XP_FT_L4) || type == XP_FT_L2_HOLE; }

static void check_frame(struct fuzz *z, uint64_t mfn, const struct count *c)
{
    const struct xp_frame *r = record(z, mfn);
    const struct xp_domain *d = z->t->hv.domains[r->owner];
    z->typed[r->type]++;
    SAME(&z->f, r->ref_count, c->refs);
    SAME(&z->f, r->type_count, c->types);
    SAME(&z->f, r->type == XP_FT_NONE, r->type_count == 0);
    SAME(&z->f, (r->flags & XP_FF_VALIDATED) != 0, is_table(r->type) || r->type == XP_FT_SEG);
    if ((is_table(r->type) || r->type == XP_FT_SEG) && d->state == XP_DS_RUNNING)
        SAME(&z->f, hvtest_shown(z->t, r->owner, mfn) == HVTEST_RW, false);
    if (!z->enforced)
        SAME(&z->f, z->t->hv.table_copies != NULL && z->t->hv.table_copies[mfn] != NULL, is_table(r->type));
}

/* Where an operation is under way nothing adds up yet. */
static void check(struct fuzz *z)
{
    struct count c[FRAMES] = {0};
    for (uint16_t who = 1; who < NR; who++) {
        const struct xp_mm *mm = &hvtest_domain(z->t, who)->mm;
        if (mm->ticket != 0)
            return;
        SAME(&z->f, mm->nr_work, 0);
        count_root(c, mm->base.v);
        count_root(c, mm->user_base.v);
        for (uint32_t i = 0; i < mm->nr_gdt; i++)
            count_root(c, mm->gdt[i].v);
    }
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++) {
        if (record(z, mfn)->owner >= NR)
            continue;
        c[mfn].refs += (record(z, mfn)->flags & XP_FF_ALLOCATED) != 0;
        if ((record(z, mfn)->flags & XP_FF_PINNED) != 0)
            count_root(c, mfn);
        if (is_table(record(z, mfn)->type))
            count_table(z, mfn, c);
    }
    for (uint64_t mfn = 1; mfn < FRAMES; mfn++)
        if (record(z, mfn)->owner < NR)
            check_frame(z, mfn, &c[mfn]);
    SAME(&z->f, hvtest_audit(z->t), 0);
    SAME(&z->f, hvtest_mm_audit(z->t), 0);
}

/* ---- what a guest might say ---- */

static uint64_t any_bits(struct fuzz *z)
{
    return (uint64_t)pick(&z->f, UINT32_MAX) << 32 ^ pick(&z->f, UINT32_MAX);
}

/* What a frame is meant to be: by its number, so that trees of all shapes come about. Its type as a level, or 0. */
static uint8_t role(const struct fuzz *z, uint64_t mfn)
{
    static const uint8_t roles[XP_PAGING_MODES][10] = {
        [XP_PAGING_X86_32] = {2, 2, 1, 1, 1, 0, 0, 0, 0, 0},
        [XP_PAGING_X86_32P] = {3, 7, 2, 2, 1, 1, 1, 0, 0, 0},
        [XP_PAGING_X86_64] = {4, 3, 2, 2, 1, 1, 4, 0, 0, 0},
    };
    return roles[z->mode][mfn % 10];
}

/* One of its frames but the one for arguments; seldom one that it must not have. */
static uint64_t any_frame(struct fuzz *z, uint16_t who, uint32_t wanted)
{
    const uint64_t odd[] = {0, FRAMES, FRAMES - 1, 1, z->t->first_mfn[3 - who] + 1, (uint64_t)1 << 39};
    if (pick(&z->f, 40) == 0)
        return odd[pick(&z->f, 6)];
    for (uint32_t i = 0; i < 200; i++) {
        uint64_t mfn = 1 + pick(&z->f, FRAMES - 1);
        if (record(z, mfn)->owner == who && mfn != z->t->first_mfn[who] && (role(z, mfn) == wanted || pick(&z->f, 60) == 0))
            return mfn;
    }
    return z->t->first_mfn[who] + 1;
}

static uint32_t any_index(struct fuzz *z, uint8_t type)
{
    uint32_t nr = mode_of(z)->level[type == XP_FT_L2_HOLE ? 2 : type == 0 ? 1 : type].nr;
    if (type == XP_FT_L3 && z->mode == XP_PAGING_X86_32P)
        return pick(&z->f, 16) == 0 ? pick(&z->f, 512) : pick(&z->f, 4);
    return pick(&z->f, 4) == 0 ? pick(&z->f, nr) : pick(&z->f, 6);
}

static uint64_t any_entry(struct fuzz *z, uint16_t who, uint8_t type, uint32_t index)
{
    uint64_t flags = XP_PTE_PRESENT | XP_PTE_USER | XP_PTE_ACCESSED | (pick(&z->f, 2) ? XP_PTE_RW | XP_PTE_DIRTY : 0);
    bool pdpt = type == XP_FT_L3 && z->mode == XP_PAGING_X86_32P;
    uint32_t below = type == XP_FT_L2_HOLE ? 1u : type == 0 || type == 1 ? 0u : type - 1u;
    if (pdpt) {
        flags = XP_PTE_PRESENT;
        below = index == 3 ? XP_FT_L2_HOLE : 2;
    }
    if (pick(&z->f, 30) == 0)
        return any_bits(z);
    if (pick(&z->f, 30) == 0)
        flags ^= (uint64_t)1 << pick(&z->f, 12);
    if (pick(&z->f, 5) == 0)
        return 0;
    if (below >= 1 && !pdpt && pick(&z->f, 6) == 0) {
        below = type;            /* linear */
        flags &= ~(uint64_t)XP_PTE_RW;
    }
    return any_frame(z, who, below) << XP_PAGE_SHIFT | flags;
}

/* The guest writes by itself, where its window lets it; without enforcement anywhere. */
static void scribble(struct fuzz *z, uint16_t who)
{
    for (uint32_t n = 1 + pick(&z->f, 12); n > 0; n--) {
        uint64_t mfn = any_frame(z, who, 1 + pick(&z->f, 7));
        uint8_t type = role(z, mfn);
        uint32_t index = any_index(z, type);
        if (mfn < FRAMES && record(z, mfn)->owner == who && index < XP_PAGE_SIZE / mode_of(z)->entry_size &&
            (!z->enforced || hvtest_shown(z->t, who, mfn) == HVTEST_RW))
            xp_pt_write(mode_of(z), hvtest_frame(z->t, mfn), index, any_entry(z, who, type, index));
    }
}

/* A table that may be valid: cleared, with a few entries. PAE's last slot must lead to the hole. */
static void build(struct fuzz *z, uint16_t who)
{
    uint64_t mfn = any_frame(z, who, 1 + pick(&z->f, 7));
    if (mfn >= FRAMES || record(z, mfn)->owner != who || hvtest_shown(z->t, who, mfn) != HVTEST_RW)
        return;
    uint8_t type = role(z, mfn);
    memset(hvtest_frame(z->t, mfn), 0, XP_PAGE_SIZE);
    for (uint32_t i = 0; type != 0 && i < 4; i++)
        xp_pt_write(mode_of(z), hvtest_frame(z->t, mfn), i, pick(&z->f, 2) || i == 3 ? any_entry(z, who, type, i) : 0);
}

/* ---- calls ---- */

static uint64_t fill_updates(struct fuzz *z, uint16_t who, uint8_t *at, uint64_t nr)
{
    for (uint64_t i = 0; i < nr; i++) {
        uint64_t mfn = any_frame(z, who, 1 + pick(&z->f, 7));
        uint8_t type = role(z, mfn);
        uint32_t index = any_index(z, type), cmd = pick(&z->f, 12) == 0 ? pick(&z->f, 8) : pick(&z->f, 2) * 2;
        struct xen_mmu_update u = {.ptr = (mfn << XP_PAGE_SHIFT) + index * mode_of(z)->entry_size + cmd,
                                   .val = any_entry(z, who, type, index)};
        memcpy(at + i * sizeof u, &u, sizeof u);
    }
    return __HYPERVISOR_mmu_update;
}

static uint64_t fill_ops(struct fuzz *z, uint16_t who, uint8_t *at, uint64_t nr)
{
    static const uint32_t cmds[] = {MMUEXT_UNPIN_TABLE, MMUEXT_UNPIN_TABLE, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR,
                                    MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_SET_LDT};
    for (uint64_t i = 0; i < nr; i++) {
        uint32_t levels = mode_of(z)->levels, level = 1 + pick(&z->f, levels);
        struct xen_mmuext_op op = {.cmd = MMUEXT_PIN_L1_TABLE + level - 1};
        op.arg1.mfn = any_frame(z, who, level);
        if (pick(&z->f, 2) == 0) {
            op.cmd = pick(&z->f, 16) == 0 ? pick(&z->f, 24) : cmds[pick(&z->f, 7)];
            op.arg1.mfn = any_frame(z, who, op.cmd == MMUEXT_UNPIN_TABLE ? level : levels);
            op.arg2.src_mfn = any_frame(z, who, pick(&z->f, 5));
            if (op.cmd == MMUEXT_CLEAR_PAGE || op.cmd == MMUEXT_COPY_PAGE)
                op.arg1.mfn = any_frame(z, who, 0);
        }
        memcpy(at + i * sizeof op, &op, sizeof op);
    }
    return __HYPERVISOR_mmuext_op;
}

static uint64_t any_va(struct fuzz *z)
{
    uint64_t va = pick(&z->f, 10) == 0 ? any_bits(z) : 0;
    for (uint32_t level = 1; level <= mode_of(z)->levels; level++)
        va |= (uint64_t)pick(&z->f, 4) << mode_of(z)->level[level].shift;
    return va;
}

/* Fills the call's arguments; returns how many requests it has. */
static uint64_t compose(struct fuzz *z, uint16_t who, struct xp_call *call)
{
    uint8_t *at = hvtest_args(z->t, who);
    uint64_t va = hvtest_va_of_args(z->t, who), nr = pick(&z->f, 3) == 0 ? 1 + pick(&z->f, 40) : 1;
    *call = (struct xp_call){.args = {va, nr, va + DONE_AT, DOMID_SELF}};
    switch (pick(&z->f, 12)) {
    case 0: case 1: case 2: case 3: call->nr = (uint32_t)fill_updates(z, who, at, nr); break;
    case 4: case 5: case 6: case 7: call->nr = (uint32_t)fill_ops(z, who, at, nr); break;
    case 8: case 9:
        nr = 1;
        call->nr = __HYPERVISOR_update_va_mapping;
        call->args[0] = any_va(z);
        call->args[1] = any_entry(z, who, 1, 0);
        call->args[2] = pick(&z->f, 4);
        break;
    case 10:
        nr = 1;
        call->nr = __HYPERVISOR_set_gdt;
        for (uint32_t i = 0; i < 3; i++)
            ((uint64_t *)(void *)at)[i] = any_frame(z, who, 0);
        call->args[1] = pick(&z->f, 3) * 512;
        break;
    default:
        nr = 1;
        call->nr = __HYPERVISOR_update_descriptor;
        call->args[0] = (any_frame(z, who, 0) << XP_PAGE_SHIFT) + 8 * pick(&z->f, 512);
        call->args[1] = pick(&z->f, 2) ? 0x00cffb000000ffffu : any_bits(z);
    }
    if (pick(&z->f, 20) == 0)
        call->args[pick(&z->f, 4)] = any_bits(z);
    if (pick(&z->f, 20) == 0)
        memset(at + pick(&z->f, 512), (int)pick(&z->f, 256), 1 + pick(&z->f, 64));
    return nr;
}

static int64_t run(struct fuzz *z, uint16_t who, uint32_t steps)
{
    return hvtest_continue(z->t, who, steps);
}

static void remake(struct fuzz *z, uint16_t who)
{
    int ret;
    const struct xp_limits limits = {.max_evtchns = 8, .max_grant_frames = 1, .max_maptrack = 8};
    hvtest_domain_kill(z->t, who);
    while ((ret = hvtest_domain_teardown(z->t, who)) == 1)
        ;
    SAME(&z->f, ret, 0);
    SAME(&z->f, hvtest_domain_create(z->t, who, PAGES, limits) > 0, true);
    z->killed++;
}

/* Between two steps of a call: another domain's goes its way, one of its own must wait, or its caller dies. True: dead. */
static bool in_between(struct fuzz *z, uint16_t who)
{
    const struct xp_call call = z->t->call;
    z->interrupted++;
    if (pick(&z->f, 8) == 0) {
        remake(z, who);
        return true;
    }
    uint16_t other = (uint16_t)(3 - who);
    (void)compose(z, other, &z->t->call);
    (void)run(z, other, UINT32_MAX);
    if (hvtest_domain(z->t, who)->mm.ticket != 0) {
        z->t->call = (struct xp_call){.nr = __HYPERVISOR_mmuext_op, .args = {hvtest_va_of_args(z->t, who), 1, 0, DOMID_SELF}};
        SAME(&z->f, run(z, who, 1), XP_CALL_AGAIN);
    }
    z->t->call = call;
    return false;
}

static void call(struct fuzz *z, uint16_t who)
{
    struct xp_frame before[FRAMES];
    uint64_t nr = compose(z, who, &z->t->call);
    bool whole = pick(&z->f, 6) != 0, steady = true;
    static const uint32_t steps[] = {0, 1, 7, 100};
    z->t->hv.mm_step = steps[pick(&z->f, 4)];
    if (pick(&z->f, 6) == 0)
        hvtest_inject(z->t, 1 + pick(&z->f, 8));
    if (pick(&z->f, 10) == 0)
        hvtest_fail_at(pick(&z->f, 6));
    memcpy(before, z->t->hv.frames.table, sizeof before);
    int64_t ret = run(z, who, whole ? UINT32_MAX : 1 + pick(&z->f, 9));
    while (ret == XP_CALL_AGAIN) {
        hvtest_fail_at(-1);
        steady = false;
        if (in_between(z, who))
            break;
        ret = run(z, who, 1 + pick(&z->f, 300));
    }
    z->f.failed += hvtest_failed() != NULL;
    hvtest_fail_at(-1);
    hvtest_inject(z->t, 0);
    z->f.accepted += ret == 0;
    z->f.refused += ret < 0;
    /* Where the count of what was done could not be written the work stands. */
    if (ret < 0 && ret != -XEN_EFAULT && nr == 1 && steady && z->t->call.args[1] <= 1) {
        z->undone++;
        for (uint64_t mfn = 0; mfn < FRAMES; mfn++)
            SAME(&z->f, memcmp(&before[mfn], record(z, mfn), sizeof before[mfn]), 0);
    }
}

/* The process lets go of a page, which then goes or stays; another comes. */
static void balloon(struct fuzz *z, uint16_t who)
{
    struct xen_memory_reservation op = {.extent_start = hvtest_va_of_args(z->t, who) + LIST_AT, .nr_extents = 1,
                                        .domid = DOMID_SELF};
    uint64_t mfn = any_frame(z, who, pick(&z->f, 4));
    memcpy((uint8_t *)hvtest_args(z->t, who) + LIST_AT, &mfn, sizeof mfn);
    if (mfn < FRAMES && record(z, mfn)->owner == who && (record(z, mfn)->flags & XP_FF_HV) == 0) {
        hvtest_drop(z->t, who, mfn);
        (void)hvtest_memory_op(z->t, who, XENMEM_decrease_reservation, &op, sizeof op);
    }
    (void)hvtest_memory_op(z->t, who, XENMEM_increase_reservation, &op, sizeof op);
}

static void step(struct fuzz *z)
{
    uint16_t who = (uint16_t)(1 + pick(&z->f, 2));
    switch (pick(&z->f, 12)) {
    case 0: case 1: scribble(z, who); break;
    case 2: case 3: build(z, who); break;
    case 4: if (pick(&z->f, 8) == 0) balloon(z, who); break;
    default: call(z, who);
    }
    if (pick(&z->f, 2000) == 0)
        remake(z, who);
}

int main(int argc, char **argv)
{
    static struct fuzz z;
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    const struct xp_limits limits = {.max_evtchns = 8, .max_grant_frames = 1, .max_maptrack = 8};
    z.f.rng = seed * 0x9e3779b97f4a7c15u + 1;
    z.f.doing = "tables";
    z.mode = (uint32_t)(seed % XP_PAGING_MODES);
    z.enforced = seed / XP_PAGING_MODES % 2 == 0;
    z.t = hvtest_create(FRAMES);
    (void)hvtest_tables(z.t, z.enforced, 0);
    hvtest_paging(z.t, z.mode);
    for (uint16_t who = 1; who < NR; who++)
        SAME(&z.f, hvtest_domain_create(z.t, who, PAGES, limits) > 0, true);
    for (z.f.step = 0; z.f.step < steps; z.f.step++) {
        step(&z);
        if (z.f.step % 4 == 0)
            check(&z);
    }
    hvtest_destroy(z.t);
    (void)printf("%" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64 " failures let in, %" PRIu64 " interrupted, %" PRIu64
                 " killed, %" PRIu64 " undone; frames seen as", z.f.accepted, z.f.refused, z.f.failed, z.interrupted, z.killed, z.undone);
    for (uint32_t i = 0; i < 8; i++)
        (void)printf(" %" PRIu64, z.typed[i]);
    (void)printf("\n");
    return 0;
}
