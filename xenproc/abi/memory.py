"""Memory and page tables: memory_op, mmu_update, mmuext_op, update_va_mapping, where Xen has its place."""

from xenproc.abi.layout import PTR, U16, U32, U64, ULONG, X86_32, X86_64, Arch, struct, union
from xenproc.abi.names import XenEnum, XenFlag


class XenMem(XenEnum, prefix="XENMEM_"):
    """Commands of memory_op."""

    increase_reservation = 0
    decrease_reservation = 1
    maximum_ram_page = 2
    current_reservation = 3
    maximum_reservation = 4
    machphys_mfn_list = 5
    populate_physmap = 6
    add_to_physmap = 7
    memory_map = 9
    machine_memory_map = 10
    exchange = 11
    machphys_mapping = 12
    set_memory_map = 13
    maximum_gpfn = 14
    remove_from_physmap = 15
    set_pod_target = 16
    get_pod_target = 17
    get_sharing_freed_pages = 18
    get_sharing_shared_pages = 19
    paging_op = 20
    access_op = 21
    sharing_op = 22
    add_to_physmap_batch = 23
    claim_pages = 24
    machphys_compat_mfn_list = 25
    get_vnumainfo = 26
    reserved_device_memory_map = 27
    acquire_resource = 28


class XenMemFlag(XenFlag, prefix="XENMEMF_"):
    """Flags of a reservation, above the address bits in the low byte."""

    populate_on_demand = 1 << 16
    exact_node_request = 1 << 17
    vnode = 1 << 18


class XenMapSpace(XenEnum, prefix="XENMAPSPACE_"):
    """What add_to_physmap maps."""

    shared_info = 0
    grant_table = 1
    gmfn = 2
    gmfn_range = 3
    gmfn_foreign = 4
    dev_mmio = 5


class XenMemResource(XenEnum, prefix="XENMEM_resource_"):
    """What acquire_resource is about."""

    ioreq_server = 0
    grant_table = 1
    vmtrace_buf = 2


class MmuUpdate(XenEnum, prefix="MMU_"):
    """Kind of an mmu_update: the low two bits of ptr."""

    NORMAL_PT_UPDATE = 0
    MACHPHYS_UPDATE = 1
    PT_UPDATE_PRESERVE_AD = 2
    PT_UPDATE_NO_TRANSLATE = 3


class MmuExt(XenEnum, prefix="MMUEXT_"):
    """Commands of mmuext_op."""

    PIN_L1_TABLE = 0
    PIN_L2_TABLE = 1
    PIN_L3_TABLE = 2
    PIN_L4_TABLE = 3
    UNPIN_TABLE = 4
    NEW_BASEPTR = 5
    TLB_FLUSH_LOCAL = 6
    INVLPG_LOCAL = 7
    TLB_FLUSH_MULTI = 8
    INVLPG_MULTI = 9
    TLB_FLUSH_ALL = 10
    INVLPG_ALL = 11
    FLUSH_CACHE = 12
    SET_LDT = 13
    NEW_USER_BASEPTR = 15
    CLEAR_PAGE = 16
    COPY_PAGE = 17
    FLUSH_CACHE_GLOBAL = 18
    MARK_SUPER = 19
    UNMARK_SUPER = 20


class UvmFlag(XenFlag, prefix="UVMF_"):
    """Flags of update_va_mapping: which translation buffers to flush."""

    NONE = 0
    MULTI = 0
    LOCAL = 0
    TLB_FLUSH = 1
    INVLPG = 2
    FLUSHTYPE_MASK = 3
    ALL = 4


XENMAPIDX_grant_table_status = 1 << 31
XENMEM_resource_ioreq_server_frame_bufioreq = 0
XENMEM_resource_grant_table_id_shared = 0
XENMEM_resource_grant_table_id_status = 1

HYPERVISOR_VIRT_START: dict[Arch, int] = {X86_64: 0xFFFF_8000_0000_0000, X86_32: 0xF580_0000}
HYPERVISOR_VIRT_END: dict[Arch, int] = {X86_64: 0xFFFF_8800_0000_0000}
MACH2PHYS_VIRT_START: dict[Arch, int] = {X86_64: 0xFFFF_8000_0000_0000, X86_32: 0xF580_0000}
MACH2PHYS_VIRT_END: dict[Arch, int] = {X86_64: 0xFFFF_8040_0000_0000, X86_32: 0xF680_0000}
MACH2PHYS_NR_ENTRIES: dict[Arch, int] = {X86_64: 1 << 35, X86_32: 1 << 22}
# With two levels, as in 2003; the plain names are those of PAE.
HYPERVISOR_VIRT_START_NONPAE: dict[Arch, int] = {X86_32: 0xFC00_0000}
MACH2PHYS_VIRT_START_NONPAE: dict[Arch, int] = {X86_32: 0xFC00_0000}
MACH2PHYS_VIRT_END_NONPAE: dict[Arch, int] = {X86_32: 0xFC40_0000}

xen_memory_reservation = struct(
    "xen_memory_reservation", extent_start=PTR, nr_extents=ULONG, extent_order=U32, mem_flags=U32, domid=U16
)
xen_memory_exchange = struct(
    "xen_memory_exchange", **{"in": xen_memory_reservation}, out=xen_memory_reservation, nr_exchanged=ULONG
)
xen_memory_domain = struct("xen_memory_domain", domid=U16)
xen_machphys_mfn_list = struct("xen_machphys_mfn_list", max_extents=U32, extent_start=PTR, nr_extents=U32)
xen_machphys_mapping = struct("xen_machphys_mapping", v_start=ULONG, v_end=ULONG, max_mfn=ULONG)
xen_add_to_physmap = struct("xen_add_to_physmap", domid=U16, size=U16, space=U32, idx=ULONG, gpfn=ULONG)
xen_add_to_physmap_batch = struct(
    "xen_add_to_physmap_batch", domid=U16, space=U16, size=U16, u=union(foreign_domid=U16, res0=U16), idxs=PTR, gpfns=PTR, errs=PTR
)
xen_remove_from_physmap = struct("xen_remove_from_physmap", domid=U16, gpfn=ULONG)
xen_memory_map = struct("xen_memory_map", nr_entries=U32, buffer=PTR)
xen_foreign_memory_map = struct("xen_foreign_memory_map", domid=U16, map=xen_memory_map)
xen_mem_acquire_resource = struct(
    "xen_mem_acquire_resource",
    domid=U16,
    type=U16,
    id=U32,
    nr_frames=U32,
    pad=U32,
    frame=U64,
    frame_list=PTR,
)
mmu_update = struct("mmu_update", ptr=U64, val=U64)
mmuext_op = struct(
    "mmuext_op",
    cmd=U32,
    arg1=union(mfn=ULONG, linear_addr=ULONG),
    arg2=union(nr_ents=U32, vcpumask=PTR, src_mfn=ULONG),
)
