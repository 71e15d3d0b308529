"""The grant table: entries and their flags, operations and their arguments, status codes."""

from xenproc.abi.layout import I16, PTR, U16, U32, U64, ULONG, struct, union
from xenproc.abi.names import XenEnum, XenFlag


class GnttabOp(XenEnum, prefix="GNTTABOP_"):
    """Commands of grant_table_op."""

    map_grant_ref = 0
    unmap_grant_ref = 1
    setup_table = 2
    dump_table = 3
    transfer = 4
    copy = 5
    query_size = 6
    unmap_and_replace = 7
    set_version = 8
    get_status_frames = 9
    get_version = 10
    swap_grant_ref = 11
    cache_flush = 12


class GrantStatus(XenEnum, prefix="GNTST_"):
    """Status of one argument of a grant operation; `message` says it in words."""

    okay = 0
    general_error = -1
    bad_domain = -2
    bad_gntref = -3
    bad_handle = -4
    bad_virt_addr = -5
    bad_dev_addr = -6
    no_device_space = -7
    permission_denied = -8
    bad_page = -9
    bad_copy_arg = -10
    address_too_big = -11
    eagain = -12
    no_space = -13

    @property
    def message(self) -> str:
        """A few words for people."""
        return _MESSAGES[self]


_MESSAGES = {
    GrantStatus.okay: "done",
    GrantStatus.general_error: "refused",
    GrantStatus.bad_domain: "no such domain",
    GrantStatus.bad_gntref: "not a valid grant reference",
    GrantStatus.bad_handle: "not a valid handle",
    GrantStatus.bad_virt_addr: "not an address to map at or unmap from",
    GrantStatus.bad_dev_addr: "not a device address to unmap",
    GrantStatus.no_device_space: "no space in the I/O memory unit",
    GrantStatus.permission_denied: "the grant is not for this domain or not for this use",
    GrantStatus.bad_page: "not a frame that can be granted",
    GrantStatus.bad_copy_arg: "the copy crosses a frame or names both sides wrongly",
    GrantStatus.address_too_big: "the frame's address is too big for its receiver",
    GrantStatus.eagain: "not now, try again",
    GrantStatus.no_space: "out of handles or table space",
}


class GrantFlag(XenFlag, prefix="GTF_"):
    """Flags of an entry: a type in the low two bits, the rest by type."""

    invalid = 0
    permit_access = 1
    accept_transfer = 2
    transitive = 3
    type_mask = 3
    readonly = 1 << 2
    reading = 1 << 3
    writing = 1 << 4
    PWT = 1 << 5
    PCD = 1 << 6
    PAT = 1 << 7
    sub_page = 1 << 8
    transfer_committed = 1 << 2
    transfer_completed = 1 << 3


class GrantMap(XenFlag, prefix="GNTMAP_"):
    """Flags of map_grant_ref."""

    device_map = 1 << 0
    host_map = 1 << 1
    readonly = 1 << 2
    application_map = 1 << 3
    contains_pte = 1 << 4
    guest_avail_mask = 0xFFFF0000


class GrantCopy(XenFlag, prefix="GNTCOPY_"):
    """Which sides of a copy are given by reference."""

    source_gref = 1
    dest_gref = 2


class GrantCache(XenFlag, prefix="GNTTAB_CACHE_"):
    """Operations of cache_flush."""

    CLEAN = 1
    INVAL = 2
    SOURCE_GREF = 1 << 31


GNTTAB_RESERVED_CONSOLE = 0
GNTTAB_RESERVED_XENSTORE = 1
GNTTAB_NR_RESERVED_ENTRIES = 8

grant_entry_v1 = struct("grant_entry_v1", flags=U16, domid=U16, frame=U32)
grant_entry_header = struct("grant_entry_header", flags=U16, domid=U16)
grant_entry_v2 = union(
    "grant_entry_v2",
    hdr=grant_entry_header,
    full_page=struct(hdr=grant_entry_header, pad0=U32, frame=U64),
    sub_page=struct(hdr=grant_entry_header, page_off=U16, length=U16, frame=U64),
    transitive=struct(hdr=grant_entry_header, trans_domid=U16, pad0=U16, gref=U32),
    **{"__spacer": U32 * 4},
)

gnttab_map_grant_ref = struct(
    "gnttab_map_grant_ref",
    host_addr=U64,
    flags=U32,
    ref=U32,
    dom=U16,
    status=I16,
    handle=U32,
    dev_bus_addr=U64,
)
gnttab_unmap_grant_ref = struct(
    "gnttab_unmap_grant_ref", host_addr=U64, dev_bus_addr=U64, handle=U32, status=I16
)
gnttab_setup_table = struct("gnttab_setup_table", dom=U16, nr_frames=U32, status=I16, frame_list=PTR)
gnttab_dump_table = struct("gnttab_dump_table", dom=U16, status=I16)
gnttab_transfer = struct("gnttab_transfer", mfn=ULONG, domid=U16, ref=U32, status=I16)
gnttab_copy_ptr = struct("gnttab_copy_ptr", u=union(ref=U32, gmfn=ULONG), domid=U16, offset=U16)
gnttab_copy = struct(
    "gnttab_copy", source=gnttab_copy_ptr, dest=gnttab_copy_ptr, len=U16, flags=U16, status=I16
)
gnttab_query_size = struct("gnttab_query_size", dom=U16, nr_frames=U32, max_nr_frames=U32, status=I16)
gnttab_unmap_and_replace = struct(
    "gnttab_unmap_and_replace", host_addr=U64, new_addr=U64, handle=U32, status=I16
)
gnttab_set_version = struct("gnttab_set_version", version=U32)
gnttab_get_status_frames = struct(
    "gnttab_get_status_frames", nr_frames=U32, dom=U16, status=I16, frame_list=PTR
)
gnttab_get_version = struct("gnttab_get_version", dom=U16, pad=U16, version=U32)
gnttab_swap_grant_ref = struct("gnttab_swap_grant_ref", ref_a=U32, ref_b=U32, status=I16)
gnttab_cache_flush = struct(
    "gnttab_cache_flush", a=union(dev_bus_addr=U64, ref=U32), offset=U16, length=U16, op=U32
)
