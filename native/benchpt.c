/* benchpt.c: see benchpt.h. */
#include "benchpt.h"

#include "abi.h"
#include "tick.h"

#include <string.h>

#define REST (2u * XP_PAGE_SIZE)         /* of args: a count, the ops of mmuext_op, a trap */
#define OPS (REST + 64u)
#define TRAP (REST + 256u)
#define SELF 0x7ff0u
#define CODE 0x400000u
#define EFLAGS_IF 0x200u

static int call(struct xp_bench_pt *b, uint32_t nr, uint64_t a, uint64_t c, uint64_t d, uint64_t e)
{
    const uint64_t args[6] = {a, c, d, e};
    int64_t result;
    int ret = xp_gcall(b->calls, nr, args, XP_WAIT_ADAPTIVE, b->timeout_ns, &result);
    return ret != 0 ? ret : (int)result;
}

static uint64_t va_of(const struct xp_bench_pt *b, uint32_t offset) { return (uint64_t)(uintptr_t)b->args + offset; }

static int update(struct xp_bench_pt *b, uint32_t nr)
{
    uint32_t *done = (uint32_t *)(void *)(b->args + REST);
    *done = 0;
    int ret = call(b, __HYPERVISOR_mmu_update, va_of(b, 0), nr, va_of(b, REST), SELF);
    return ret != 0 ? ret : *done == nr ? 0 : -XEN_EFAULT;
}

/* ---- the ways ---- */

static int nothing(struct xp_bench_pt *b)
{
    (void)b;
    return 0;
}

static void request(struct xp_bench_pt *b, uint32_t slot, uint64_t at, uint64_t value)
{
    uint64_t *requests = (uint64_t *)(void *)b->args;
    requests[2 * slot] = at;
    requests[2 * slot + 1] = value;
}

static int one(struct xp_bench_pt *b, uint64_t at, uint64_t value)
{
    request(b, 0, at, value);
    return update(b, 1);
}

static int send(struct xp_bench_pt *b)
{
    uint32_t nr = b->nr;
    b->nr = 0;
    return nr > 0 ? update(b, nr) : 0;
}

static int queued(struct xp_bench_pt *b, uint64_t at, uint64_t value)
{
    int ret = b->nr == XP_BENCH_PT_BATCH ? send(b) : 0;
    if (ret == 0)
        request(b, b->nr++, at, value);
    return ret;
}

static int stored(struct xp_bench_pt *b, uint64_t at, uint64_t value)
{
    return xp_pt_store(b->link, at, value, b->mmu->space.mode->entry_size);
}

/* A way is a line of this table. */
static const struct {
    int (*put)(struct xp_bench_pt *b, uint64_t at, uint64_t value);
    int (*end)(struct xp_bench_pt *b);
} ways[XP_BENCH_PT_WAYS] = {
    [XP_BENCH_PT_direct] = {one, nothing},
    [XP_BENCH_PT_batched] = {queued, send},
    [XP_BENCH_PT_wpt] = {stored, nothing},
    [XP_BENCH_PT_shadow] = {stored, nothing},
    [XP_BENCH_PT_unshadow] = {stored, nothing},
};

/* ---- what all of them need ---- */

static int extended(struct xp_bench_pt *b, uint64_t cmd, uint64_t mfn)
{
    uint64_t *op = (uint64_t *)(void *)(b->args + OPS);
    op[0] = cmd;
    op[1] = mfn;
    op[2] = 0;
    return call(b, __HYPERVISOR_mmuext_op, va_of(b, OPS), 1, 0, SELF);
}

static int read_page(struct xp_bench_pt *b, uint64_t va)
{
    struct xp_fault_info f;
    uint64_t word;
    return xp_mmu_load(b->mmu, va, &word, sizeof word, 0, &f);
}

static bool sound(struct xp_bench_pt *b)
{
    b->nr = 0;
    return b->way < XP_BENCH_PT_WAYS;
}

/* ---- building ---- */

static int empty_again(struct xp_bench_pt *b, const struct xp_bench_pt_entry *entries, uint32_t n)
{
    int ret = 0;
    for (uint32_t i = 0; i < n && ret == 0; i++)
        ret = queued(b, entries[i].at, 0);
    if (ret == 0)
        ret = send(b);
    xp_mmu_flush(b->mmu);
    return ret;
}

int xp_bench_pt_build(struct xp_bench_pt *b, const struct xp_bench_pt_entry *entries, uint32_t n, uint64_t *ticks)
{
    int ret = 0;
    if (!sound(b))
        return -XEN_EINVAL;
    uint64_t begin = xp_tick_begin();
    for (uint32_t i = 0; i < n && ret == 0; i++)
        ret = ways[b->way].put(b, entries[i].at, entries[i].value);
    if (ret == 0)
        ret = ways[b->way].end(b);
    for (uint32_t i = 0; i < n && ret == 0; i++)
        ret = read_page(b, entries[i].va);
    *ticks = xp_tick_end() - begin;
    return ret != 0 ? ret : empty_again(b, entries, n);
}

/* ---- fork ---- */

static int read_each(struct xp_bench_pt *b, uint32_t nr, uint64_t va)
{
    int ret = 0;
    for (uint32_t i = 0; i < nr && ret == 0; i++)
        ret = read_page(b, va + ((uint64_t)i << b->mmu->space.mode->level[2].shift));
    return ret;
}

static int share_table(struct xp_bench_pt *b, uint64_t parent, uint64_t child)
{
    const struct xp_paging_mode *m = b->mmu->space.mode;
    const void *from = b->link->base + (parent << XP_PAGE_SHIFT);
    void *to = b->link->base + (child << XP_PAGE_SHIFT);
    int ret = 0;
    for (uint32_t i = 0; i < m->level[1].nr && ret == 0; i++) {
        uint64_t entry = xp_pt_read(m, from, i) & ~(uint64_t)XP_PTE_RW;
        xp_pt_write(m, to, i, entry);
        if ((entry & XP_PTE_PRESENT) != 0)
            ret = ways[b->way].put(b, (parent << XP_PAGE_SHIFT) + (uint64_t)i * m->entry_size, entry);
    }
    return ret;
}

/* The child goes, the parent may write again. -XEN_EFAULT: an entry of either was not what a fork makes of it. */
static int apart(struct xp_bench_pt *b, const uint64_t *parent, const uint64_t *child, uint32_t nr, uint64_t top)
{
    const struct xp_paging_mode *m = b->mmu->space.mode;
    bool shared = true;
    int ret = extended(b, MMUEXT_UNPIN_TABLE, top);
    for (uint32_t i = 0; i < nr * m->level[1].nr && ret == 0; i++) {
        uint64_t mfn = parent[i / m->level[1].nr], index = i % m->level[1].nr;
        uint64_t entry = xp_pt_read(m, b->link->base + (mfn << XP_PAGE_SHIFT), (uint32_t)index);
        uint64_t copy = xp_pt_read(m, b->link->base + (child[i / m->level[1].nr] << XP_PAGE_SHIFT), (uint32_t)index);
        shared &= entry == copy && (entry & (XP_PTE_PRESENT | XP_PTE_RW)) == XP_PTE_PRESENT;
        ret = queued(b, (mfn << XP_PAGE_SHIFT) + index * m->entry_size, entry | XP_PTE_RW);
    }
    if (ret == 0)
        ret = send(b);
    xp_mmu_flush(b->mmu);
    return ret != 0 || shared ? ret : -XEN_EFAULT;
}

int xp_bench_pt_fork(struct xp_bench_pt *b, const uint64_t *parent, const uint64_t *child, uint32_t nr, uint64_t top, uint64_t va,
                     uint64_t *ticks)
{
    const struct xp_paging_mode *m = b->mmu->space.mode;
    int ret = 0;
    if (!sound(b) || nr > XP_BENCH_PT_TABLES)
        return -XEN_EINVAL;
    uint64_t begin = xp_tick_begin();
    for (uint32_t i = 0; i < nr && ret == 0; i++)
        ret = share_table(b, parent[i], child[i]);
    if (ret == 0)
        ret = ways[b->way].end(b);
    if (ret == 0)
        ret = extended(b, MMUEXT_PIN_L1_TABLE + m->levels - 1u, top);
    if (ret == 0)
        ret = extended(b, MMUEXT_TLB_FLUSH_LOCAL, 0);
    xp_mmu_flush(b->mmu);
    if (ret == 0)
        ret = read_each(b, nr, va);
    *ticks = xp_tick_end() - begin;
    if (ret == 0)
        ret = apart(b, parent, child, nr, top);
    return ret != 0 ? ret : read_each(b, nr, va);
}

/* ---- a page fault ---- */

/* The way to the guest's handler: the hypervisor builds the frame. */
static int trap(struct xp_bench_pt *b, const struct xp_fault_info *f, uint64_t *frame)
{
    struct xp_op_trap *op = (struct xp_op_trap *)(void *)(b->args + TRAP);
    *op = (struct xp_op_trap){.vector = f->vector, .error_code = f->error_code, .address = f->va, .rip = CODE, .rflags = EFLAGS_IF,
                              .rsp = b->stack};
    int ret = call(b, XP_HYPERVISOR_xenproc_op, XP_OP_trap, va_of(b, TRAP), 0, 0);
    *frame = op->frame;
    return ret != 0 ? ret : op->handler == b->handler ? 0 : -XEN_EFAULT;
}

static int return_from(struct xp_bench_pt *b, uint64_t frame)
{
    /* What iret takes lies where the trap's frame does; its first four words are other registers. */
    memset((void *)(uintptr_t)frame, 0, 4 * sizeof(uint64_t));
    return call(b, __HYPERVISOR_iret, frame, 0, 0, 0);
}

int xp_bench_pt_fault(struct xp_bench_pt *b, const struct xp_bench_pt_entry *entry, uint64_t *ticks)
{
    struct xp_fault_info f;
    uint64_t word, frame = 0;
    if (!sound(b))
        return -XEN_EINVAL;
    uint64_t begin = xp_tick_begin();
    if (xp_mmu_load(b->mmu, entry->va, &word, sizeof word, 0, &f) != -XEN_EFAULT || f.vector != XP_VECTOR_page_fault)
        return -XEN_EFAULT;
    int ret = trap(b, &f, &frame);
    if (ret == 0)
        ret = ways[b->way].put(b, entry->at, entry->value);
    if (ret == 0)
        ret = ways[b->way].end(b);
    if (ret == 0)
        ret = return_from(b, frame);
    if (ret == 0)
        ret = read_page(b, entry->va);
    *ticks = xp_tick_end() - begin;
    return ret != 0 ? ret : empty_again(b, entry, 1);
}
