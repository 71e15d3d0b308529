/*
 * abi_start.h: what a domain finds at its start: start_info, shared_info with its virtual CPUs' part, ELF notes.
 *
 * shared_info is written by both sides while both run: every access is an atomic one or copies once.
 */
#ifndef XEN_ABI_START_H
#define XEN_ABI_START_H

#include "abi_types.h"

/* ---- time ---- */

enum { XEN_PVCLOCK_TSC_STABLE_BIT = 1, XEN_PVCLOCK_GUEST_STOPPED = 2 };

/* system ns = system_time + ((tsc - tsc_timestamp) << tsc_shift, or >> -tsc_shift) * tsc_to_system_mul >> 32 */
struct xen_vcpu_time_info {
    uint32_t version;           /* [HV] odd while an update is under way; a reader retries until even and unchanged */
    uint32_t pad0;
    uint64_t tsc_timestamp;     /* [HV] */
    uint64_t system_time;       /* [HV] ns since boot of the machine */
    uint32_t tsc_to_system_mul; /* [HV] */
    int8_t tsc_shift;           /* [HV] */
    uint8_t flags;              /* [HV] XEN_PVCLOCK_* */
    uint8_t pad1[2];
};
_Static_assert(sizeof(struct xen_vcpu_time_info) == 32, "vcpu_time_info");

/* The same but for its alignment, which what it lies in takes over. */
struct xen32_vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    xen32_u64 tsc_timestamp;
    xen32_u64 system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};
_Static_assert(sizeof(struct xen32_vcpu_time_info) == 32, "vcpu_time_info, x86_32");

/* ---- a virtual CPU's part of shared_info ---- */

struct xen_arch_vcpu_info {
    uint64_t cr2;               /* [HV] address of the last page fault */
    uint64_t pad;
};

struct xen_vcpu_info {
    uint8_t evtchn_upcall_pending; /* [HV] sets, [GST] clears: look at the selector */
    uint8_t evtchn_upcall_mask; /* [GST] (and [HV] when it makes an upcall): no upcalls now */
    uint64_t evtchn_pending_sel;/* [HV] sets bits, [GST] takes them all at once: words of evtchn_pending to look at */
    struct xen_arch_vcpu_info arch;
    struct xen_vcpu_time_info time;
};
_Static_assert(sizeof(struct xen_vcpu_info) == 64, "vcpu_info");
_Static_assert(offsetof(struct xen_vcpu_info, evtchn_pending_sel) == 8, "vcpu_info.evtchn_pending_sel");
_Static_assert(offsetof(struct xen_vcpu_info, time) == 32, "vcpu_info.time");

struct xen32_arch_vcpu_info {
    uint32_t cr2;
    uint32_t pad[5];
};

struct xen32_vcpu_info {
    uint8_t evtchn_upcall_pending;
    uint8_t evtchn_upcall_mask;
    uint32_t evtchn_pending_sel;
    struct xen32_arch_vcpu_info arch;
    struct xen32_vcpu_time_info time;
};
_Static_assert(sizeof(struct xen32_vcpu_info) == 64, "vcpu_info, x86_32");
_Static_assert(offsetof(struct xen32_vcpu_info, evtchn_pending_sel) == 4, "vcpu_info.evtchn_pending_sel, x86_32");

/* ---- shared_info ---- */

enum { XEN_LEGACY_MAX_VCPUS = 32 };

/* Masks in nmi_reason. */
enum { XEN_NMIREASON_io_error = 1, XEN_NMIREASON_pci_serr = 2, XEN_NMIREASON_unknown = 4 };

struct xen_arch_shared_info {
    uint64_t max_pfn;           /* [GST] for save and restore: pages in its p2m */
    uint64_t pfn_to_mfn_frame_list_list; /* [GST] frame of the list of the p2m's lists */
    uint64_t nmi_reason;        /* [HV] XEN_NMIREASON_* */
    uint64_t p2m_cr3;           /* [GST] the linear p2m: page table, */
    uint64_t p2m_vaddr;         /* [GST] address, */
    uint64_t p2m_generation;    /* [GST] odd while it changes */
};
_Static_assert(sizeof(struct xen_arch_shared_info) == 48, "arch_shared_info");

struct xen_shared_info {
    struct xen_vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
    uint64_t evtchn_pending[64];/* [HV] sets, [GST] clears */
    uint64_t evtchn_mask[64];   /* [GST] */
    uint32_t wc_version;        /* [HV] odd while an update is under way */
    uint32_t wc_sec;            /* [HV] wall-clock time at system time 0 */
    uint32_t wc_nsec;           /* [HV] */
    uint32_t wc_sec_hi;         /* [HV] */
    struct xen_arch_shared_info arch;
};
_Static_assert(sizeof(struct xen_shared_info) == 3136, "shared_info");
_Static_assert(offsetof(struct xen_shared_info, evtchn_pending) == 2048, "shared_info.evtchn_pending");
_Static_assert(offsetof(struct xen_shared_info, evtchn_mask) == 2560, "shared_info.evtchn_mask");
_Static_assert(offsetof(struct xen_shared_info, wc_sec_hi) == 3084, "shared_info.wc_sec_hi");

struct xen32_arch_shared_info {
    uint32_t max_pfn;
    uint32_t pfn_to_mfn_frame_list_list;
    uint32_t nmi_reason;
    uint32_t p2m_cr3;
    uint32_t p2m_vaddr;
    uint32_t p2m_generation;
    uint32_t wc_sec_hi;         /* [HV] here for 32-bit guests only */
};

struct xen32_shared_info {
    struct xen32_vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
    uint32_t evtchn_pending[32];
    uint32_t evtchn_mask[32];
    uint32_t wc_version;
    uint32_t wc_sec;
    uint32_t wc_nsec;
    struct xen32_arch_shared_info arch;
};
_Static_assert(sizeof(struct xen32_shared_info) == 2344, "shared_info, x86_32");
_Static_assert(offsetof(struct xen32_shared_info, evtchn_mask) == 2176, "shared_info.evtchn_mask, x86_32");
_Static_assert(offsetof(struct xen32_shared_info, arch.wc_sec_hi) == 2340, "shared_info.arch.wc_sec_hi, x86_32");

/* ---- start_info: written by the builder before the domain starts, the domain's own from then on ---- */

enum { MAX_GUEST_CMDLINE = 1024 };

enum {
    SIF_PRIVILEGED = 1 << 0,
    SIF_INITDOMAIN = 1 << 1,
    SIF_MULTIBOOT_MOD = 1 << 2,
    SIF_MOD_START_PFN = 1 << 3,
    SIF_VIRT_P2M_4TOOLS = 1 << 4,
    SIF_PM_MASK = 0xff00,
};

struct xen_start_info {
    char magic[32];             /* "xen-<version>-<platform>" */
    uint64_t nr_pages;
    uint64_t shared_info;       /* a machine address, not a frame number */
    uint32_t flags;             /* SIF_* */
    uint64_t store_mfn;         /* a frame number */
    uint32_t store_evtchn;
    union {
        struct {
            uint64_t mfn;
            uint32_t evtchn;
        } domU;
        struct {
            uint32_t info_off;
            uint32_t info_size;
        } dom0;
    } console;
    uint64_t pt_base;           /* virtual address of the page directory */
    uint64_t nr_pt_frames;
    uint64_t mfn_list;          /* virtual address of the p2m list */
    uint64_t mod_start;         /* virtual address of a module, or its frame number (SIF_MOD_START_PFN) */
    uint64_t mod_len;
    char cmd_line[MAX_GUEST_CMDLINE];
    uint64_t first_p2m_pfn;
    uint64_t nr_p2m_frames;
};
_Static_assert(sizeof(struct xen_start_info) == 1168, "start_info");
_Static_assert(offsetof(struct xen_start_info, store_mfn) == 56, "start_info.store_mfn");
_Static_assert(offsetof(struct xen_start_info, console) == 72, "start_info.console");
_Static_assert(offsetof(struct xen_start_info, cmd_line) == 128, "start_info.cmd_line");

struct xen32_start_info {
    char magic[32];
    uint32_t nr_pages;
    uint32_t shared_info;
    uint32_t flags;
    uint32_t store_mfn;
    uint32_t store_evtchn;
    union {
        struct {
            uint32_t mfn;
            uint32_t evtchn;
        } domU;
        struct {
            uint32_t info_off;
            uint32_t info_size;
        } dom0;
    } console;
    uint32_t pt_base;
    uint32_t nr_pt_frames;
    uint32_t mfn_list;
    uint32_t mod_start;
    uint32_t mod_len;
    char cmd_line[MAX_GUEST_CMDLINE];
    uint32_t first_p2m_pfn;
    uint32_t nr_p2m_frames;
};
_Static_assert(sizeof(struct xen32_start_info) == 1112, "start_info, x86_32");
_Static_assert(offsetof(struct xen32_start_info, console) == 52, "start_info.console, x86_32");
_Static_assert(offsetof(struct xen32_start_info, cmd_line) == 80, "start_info.cmd_line, x86_32");

/* A module's entry where there are several (SIF_MULTIBOOT_MOD). */
struct xen_multiboot_mod_list {
    uint32_t mod_start, mod_end, cmdline, pad;
};

/* ---- types of the ELF notes of a kernel image, owner "Xen" ---- */

enum {
    XEN_ELFNOTE_INFO = 0, XEN_ELFNOTE_ENTRY = 1, XEN_ELFNOTE_HYPERCALL_PAGE = 2, XEN_ELFNOTE_VIRT_BASE = 3,
    XEN_ELFNOTE_PADDR_OFFSET = 4, XEN_ELFNOTE_XEN_VERSION = 5, XEN_ELFNOTE_GUEST_OS = 6, XEN_ELFNOTE_GUEST_VERSION = 7,
    XEN_ELFNOTE_LOADER = 8, XEN_ELFNOTE_PAE_MODE = 9, XEN_ELFNOTE_FEATURES = 10, XEN_ELFNOTE_BSD_SYMTAB = 11,
    XEN_ELFNOTE_HV_START_LOW = 12, XEN_ELFNOTE_L1_MFN_VALID = 13, XEN_ELFNOTE_SUSPEND_CANCEL = 14,
    XEN_ELFNOTE_INIT_P2M = 15, XEN_ELFNOTE_MOD_START_PFN = 16, XEN_ELFNOTE_SUPPORTED_FEATURES = 17,
    XEN_ELFNOTE_PHYS32_ENTRY = 18, XEN_ELFNOTE_PHYS32_RELOC = 19, XEN_ELFNOTE_MAX = 19,
    /* of dumps, not of images */
    XEN_ELFNOTE_CRASH_INFO = 0x1000001, XEN_ELFNOTE_CRASH_REGS = 0x1000002,
    XEN_ELFNOTE_DUMPCORE_NONE = 0x2000000, XEN_ELFNOTE_DUMPCORE_HEADER = 0x2000001,
    XEN_ELFNOTE_DUMPCORE_XEN_VERSION = 0x2000002, XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION = 0x2000003,
};

#endif
