/*
 * abi_blkif.h: the ring of a block device. Sectors are of 512 bytes on the wire, whatever the disk has.
 */
#ifndef XEN_ABI_BLKIF_H
#define XEN_ABI_BLKIF_H

#include "abi_types.h"

enum {
    BLKIF_OP_READ = 0,
    BLKIF_OP_WRITE = 1,
    BLKIF_OP_WRITE_BARRIER = 2,
    BLKIF_OP_FLUSH_DISKCACHE = 3,
    BLKIF_OP_RESERVED_1 = 4,
    BLKIF_OP_DISCARD = 5,
    BLKIF_OP_INDIRECT = 6,
};
enum { BLKIF_RSP_OKAY = 0, BLKIF_RSP_ERROR = -1, BLKIF_RSP_EOPNOTSUPP = -2 };
enum { BLKIF_MAX_SEGMENTS_PER_REQUEST = 11, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8 };
enum { BLKIF_DISCARD_SECURE = 1 };
enum { VDISK_CDROM = 1, VDISK_REMOVABLE = 2, VDISK_READONLY = 4 };

struct xen_blkif_request_segment {
    uint32_t gref;              /* the frame */
    uint8_t first_sect;         /* first and last sector in it, both included, 0 to 7 */
    uint8_t last_sect;
};
_Static_assert(sizeof(struct xen_blkif_request_segment) == 8, "blkif_request_segment");

struct xen_blkif_request {
    uint8_t operation;          /* BLKIF_OP_* */
    uint8_t nr_segments;        /* 1 to 11; 0 for a flush */
    uint16_t handle;
    uint64_t id;                /* echoed in the response */
    uint64_t sector_number;
    struct xen_blkif_request_segment seg[BLKIF_MAX_SEGMENTS_PER_REQUEST];
};
_Static_assert(sizeof(struct xen_blkif_request) == 112, "blkif_request");
_Static_assert(offsetof(struct xen_blkif_request, seg) == 24, "blkif_request.seg");

struct xen32_blkif_request {
    uint8_t operation;
    uint8_t nr_segments;
    uint16_t handle;
    xen32_u64 id;
    xen32_u64 sector_number;
    struct xen_blkif_request_segment seg[BLKIF_MAX_SEGMENTS_PER_REQUEST];
};
_Static_assert(sizeof(struct xen32_blkif_request) == 108, "blkif_request, x86_32");

/* In place of a request where operation is BLKIF_OP_DISCARD. */
struct xen_blkif_request_discard {
    uint8_t operation;
    uint8_t flag;               /* BLKIF_DISCARD_SECURE */
    uint16_t handle;
    uint64_t id;
    uint64_t sector_number;
    uint64_t nr_sectors;
};
_Static_assert(sizeof(struct xen_blkif_request_discard) == 32, "blkif_request_discard");

struct xen32_blkif_request_discard {
    uint8_t operation;
    uint8_t flag;
    uint16_t handle;
    xen32_u64 id;
    xen32_u64 sector_number;
    xen32_u64 nr_sectors;
};
_Static_assert(sizeof(struct xen32_blkif_request_discard) == 28, "blkif_request_discard, x86_32");

/* In place of a request where operation is BLKIF_OP_INDIRECT: the segments are in granted frames. */
struct xen_blkif_request_indirect {
    uint8_t operation;
    uint8_t indirect_op;        /* BLKIF_OP_READ or WRITE */
    uint16_t nr_segments;
    uint64_t id;
    uint64_t sector_number;
    uint16_t handle;
    uint32_t indirect_grefs[BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST];
};
_Static_assert(sizeof(struct xen_blkif_request_indirect) == 64, "blkif_request_indirect");
_Static_assert(offsetof(struct xen_blkif_request_indirect, indirect_grefs) == 28, "blkif_request_indirect.indirect_grefs");

struct xen32_blkif_request_indirect {
    uint8_t operation;
    uint8_t indirect_op;
    uint16_t nr_segments;
    xen32_u64 id;
    xen32_u64 sector_number;
    uint16_t handle;
    uint32_t indirect_grefs[BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST];
    xen32_u64 pad;
};
_Static_assert(sizeof(struct xen32_blkif_request_indirect) == 64, "blkif_request_indirect, x86_32");

struct xen_blkif_response {
    uint64_t id;
    uint8_t operation;
    int16_t status;             /* BLKIF_RSP_* */
};
_Static_assert(sizeof(struct xen_blkif_response) == 16, "blkif_response");

struct xen32_blkif_response {
    xen32_u64 id;
    uint8_t operation;
    int16_t status;
};
_Static_assert(sizeof(struct xen32_blkif_response) == 12, "blkif_response, x86_32");

/* A slot of the ring. */
union xen_blkif_sring_entry {
    struct xen_blkif_request req;
    struct xen_blkif_response rsp;
};

union xen32_blkif_sring_entry {
    struct xen32_blkif_request req;
    struct xen32_blkif_response rsp;
};

#endif
