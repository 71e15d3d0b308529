/*
 * mmu_guest.c: see mmu_guest.h.
 */
#include "mmu_guest.h"

#include "fixup.h"

#define STORE_TRIES 8u

static int ask(struct xp_mmu_link *link, uint64_t op, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t args[6] = {op, a, b, c};
    int64_t result;
    int ret = xp_gcall(link->calls, XP_HYPERVISOR_xenproc_op, args, XP_WAIT_ADAPTIVE, link->timeout_ns, &result);
    return ret != 0 ? ret : (int)result;
}

static int set_ad(void *context, const struct xp_ad *ad, uint32_t n)
{
    struct xp_mmu_link *link = context;
    if (n > XP_AD_MAX)
        return -XEN_EINVAL;
    for (uint32_t i = 0; i < n; i++)
        link->scratch[i] = (struct xp_op_ad){.maddr = ad[i].maddr, .bits = ad[i].bits};
    return ask(link, XP_OP_set_ad, link->scratch_va, n, 0);
}

/* ---- stores into tables ---- */

/* Where windows are protected, the store itself tells. */
static bool is_open(const struct xp_mmu_link *link, uint64_t mfn, uint32_t now)
{
    if (now == 0)
        return true;
    for (uint32_t i = 0; link->open_at == now && i < link->nr_open; i++)
        if (link->open[i] == mfn)
            return true;
    return false;
}

static void opened(struct xp_mmu_link *link, uint64_t mfn)
{
    uint32_t now = atomic_load_explicit(&link->calls->page->pt_protected, memory_order_acquire);
    if (now != link->open_at || link->nr_open == XP_OPEN_TABLES)
        link->nr_open = 0;
    link->open_at = now;
    link->open[link->nr_open++] = mfn;
}

int xp_pt_store(struct xp_mmu_link *link, uint64_t maddr, uint64_t value, uint32_t bytes)
{
    link->nr_stores++;
    for (uint32_t i = 0; i < STORE_TRIES; i++) {
        /* Pairs with the hypervisor's release: what is protected by now is seen to be. */
        uint32_t now = atomic_load_explicit(&link->calls->page->pt_protected, memory_order_acquire);
        if (is_open(link, maddr >> XP_PAGE_SHIFT, now) && xp_fix_copy(link->base + maddr, &value, bytes) == 0)
            return 0;
        link->nr_trapped++;
        int ret = ask(link, XP_OP_pt_write, maddr, value, bytes);
        if (ret <= 0)
            return ret;
        if (now != 0)
            opened(link, maddr >> XP_PAGE_SHIFT);
    }
    return -XEN_EAGAIN;          /* another thread takes it away each time */
}

/* By virtual address, through an entry that says read-only: only a table is anybody's business but the guest's own. */
static int store(void *context, const struct xp_fault_info *f, uint64_t maddr, uint64_t value, uint32_t bytes)
{
    struct xp_mmu_link *link = context;
    if (link->shadow ? !link->trapped : !link->stores || (f->error_code & XP_PF_U) != 0)
        return -XEN_EPERM;
    link->nr_trapped++;
    int ret = ask(link, XP_OP_pt_write, maddr, value, bytes);
    return ret == 1 || (ret == 2 && link->shadow) ? xp_fix_copy(link->base + maddr, &value, bytes) : ret == 0 ? 0 : -XEN_EPERM;
}

/* 0: it is in the shadows now; or a store into a table; or what the guest's own tables say. */
static int shadow_fault(struct xp_mmu_link *link, struct xp_fault_info *f)
{
    int ret = ask(link, XP_OP_pt_fault, f->va, f->error_code, 0);
    link->trapped = ret == XP_PT_STORE && (f->error_code & ~XP_PF_U) == (XP_PF_P | XP_PF_W) && f->level == 1;
    if (ret == XP_PT_STORE)
        return link->trapped;
    if (ret > 0) {
        f->error_code = (uint32_t)ret & 0xff;
        f->level = (uint8_t)(ret >> 8);
    }
    return ret == 0 ? 0 : -XEN_EFAULT;
}

static int missing(void *context, struct xp_fault_info *f)
{
    struct xp_mmu_link *link = context;
    if (link->shadow)
        return shadow_fault(link, f);
    if ((f->error_code & XP_PF_P) != 0 || atomic_load_explicit(&link->calls->page->pt_unhooked, memory_order_acquire) == 0)
        return -XEN_EFAULT;
    return ask(link, XP_OP_pt_fault, f->va, f->error_code, 0);
}

static uint64_t top_of(void *context, uint64_t mfn)
{
    const struct xp_mmu_link *link = context;
    for (uint32_t i = 0; link->shadow && i < 2; i++) {
        /* Pairs with the hypervisor's release: the table that it is the top of is the one beside it. */
        uint64_t top = atomic_load_explicit(&link->calls->page->shadow[i].top, memory_order_acquire);
        if (top != 0 && atomic_load_explicit(&link->calls->page->shadow[i].table, memory_order_relaxed) == mfn)
            return top;
    }
    return link->shadow ? UINT64_MAX >> XP_PAGE_SHIFT : mfn;
}

void xp_mmu_connect(struct xp_mmu *m, struct xp_mmu_link *link, struct xp_gcall *calls, void *scratch, int64_t timeout_ns)
{
    *link = (struct xp_mmu_link){.calls = calls, .scratch = scratch, .scratch_va = (uint64_t)(uintptr_t)scratch,
                                 .timeout_ns = timeout_ns, .base = m->space.base};
    m->set_ad = set_ad;
    m->missing = missing;
    m->store = store;
    m->top_of = top_of;
    m->context = link;
    xp_mmu_watch(m, &calls->page->tlb_generation);
}
