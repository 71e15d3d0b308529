"""Rings and traps over the core without processes: each operation with each of its errors, and what a forged argument comes to."""

import itertools

import pytest
from core_guest import EFAULT, EINVAL, ENOSYS, EPERM, Core

from xenproc.abi import Hypercall
from xenproc.abi.ours import XenprocOp, XP_HYPERVISOR_xenproc_op, XP_TRAP_syscall, XP_TRAPF_software
from xenproc.abi.trap import CallbackOp, CallbackType, NmiOp, SegBase
from xenproc.native import ffi, lib

MODES = {"x86_32": 0, "x86_32p": 1, "x86_64": 2}
KERNEL_CS = {"x86_32": 0xE019, "x86_32p": 0xE019, "x86_64": 0xE033}
HOLE = {"x86_32": 0xFC000000, "x86_32p": 0xF5800000, "x86_64": 0xFFFF_8000_0000_0000}
NO_ADDRESS = {"x86_32": 1 << 32, "x86_32p": 1 << 32, "x86_64": 1 << 47}
M64 = (1 << 64) - 1


@pytest.fixture
def core():
    with Core() as core:
        yield core


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def guest(core, mode):
    return core.create(1, paging=MODES[mode])


@pytest.fixture
def guest64(core):
    return core.create(1)


def table(guest, *entries):
    """(vector, flags, cs, address)...; returns what set_trap_table says."""
    for i, entry in enumerate([*entries, (0, 0, 0, 0)]):
        vector, flags, cs, address = entry
        guest.put("struct xen_trap_info", at=16 * i, vector=vector, flags=flags, cs=cs, address=address)
    return guest.call(Hypercall.set_trap_table, guest.args)


def trap(guest, vector, flags=0, **fields):
    """Returns (result, struct): a trap by the hypervisor, from where the guest is."""
    address, op = guest.put("struct xp_op_trap", at=1024, vector=vector, flags=flags, **fields)
    return guest.call(XP_HYPERVISOR_xenproc_op, XenprocOp.trap, address), op


def ends(guest, nr, *args):
    """A call that ends its domain is never answered; returns the reason."""
    result, values = ffi.new("int64_t *"), ffi.new("uint64_t[6]", [*args, *[0] * (6 - len(args))])
    assert lib.xp_gcall(guest.gcall, nr, values, lib.XP_WAIT_BLOCK, 10**8, result) == -110
    info = guest.info()
    assert info.crashed and info.state == 2
    return ffi.string(info.crash_reason).decode()


def stack(guest, at=3 * 4096):
    """Switch to a kernel stack in the domain's own memory; returns its top."""
    assert guest.call(Hypercall.stack_switch, 0xE02B, guest.args + at) == 0
    return guest.args + at


def frame_at(op):
    return ffi.cast("struct xp_trap_frame *", op.frame)


# ---- the trap table ----

def test_a_table_is_taken(guest, mode):
    assert table(guest, *((v, 0, KERNEL_CS[mode], 0x1000 + v) for v in range(100))) == 0
    assert guest.call(Hypercall.set_trap_table, 0) == 0


def test_a_table_of_more_than_a_step(guest, mode):
    """257 entries, the last one bad: it goes on behind the first step."""
    for i in range(256):
        guest.put("struct xen_trap_info", at=16 * i, vector=i, cs=KERNEL_CS[mode], address=0x1000)
    guest.put("struct xen_trap_info", at=4096, vector=1, cs=KERNEL_CS[mode], address=NO_ADDRESS[mode])
    assert guest.call(Hypercall.set_trap_table, guest.args) == EINVAL


def test_addresses_that_cannot_be(guest, mode):
    stack(guest)
    assert table(guest, (13, 0, KERNEL_CS[mode], 0xD000)) == 0
    for address in (NO_ADDRESS[mode], M64 if mode != "x86_64" else 0xFFFF_7FFF_FFFF_FFFF, 1 << 62):
        assert table(guest, (3, 3, KERNEL_CS[mode], address)) == EINVAL
        assert trap(guest, 3, XP_TRAPF_software, rsp=guest.args + 8192)[1].vector == 13, "there is no such gate"


@pytest.mark.parametrize("cs", [0, 0x8, 0x10, 0x60, 0xE008, 0xE010, 0xE030, 0xE020])
def test_no_selector_of_ring_0_in_the_32_bit_modes(core, cs):
    for domid, mode in enumerate(("x86_32", "x86_32p"), 1):
        guest = core.create(domid, paging=MODES[mode])
        assert table(guest, (3, 0, cs, 0x1000)) == EPERM
        assert table(guest, (3, 0, cs | 4, 0x1000)) == EPERM, "nor by the local table"
        assert table(guest, (3, 0, cs, 0)) == 0, "an entry without address ends the table, whatever else it says"


@pytest.mark.parametrize("rpl", [0, 1, 2, 3])
def test_no_selector_of_the_hypervisors(guest, mode, rpl):
    for cs in range(0xE000, 0x10000, 8):
        known = {"x86_64": (0xE023, 0xE02B, 0xE033)}.get(mode, (0xE019, 0xE021, 0xE02B, 0xE033))
        if cs | rpl in known:
            continue
        if cs % 0x400 and cs > 0xE100:
            continue
        assert table(guest, (3, 0, cs | rpl, 0x1000)) == EPERM, hex(cs | rpl)


def test_selectors_of_ones_own(guest, mode):
    rpls = (0, 1, 3) if mode == "x86_64" else (1, 2, 3)
    for cs in (0x8, 0x60, 0xDFF8):
        for rpl in rpls:
            assert table(guest, (3, 0, cs | rpl, 0x1000)) == 0


def test_what_stands_before_a_bad_entry_stays(guest, mode):
    stack(guest)
    good = (0x30, 3, KERNEL_CS[mode], 0x4000)
    assert table(guest, good, (0x31, 3, KERNEL_CS[mode], NO_ADDRESS[mode])) == EINVAL
    ret, op = trap(guest, 0x30, XP_TRAPF_software, rsp=guest.args + 8192)
    assert (ret, op.handler) == (0, 0x4000)


def test_a_table_in_no_memory_of_ones_own(guest):
    assert guest.call(Hypercall.set_trap_table, guest.beyond) == EFAULT
    assert guest.call(Hypercall.set_trap_table, M64 - 7) == EFAULT


# ---- callbacks ----

def register(guest, kind, address, flags=0):
    where, _ = guest.put("struct xen_callback_register", type=kind, flags=flags, address=address)
    return guest.call(Hypercall.callback_op, CallbackOp.register, where)


def unregister(guest, kind):
    where, _ = guest.put("struct xen_callback_unregister", type=kind)
    return guest.call(Hypercall.callback_op, CallbackOp.unregister, where)


KINDS = ["event", "failsafe", "syscall", "sysenter", "syscall32", "nmi"]


@pytest.mark.parametrize("kind", KINDS)
def test_callbacks(guest, mode, kind):
    assert register(guest, CallbackType[kind], 0x1000) == 0
    assert register(guest, CallbackType[kind], NO_ADDRESS[mode]) == EINVAL
    assert unregister(guest, CallbackType[kind]) == (0 if kind == "nmi" else EINVAL)


def test_callbacks_that_are_not_there(guest):
    for kind in (3, 6, 8, 255, 65535):
        assert register(guest, kind, 0x1000) == ENOSYS
        assert unregister(guest, kind) == ENOSYS
    assert guest.call(Hypercall.callback_op, 2, guest.args) == ENOSYS
    for cmd in CallbackOp:
        assert guest.call(Hypercall.callback_op, cmd, guest.beyond) == EFAULT


def test_set_callbacks_is_all_or_nothing(guest, mode):
    stack(guest)
    assert guest.call(Hypercall.set_callbacks, 0x1000, 0x2000, 0x3000) == 0
    for bad in range(3):
        addresses = [0x5000] * 3
        addresses[bad] = NO_ADDRESS[mode]
        assert guest.call(Hypercall.set_callbacks, *addresses) == EINVAL
    ret, op = trap(guest, XP_TRAP_syscall, rsp=guest.args + 8192)
    assert (ret, op.handler) == (0, 0x3000), "the syscall callback is the old one"


def test_nmi_op(guest, mode):
    where, value = guest.put("struct xennmi_callback", handler_address=0x1000)
    assert guest.call(Hypercall.nmi_op, NmiOp.register_callback, where) == 0
    value.handler_address = NO_ADDRESS[mode]
    assert guest.call(Hypercall.nmi_op, NmiOp.register_callback, where) == EINVAL
    assert guest.call(Hypercall.nmi_op, NmiOp.register_callback, guest.beyond) == EFAULT
    assert guest.call(Hypercall.nmi_op, NmiOp.unregister_callback, 0) == 0
    assert guest.call(Hypercall.nmi_op, 2, where) == ENOSYS


# ---- stack, segments, fast trap ----

def test_stack_switch(guest, mode):
    assert guest.call(Hypercall.stack_switch, 0xE02B, 0x1000) == 0
    assert guest.call(Hypercall.stack_switch, 1 << 16, 0x1000) == EINVAL
    assert guest.call(Hypercall.stack_switch, 0xE008, 0x1000) == EPERM
    assert guest.call(Hypercall.stack_switch, 0x10, 0x1000) == (0 if mode == "x86_64" else EPERM)


def test_set_segment_base(guest, mode):
    for which in (SegBase.FS, SegBase.GS_USER, SegBase.GS_KERNEL):
        assert guest.call(Hypercall.set_segment_base, which, 0x1000) == 0
        assert guest.call(Hypercall.set_segment_base, which, NO_ADDRESS[mode]) == EINVAL
    assert guest.call(Hypercall.set_segment_base, SegBase.GS_USER_SEL, 0x2B) == 0
    assert guest.call(Hypercall.set_segment_base, SegBase.GS_USER_SEL, 0xE008) == EINVAL
    assert guest.call(Hypercall.set_segment_base, SegBase.GS_USER_SEL, 1 << 16) == EINVAL
    assert guest.call(Hypercall.set_segment_base, 4, 0) == EINVAL
    assert guest.call(Hypercall.set_segment_base, M64, 0) == EINVAL
    assert guest.call(Hypercall.fpu_taskswitch, 1) == guest.call(Hypercall.fpu_taskswitch, 0) == 0


def fast(guest, vector):
    return guest.call(XP_HYPERVISOR_xenproc_op, XenprocOp.set_fast_trap, vector)


def test_a_fast_trap_needs_a_gate_that_processes_may_use(guest, mode):
    assert fast(guest, 0x80) == EINVAL, "no gate"
    for flags in (0, 1, 2, 4, 7):
        assert table(guest, (0x80, flags, KERNEL_CS[mode], 0x1000)) == 0
        assert fast(guest, 0x80) == EINVAL, flags
    assert table(guest, *((v, 3, KERNEL_CS[mode], 0x1000) for v in (0x0E, 0x1F, 0x20, 0x2F, 0x30, 0x7F, 0x80, 0x81))) == 0
    for vector, expected in ((0x0E, EINVAL), (0x1F, EINVAL), (0x20, 0), (0x2F, 0), (0x30, EINVAL), (0x7F, EINVAL), (0x80, 0),
                             (0x81, EINVAL), (0x180, EINVAL), (1 << 32 | 0x80, EINVAL), (0, 0)):
        assert fast(guest, vector) == expected, hex(vector)


# ---- debug registers ----

def test_breakpoints_in_the_hole_are_refused(guest, mode):
    hole = HOLE[mode]
    for reg in range(4):
        assert guest.call(Hypercall.set_debugreg, reg, 0x1000 + reg) == 0
        assert guest.call(Hypercall.set_debugreg, reg, hole - 8) == (0 if mode != "x86_64" else EPERM)
        for address in (hole - 7, hole, hole + 4096, NO_ADDRESS[mode], M64 - 3):
            assert guest.call(Hypercall.set_debugreg, reg, address) == EPERM, hex(address)
        kept = 0x1000 + reg if mode == "x86_64" else hole - 8
        assert guest.call(Hypercall.get_debugreg, reg) == kept


def test_reserved_bits_read_as_the_hardware_has_them(guest):
    for reg, other in ((6, 4), (4, 6)):
        assert guest.call(Hypercall.set_debugreg, reg, M64) == 0
        assert guest.call(Hypercall.get_debugreg, other) == 0xFFFFEFFF
        assert guest.call(Hypercall.set_debugreg, reg, 0) == 0
        assert guest.call(Hypercall.get_debugreg, other) == 0xFFFF0FF0
    for reg, other in ((7, 5), (5, 7)):
        assert guest.call(Hypercall.set_debugreg, reg, M64 & ~0x2000 & ~0x2222_0000 & ~0x1111_0000) == 0
        assert guest.call(Hypercall.get_debugreg, other) == 0xCCCC_07FF
        assert guest.call(Hypercall.set_debugreg, reg, 0xCCCC_0000) == 0
        assert guest.call(Hypercall.get_debugreg, other) == 0, "nothing enabled: no debugging"


def test_general_detect_and_io_breakpoints_are_refused(guest):
    assert guest.call(Hypercall.set_debugreg, 7, 0x2001) == EPERM
    for i in range(4):
        assert guest.call(Hypercall.set_debugreg, 7, 1 | 2 << (16 + 4 * i)) == EPERM
    assert guest.call(Hypercall.get_debugreg, 7) == 0
    for reg in (8, 255, M64):
        assert guest.call(Hypercall.set_debugreg, reg, 0) == EINVAL
        assert guest.call(Hypercall.get_debugreg, reg) == EINVAL


@pytest.mark.parametrize("value", [-100000, -100001])
def test_a_value_that_looks_like_an_order_of_ours(guest64, value):
    """Results that are the guest's own numbers are never taken for "again" or "parked"."""
    assert guest64.call(Hypercall.set_debugreg, 0, value) == 0
    assert guest64.call(Hypercall.get_debugreg, 0) == value
    where, _ = guest64.put("struct xen_iret_context", at=512, rax=value & M64, cs=0xE030, rip=0x1000, rflags=0x202)
    assert guest64.call(Hypercall.iret, where) == value
    entry, multi = guest64.put("struct xen_multicall_entry", at=2048, op=Hypercall.get_debugreg)
    assert guest64.call(Hypercall.multicall, entry, 1) == 0
    assert multi.result == value & M64


# ---- delivery ----

def test_a_page_fault_finds_its_handler_with_the_address(guest, mode):
    top = stack(guest)
    assert table(guest, (14, 4, KERNEL_CS[mode], 0x7000)) == 0
    guest.page().gst_user = 1
    guest.shared_info.vcpu_info[0].evtchn_upcall_mask = 0
    ret, op = trap(guest, 14, address=0xDEAD000, error_code=6, rip=0x1234, rflags=0x202, rsp=0x9000, rcx=11, r11=12)
    assert (ret, op.handler, op.vector) == (0, 0x7000, 14)
    frame = frame_at(op)
    assert op.frame + 72 <= top and op.frame % 8 == 0
    assert (frame.cr2, frame.error_code, frame.rip, frame.rsp, frame.rcx, frame.r11) == (0xDEAD000, 6, 0x1234, 0x9000, 11, 12)
    assert frame.cs == {"x86_64": 0xE033}.get(mode, 0xE02B) and frame.cs & 3 == 3
    assert frame.ss & 3 == 3 and frame.rflags == 0x202
    vcpu = guest.shared_info.vcpu_info[0]
    assert vcpu.arch.cr2 == 0xDEAD000 and vcpu.evtchn_upcall_mask == 1, "the gate masks events"
    assert guest.page().gst_user == 0, "in the kernel now"
    assert guest.info().nr_page_faults == 1


def test_a_trap_within_the_kernel_stays_on_its_stack(guest, mode):
    stack(guest)
    assert table(guest, (14, 0, KERNEL_CS[mode], 0x7000), (6, 0, KERNEL_CS[mode], 0x8000)) == 0
    here = guest.args + 5000
    ret, op = trap(guest, 14, address=1, rsp=here)
    assert ret == 0 and op.frame == (here & ~15) - 72
    frame = frame_at(op)
    assert frame.cs & 3 == {"x86_64": 0}.get(mode, 1), "no ring 3: it was the kernel"
    assert frame.cs >> 32 == 1 and frame.rflags & 0x200 == 0, "upcalls were masked"
    ret, op = trap(guest, 6, address=5, rsp=op.frame)
    assert (ret, op.handler, frame_at(op).cr2) == (0, 0x8000, 0)
    assert guest.shared_info.vcpu_info[0].arch.cr2 == 1, "only a page fault's"


def test_gate_privilege_of_software_interrupts(core, mode):
    """dpl by ring: below it the interrupt is a general protection fault with the vector in its error code."""
    guest = core.create(1, paging=MODES[mode])
    stack(guest)
    kernel_ring = {"x86_64": 0}.get(mode, 1)
    gates = [(0x40 + dpl, dpl, KERNEL_CS[mode], 0x4000 + dpl) for dpl in range(4)]
    assert table(guest, *gates, (13, 0, KERNEL_CS[mode], 0xD000)) == 0
    for user, dpl in itertools.product((0, 1), range(4)):
        guest.page().gst_user = user
        ret, op = trap(guest, 0x40 + dpl, XP_TRAPF_software, rsp=guest.args + 8192)
        assert ret == 0
        if dpl >= (3 if user else kernel_ring):
            assert (op.vector, op.handler) == (0x40 + dpl, 0x4000 + dpl)
        else:
            assert (op.vector, op.handler, op.error_code) == (13, 0xD000, (0x40 + dpl) << 3 | 2)
    ret, op = trap(guest, 0x99, XP_TRAPF_software, rsp=guest.args + 8192)
    assert (op.vector, op.error_code) == (13, 0x99 << 3 | 2), "no gate"


def test_a_syscall_without_a_callback_is_an_invalid_opcode(guest, mode):
    stack(guest)
    assert table(guest, (6, 0, KERNEL_CS[mode], 0x6000)) == 0
    ret, op = trap(guest, XP_TRAP_syscall, rsp=guest.args + 8192)
    assert (ret, op.vector, op.handler) == (0, 6, 0x6000)


def test_forged_traps_are_refused(guest):
    for flags in (2, 4, 1 << 31):
        assert trap(guest, 14, flags)[0] == EINVAL
    for vector in (257, 1 << 31, 0xFFFFFFFF):
        assert trap(guest, vector)[0] == EINVAL
    for address in (0, guest.beyond, M64 - 3):
        assert guest.call(XP_HYPERVISOR_xenproc_op, XenprocOp.trap, address) == EFAULT
    assert guest.info().nr_page_faults == 0


@pytest.mark.parametrize("software", [0, XP_TRAPF_software])
def test_no_handler_ends_the_domain_with_the_frame(guest, software):
    where, _ = guest.put("struct xp_op_trap", at=1024, vector=14, flags=software, error_code=2, address=0xABC000, rip=0x1234, rsp=0x77)
    reason = ends(guest, XP_HYPERVISOR_xenproc_op, XenprocOp.trap, where)
    assert reason.startswith("no handler: vector " + ("13 error 0x72" if software else "14 error 0x2"))
    assert "address 0xabc000" in reason and "rip 0x1234" in reason and "rsp 0x77" in reason


@pytest.mark.parametrize("where", ["none", "hypervisor's", "beyond", "half out"])
def test_a_fault_while_delivering_one_ends_the_domain(core, where):
    guest = core.create(1)
    # frame 0 is nobody's
    sp = {"none": 0, "hypervisor's": guest.beyond + 2048, "beyond": 1 << 40, "half out": core.base + 4096 + 16}[where]
    assert guest.call(Hypercall.stack_switch, 0xE02B, sp) == 0
    assert table(guest, (14, 0, 0xE033, 0x7000)) == 0
    guest.page().gst_user = 1
    at, _ = guest.put("struct xp_op_trap", at=1024, vector=14, address=0xABC000)
    reason = ends(guest, XP_HYPERVISOR_xenproc_op, XenprocOp.trap, at)
    assert reason.startswith("double fault: no stack: vector 14") and "from ring 3" in reason


# ---- iret ----

def iret(guest, **fields):
    context = {"rip": 0x1000, "rflags": 0x202, **fields}
    return guest.put("struct xen_iret_context", at=512, **context)[0]


def test_iret_sets_ring_and_mask(guest, mode):
    user, kernel = {"x86_64": (0xE033, 0xE030)}.get(mode, (0xE02B, 0xE019))
    for cs, ring in ((user, 1), (kernel, 0)):
        for rflags, masked in ((0x202, 0), (0x2, 1)):
            guest.page().gst_user = 0
            assert guest.call(Hypercall.iret, iret(guest, cs=cs, rflags=rflags, rax=42)) == 42
            assert guest.page().gst_user == ring
            assert guest.shared_info.vcpu_info[0].evtchn_upcall_mask == masked
    assert guest.info().nr_irets == 4


@pytest.mark.parametrize(("fields", "modes"), [
    ({"cs": 0xE018}, ("x86_32", "x86_32p")), ({"cs": 0}, ("x86_32", "x86_32p")), ({"cs": 0xE01A}, ("x86_32", "x86_32p")),
    ({"cs": 0xE033, "rip": 1 << 63}, MODES), ({"cs": 0xE033, "rflags": 0x3202}, MODES), ({"cs": 0xE033, "rflags": 0x20202}, MODES),
])
def test_a_forged_iret_ends_the_domain(core, fields, modes):
    for domid, mode in enumerate(modes, 1):
        guest = core.create(domid, paging=MODES[mode])
        assert ends(guest, Hypercall.iret, iret(guest, **fields)).startswith("iret: cs")


def test_an_iret_from_nowhere_ends_the_domain(guest):
    assert ends(guest, Hypercall.iret, guest.beyond).startswith("iret: no frame at 0x")


# ---- rings ----

@pytest.mark.parametrize("nr", [
    "set_trap_table", "stack_switch", "set_callbacks", "fpu_taskswitch", "set_debugreg", "get_debugreg", "set_timer_op", "iret",
    "multicall", "memory_op", "xen_version", "console_io", "grant_table_op", "vcpu_op", "sched_op", "event_channel_op",
    "set_segment_base", "nmi_op", "callback_op",
])
def test_a_process_of_the_guests_makes_no_hypercalls(guest64, nr):
    guest64.page().gst_user = 1
    assert guest64.call(Hypercall[nr], 0, 0, 0) == EPERM
    assert guest64.call(63) == ENOSYS
    guest64.page().gst_user = 0
    assert guest64.call(Hypercall.fpu_taskswitch, 0) == 0
    assert not guest64.info().crashed
