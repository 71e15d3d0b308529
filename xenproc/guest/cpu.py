"""A virtual CPU for a Python guest that is a kernel: rings, a trap table, traps that find their handler, privileged instructions.

    def page_fault(cpu, frame):
        ...                             # frame.address, frame.error_code
    g.cpu.set_trap_table({14: Gate(page_fault)})
    g.cpu.run_user(process)             # in ring 3

Handlers are Python callables; each gets an address, which is what the hypervisor knows. Page faults go through the hypervisor, which
alone knows their address and builds the frame on the kernel's stack; system calls do, too, unless a fast trap is set; every other
trap goes straight to its handler. `counters` says which way each went; the hypervisor counts its own (`xenproc list --json`).
A trap without a handler, or whose frame cannot be written, ends the domain with the frame in its crash report.
The kernel and its processes are one process of the host: between these two the rings are a rule, not a wall.
"""
# Tour G:100

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from xenproc.abi import Hypercall, MmuExt
from xenproc.abi.trap import CallbackFlag, CallbackOp, CallbackType, SegBase
from xenproc.errors import ConfigError, HypercallError, PageFault, XenprocError
from xenproc.guest.evtchn import Events
from xenproc.guest.hypercall import Hypercalls, Line
from xenproc.guest.memory import Memory, Pages
from xenproc.native import ffi, lib

if TYPE_CHECKING:
    from xenproc.guest.paging import AddressSpace
    from xenproc.guest.queue import UpdateQueue

DEVICE_NOT_AVAILABLE, GENERAL_PROTECTION, PAGE_FAULT = 7, 13, 14
EVENT = -1                  # no vector: an event's upcall
EFLAGS_IF = 0x200
_SELF = 0x7FF0
_PAIR, _TRAP, _RETURN = 0, 1024, 2048       # in the page of arguments: a switch, a trap, updates and iret
_IRET_CLEAR = bytes(32)     # rax, r11, rcx, flags; what is behind them may be a frame's
_HANDLERS = 0x100000        # addresses of handlers: any number that every mode can have
_USER_CODE = 0x400000
_USER_SELECTORS = {"x86_64": (0xE033, 0xE02B)}
_KERNEL_SELECTORS = {"x86_64": (0xE033, 0xE02B)}
_USER_SELECTORS_32, _KERNEL_SELECTORS_32 = (0xE02B, 0xE033), (0xE019, 0xE021)


@dataclass(frozen=True)
class Gate:
    """A handler and who may raise it: dpl, the ring from which on `int` may; masks_events: upcalls are masked when it is entered."""

    handler: Callable[["Cpu", "Frame"], Any]
    dpl: int = 0
    masks_events: bool = False


class Frame(NamedTuple):
    """What a handler finds: the trap, and where it happened."""

    vector: int
    error_code: int
    address: int            # of a page fault, else 0
    ring: int               # that was interrupted
    args: tuple             # what a system call was given
    hypervisor: bool        # it came through the hypervisor
    rsp: int                # of what was interrupted
    at: int = 0             # the frame itself, on the kernel's stack; 0: it came straight


@dataclass
class Context:
    """A kernel stack and how far it is used: what differs between processes of a kernel, beside their memory."""

    base: int               # its end: a window address
    rsp: int
    depth: int = 0          # traps whose frames are on it
    user_rsp: int = 0
    user_rip: int = 0


class Cpu:
    """The one virtual CPU of a domain. For one thread."""

    def __init__(self, calls: Hypercalls, memory: Memory, events: Events, page: Any, paging: str) -> None:
        self._calls = calls
        self._page = page
        self._events, self._shared_info = events, events.shared_info
        self._event_callback: Callable[[Cpu, Frame], Any] | None = None
        self._user = _USER_SELECTORS.get(paging, _USER_SELECTORS_32)
        self._kernel = _KERNEL_SELECTORS.get(paging, _KERNEL_SELECTORS_32)
        self.kernel_ring = 3 if paging == "x86_64" else 1
        self.counters: Counter[tuple[str, str]] = Counter()
        self._gates: dict[int, Gate] = {}
        self._handlers: dict[int, Callable[[Cpu, Frame], Any]] = {}
        self._fast = 0
        self._task_switched = False
        self.interrupt_due = False                      # at the end of the instruction (interrupts.py)
        self.boot_space: AddressSpace | None = None     # of a kernel that has ended: a CPU always has page tables
        self._table = memory.alloc(2)           # 256 entries and the one that ends them
        self._pair = memory.alloc(1)            # arguments of calls that every trap and every switch makes
        self._pair.view[:] = bytes(len(self._pair.view))
        self._line = Line(calls)
        self._trap_at = self._pair.address + _TRAP
        self._trap = ffi.cast("struct xp_op_trap *", self._trap_at)
        self.outgoing: UpdateQueue | None = None        # page-table updates to be sent with iret, in one multicall
        self.stack: Pages = memory.alloc(1)
        self._rsp = self.stack.address + len(self.stack.view)
        self.user_rsp = self.user_rip = 0       # of ring 3; user_rip 0: where it was interrupted, else where it is to go on
        self._depth = 0
        self.stack_switch(self._rsp)

    # ---- rings ----

    @property
    def in_user(self) -> bool:
        """Does it run a process of the kernel's?"""
        return bool(self._page.gst_user)

    @property
    def ring(self) -> int:
        """The current ring: 1 (3 in 64-bit mode) for the kernel, 3 for its processes."""
        return 3 if self.in_user else self.kernel_ring

    def run_user(self, process: Callable[..., Any], *args: Any, rsp: int = 0) -> Any:
        """Return to ring 3 (iret) and run `process` there; return its result, in the kernel again."""
        code, stack = self._user
        wanted = self._rsp if self._depth else self._base       # in a handler: below its frame, which must stay
        if wanted != self._told_rsp:
            self._tell_stack(wanted)
        self.user_rsp, self.user_rip = rsp, 0
        at = self._rsp - ffi.sizeof("struct xen_iret_context")
        self._iret(at, rip=_USER_CODE, cs=code | 3, rflags=EFLAGS_IF, rsp=rsp, ss=stack | 3)
        try:
            return process(*args)
        finally:
            self._page.gst_user = 0

    def _iret(self, at: int, **fields: int) -> None:
        context = ffi.cast("struct xen_iret_context *", at)
        ffi.memmove(context, _IRET_CLEAR, 32)
        for name, value in fields.items():
            setattr(context, name, value)
        waiting = self.outgoing.take() if self.outgoing else None
        if waiting:
            self._multicall(_RETURN, (Hypercall.mmu_update, waiting), (Hypercall.iret, (at,)))
        else:
            self._line(Hypercall.iret, at)

    def _multicall(self, where: int, *calls: tuple[Hypercall, tuple[int, ...]]) -> None:
        """Make several calls as one. Raises HypercallError at the first that failed; those behind it are done all the same."""
        entries = ffi.cast("struct xen_multicall_entry *", self._pair.address + where)
        for entry, (op, args) in zip(entries[0 : len(calls)], calls, strict=True):
            entry.op = op
            for i, arg in enumerate(args):
                entry.args[i] = arg
        self._calls.call(Hypercall.multicall, self._pair.address + where, len(calls), op="multicall")
        for i, (op, _) in enumerate(calls):
            result = ffi.cast("int64_t", entries[i].result)
            if int(result) < 0:
                raise HypercallError(-int(result), op.name, self._calls.domid)

    # ---- registering ----

    def _address_of(self, handler: Callable[["Cpu", Frame], Any]) -> int:
        address = next((a for a, known in self._handlers.items() if known == handler), _HANDLERS + 16 * len(self._handlers))
        self._handlers[address] = handler
        return address

    def set_trap_table(self, gates: dict[int, Gate] | None) -> None:
        """Register the handlers of vectors; those of others stay. None: no handler at all.

        Raises HypercallError: EINVAL (a vector above 255, a bad address), EPERM (a selector of ring 0).
        """
        if gates is None:
            self._calls.call(Hypercall.set_trap_table, 0, op="set_trap_table")
            self._gates.clear()
            return
        if any(not 0 <= vector <= 255 or not 0 <= gate.dpl <= 3 for vector, gate in gates.items()):
            raise XenprocError(f"trap table: expected vectors 0 to 255 and dpl 0 to 3, got {gates}")
        entries = ffi.cast("struct xen_trap_info *", self._table.address)
        for i, (vector, gate) in enumerate(gates.items()):
            address = self._address_of(gate.handler)
            flags = gate.dpl | gate.masks_events << 2
            entries[i] = {"vector": vector, "flags": flags, "cs": self._kernel[0], "address": address}
        entries[len(gates)] = {"address": 0}
        self._calls.call(Hypercall.set_trap_table, self._table.address, op="set_trap_table")
        self._gates.update(gates)

    def set_callback(
        self, kind: CallbackType, handler: Callable[["Cpu", Frame], Any], masks_events: bool = False
    ) -> None:
        """Register a callback (CALLBACKOP_register). Raises HypercallError."""
        fields = {"type": kind, "flags": CallbackFlag.mask_events if masks_events else 0, "address": self._address_of(handler)}
        with self._calls.struct("struct xen_callback_register", **fields) as (address, _):
            self._calls.call(Hypercall.callback_op, CallbackOp.register, address, op="callback_op")
        if kind == CallbackType.event:
            self._event_callback = handler

    def set_fast_trap(self, vector: int) -> None:
        """Let system calls by `vector` go straight to their handler (0: none). Its gate must have dpl 3 and mask no events.

        Raises HypercallError (EINVAL).
        """
        self._calls.xenproc_op(lib.XP_OP_set_fast_trap, vector)
        self._fast = vector

    def stack_switch(self, rsp: int) -> None:
        """Say where the kernel's stack is when a process is interrupted: a window address (at first: the end of `stack`)."""
        self._tell_stack(rsp)
        self._base = rsp

    def switch(self, to: Context, space: "AddressSpace | None" = None) -> Context:
        """Leave the kernel stack for another, as a switch between processes does; return what was left.

        space: becomes the current address space with it, in the same call of the hypervisor. Raises HypercallError.
        """
        left = Context(self._base, self._rsp, self._depth, self.user_rsp, self.user_rip)
        if space is None:
            self.stack_switch(to.base)
        else:
            space.queue.flush()
            self._tell_stack_and_space(to.base, space.top)
            space.load(told=True)
            self._base = to.base
        self._rsp, self._depth, self.user_rsp, self.user_rip = to.rsp, to.depth, to.user_rsp, to.user_rip
        return left

    def _tell_stack_and_space(self, rsp: int, top: int) -> None:
        """stack_switch and MMUEXT_NEW_BASEPTR as one multicall."""
        at = self._pair.address + _PAIR + 2 * ffi.sizeof("struct xen_multicall_entry")
        op = ffi.cast("struct xen_mmuext_op *", at)
        op.cmd, op.arg1.mfn = MmuExt.NEW_BASEPTR, top
        self._multicall(_PAIR, (Hypercall.stack_switch, (self._kernel[1], rsp)), (Hypercall.mmuext_op, (at, 1, 0, _SELF)))
        self._told_rsp = rsp

    def _tell_stack(self, rsp: int) -> None:
        self._calls.call(Hypercall.stack_switch, self._kernel[1], rsp, op="stack_switch")
        self._told_rsp = rsp

    def set_segment_base(self, which: SegBase, base: int) -> None:
        """Set the base of fs or gs, or gs' selector. Raises HypercallError (EINVAL)."""
        self._calls.call(Hypercall.set_segment_base, which, base, op="set_segment_base")

    def fpu_taskswitch(self, switched: bool) -> None:
        """Have the next use of floating point trap (vector 7), or not."""
        self._calls.call(Hypercall.fpu_taskswitch, int(switched), op="fpu_taskswitch")
        self._task_switched = switched

    def set_debugreg(self, number: int, value: int) -> None:
        """Set a debug register. Raises HypercallError: EINVAL (no such), EPERM (an address in the hole, general detect, I/O)."""
        self._calls.call(Hypercall.set_debugreg, number, value, op="set_debugreg")

    def get_debugreg(self, number: int) -> int:
        """Return a debug register, 0 to 7."""
        if not 0 <= number <= 7:
            raise XenprocError(f"debug register: expected 0 to 7, got {number}")
        return self._calls.raw(Hypercall.get_debugreg, number) & 0xFFFF_FFFF_FFFF_FFFF

    # ---- traps ----

    def deliver(self, vector: int, error_code: int = 0, address: int = 0) -> Any:
        """Let a trap happen: run its handler in the kernel's ring and return what that returns.

        Without a handler the domain ends.
        """
        if vector == PAGE_FAULT or vector not in self._gates:
            return self._by_hypervisor(vector, error_code=error_code, address=address)
        return self._straight(vector, error_code)

    def fault(self, fault: PageFault) -> Any:
        """Deliver what an access by virtual address has met; the access can then be tried again, as a processor does."""
        return self.deliver(fault.vector, fault.error_code, fault.address)

    def load(self, space: "AddressSpace", va: int, nr: int, user: bool | None = None) -> bytes:
        """Load nr bytes; faults go to their handler, after which the load is done again, as a processor does it.

        user: with the rights of ring 3 or of the kernel; default: of the current ring.
        """
        while True:
            try:
                return space.read(va, nr, self.in_user if user is None else user)
            except PageFault as fault:
                self.fault(fault)

    def store(self, space: "AddressSpace", va: int, data: bytes, user: bool | None = None) -> None:
        """Store data, as load does."""
        while True:
            try:
                return space.write(va, data, self.in_user if user is None else user)
            except PageFault as fault:
                self.fault(fault)

    def interrupt(self, vector: int, *args: Any) -> Any:
        """Execute `int vector`: the gate's privilege counts (else general protection). A fast trap goes straight."""
        if vector != self._fast or not vector:
            return self._by_hypervisor(vector, args, flags=lib.XP_TRAPF_software)
        return self._straight(vector, 0, args)

    def syscall(self, *args: Any) -> Any:
        """Execute `syscall`: to the syscall callback, through the hypervisor. Without one: an invalid opcode."""
        return self._by_hypervisor(lib.XP_TRAP_syscall, args)

    def upcall(self, handler: Callable[["Cpu", Frame], Any]) -> Any:
        """Interrupt what runs: its event callback in the kernel's ring, straight (interrupts.py says when)."""
        self.counters["straight", "upcall"] += 1
        ring, user = self.ring, self._page.gst_user
        self._page.gst_user = 0
        try:
            return handler(self, Frame(EVENT, 0, 0, ring, (), False, self.user_rsp))
        finally:
            self._page.gst_user = user

    def deliver_events(self) -> int:
        """Enter the event callback while an upcall is pending and not masked, masked meanwhile, as Xen does; return how often.

        One that leaves evtchn_upcall_pending set is entered again, as there. 0 without a callback (CALLBACKTYPE_event).
        """
        vcpu, nr = self._shared_info.vcpu_info[0], 0
        while self._event_callback is not None and vcpu.evtchn_upcall_pending and not vcpu.evtchn_upcall_mask:
            vcpu.evtchn_upcall_mask = 1
            try:
                self.upcall(self._event_callback)
            finally:
                vcpu.evtchn_upcall_mask = 0         # the way back: as it was
            nr += 1
        return nr

    def unmask_events(self) -> int:
        """Let upcalls in; those that are pending enter the callback at once. Return how often it was entered."""
        self._shared_info.vcpu_info[0].evtchn_upcall_mask = 0
        return self.deliver_events()

    def wait_events(self, timeout: float | None = 5.0) -> int:
        """Let upcalls in and wait for one, as SCHEDOP_block does, and enter the event callback; return how often.

        Raises Timeout, ConfigError (there is no callback).
        """
        if self._event_callback is None:
            raise ConfigError("wait_events: no event callback is registered (set_callback(CallbackType.event, ...))")
        nr = self.unmask_events()
        if not nr:
            self._events.wait_upcall(timeout)
            nr = self.deliver_events()
        return nr

    def use_fpu(self) -> None:
        """Use floating point: vector 7 if the task-switched flag is set."""
        if self._task_switched:
            self.deliver(DEVICE_NOT_AVAILABLE)

    def _straight(self, vector: int, error_code: int, args: tuple = ()) -> Any:
        gate, ring, user = self._gates[vector], self.ring, self._page.gst_user
        self.counters["straight", _kind(vector, args, self._fast)] += 1
        vcpu = self._shared_info.vcpu_info[0]
        masked = vcpu.evtchn_upcall_mask
        self._page.gst_user = 0
        if gate.masks_events:
            vcpu.evtchn_upcall_mask = 1
        try:
            return gate.handler(self, Frame(vector, error_code, 0, ring, args, False, self.user_rsp if user else self._rsp))
        finally:
            vcpu.evtchn_upcall_mask = masked
            self._page.gst_user = user

    def _by_hypervisor(self, vector: int, args: tuple = (), error_code: int = 0, address: int = 0, flags: int = 0) -> Any:
        ring, rsp, op = self.ring, self.user_rsp if self.in_user else self._rsp, self._trap
        op.vector, op.error_code, op.address, op.flags, op.rip, op.rsp = vector, error_code, address, flags, _USER_CODE, rsp
        result = self._line(lib.XP_HYPERVISOR_xenproc_op, lib.XP_OP_trap, self._trap_at)
        if result < 0:
            raise HypercallError(-result, "trap", self._calls.domid)
        delivered, error_code, handler, at = op.vector, op.error_code, op.handler, op.frame
        self.counters["hypervisor", _kind(delivered, args, delivered)] += 1
        pushed = ffi.cast("struct xp_trap_frame *", at)
        frame = Frame(delivered, error_code, pushed.cr2, ring, args, True, pushed.rsp, at)
        before, self._rsp = self._rsp, at           # a trap within the handler finds the stack below this frame
        self._depth += 1
        try:
            result = self._handlers[handler](self, frame)
        finally:
            self._depth -= 1
            self._rsp = before
        self._iret(at)
        return result

    # ---- privileged instructions: in no ring that a guest has are they anything but a general protection fault ----

    def _privileged(self) -> Any:
        return self.deliver(GENERAL_PROTECTION)

    def hlt(self) -> Any:
        """Stop until an interrupt: general protection fault; SCHEDOP_block does it."""
        return self._privileged()

    def cli(self) -> Any:
        """Hold interrupts off: general protection fault; evtchn_upcall_mask does it."""
        return self._privileged()

    def sti(self) -> Any:
        """Let interrupts in: general protection fault; evtchn_upcall_mask does it."""
        return self._privileged()

    def mov_to_cr(self, number: int, value: int) -> Any:
        """Write a control register: general protection fault; MMUEXT_NEW_BASEPTR sets cr3."""
        return self._privileged()

    def mov_from_cr(self, number: int) -> Any:
        """Read a control register: general protection fault."""
        return self._privileged()

    def lgdt(self, address: int) -> Any:
        """Load the descriptor table: general protection fault; set_gdt does it."""
        return self._privileged()

    def lidt(self, address: int) -> Any:
        """Load the interrupt table: general protection fault; set_trap_table does it."""
        return self._privileged()

    def invlpg(self, address: int) -> Any:
        """Forget a translation: general protection fault; MMUEXT_INVLPG_LOCAL does it."""
        return self._privileged()

    def clts(self) -> Any:
        """Clear the task-switched flag: general protection fault; fpu_taskswitch does it."""
        return self._privileged()

    def rdmsr(self, number: int) -> Any:
        """Read a model-specific register: general protection fault."""
        return self._privileged()

    def wrmsr(self, number: int, value: int) -> Any:
        """Write a model-specific register: general protection fault."""
        return self._privileged()

    def inb(self, port: int) -> Any:
        """Read an I/O port: general protection fault."""
        return self._privileged()

    def outb(self, port: int, value: int) -> Any:
        """Write an I/O port: general protection fault."""
        return self._privileged()

    def triple_fault(self) -> NoReturn:
        """Take a trap that no gate is for with no table at all: the domain ends."""
        self.set_trap_table(None)
        self.deliver(GENERAL_PROTECTION)
        raise AssertionError("the hypervisor let it live")


def _kind(vector: int, args: tuple, system_call: int) -> str:
    """What the counters call it."""
    if vector == PAGE_FAULT:
        return "page_fault"
    return "system_call" if vector == lib.XP_TRAP_syscall or (vector == system_call and vector >= 0x20) else "other"
