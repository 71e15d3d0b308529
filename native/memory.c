/*
 * memory.c: HYPERVISOR_memory_op: which command goes where, and the questions about reservations.
 * Source: public/memory.h.
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "m2p.h"
#include "pagelist.h"
#include "reservation.h"

/* Only a domain's own figures: the rest is Domain0's to know. */
static int64_t reservation(struct xp_domain *d, uint64_t va, bool maximum)
{
    uint16_t domid;
    int ret = xp_copy_from_guest(d, &domid, va, sizeof domid);
    if (ret != 0)
        return ret;
    const struct xp_domain *of = xp_domain_by_arg(d, domid);
    if (of == NULL)
        return -XEN_ESRCH;
    if (of != d)
        return -XEN_EPERM;
    return (int64_t)(maximum ? d->max_pages : xp_pages_reserved(d));
}

/*
 * Frames at page numbers of the caller's choice: for domains whose physical addresses the hypervisor translates. As on Xen a
 * paravirtual domain is refused: it maps shared_info and its grant table by their machine frames (start_info, setup_table).
 */
static int64_t physmap(const struct xp_domain *of)
{
    return of == NULL ? -XEN_ESRCH : -XEN_EACCES;
}

static int64_t add_to_physmap(struct xp_domain *d, uint64_t va)
{
    struct xen_add_to_physmap op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    return op.space == XENMAPSPACE_gmfn_foreign ? -XEN_ENOSYS : physmap(xp_domain_by_arg(d, op.domid));
}

static int64_t add_to_physmap_batch(struct xp_domain *d, uint64_t va)
{
    struct xen_add_to_physmap_batch op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    return op.space == XENMAPSPACE_gmfn_range ? -XEN_EOPNOTSUPP : physmap(xp_domain_by_arg(d, op.domid));
}

static int64_t remove_from_physmap(struct xp_domain *d, uint64_t va)
{
    struct xen_remove_from_physmap op;
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    return ret != 0 ? ret : physmap(xp_domain_by_arg(d, op.domid));
}

int64_t xp_do_memory_op(struct xp_domain *d, struct xp_call *call)
{
    switch (call->args[0]) {
    case XENMEM_increase_reservation:
    case XENMEM_decrease_reservation:
    case XENMEM_populate_physmap: return xp_reservation_op(d, call);
    case XENMEM_exchange: return xp_exchange_op(d, call);
    case XENMEM_maximum_ram_page: return (int64_t)(d->hv->frames.nr - 1);
    case XENMEM_current_reservation: return reservation(d, call->args[1], false);
    case XENMEM_maximum_reservation: return reservation(d, call->args[1], true);
    case XENMEM_machphys_mfn_list: return xp_m2p_mfn_list(d, call->args[1]);
    case XENMEM_machphys_mapping: return xp_m2p_mapping(d, call->args[1]);
    case XENMEM_add_to_physmap: return add_to_physmap(d, call->args[1]);
    case XENMEM_add_to_physmap_batch: return add_to_physmap_batch(d, call->args[1]);
    case XENMEM_remove_from_physmap: return remove_from_physmap(d, call->args[1]);
    default: return -XEN_ENOSYS;
    }
}
