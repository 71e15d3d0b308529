/*
 * abi_memory.h: memory_op (cmd, argument), and the MMU calls: mmu_update, mmuext_op, update_va_mapping.
 */
#ifndef XEN_ABI_MEMORY_H
#define XEN_ABI_MEMORY_H

#include "abi_types.h"

enum {
    XENMEM_increase_reservation = 0,
    XENMEM_decrease_reservation = 1,
    XENMEM_maximum_ram_page = 2,
    XENMEM_current_reservation = 3,
    XENMEM_maximum_reservation = 4,
    XENMEM_machphys_mfn_list = 5,
    XENMEM_populate_physmap = 6,
    XENMEM_add_to_physmap = 7,
    XENMEM_memory_map = 9,
    XENMEM_machine_memory_map = 10,
    XENMEM_exchange = 11,
    XENMEM_machphys_mapping = 12,
    XENMEM_set_memory_map = 13,
    XENMEM_maximum_gpfn = 14,
    XENMEM_remove_from_physmap = 15,
    XENMEM_set_pod_target = 16,
    XENMEM_get_pod_target = 17,
    XENMEM_get_sharing_freed_pages = 18,
    XENMEM_get_sharing_shared_pages = 19,
    XENMEM_paging_op = 20,
    XENMEM_access_op = 21,
    XENMEM_sharing_op = 22,
    XENMEM_add_to_physmap_batch = 23,
    XENMEM_claim_pages = 24,
    XENMEM_machphys_compat_mfn_list = 25,
    XENMEM_get_vnumainfo = 26,
    XENMEM_reserved_device_memory_map = 27,
    XENMEM_acquire_resource = 28,
};

enum { XENMEMF_populate_on_demand = 1 << 16, XENMEMF_exact_node_request = 1 << 17, XENMEMF_vnode = 1 << 18 };

/* increase_reservation, decrease_reservation, populate_physmap. Result: extents done, perhaps fewer than asked. */
struct xen_memory_reservation {
    uint64_t extent_start;      /* IN: guest address of a uint64_t array of frame numbers; [HV] writes new ones */
    uint64_t nr_extents;        /* IN */
    uint32_t extent_order;      /* IN: an extent is 1 << order frames */
    uint32_t mem_flags;         /* IN: low byte: address bits the frames must fit in; XENMEMF_* */
    uint16_t domid;             /* IN */
};
_Static_assert(sizeof(struct xen_memory_reservation) == 32, "xen_memory_reservation");

struct xen32_memory_reservation {
    uint32_t extent_start;      /* uint32_t array */
    uint32_t nr_extents;
    uint32_t extent_order;
    uint32_t mem_flags;
    uint16_t domid;
};
_Static_assert(sizeof(struct xen32_memory_reservation) == 20, "xen_memory_reservation, x86_32");

/* Frames of `in` go, frames of `out` come, all or as many as nr_exchanged says. */
struct xen_memory_exchange {
    struct xen_memory_reservation in;  /* IN */
    struct xen_memory_reservation out; /* IN, its extents OUT */
    uint64_t nr_exchanged;      /* IN: 0, OUT: extents of `in` done */
};
_Static_assert(sizeof(struct xen_memory_exchange) == 72, "xen_memory_exchange");

struct xen32_memory_exchange {
    struct xen32_memory_reservation in;
    struct xen32_memory_reservation out;
    uint32_t nr_exchanged;
};
_Static_assert(sizeof(struct xen32_memory_exchange) == 44, "xen_memory_exchange, x86_32");

/* current_reservation, maximum_reservation, maximum_gpfn. Result: the number. */
struct xen_memory_domain {
    uint16_t domid;             /* IN */
};

struct xen_machphys_mfn_list {
    uint32_t max_extents;       /* IN: room in the array */
    uint64_t extent_start;      /* IN: guest address of a uint64_t array: frames of the machine-to-physical table */
    uint32_t nr_extents;        /* OUT */
};
_Static_assert(sizeof(struct xen_machphys_mfn_list) == 24, "xen_machphys_mfn_list");

struct xen32_machphys_mfn_list {
    uint32_t max_extents;
    uint32_t extent_start;
    uint32_t nr_extents;
};

struct xen_machphys_mapping {
    uint64_t v_start;           /* OUT: where the table is in the guest's address space */
    uint64_t v_end;             /* OUT */
    uint64_t max_mfn;           /* OUT */
};

struct xen32_machphys_mapping {
    uint32_t v_start;
    uint32_t v_end;
    uint32_t max_mfn;
};

enum {
    XENMAPSPACE_shared_info = 0,
    XENMAPSPACE_grant_table = 1,
    XENMAPSPACE_gmfn = 2,
    XENMAPSPACE_gmfn_range = 3,
    XENMAPSPACE_gmfn_foreign = 4,
    XENMAPSPACE_dev_mmio = 5,
};
#define XENMAPIDX_grant_table_status 0x80000000u

struct xen_add_to_physmap {
    uint16_t domid;             /* IN */
    uint16_t size;              /* IN: for gmfn_range */
    uint32_t space;             /* IN: XENMAPSPACE_* */
    uint64_t idx;               /* IN */
    uint64_t gpfn;              /* IN */
};
_Static_assert(sizeof(struct xen_add_to_physmap) == 24, "xen_add_to_physmap");

struct xen32_add_to_physmap {
    uint16_t domid;
    uint16_t size;
    uint32_t space;
    uint32_t idx;
    uint32_t gpfn;
};
_Static_assert(sizeof(struct xen32_add_to_physmap) == 16, "xen_add_to_physmap, x86_32");

struct xen_add_to_physmap_batch {
    uint16_t domid;             /* IN */
    uint16_t space;             /* IN: XENMAPSPACE_* */
    uint16_t size;              /* IN: how many */
    union {
        uint16_t foreign_domid; /* IN: for gmfn_foreign */
        uint16_t res0;
    } u;
    uint64_t idxs;              /* IN: guest addresses of arrays: what, */
    uint64_t gpfns;             /* where to, */
    uint64_t errs;              /* and how it went */
};
_Static_assert(sizeof(struct xen_add_to_physmap_batch) == 32, "xen_add_to_physmap_batch");

struct xen32_add_to_physmap_batch {
    uint16_t domid;
    uint16_t space;
    uint16_t size;
    union {
        uint16_t foreign_domid;
        uint16_t res0;
    } u;
    uint32_t idxs;
    uint32_t gpfns;
    uint32_t errs;
};
_Static_assert(sizeof(struct xen32_add_to_physmap_batch) == 20, "xen_add_to_physmap_batch, x86_32");

struct xen_remove_from_physmap {
    uint16_t domid;             /* IN */
    uint64_t gpfn;              /* IN */
};

struct xen32_remove_from_physmap {
    uint16_t domid;
    uint32_t gpfn;
};

struct xen_memory_map {
    uint32_t nr_entries;        /* IN: room, OUT: filled */
    uint64_t buffer;            /* IN: guest address of e820 entries of 20 bytes each */
};
_Static_assert(sizeof(struct xen_memory_map) == 16, "xen_memory_map");

struct xen32_memory_map {
    uint32_t nr_entries;
    uint32_t buffer;
};

struct xen_foreign_memory_map {
    uint16_t domid;             /* IN */
    struct xen_memory_map map;  /* IN */
};
_Static_assert(sizeof(struct xen_foreign_memory_map) == 24, "xen_foreign_memory_map");

struct xen32_foreign_memory_map {
    uint16_t domid;
    struct xen32_memory_map map;
};

enum {
    XENMEM_resource_ioreq_server = 0, XENMEM_resource_grant_table = 1, XENMEM_resource_vmtrace_buf = 2,
    XENMEM_resource_ioreq_server_frame_bufioreq = 0,
    XENMEM_resource_grant_table_id_shared = 0, XENMEM_resource_grant_table_id_status = 1,
};

struct xen_mem_acquire_resource {
    uint16_t domid;             /* IN */
    uint16_t type;              /* IN: XENMEM_resource_* */
    uint32_t id;                /* IN */
    uint32_t nr_frames;         /* IN; OUT if frame_list is 0: how many there are */
    uint32_t pad;
    uint64_t frame;             /* IN: the first */
    uint64_t frame_list;        /* IN: guest address of a uint64_t array */
};
_Static_assert(sizeof(struct xen_mem_acquire_resource) == 32, "xen_mem_acquire_resource");

struct xen32_mem_acquire_resource {
    uint16_t domid;
    uint16_t type;
    uint32_t id;
    uint32_t nr_frames;
    uint32_t pad;
    xen32_u64 frame;
    uint32_t frame_list;
};
_Static_assert(sizeof(struct xen32_mem_acquire_resource) == 28, "xen_mem_acquire_resource, x86_32");

/* ---- mmu_update (array, count, OUT done, domain) ---- */

/* Low two bits of ptr. */
enum { MMU_NORMAL_PT_UPDATE = 0, MMU_MACHPHYS_UPDATE = 1, MMU_PT_UPDATE_PRESERVE_AD = 2, MMU_PT_UPDATE_NO_TRANSLATE = 3 };

struct xen_mmu_update {
    uint64_t ptr;               /* IN: machine address of the entry, with the kind of update in the low bits */
    uint64_t val;               /* IN: new contents */
};
_Static_assert(sizeof(struct xen_mmu_update) == 16, "mmu_update");

/* ---- mmuext_op (array, count, OUT done, domain) ---- */

enum {
    MMUEXT_PIN_L1_TABLE = 0, MMUEXT_PIN_L2_TABLE = 1, MMUEXT_PIN_L3_TABLE = 2, MMUEXT_PIN_L4_TABLE = 3,
    MMUEXT_UNPIN_TABLE = 4,
    MMUEXT_NEW_BASEPTR = 5,
    MMUEXT_TLB_FLUSH_LOCAL = 6,
    MMUEXT_INVLPG_LOCAL = 7,
    MMUEXT_TLB_FLUSH_MULTI = 8,
    MMUEXT_INVLPG_MULTI = 9,
    MMUEXT_TLB_FLUSH_ALL = 10,
    MMUEXT_INVLPG_ALL = 11,
    MMUEXT_FLUSH_CACHE = 12,
    MMUEXT_SET_LDT = 13,
    MMUEXT_NEW_USER_BASEPTR = 15,
    MMUEXT_CLEAR_PAGE = 16,
    MMUEXT_COPY_PAGE = 17,
    MMUEXT_FLUSH_CACHE_GLOBAL = 18,
    MMUEXT_MARK_SUPER = 19,
    MMUEXT_UNMARK_SUPER = 20,
};

struct xen_mmuext_op {
    uint32_t cmd;               /* IN: MMUEXT_* */
    union {
        uint64_t mfn;
        uint64_t linear_addr;
    } arg1;                     /* IN */
    union {
        uint32_t nr_ents;
        uint64_t vcpumask;      /* guest address of a bitmap */
        uint64_t src_mfn;
    } arg2;                     /* IN */
};
_Static_assert(sizeof(struct xen_mmuext_op) == 24, "mmuext_op");

struct xen32_mmuext_op {
    uint32_t cmd;
    union {
        uint32_t mfn;
        uint32_t linear_addr;
    } arg1;
    union {
        uint32_t nr_ents;
        uint32_t vcpumask;
        uint32_t src_mfn;
    } arg2;
};
_Static_assert(sizeof(struct xen32_mmuext_op) == 12, "mmuext_op, x86_32");

/* Flags of update_va_mapping (address, contents, flags): which TLBs; above the low two bits a bitmap's address. */
enum {
    UVMF_NONE = 0, UVMF_TLB_FLUSH = 1, UVMF_INVLPG = 2, UVMF_FLUSHTYPE_MASK = 3,
    UVMF_MULTI = 0, UVMF_LOCAL = 0, UVMF_ALL = 4,
};

/* ---- where the hypervisor and the machine-to-physical table stand in a guest's address space ---- */

#define HYPERVISOR_VIRT_START 0xffff800000000000ull
#define HYPERVISOR_VIRT_END 0xffff880000000000ull
#define MACH2PHYS_VIRT_START 0xffff800000000000ull
#define MACH2PHYS_VIRT_END 0xffff804000000000ull
#define MACH2PHYS_NR_ENTRIES 0x800000000ull

/* The plain names are those of PAE; NONPAE: two levels, as in 2003. */
#define XEN32_HYPERVISOR_VIRT_START 0xf5800000u
#define XEN32_MACH2PHYS_VIRT_START 0xf5800000u
#define XEN32_MACH2PHYS_VIRT_END 0xf6800000u
#define XEN32_HYPERVISOR_VIRT_START_PAE 0xf5800000u
#define XEN32_MACH2PHYS_VIRT_START_PAE 0xf5800000u
#define XEN32_MACH2PHYS_VIRT_END_PAE 0xf6800000u
#define XEN32_HYPERVISOR_VIRT_START_NONPAE 0xfc000000u
#define XEN32_MACH2PHYS_VIRT_START_NONPAE 0xfc000000u
#define XEN32_MACH2PHYS_VIRT_END_NONPAE 0xfc400000u
#define XEN32_MACH2PHYS_NR_ENTRIES 0x400000u

#endif
