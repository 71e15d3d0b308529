"""What a domain finds at its start: start_info, shared_info with its virtual CPUs' part, ELF notes."""

from xenproc.abi.layout import (
    CHAR,
    I8,
    U8,
    U32,
    U64,
    ULONG,
    X86_32,
    X86_64,
    Arch,
    Array,
    by_arch,
    only,
    struct,
    union,
)
from xenproc.abi.names import XenEnum, XenFlag


class StartFlag(XenFlag, prefix="SIF_"):
    """Flags of start_info."""

    PRIVILEGED = 1 << 0
    INITDOMAIN = 1 << 1
    MULTIBOOT_MOD = 1 << 2
    MOD_START_PFN = 1 << 3
    VIRT_P2M_4TOOLS = 1 << 4
    PM_MASK = 0xFF00


class PvClock(XenFlag, prefix="XEN_PVCLOCK_"):
    """Flags of vcpu_time_info."""

    TSC_STABLE_BIT = 1
    GUEST_STOPPED = 2


class NmiReason(XenFlag, prefix="XEN_NMIREASON_"):
    """Masks in nmi_reason."""

    io_error = 1
    pci_serr = 2
    unknown = 4


class ElfNote(XenEnum, prefix="XEN_ELFNOTE_"):
    """Types of the ELF notes of a kernel image, owner "Xen"."""

    INFO = 0
    ENTRY = 1
    HYPERCALL_PAGE = 2
    VIRT_BASE = 3
    PADDR_OFFSET = 4
    XEN_VERSION = 5
    GUEST_OS = 6
    GUEST_VERSION = 7
    LOADER = 8
    PAE_MODE = 9
    FEATURES = 10
    BSD_SYMTAB = 11
    HV_START_LOW = 12
    L1_MFN_VALID = 13
    SUSPEND_CANCEL = 14
    INIT_P2M = 15
    MOD_START_PFN = 16
    SUPPORTED_FEATURES = 17
    PHYS32_ENTRY = 18
    PHYS32_RELOC = 19
    MAX = 19
    CRASH_INFO = 0x1000001
    CRASH_REGS = 0x1000002
    DUMPCORE_NONE = 0x2000000
    DUMPCORE_HEADER = 0x2000001
    DUMPCORE_XEN_VERSION = 0x2000002
    DUMPCORE_FORMAT_VERSION = 0x2000003


XEN_LEGACY_MAX_VCPUS = 32
MAX_GUEST_CMDLINE = 1024

vcpu_time_info = struct(
    "vcpu_time_info",
    version=U32,
    pad0=U32,
    tsc_timestamp=U64,
    system_time=U64,
    tsc_to_system_mul=U32,
    tsc_shift=I8,
    flags=U8,
    pad1=U8 * 2,
)
arch_vcpu_info = by_arch("arch_vcpu_info", {"cr2": ULONG, "pad": ULONG}, {"cr2": ULONG, "pad": U32 * 5})
vcpu_info = struct(
    "vcpu_info",
    evtchn_upcall_pending=U8,
    evtchn_upcall_mask=U8,
    evtchn_pending_sel=ULONG,
    arch=arch_vcpu_info,
    time=vcpu_time_info,
)
arch_shared_info = struct(
    "arch_shared_info",
    max_pfn=ULONG,
    pfn_to_mfn_frame_list_list=ULONG,
    nmi_reason=ULONG,
    p2m_cr3=ULONG,
    p2m_vaddr=ULONG,
    p2m_generation=ULONG,
    wc_sec_hi=only(X86_32, U32),
)


def _shared_info(arch: Arch) -> dict:
    words: Array = ULONG * (64 if arch is X86_64 else 32)
    fields: dict = {"vcpu_info": vcpu_info * XEN_LEGACY_MAX_VCPUS}
    fields |= {
        "evtchn_pending": words,
        "evtchn_mask": words,
        "wc_version": U32,
        "wc_sec": U32,
        "wc_nsec": U32,
    }
    if arch is X86_64:  # 32-bit guests have it at the end of arch
        fields["wc_sec_hi"] = U32
    return fields | {"arch": arch_shared_info}


shared_info = by_arch("shared_info", _shared_info(X86_64), _shared_info(X86_32))

start_info = struct(
    "start_info",
    magic=CHAR * 32,
    nr_pages=ULONG,
    shared_info=ULONG,  # a machine address, not a frame number
    flags=U32,
    store_mfn=ULONG,
    store_evtchn=U32,
    console=union(domU=struct(mfn=ULONG, evtchn=U32), dom0=struct(info_off=U32, info_size=U32)),
    pt_base=ULONG,
    nr_pt_frames=ULONG,
    mfn_list=ULONG,
    mod_start=ULONG,
    mod_len=ULONG,
    cmd_line=CHAR * MAX_GUEST_CMDLINE,
    first_p2m_pfn=ULONG,
    nr_p2m_frames=ULONG,
)
xen_multiboot_mod_list = struct("xen_multiboot_mod_list", mod_start=U32, mod_end=U32, cmdline=U32, pad=U32)
