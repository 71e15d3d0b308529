/*
 * abi_grant.h: the grant table: its entries, and grant_table_op (cmd, array of arguments, count).
 *
 * An entry lies in a frame that the granting domain writes and the hypervisor changes the use bits of, by compare and
 * swap on flags. Each argument of an array has its own status; the call's result is about the array only.
 */
#ifndef XEN_ABI_GRANT_H
#define XEN_ABI_GRANT_H

#include "abi_types.h"

/* ---- entries ---- */

enum {
    GTF_invalid = 0, GTF_permit_access = 1, GTF_accept_transfer = 2, GTF_transitive = 3, GTF_type_mask = 3,
    /* with permit_access */
    GTF_readonly = 1 << 2,      /* [GST] */
    GTF_reading = 1 << 3,       /* [HV] mapped or being copied */
    GTF_writing = 1 << 4,       /* [HV] the same, for writing */
    GTF_PWT = 1 << 5, GTF_PCD = 1 << 6, GTF_PAT = 1 << 7,
    GTF_sub_page = 1 << 8,      /* version 2 */
    /* with accept_transfer */
    GTF_transfer_committed = 1 << 2, /* [HV] */
    GTF_transfer_completed = 1 << 3, /* [HV] frame holds the new frame */
};

enum { GNTTAB_RESERVED_CONSOLE = 0, GNTTAB_RESERVED_XENSTORE = 1, GNTTAB_NR_RESERVED_ENTRIES = 8 };

struct xen_grant_entry_v1 {
    uint16_t flags;             /* [HV, GST] GTF_*; to be stored last, after a write barrier */
    uint16_t domid;             /* [GST] who may use it */
    uint32_t frame;             /* [GST] permit_access: the frame; [HV] accept_transfer: the one received */
};
_Static_assert(sizeof(struct xen_grant_entry_v1) == 8, "grant_entry_v1");
_Static_assert(offsetof(struct xen_grant_entry_v1, frame) == 4, "grant_entry_v1.frame");

struct xen_grant_entry_header {
    uint16_t flags;             /* [GST] only: the use bits are in the status array */
    uint16_t domid;             /* [GST] */
};

union xen_grant_entry_v2 {
    struct xen_grant_entry_header hdr;
    struct {
        struct xen_grant_entry_header hdr;
        uint32_t pad0;
        uint64_t frame;         /* [GST] */
    } full_page;
    struct {
        struct xen_grant_entry_header hdr;
        uint16_t page_off;      /* [GST] */
        uint16_t length;        /* [GST] */
        uint64_t frame;         /* [GST] */
    } sub_page;
    struct {
        struct xen_grant_entry_header hdr;
        uint16_t trans_domid;   /* [GST] whose grant is passed on */
        uint16_t pad0;
        uint32_t gref;          /* [GST] */
    } transitive;
    uint32_t __spacer[4];
};
_Static_assert(sizeof(union xen_grant_entry_v2) == 16, "grant_entry_v2");

/* ---- operations ---- */

enum {
    GNTTABOP_map_grant_ref = 0,
    GNTTABOP_unmap_grant_ref = 1,
    GNTTABOP_setup_table = 2,
    GNTTABOP_dump_table = 3,
    GNTTABOP_transfer = 4,
    GNTTABOP_copy = 5,
    GNTTABOP_query_size = 6,
    GNTTABOP_unmap_and_replace = 7,
    GNTTABOP_set_version = 8,
    GNTTABOP_get_status_frames = 9,
    GNTTABOP_get_version = 10,
    GNTTABOP_swap_grant_ref = 11,
    GNTTABOP_cache_flush = 12,
};

/* Status of one argument. */
enum {
    GNTST_okay = 0,
    GNTST_general_error = -1,
    GNTST_bad_domain = -2,
    GNTST_bad_gntref = -3,
    GNTST_bad_handle = -4,
    GNTST_bad_virt_addr = -5,
    GNTST_bad_dev_addr = -6,
    GNTST_no_device_space = -7,
    GNTST_permission_denied = -8,
    GNTST_bad_page = -9,
    GNTST_bad_copy_arg = -10,
    GNTST_address_too_big = -11,
    GNTST_eagain = -12,
    GNTST_no_space = -13,
};

enum {
    GNTMAP_device_map = 1 << 0,
    GNTMAP_host_map = 1 << 1,
    GNTMAP_readonly = 1 << 2,
    GNTMAP_application_map = 1 << 3,
    GNTMAP_contains_pte = 1 << 4,
    _GNTMAP_guest_avail0 = 16,  /* first of the bits handed through to the page-table entry */
};
#define GNTMAP_guest_avail_mask 0xffff0000u

struct xen_gnttab_map_grant_ref {
    uint64_t host_addr;         /* IN: where to map, or the entry to write (GNTMAP_contains_pte) */
    uint32_t flags;             /* IN: GNTMAP_* */
    uint32_t ref;               /* IN */
    uint16_t dom;               /* IN: who grants */
    int16_t status;             /* OUT: GNTST_* */
    uint32_t handle;            /* OUT */
    uint64_t dev_bus_addr;      /* OUT: machine address of the frame */
};
_Static_assert(sizeof(struct xen_gnttab_map_grant_ref) == 32, "gnttab_map_grant_ref");
_Static_assert(offsetof(struct xen_gnttab_map_grant_ref, status) == 18, "gnttab_map_grant_ref.status");

struct xen_gnttab_unmap_grant_ref {
    uint64_t host_addr;         /* IN: as mapped; 0: leave the host mapping */
    uint64_t dev_bus_addr;      /* IN: 0: leave the device mapping */
    uint32_t handle;            /* IN */
    int16_t status;             /* OUT */
};
_Static_assert(sizeof(struct xen_gnttab_unmap_grant_ref) == 24, "gnttab_unmap_grant_ref");

struct xen_gnttab_setup_table {
    uint16_t dom;               /* IN */
    uint32_t nr_frames;         /* IN: the table is at least so long from now on */
    int16_t status;             /* OUT */
    uint64_t frame_list;        /* IN: guest address of a uint64_t array [nr_frames], filled with the table's frames */
};
_Static_assert(sizeof(struct xen_gnttab_setup_table) == 24, "gnttab_setup_table");

struct xen32_gnttab_setup_table {
    uint16_t dom;
    uint32_t nr_frames;
    int16_t status;
    uint32_t frame_list;        /* uint32_t array */
};
_Static_assert(sizeof(struct xen32_gnttab_setup_table) == 16, "gnttab_setup_table, x86_32");

struct xen_gnttab_dump_table {
    uint16_t dom;               /* IN */
    int16_t status;             /* OUT */
};

/* Gives away a frame into an accept_transfer grant. */
struct xen_gnttab_transfer {
    uint64_t mfn;               /* IN */
    uint16_t domid;             /* IN */
    uint32_t ref;               /* IN */
    int16_t status;             /* OUT */
};
_Static_assert(sizeof(struct xen_gnttab_transfer) == 24, "gnttab_transfer");

struct xen32_gnttab_transfer {
    uint32_t mfn;
    uint16_t domid;
    uint32_t ref;
    int16_t status;
};
_Static_assert(sizeof(struct xen32_gnttab_transfer) == 16, "gnttab_transfer, x86_32");

enum { GNTCOPY_source_gref = 1, GNTCOPY_dest_gref = 2 };

/* One side of a copy: a reference if the flag says so, else a frame of the caller's own. */
struct xen_gnttab_copy_ptr {
    union {
        uint32_t ref;
        uint64_t gmfn;
    } u;
    uint16_t domid;
    uint16_t offset;
};
_Static_assert(sizeof(struct xen_gnttab_copy_ptr) == 16, "gnttab_copy_ptr");

struct xen_gnttab_copy {
    struct xen_gnttab_copy_ptr source; /* IN */
    struct xen_gnttab_copy_ptr dest;   /* IN */
    uint16_t len;               /* IN: bytes; neither side may cross its frame */
    uint16_t flags;             /* IN: GNTCOPY_* */
    int16_t status;             /* OUT */
};
_Static_assert(sizeof(struct xen_gnttab_copy) == 40, "gnttab_copy");
_Static_assert(offsetof(struct xen_gnttab_copy, status) == 36, "gnttab_copy.status");

struct xen32_gnttab_copy_ptr {
    union {
        uint32_t ref;
        uint32_t gmfn;
    } u;
    uint16_t domid;
    uint16_t offset;
};

struct xen32_gnttab_copy {
    struct xen32_gnttab_copy_ptr source;
    struct xen32_gnttab_copy_ptr dest;
    uint16_t len;
    uint16_t flags;
    int16_t status;
};
_Static_assert(sizeof(struct xen32_gnttab_copy) == 24, "gnttab_copy, x86_32");

struct xen_gnttab_query_size {
    uint16_t dom;               /* IN */
    uint32_t nr_frames;         /* OUT */
    uint32_t max_nr_frames;     /* OUT */
    int16_t status;             /* OUT */
};
_Static_assert(sizeof(struct xen_gnttab_query_size) == 16, "gnttab_query_size");

struct xen_gnttab_unmap_and_replace {
    uint64_t host_addr;         /* IN */
    uint64_t new_addr;          /* IN: its mapping moves to host_addr */
    uint32_t handle;            /* IN */
    int16_t status;             /* OUT */
};
_Static_assert(sizeof(struct xen_gnttab_unmap_and_replace) == 24, "gnttab_unmap_and_replace");

struct xen_gnttab_set_version {
    uint32_t version;           /* IN: wanted, OUT: in use */
};

struct xen_gnttab_get_status_frames {
    uint32_t nr_frames;         /* IN */
    uint16_t dom;               /* IN */
    int16_t status;             /* OUT */
    uint64_t frame_list;        /* IN: guest address of a uint64_t array, on both architectures */
};
_Static_assert(sizeof(struct xen_gnttab_get_status_frames) == 16, "gnttab_get_status_frames");

struct xen32_gnttab_get_status_frames {
    uint32_t nr_frames;
    uint16_t dom;
    int16_t status;
    uint32_t frame_list;
};
_Static_assert(sizeof(struct xen32_gnttab_get_status_frames) == 12, "gnttab_get_status_frames, x86_32");

struct xen_gnttab_get_version {
    uint16_t dom;               /* IN */
    uint16_t pad;
    uint32_t version;           /* OUT */
};

struct xen_gnttab_swap_grant_ref {
    uint32_t ref_a;             /* IN */
    uint32_t ref_b;             /* IN */
    int16_t status;             /* OUT */
};

enum { GNTTAB_CACHE_CLEAN = 1, GNTTAB_CACHE_INVAL = 2 };
#define GNTTAB_CACHE_SOURCE_GREF 0x80000000u

struct xen_gnttab_cache_flush {
    union {
        uint64_t dev_bus_addr;
        uint32_t ref;
    } a;                        /* IN */
    uint16_t offset;            /* IN */
    uint16_t length;            /* IN */
    uint32_t op;                /* IN: GNTTAB_CACHE_* */
};
_Static_assert(sizeof(struct xen_gnttab_cache_flush) == 16, "gnttab_cache_flush");

#endif
