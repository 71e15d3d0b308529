/*
 * guestmem.c: see guestmem.h.
 */
#include "guestmem.h"

#include <string.h>

int xp_guest_frame(struct xp_domain *d, uint64_t va, xp_mfn_t *mfn)
{
    uint64_t offset = va - d->window.base;
    if (va < d->window.base || (offset >> XP_PAGE_SHIFT) >= d->window.nr)
        return -XEN_EFAULT;
    *mfn = xp_mfn(offset >> XP_PAGE_SHIFT);
    const struct xp_frame *frame = xp_frame_of(&d->hv->frames, *mfn);
    if (frame == NULL || !xp_frame_owned(&d->hv->frames, *mfn, d->domid) || (frame->flags & XP_FF_HV) != 0)
        return -XEN_EFAULT;
    return 0;
}

/* Every byte of [va, va + len) lies in frames of the domain's own, which it could write itself. */
static int check_range(struct xp_domain *d, uint64_t va, uint64_t len, bool write)
{
    xp_mfn_t mfn;
    if (len == 0)
        return 0;
    if (va > UINT64_MAX - (len - 1))
        return -XEN_EFAULT;
    uint64_t last = (va + len - 1) & ~(uint64_t)(XP_PAGE_SIZE - 1);
    for (uint64_t at = va & ~(uint64_t)(XP_PAGE_SIZE - 1);; at += XP_PAGE_SIZE) {
        if (xp_guest_frame(d, at, &mfn) != 0 || (write && !xp_type_writable(xp_frame_of(&d->hv->frames, mfn))))
            return -XEN_EFAULT;
        if (at == last)
            return 0;
    }
}

int xp_copy_from_guest(struct xp_domain *d, void *dst, uint64_t va, uint64_t len)
{
    int ret = check_range(d, va, len, false);
    if (ret == 0 && len > 0)
        memcpy(dst, d->hv->frames.base + (va - d->window.base), len);
    return ret;
}

int xp_copy_to_guest(struct xp_domain *d, uint64_t va, const void *src, uint64_t len)
{
    int ret = check_range(d, va, len, true);
    if (ret == 0 && len > 0)
        memcpy(d->hv->frames.base + (va - d->window.base), src, len);
    return ret;
}
