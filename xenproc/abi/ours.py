"""What xenproc adds to Xen's ABI: our own hypercall and its arguments. Nothing here is Xen's.

The same numbers are in native/ours.h, names there with the prefixes given here; a test compares the two.
"""

from xenproc.abi.layout import CHAR, I64, U8, U16, U32, U64, struct
from xenproc.abi.names import XenEnum

# A hypercall number that Xen leaves free (its table has 64 entries).
XP_HYPERVISOR_xenproc_op = 62


class XenprocOp(XenEnum, prefix="XP_OP_"):
    """Commands of our hypercall."""

    report = 0
    evtchn_direct = 1
    direct_fd = 2
    publish = 3
    lookup = 4
    resolve = 5
    upcall_fd = 6
    set_virtual_timer = 16
    trap = 17
    set_fast_trap = 18
    set_ad = 19
    pt_write = 20
    pt_fault = 21
    pay = 22
    hand_over = 23


class ReportKind(XenEnum, prefix="XP_REPORT_"):
    """What a domain reports of itself."""

    result_json = 0
    result_bytes = 1
    traceback = 2
    ready = 3


class SlotState(XenEnum, prefix="XP_SLOT_"):
    """State of a slot of the call page."""

    FREE = 0
    SUBMITTED = 1
    SLEEPING = 2
    DONE = 3


XP_REPORT_MAX = 65536
XP_PT_STORE = 0x10000
XP_AD_MAX = 16
XP_BOARD_KEY_MAX = 64
XP_BOARD_VALUE_MAX = 256
XP_CALL_SLOTS = 16
XP_TRAP_syscall = 256
XP_TRAPF_software = 1

xp_op_ad = struct("xp_op_ad", maddr=U64, bits=U64)
xp_op_direct = struct("xp_op_direct", mfn=U64, side=U32, pad=U32)
xp_op_trap = struct(
    "xp_op_trap",
    vector=U32,
    flags=U32,
    error_code=U64,
    address=U64,
    **dict.fromkeys(("rip", "rflags", "rsp", "rcx", "r11"), U64),
    handler=U64,
    frame=U64,
)
xp_op_board = struct(
    "xp_op_board",
    key=CHAR * XP_BOARD_KEY_MAX,
    value=U8 * XP_BOARD_VALUE_MAX,
    len=U32,
    domid=U16,
    take=U16,
    timeout_ns=I64,
)
