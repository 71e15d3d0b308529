/*
 * mmu_guest.c: see mmu_guest.h.
 */
#include "mmu_guest.h"

static int set_ad(void *context, const struct xp_ad *ad, uint32_t n)
{
    struct xp_mmu_link *link = context;
    const uint64_t args[6] = {XP_OP_set_ad, link->scratch_va, n};
    int64_t result;
    if (n > XP_AD_MAX)
        return -XEN_EINVAL;
    for (uint32_t i = 0; i < n; i++)
        link->scratch[i] = (struct xp_op_ad){.maddr = ad[i].maddr, .bits = ad[i].bits};
    int ret = xp_gcall(link->calls, XP_HYPERVISOR_xenproc_op, args, XP_WAIT_ADAPTIVE, link->timeout_ns, &result);
    return ret != 0 ? ret : (int)result;
}

void xp_mmu_connect(struct xp_mmu *m, struct xp_mmu_link *link, struct xp_gcall *calls, void *scratch, int64_t timeout_ns)
{
    *link = (struct xp_mmu_link){.calls = calls, .scratch = scratch, .scratch_va = (uint64_t)(uintptr_t)scratch,
                                 .timeout_ns = timeout_ns};
    m->set_ad = set_ad;
    m->context = link;
    xp_mmu_watch(m, &calls->page->tlb_generation);
}
