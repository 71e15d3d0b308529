"""Traps and callbacks, registers, the first context of a virtual CPU, the flat segments Xen offers."""

from xenproc.abi.layout import CHAR, U8, U16, U32, ULONG, X86_32, X86_64, Arch, by_arch, only, struct
from xenproc.abi.names import XenEnum, XenFlag


class CallbackOp(XenEnum, prefix="CALLBACKOP_"):
    """Commands of callback_op."""

    register = 0
    unregister = 1


class CallbackType(XenEnum, prefix="CALLBACKTYPE_"):
    """What a callback is for."""

    event = 0
    failsafe = 1
    syscall = 2
    sysenter_deprecated = 3
    nmi = 4
    sysenter = 5
    syscall32 = 7


class CallbackFlag(XenFlag, prefix="CALLBACKF_"):
    """Flags of a callback."""

    mask_events = 1


class NmiOp(XenEnum, prefix="XENNMI_"):
    """Commands of nmi_op."""

    register_callback = 0
    unregister_callback = 1


class ContextFlag(XenFlag, prefix="VGCF_"):
    """Flags of a virtual CPU's context; in_syscall: 64-bit guests, in iret_context."""

    i387_valid = 1 << 0
    in_kernel = 1 << 2
    failsafe_disables_events = 1 << 3
    syscall_disables_events = 1 << 4
    online = 1 << 5
    in_syscall = 1 << 8


class SegBase(XenEnum, prefix="SEGBASE_"):
    """Which base set_segment_base sets; 64-bit guests only."""

    FS = 0
    GS_USER = 1
    GS_KERNEL = 2
    GS_USER_SEL = 3


FIRST_RESERVED_GDT_PAGE = 14
FIRST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_PAGE * 4096
FIRST_RESERVED_GDT_ENTRY = FIRST_RESERVED_GDT_BYTE // 8

FLAT_KERNEL_CS: dict[Arch, int] = {X86_64: 0xE033, X86_32: 0xE019}
FLAT_KERNEL_DS: dict[Arch, int] = {X86_64: 0, X86_32: 0xE021}
FLAT_KERNEL_SS: dict[Arch, int] = {X86_64: 0xE02B, X86_32: 0xE021}
FLAT_USER_CS: dict[Arch, int] = {X86_64: 0xE033, X86_32: 0xE02B}
FLAT_USER_DS: dict[Arch, int] = {X86_64: 0, X86_32: 0xE033}
FLAT_USER_SS: dict[Arch, int] = {X86_64: 0xE02B, X86_32: 0xE033}

trap_info = struct("trap_info", vector=U8, flags=U8, cs=U16, address=ULONG)
xen_callback = struct("xen_callback", cs=only(X86_32, U32), eip=only(X86_32, U32))
callback_register = by_arch(
    "callback_register",
    {"type": U16, "flags": U16, "address": ULONG},
    {"type": U16, "flags": U16, "address": xen_callback},
)
callback_unregister = struct("callback_unregister", type=U16, _unused=U16)
xennmi_callback = struct("xennmi_callback", handler_address=ULONG, pad=ULONG)

_REGS_64 = (
    dict.fromkeys(("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"), ULONG)
    | dict.fromkeys(("rax", "rcx", "rdx", "rsi", "rdi"), ULONG)
    | {"error_code": U32, "entry_vector": U32, "rip": ULONG, "cs": U16, "_pad0": U16 * 1}
    | {"saved_upcall_mask": U8, "_pad1": U8 * 3, "rflags": ULONG, "rsp": ULONG}
    | {"ss": U16, "_pad2": U16 * 3, "es": U16, "_pad3": U16 * 3, "ds": U16, "_pad4": U16 * 3}
    | {"fs": U16, "_pad5": U16 * 3, "gs": U16, "_pad6": U16 * 3}
)
_REGS_32 = (
    dict.fromkeys(("ebx", "ecx", "edx", "esi", "edi", "ebp", "eax"), ULONG)
    | {"error_code": U16, "entry_vector": U16, "eip": ULONG, "cs": U16, "saved_upcall_mask": U8, "_pad0": U8}
    | {"eflags": ULONG, "esp": ULONG, "ss": U16, "_pad1": U16, "es": U16, "_pad2": U16}
    | {"ds": U16, "_pad3": U16, "fs": U16, "_pad4": U16, "gs": U16, "_pad5": U16}
)
cpu_user_regs = by_arch("cpu_user_regs", _REGS_64, _REGS_32)

iret_context = struct(
    "iret_context",
    **dict.fromkeys(("rax", "r11", "rcx", "flags", "rip", "cs", "rflags", "rsp", "ss"), only(X86_64, ULONG)),
)

vcpu_guest_context = struct(
    "vcpu_guest_context",
    fpu_ctxt=struct(x=CHAR * 512),
    flags=ULONG,
    user_regs=cpu_user_regs,
    trap_ctxt=trap_info * 256,
    ldt_base=ULONG,
    ldt_ents=ULONG,
    gdt_frames=ULONG * 16,
    gdt_ents=ULONG,
    kernel_ss=ULONG,
    kernel_sp=ULONG,
    ctrlreg=ULONG * 8,
    debugreg=ULONG * 8,
    event_callback_cs=only(X86_32, ULONG),
    event_callback_eip=ULONG,
    failsafe_callback_cs=only(X86_32, ULONG),
    failsafe_callback_eip=ULONG,
    syscall_callback_eip=only(X86_64, ULONG),
    vm_assist=ULONG,
    fs_base=only(X86_64, ULONG),
    gs_base_kernel=only(X86_64, ULONG),
    gs_base_user=only(X86_64, ULONG),
)
