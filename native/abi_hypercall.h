/*
 * abi_hypercall.h: hypercall numbers, domain numbers, multicall, and the small calls xen_version, console_io, vm_assist.
 */
#ifndef XEN_ABI_HYPERCALL_H
#define XEN_ABI_HYPERCALL_H

#include "abi_types.h"

enum {
    __HYPERVISOR_set_trap_table = 0,
    __HYPERVISOR_mmu_update = 1,
    __HYPERVISOR_set_gdt = 2,
    __HYPERVISOR_stack_switch = 3,
    __HYPERVISOR_set_callbacks = 4,
    __HYPERVISOR_fpu_taskswitch = 5,
    __HYPERVISOR_sched_op_compat = 6,
    __HYPERVISOR_platform_op = 7,
    __HYPERVISOR_set_debugreg = 8,
    __HYPERVISOR_get_debugreg = 9,
    __HYPERVISOR_update_descriptor = 10,
    __HYPERVISOR_memory_op = 12,
    __HYPERVISOR_multicall = 13,
    __HYPERVISOR_update_va_mapping = 14,
    __HYPERVISOR_set_timer_op = 15,
    __HYPERVISOR_event_channel_op_compat = 16,
    __HYPERVISOR_xen_version = 17,
    __HYPERVISOR_console_io = 18,
    __HYPERVISOR_physdev_op_compat = 19,
    __HYPERVISOR_grant_table_op = 20,
    __HYPERVISOR_vm_assist = 21,
    __HYPERVISOR_update_va_mapping_otherdomain = 22,
    __HYPERVISOR_iret = 23,
    __HYPERVISOR_vcpu_op = 24,
    __HYPERVISOR_set_segment_base = 25,
    __HYPERVISOR_mmuext_op = 26,
    __HYPERVISOR_xsm_op = 27,
    __HYPERVISOR_nmi_op = 28,
    __HYPERVISOR_sched_op = 29,
    __HYPERVISOR_callback_op = 30,
    __HYPERVISOR_xenoprof_op = 31,
    __HYPERVISOR_event_channel_op = 32,
    __HYPERVISOR_physdev_op = 33,
    __HYPERVISOR_hvm_op = 34,
    __HYPERVISOR_sysctl = 35,
    __HYPERVISOR_domctl = 36,
    __HYPERVISOR_kexec_op = 37,
    __HYPERVISOR_tmem_op = 38,
    __HYPERVISOR_argo_op = 39,
    __HYPERVISOR_xenpmu_op = 40,
    __HYPERVISOR_dm_op = 41,
    __HYPERVISOR_hypfs_op = 42,
    __HYPERVISOR_arch_0 = 48, __HYPERVISOR_arch_1 = 49, __HYPERVISOR_arch_2 = 50, __HYPERVISOR_arch_3 = 51,
    __HYPERVISOR_arch_4 = 52, __HYPERVISOR_arch_5 = 53, __HYPERVISOR_arch_6 = 54, __HYPERVISOR_arch_7 = 55,
};

/* Domain numbers with a meaning; real domains are below DOMID_FIRST_RESERVED. */
enum {
    DOMID_FIRST_RESERVED = 0x7ff0,
    DOMID_SELF = 0x7ff0,
    DOMID_IO = 0x7ff1,
    DOMID_XEN = 0x7ff2,
    DOMID_COW = 0x7ff3,
    DOMID_INVALID = 0x7ff4,
    DOMID_ANY = 0x7ff5,
    DOMID_IDLE = 0x7fff,
    DOMID_MASK = 0x7fff,
};

/* ---- multicall: (list, count). Each entry is a call; its own result stands in it, the call itself returns 0. ---- */

struct xen_multicall_entry {
    uint64_t op;                /* [GST] hypercall number */
    uint64_t result;            /* [HV] a long in two's complement */
    uint64_t args[6];           /* [GST] */
};
_Static_assert(sizeof(struct xen_multicall_entry) == 64, "multicall_entry");

struct xen32_multicall_entry {
    uint32_t op;
    uint32_t result;
    uint32_t args[6];
};
_Static_assert(sizeof(struct xen32_multicall_entry) == 32, "multicall_entry, x86_32");

/* ---- xen_version: (cmd, buffer) ---- */

enum {
    XENVER_version = 0,         /* result: major << 16 | minor; no buffer */
    XENVER_extraversion = 1,    /* char[XEN_EXTRAVERSION_LEN] */
    XENVER_compile_info = 2,
    XENVER_capabilities = 3,    /* char[XEN_CAPABILITIES_INFO_LEN] */
    XENVER_changeset = 4,       /* char[XEN_CHANGESET_INFO_LEN] */
    XENVER_platform_parameters = 5,
    XENVER_get_features = 6,    /* struct xen_feature_info */
    XENVER_pagesize = 7,        /* result: 4096; no buffer */
    XENVER_guest_handle = 8,    /* uint8_t[16] */
    XENVER_commandline = 9,     /* char[1024] */
    XENVER_build_id = 10,
    XENVER_extraversion2 = 11, XENVER_capabilities2 = 12, XENVER_changeset2 = 13, XENVER_commandline2 = 14,
};

enum { XEN_EXTRAVERSION_LEN = 16, XEN_CHANGESET_INFO_LEN = 64, XEN_CAPABILITIES_INFO_LEN = 1024 };

/* All strings end with a NUL. */
struct xen_compile_info {
    char compiler[64];          /* [HV] */
    char compile_by[16];        /* [HV] */
    char compile_domain[32];    /* [HV] */
    char compile_date[32];      /* [HV] */
};
_Static_assert(sizeof(struct xen_compile_info) == 144, "xen_compile_info");

struct xen_feature_info {
    uint32_t submap_idx;        /* IN: which 32 features, below XENFEAT_NR_SUBMAPS */
    uint32_t submap;            /* OUT: a bit for each */
};
_Static_assert(sizeof(struct xen_feature_info) == 8, "xen_feature_info");

struct xen_platform_parameters {
    uint64_t virt_start;        /* OUT: where the hypervisor's part of the address space begins */
};

struct xen32_platform_parameters {
    uint32_t virt_start;
};

/* Bits of the first submap. */
enum {
    XENFEAT_NR_SUBMAPS = 1,
    XENFEAT_writable_page_tables = 0,
    XENFEAT_writable_descriptor_tables = 1,
    XENFEAT_auto_translated_physmap = 2,
    XENFEAT_supervisor_mode_kernel = 3,
    XENFEAT_pae_pgdir_above_4gb = 4,
    XENFEAT_mmu_pt_update_preserve_ad = 5,
    XENFEAT_highmem_assist = 6,
    XENFEAT_gnttab_map_avail_bits = 7,
    XENFEAT_hvm_callback_vector = 8,
    XENFEAT_hvm_safe_pvclock = 9,
    XENFEAT_hvm_pirqs = 10,
    XENFEAT_dom0 = 11,
    XENFEAT_memory_op_vnode_supported = 13,
    XENFEAT_ARM_SMCCC_supported = 14,
    XENFEAT_linux_rsdp_unrestricted = 15,
    XENFEAT_not_direct_mapped = 16,
    XENFEAT_direct_mapped = 17,
    XENFEAT_runstate_phys_area = 18,
    XENFEAT_vcpu_time_phys_area = 19,
    XENFEAT_dm_msix_all_writes = 20,
};

/* ---- console_io: (cmd, count, buffer) ---- */

enum { CONSOLEIO_write = 0, CONSOLEIO_read = 1 };

/* ---- vm_assist: (cmd, type) ---- */

enum { VMASST_CMD_enable = 0, VMASST_CMD_disable = 1 };

enum {
    VMASST_TYPE_4gb_segments = 0,
    VMASST_TYPE_4gb_segments_notify = 1,
    VMASST_TYPE_writable_pagetables = 2,
    VMASST_TYPE_pae_extended_cr3 = 3,
    VMASST_TYPE_architectural_iopl = 4,
    VMASST_TYPE_runstate_update_flag = 5,
    VMASST_TYPE_m2p_strict = 32,
};

#endif
