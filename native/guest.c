/*
 * guest.c: see guest.h.
 */
#include "guest.h"

#include <errno.h>
#include <sys/mman.h>

int xp_upcall_take(struct xen_shared_info *si, uint32_t port)
{
    uint64_t bit = (uint64_t)1 << (port % 64);
    /* Pairs with the hypervisor's set (evtchn.c): what the sender wrote before is visible after. */
    return (__atomic_fetch_and(&si->evtchn_pending[port / 64], ~bit, __ATOMIC_ACQ_REL) & bit) != 0;
}

int xp_upcall_begin(struct xen_shared_info *si)
{
    struct xen_vcpu_info *vcpu = &si->vcpu_info[0];
    uint8_t was = __atomic_exchange_n(&vcpu->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
    (void)__atomic_exchange_n(&vcpu->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    return was != 0;
}

void xp_grant_entry_set(struct xen_grant_entry_v1 *entry, uint16_t domid, uint32_t frame, uint16_t flags)
{
    entry->domid = domid;
    entry->frame = frame;
    /* Pairs with the hypervisor's read of flags (grant.c). */
    __atomic_store_n(&entry->flags, flags, __ATOMIC_RELEASE);
}

int xp_grant_entry_end(struct xen_grant_entry_v1 *entry)
{
    uint16_t flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
    do {
        if ((flags & (GTF_reading | GTF_writing)) != 0)
            return -XEN_EBUSY;
    } while (!__atomic_compare_exchange_n(&entry->flags, &flags, 0, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return 0;
}

int64_t xp_grant_transfer_taken(struct xen_grant_entry_v1 *entry)
{
    /* Pairs with the hypervisor's release of completed (grant_entry.c): the frame was written before it. */
    if ((__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & GTF_transfer_completed) == 0)
        return -XEN_EAGAIN;
    uint32_t mfn = __atomic_load_n(&entry->frame, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
    return mfn;
}

int xp_grant_transfer_end(struct xen_grant_entry_v1 *entry)
{
    uint16_t flags = GTF_accept_transfer;
    return __atomic_compare_exchange_n(&entry->flags, &flags, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED) ? 0 : -XEN_EBUSY;
}

int xp_pages_leave(uint64_t address, uint64_t nr)
{
    XP_FAULT_POINT("window.leave.before");
    int ret = madvise((void *)(uintptr_t)address, nr << XP_PAGE_SHIFT, MADV_DONTNEED) == 0 ? 0 : -errno;
    XP_FAULT_POINT("window.leave.after");
    return ret;
}

int xp_page_leave(uint64_t address) { return xp_pages_leave(address, 1); }

void xp_fault(const char *name)
{
    (void)name;
#ifdef XP_FAULT_POINTS
    xp_fault_hit(name);
#endif
}
