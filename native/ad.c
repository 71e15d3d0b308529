/*
 * ad.c: the accessed and dirty bits that a guest's walker sets, as a processor would: tables are write-protected in the
 * guest's process, so the hypervisor ORs them in. See mm.h.
 *
 * Only these two bits, only into a present entry of a validated table of the caller's own: no reference depends on them.
 */
#include "guestmem.h"
#include "hypercall.h"
#include "mm.h"

#define AD (XP_PTE_ACCESSED | XP_PTE_DIRTY)

static int set_one(struct xp_domain *d, const struct xp_op_ad *ad)
{
    const struct xp_paging_mode *m = d->mm.mode;
    xp_mfn_t mfn = xp_mfn(ad->maddr >> XP_PAGE_SHIFT);
    uint32_t offset = (uint32_t)(ad->maddr & (XP_PAGE_SIZE - 1)), index = offset / m->entry_size;
    if (!xp_frame_owned(&d->hv->frames, mfn, d->domid) || (ad->bits & ~(uint64_t)AD) != 0 || offset % m->entry_size != 0)
        return -XEN_EINVAL;
    const struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    if (!xp_type_is_table(frame->type) || (frame->flags & XP_FF_VALIDATED) == 0 || xp_mm_slot_fixed(&d->mm, frame->type, index))
        return -XEN_EINVAL;
    uint64_t entry = xp_pt_read(m, xp_mm_table(d, mfn), index);
    if ((entry & XP_PTE_PRESENT) == 0)
        return -XEN_EINVAL;
    xp_mm_write(d, mfn, index, entry | ad->bits);
    return 0;
}

int xp_mm_set_ad(struct xp_domain *d, uint64_t va, uint64_t nr)
{
    struct xp_op_ad ad[XP_AD_MAX];
    if (nr > XP_AD_MAX)
        return -XEN_EINVAL;
    int ret = xp_copy_from_guest(d, ad, va, nr * sizeof *ad);
    for (uint64_t i = 0; ret == 0 && i < nr; i++)
        ret = set_one(d, &ad[i]);
    return ret;
}
