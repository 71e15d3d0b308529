"""The ring of a block device. Sectors are of 512 bytes on the wire, whatever the disk has."""

from xenproc.abi.layout import I16, U8, U16, U32, U64, X86_32, only, struct, union
from xenproc.abi.names import XenEnum, XenFlag


class BlkifOp(XenEnum, prefix="BLKIF_OP_"):
    """What a request asks for."""

    READ = 0
    WRITE = 1
    WRITE_BARRIER = 2
    FLUSH_DISKCACHE = 3
    RESERVED_1 = 4
    DISCARD = 5
    INDIRECT = 6


class BlkifRsp(XenEnum, prefix="BLKIF_RSP_"):
    """Status of a response."""

    OKAY = 0
    ERROR = -1
    EOPNOTSUPP = -2


class Vdisk(XenFlag, prefix="VDISK_"):
    """What a disk is, in its back end's `info`."""

    CDROM = 1
    REMOVABLE = 2
    READONLY = 4


BLKIF_MAX_SEGMENTS_PER_REQUEST = 11
BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8
BLKIF_DISCARD_SECURE = 1

blkif_request_segment = struct("blkif_request_segment", gref=U32, first_sect=U8, last_sect=U8)
blkif_request = struct(
    "blkif_request",
    operation=U8,
    nr_segments=U8,
    handle=U16,
    id=U64,
    sector_number=U64,
    seg=blkif_request_segment * BLKIF_MAX_SEGMENTS_PER_REQUEST,
)
blkif_request_discard = struct(
    "blkif_request_discard", operation=U8, flag=U8, handle=U16, id=U64, sector_number=U64, nr_sectors=U64
)
blkif_request_indirect = struct(
    "blkif_request_indirect",
    operation=U8,
    indirect_op=U8,
    nr_segments=U16,
    id=U64,
    sector_number=U64,
    handle=U16,
    indirect_grefs=U32 * BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
    pad=only(X86_32, U64),
)
blkif_response = struct("blkif_response", id=U64, operation=U8, status=I16)
blkif_sring_entry = union("blkif_sring_entry", req=blkif_request, rsp=blkif_response)
