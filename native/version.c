/*
 * version.c: HYPERVISOR_xen_version: what the guest may know of the hypervisor. Source: public/version.h.
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"

#include <stdio.h>
#include <string.h>

/* The interface that native/abi*.h describes. */
#define XEN_MAJOR 4
#define XEN_MINOR 23

static int64_t put(struct xp_domain *d, uint64_t va, const void *src, uint64_t len)
{
    return xp_copy_to_guest(d, va, src, len);
}

static int64_t put_text(struct xp_domain *d, uint64_t va, const char *text, size_t size)
{
    char field[1024] = {0};
    (void)snprintf(field, size, "%s", text);
    return put(d, va, field, size);
}

static int64_t compile_info(struct xp_domain *d, uint64_t va)
{
    struct xen_compile_info info = {0};
    (void)snprintf(info.compiler, sizeof info.compiler, "gcc %s", __VERSION__);
    (void)snprintf(info.compile_by, sizeof info.compile_by, "xenproc");
    (void)snprintf(info.compile_domain, sizeof info.compile_domain, "xenproc");
    (void)snprintf(info.compile_date, sizeof info.compile_date, "unknown");
    return put(d, va, &info, sizeof info);
}

static int64_t get_features(struct xp_domain *d, uint64_t va)
{
    struct xen_feature_info info;
    int ret = xp_copy_from_guest(d, &info, va, sizeof info);
    if (ret != 0)
        return ret;
    if (info.submap_idx != 0)
        return -XEN_EINVAL;
    /* What a paravirtual guest gets of Xen and we keep. */
    info.submap = 1u << XENFEAT_mmu_pt_update_preserve_ad | 1u << XENFEAT_gnttab_map_avail_bits;
    if (d->shadow != NULL)
        info.submap |= 1u << XENFEAT_writable_page_tables;
    return put(d, va, &info, sizeof info);
}

int64_t xp_do_xen_version(struct xp_domain *d, struct xp_call *call)
{
    uint64_t va = call->args[1];
    const uint64_t virt_start = 0xffff800000000000u;    /* HYPERVISOR_VIRT_START of the x86_64 ABI */
    static const uint8_t no_handle[16];
    switch (call->args[0]) {
    case XENVER_version: return (XEN_MAJOR << 16) | XEN_MINOR;
    case XENVER_extraversion: return put_text(d, va, "-xenproc", 16);
    case XENVER_compile_info: return compile_info(d, va);
    case XENVER_capabilities: return put_text(d, va, "xen-3.0-x86_64 xen-3.0-x86_32p ", 1024);
    case XENVER_changeset: return put_text(d, va, "unavailable", 64);
    case XENVER_platform_parameters: return put(d, va, &virt_start, sizeof virt_start);
    case XENVER_get_features: return get_features(d, va);
    case XENVER_pagesize: return XP_PAGE_SIZE;
    case XENVER_guest_handle: return put(d, va, no_handle, sizeof no_handle);
    case XENVER_commandline: return -XEN_EPERM;
    default: return -XEN_ENOSYS;
    }
}
