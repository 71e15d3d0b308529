"""Hypercall numbers, domain numbers, multicall, and the small calls xen_version, console_io, vm_assist."""

from xenproc.abi.layout import CHAR, U32, ULONG, struct
from xenproc.abi.names import XenEnum


class Hypercall(XenEnum, prefix="__HYPERVISOR_"):
    """Number of a hypercall. Ours is in ours.py."""

    set_trap_table = 0
    mmu_update = 1
    set_gdt = 2
    stack_switch = 3
    set_callbacks = 4
    fpu_taskswitch = 5
    sched_op_compat = 6
    platform_op = 7
    set_debugreg = 8
    get_debugreg = 9
    update_descriptor = 10
    memory_op = 12
    multicall = 13
    update_va_mapping = 14
    set_timer_op = 15
    event_channel_op_compat = 16
    xen_version = 17
    console_io = 18
    physdev_op_compat = 19
    grant_table_op = 20
    vm_assist = 21
    update_va_mapping_otherdomain = 22
    iret = 23
    vcpu_op = 24
    set_segment_base = 25
    mmuext_op = 26
    xsm_op = 27
    nmi_op = 28
    sched_op = 29
    callback_op = 30
    xenoprof_op = 31
    event_channel_op = 32
    physdev_op = 33
    hvm_op = 34
    sysctl = 35
    domctl = 36
    kexec_op = 37
    tmem_op = 38
    argo_op = 39
    xenpmu_op = 40
    dm_op = 41
    hypfs_op = 42
    arch_0 = 48
    arch_1 = 49
    arch_2 = 50
    arch_3 = 51
    arch_4 = 52
    arch_5 = 53
    arch_6 = 54
    arch_7 = 55


class DomId(XenEnum, prefix="DOMID_"):
    """Domain numbers with a meaning; real domains are below FIRST_RESERVED."""

    SELF = 0x7FF0
    FIRST_RESERVED = 0x7FF0
    IO = 0x7FF1
    XEN = 0x7FF2
    COW = 0x7FF3
    INVALID = 0x7FF4
    ANY = 0x7FF5
    IDLE = 0x7FFF
    MASK = 0x7FFF


class XenVer(XenEnum, prefix="XENVER_"):
    """Commands of xen_version."""

    version = 0
    extraversion = 1
    compile_info = 2
    capabilities = 3
    changeset = 4
    platform_parameters = 5
    get_features = 6
    pagesize = 7
    guest_handle = 8
    commandline = 9
    build_id = 10
    extraversion2 = 11
    capabilities2 = 12
    changeset2 = 13
    commandline2 = 14


class XenFeature(XenEnum, prefix="XENFEAT_"):
    """Bit numbers in the submap of a feature_info."""

    writable_page_tables = 0
    writable_descriptor_tables = 1
    auto_translated_physmap = 2
    supervisor_mode_kernel = 3
    pae_pgdir_above_4gb = 4
    mmu_pt_update_preserve_ad = 5
    highmem_assist = 6
    gnttab_map_avail_bits = 7
    hvm_callback_vector = 8
    hvm_safe_pvclock = 9
    hvm_pirqs = 10
    dom0 = 11
    memory_op_vnode_supported = 13
    ARM_SMCCC_supported = 14
    linux_rsdp_unrestricted = 15
    not_direct_mapped = 16
    direct_mapped = 17
    runstate_phys_area = 18
    vcpu_time_phys_area = 19
    dm_msix_all_writes = 20


class ConsoleIo(XenEnum, prefix="CONSOLEIO_"):
    """Commands of console_io."""

    write = 0
    read = 1


class VmAssistCmd(XenEnum, prefix="VMASST_CMD_"):
    """Commands of vm_assist."""

    enable = 0
    disable = 1


class VmAssist(XenEnum, prefix="VMASST_TYPE_"):
    """What vm_assist switches: bit numbers."""

    _4gb_segments = 0
    _4gb_segments_notify = 1
    writable_pagetables = 2
    pae_extended_cr3 = 3
    architectural_iopl = 4
    runstate_update_flag = 5
    m2p_strict = 32


XEN_PAGE_SHIFT = 12
XENFEAT_NR_SUBMAPS = 1
XEN_EXTRAVERSION_LEN = 16
XEN_CHANGESET_INFO_LEN = 64
XEN_CAPABILITIES_INFO_LEN = 1024

multicall_entry = struct("multicall_entry", op=ULONG, result=ULONG, args=ULONG * 6)
xen_compile_info = struct(
    "xen_compile_info",
    compiler=CHAR * 64,
    compile_by=CHAR * 16,
    compile_domain=CHAR * 32,
    compile_date=CHAR * 32,
)
xen_feature_info = struct("xen_feature_info", submap_idx=U32, submap=U32)
xen_platform_parameters = struct("xen_platform_parameters", virt_start=ULONG)
