"""Which system calls a domain's process may make: one table, and the seccomp program made of it.

Pure. Used by xenproc/guest/lockdown.py; tests/unit/test_filter.py tries every line on an interpreter and on the kernel.
  1. What the table does not name is refused (EPERM); what calls by another door (int 0x80, x32) ends the process.
  2. A condition sees the call's registers only: nothing is decided by what a pointer points to.
  3. An argument that the kernel takes as an int is judged by its low half, as the kernel does; any other by both halves.
  4. The window cannot be unmapped, moved, replaced or given other rights even where the kernel has no mseal.
Source: seccomp(2), the calls' manual pages, and what CPython, ctypes, NumPy, asyncio and this library were seen to call.
"""
# Tour B:090

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from xenproc.guest import bpf
from xenproc.guest.bpf import Assembler, Symbol
from xenproc.guest.syscalls import NUMBER

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
EPERM, ENOSYS = 1, 38

# The window is compared in units of 64 KiB: 47-bit addresses then fit in the filter's 32-bit arithmetic, sums included.
UNIT_SHIFT = 16
ADDRESS_END = 1 << 47

PID, WINDOW_FIRST, WINDOW_END = Symbol("pid"), Symbol("window_first"), Symbol("window_end")

# Where a decision goes.
_ALLOW, _REFUSE, _ABSENT, _KILL, _RANGE = "allow", "refuse", "absent", "kill", "range"
_ACTIONS = {_ALLOW: bpf.RET_ALLOW, _REFUSE: bpf.RET_ERRNO | EPERM, _ABSENT: bpf.RET_ERRNO | ENOSYS,
            _KILL: bpf.RET_KILL_PROCESS}


# ---- conditions on a call's arguments ----


class Condition:
    """Something about the arguments; `emit` makes code that goes to label `yes` or `no`."""

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        """Append the code that decides, which ends at one of the labels."""
        raise NotImplementedError


@dataclass(frozen=True)
class Is(Condition):
    """An int argument, less the bits of `ignoring`, is one of the values."""

    arg: int
    values: Sequence[int | Symbol]
    ignoring: int = 0

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        asm.arg(self.arg)
        if self.ignoring:
            asm.op(bpf.AND_K, 0xFFFFFFFF & ~self.ignoring)
        for value in self.values[:-1]:
            asm.branch(bpf.JEQ, value, yes=yes)
        asm.branch(bpf.JEQ, self.values[-1], yes=yes, no=no)


@dataclass(frozen=True)
class Bits(Condition):
    """An argument has no bits but these: an int, or a long (whose high half must be zero) with wide=True."""

    arg: int
    allowed: int
    wide: bool = False

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        if self.wide:
            asm.arg(self.arg, high=True)
            asm.branch(bpf.JEQ, 0, no=no)
        asm.arg(self.arg)
        asm.branch(bpf.JSET, 0xFFFFFFFF & ~self.allowed, yes=no, no=yes)


@dataclass(frozen=True)
class Lacks(Condition):
    """A long argument has none of these low bits."""

    arg: int
    bits: int

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        asm.arg(self.arg)
        asm.branch(bpf.JSET, self.bits, yes=no, no=yes)


@dataclass(frozen=True)
class AtMost(Condition):
    """An int argument, taken as unsigned, is not above the limit."""

    arg: int
    limit: int

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        asm.arg(self.arg)
        asm.branch(bpf.JGT, self.limit, yes=no, no=yes)


@dataclass(frozen=True)
class Wide(Condition):
    """A long or a pointer is exactly one of the values (below 2^32)."""

    arg: int
    values: Sequence[int]

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        asm.arg(self.arg, high=True)
        asm.branch(bpf.JEQ, 0, no=no)
        Is(self.arg, self.values).emit(asm, yes, no)


@dataclass(frozen=True)
class OutsideWindow(Condition):
    """[argument 0, argument 0 + argument 1) keeps off the window, in units of 64 KiB and counting one unit more."""

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        assert (yes, no) == (_ALLOW, _REFUSE), "one tail serves all: this can only be a rule's last word"
        asm.jump(_RANGE)


class All(Condition):
    """Every one of these."""

    def __init__(self, *parts: Condition) -> None:
        self.parts = parts

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        for part in self.parts[:-1]:
            onward = asm.new_label()
            part.emit(asm, onward, no)
            asm.label(onward)
        self.parts[-1].emit(asm, yes, no)


class Any(Condition):
    """At least one of these."""

    def __init__(self, *parts: Condition) -> None:
        self.parts = parts

    def emit(self, asm: Assembler, yes: str, no: str) -> None:
        for part in self.parts[:-1]:
            onward = asm.new_label()
            part.emit(asm, yes, onward)
            asm.label(onward)
        self.parts[-1].emit(asm, yes, no)


# ---- the table ----


@dataclass(frozen=True)
class Rule:
    """Calls that are allowed, always or on a condition, and why."""

    names: str
    why: str
    when: Condition | None = None


# open: O_CLOEXEC, O_NOFOLLOW, O_DIRECTORY, O_LARGEFILE, O_NONBLOCK, O_NOCTTY. Not: writing, O_CREAT, O_TRUNC, O_ASYNC,
# O_DIRECT (pins frames), O_PATH, O_TMPFILE.
_OPEN = 0x80000 | 0x20000 | 0x10000 | 0x8000 | 0x800 | 0x100
# clone: what pthread_create of glibc passes, and musl's (one bit more that means nothing). Anything else makes a process or
# a namespace.
_THREAD = 0x3D0F00, 0x7D0F00
_MAP_FIXED = 0x10
# mmap: SHARED, PRIVATE, 32BIT, FIXED, ANONYMOUS, DENYWRITE, EXECUTABLE, NORESERVE, POPULATE, NONBLOCK, STACK,
# FIXED_NOREPLACE. Not: GROWSDOWN, LOCKED, HUGETLB, SYNC, DROPPABLE.
_MMAP = 0x1 | 0x2 | 0x40 | _MAP_FIXED | 0x20 | 0x800 | 0x1000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x100000
_PROT = 0x7
_DONTNEED = 4
# madvise: NORMAL, RANDOM, SEQUENTIAL, WILLNEED, FREE, HUGEPAGE, NOHUGEPAGE, DONTDUMP.
_ADVICE = 0, 1, 2, 3, 8, 14, 15, 16
_NONBLOCK, _CLOEXEC = 0x800, 0x80000
_MSG_DONTWAIT, _MSG_NOSIGNAL, _MSG_TRUNC, _MSG_WAITALL, _MSG_CMSG_CLOEXEC = 0x40, 0x4000, 0x20, 0x100, 0x40000000

TABLE: tuple[Rule, ...] = (
    # Hot.
    Rule("futex", "locks, semaphores and doorbells; not requeue (moves a peer's waiters), not PI, not robust wake-op",
         Is(1, (0, 1, 9, 10), ignoring=128 | 256)),                 # WAIT, WAKE, WAIT_BITSET, WAKE_BITSET; PRIVATE, REALTIME
    Rule("madvise", "giving frames back (DONTNEED, the window too), malloc, NumPy; REMOVE would zero write-protected frames",
         Any(Is(2, (_DONTNEED,)), All(Is(2, _ADVICE), OutsideWindow()))),

    # Memory.
    Rule("mmap", "malloc, stacks, shared libraries; may replace anything but the window",
         All(Bits(2, _PROT, wide=True), Bits(3, _MMAP, wide=True), Any(Lacks(3, _MAP_FIXED), OutsideWindow()))),
    Rule("mprotect", "malloc, stacks, relocations, callbacks of ctypes", All(Bits(2, _PROT, wide=True), OutsideWindow())),
    Rule("munmap", "malloc, stacks", OutsideWindow()),
    Rule("mremap", "realloc; only MAYMOVE, so that the target is the kernel's choice",
         All(Bits(3, 1, wide=True), OutsideWindow())),
    Rule("brk", "malloc"),

    # Descriptors it has: the boot socket, doorbells, its own self-pipe and epoll, Python's files opened read-only.
    Rule("read readv pread64 lseek close", "files, doorbells, the boot socket"),
    Rule("write writev", "doorbells, self-pipes; no file is open for writing"),
    Rule("fcntl", "close-on-exec and O_NONBLOCK; not dup, owners, signals, leases, locks, seals, pipe sizes",
         Any(Is(1, (1, 2, 3)), All(Is(1, (4,)), Bits(2, 0x3 | 0x800 | 0x8000)))),
    Rule("ioctl", "isatty, FIONREAD, FIONBIO, close-on-exec; no device, no FIOASYNC",
         Is(1, (0x5401, 0x802C542A, 0x541B, 0x5421, 0x5450, 0x5451))),   # TCGETS, TCGETS2, ...
    Rule("poll ppoll select pselect6 epoll_wait epoll_pwait epoll_ctl", "waiting on descriptors; asyncio"),
    Rule("epoll_create1", "asyncio", Bits(0, _CLOEXEC)),
    Rule("eventfd2", "wake-ups among its own threads", Bits(1, 0x1 | _NONBLOCK | _CLOEXEC)),

    # Sockets: a pair of its own at most. Nothing is named, connected to, or sent a descriptor over.
    Rule("socketpair", "the self-pipe of asyncio: AF_UNIX, stream",
         All(Is(0, (1,)), Is(1, (1,), ignoring=_NONBLOCK | _CLOEXEC), Is(2, (0,)))),
    Rule("sendto", "send() on a pair; no address, not MSG_OOB, not zero-copy (pins frames)",
         All(Bits(3, _MSG_DONTWAIT | _MSG_NOSIGNAL), Wide(4, (0,)))),
    Rule("recvfrom", "recv() on a pair", Bits(3, _MSG_DONTWAIT | _MSG_TRUNC | _MSG_WAITALL)),
    Rule("recvmsg", "descriptors from the hypervisor over the boot socket",
         Bits(2, _MSG_DONTWAIT | _MSG_TRUNC | _MSG_WAITALL | _MSG_CMSG_CLOEXEC)),
    Rule("getsockopt", "what socket.socket(fileno=) asks: SO_TYPE, SO_ERROR, SO_PROTOCOL, SO_DOMAIN",
         All(Is(1, (1,)), Is(2, (3, 4, 38, 39)))),
    Rule("getsockname shutdown", "socket objects, transports of asyncio"),

    # Files: read-only, and only where the pen and Landlock let it look.
    Rule("openat", "imports, reading", Bits(2, _OPEN)),
    Rule("open", "imports, reading", Bits(1, _OPEN)),
    Rule("stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd getdents64",
         "imports, os.stat, os.scandir"),

    # Threads and signals: its own, nobody else's.
    Rule("clone", "threads; any other flags would make a process, which escapes the window", Wide(0, _THREAD)),
    Rule("set_robust_list rseq exit exit_group sched_yield getcpu", "threads come and go"),
    Rule("sched_getaffinity", "how many CPUs: asked by Python, OpenBLAS", Is(0, (0, PID))),
    Rule("rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack", "signal handlers, faulthandler"),
    Rule("pause rt_sigtimedwait rt_sigpending", "signal.pause() and sigwait(): a guest that waits in a loop must not spin"),
    Rule("tgkill kill", "abort() and raise(): signals to itself", Is(0, (PID,))),
    Rule("restart_syscall", "the kernel's own way on after a stop and a continue"),
    Rule("prctl", "PR_SET_NAME, PR_GET_NAME: thread names; not the death signal, dumpable, seccomp, address-space fields",
         Is(0, (15, 16))),

    # Time and identity.
    Rule("clock_gettime clock_getres clock_nanosleep", "clocks; not those of another process (negative numbers)", AtMost(0, 11)),
    Rule("nanosleep gettimeofday time getrusage", "time"),
    Rule("getpid gettid getppid getuid geteuid getgid getegid uname getrandom", "who am I; randomness"),
    Rule("getrlimit", "reading its limits"),
    Rule("prlimit64", "reading its limits: itself, no new value", All(Is(0, (0,)), Wide(2, (0,)))),
)

# Refused with ENOSYS instead: the caller then falls back on something that is allowed.
FALL_BACK = "clone3 close_range epoll_pwait2"

# With a condition and called often: found soonest. (Those without are in a bitmap of the kernel's and cost nothing.)
HOT = "futex madvise"

RULES: dict[int, Rule] = {NUMBER[name]: rule for rule in TABLE for name in rule.names.split()}


# ---- the program ----

_FALL_BACK, _HOT = ({NUMBER[name] for name in names.split()} for names in (FALL_BACK, HOT))


def _assemble() -> tuple[bytes, dict[str, list[int]]]:
    asm = Assembler()
    asm.op(bpf.LD_ABS, bpf.DATA_ARCH)
    asm.branch(bpf.JEQ, AUDIT_ARCH_X86_64, no=_KILL)
    asm.op(bpf.LD_ABS, bpf.DATA_NR)
    asm.branch(bpf.JGE, X32_BIT, yes=_KILL)
    _search(asm, _intervals())
    for nr, rule in sorted(RULES.items()):
        if rule.when is not None:
            asm.label(f"rule {nr}")
            rule.when.emit(asm, _ALLOW, _REFUSE)
    _range_check(asm)
    for label, action in _ACTIONS.items():
        asm.label(label)
        asm.op(bpf.RET, action)
    return asm.assemble()


def _intervals() -> list[tuple[int, str, int]]:
    """What to do from which number on, up to the next entry's, and how near the root of the search that should be.

    The kernel searches once for each number when the filter is installed, and again at each call with a condition.
    """
    out: list[tuple[int, str, int]] = []
    for nr in range(max(NUMBER.values()) + 2):
        rule = RULES.get(nr)
        target = _ABSENT if nr in _FALL_BACK else _REFUSE
        if rule is not None:
            target = _ALLOW if rule.when is None else f"rule {nr}"
        if out and out[-1][1] == target:
            out[-1] = (*out[-1][:2], out[-1][2] + 1)
        else:
            out.append((nr, target, 100 if nr in _HOT else 1))
    return out


def _search(asm: Assembler, intervals: list[tuple[int, str, int]]) -> None:
    """A search for the interval that the accumulator lies in, by halves of about equal weight."""
    total, before = sum(weight for _, _, weight in intervals), 0
    uneven = []                         # of a cut before each entry but the first
    for _, _, weight in intervals[:-1]:
        before += weight
        uneven.append(abs(total - 2 * before))
    cut = uneven.index(min(uneven)) + 1
    lower, upper = intervals[:cut], intervals[cut:]
    above = upper[0][1] if len(upper) == 1 else asm.new_label()
    asm.branch(bpf.JGE, upper[0][0], yes=above, no=lower[0][1] if len(lower) == 1 else None)
    if len(lower) > 1:
        _search(asm, lower)
    if len(upper) > 1:
        asm.label(above)
        _search(asm, upper)


def _range_check(asm: Assembler) -> None:
    """Arguments 0 (address) and 1 (length) keep off the window.

    In units u = address >> 16 and l = length >> 16 the call ends at or before u + l + 2, also after the kernel has rounded the
    length up to a page. u < 2^31 and l < 2^31 - 2^16, so nothing overflows.
    """
    asm.label(_RANGE)
    for arg, limit, slot in ((0, ADDRESS_END >> 32, 0), (1, (ADDRESS_END >> 32) - 1, 1)):
        asm.arg(arg, high=True)
        asm.branch(bpf.JGE, limit, yes=_REFUSE)
        asm.op(bpf.LSH_K, 32 - UNIT_SHIFT)
        asm.op(bpf.ST, slot)
        asm.arg(arg)
        asm.op(bpf.RSH_K, UNIT_SHIFT)
        asm.op(bpf.LDX_MEM, slot)
        asm.op(bpf.OR_X)
        if arg == 0:
            asm.branch(bpf.JGE, WINDOW_END, yes=_ALLOW)
            asm.op(bpf.ST, slot)
    asm.op(bpf.LDX_MEM, 0)
    asm.op(bpf.ADD_X)
    asm.op(bpf.ADD_K, 2)
    asm.branch(bpf.JGT, WINDOW_FIRST, yes=_REFUSE, no=_ALLOW)


# The program with its constants 0, and {"pid" | "window_first" | "window_end": byte offsets of each}; native/lockdown.c patches
# a copy of it in the domain's process.
TEMPLATE, PLACES = _assemble()
NR_INSNS = len(TEMPLATE) // bpf.INSN.size
_CONSTANT = struct.Struct("<I")


def build_filter(pid: int, window_base: int, window_end: int) -> bytes:
    """Return the program (8 bytes an instruction) for a process `pid` whose window is [window_base, window_end); 0, 0: none.

    pid is what getpid() returns in the process. Calls that come within 192 KiB of the window may be refused, too.
    Raises ValueError for a window that is none. Costs a few microseconds.
    """
    if not 0 < pid < 1 << 31:
        raise ValueError(f"pid: expected 1 to 2^31 - 1, got {pid}")
    if not 0 <= window_base <= window_end < ADDRESS_END:
        raise ValueError(f"window: expected an ascending range below 2^47, got {window_base:#x} to {window_end:#x}")
    program = bytearray(TEMPLATE)
    values = {"pid": pid, "window_first": window_base >> UNIT_SHIFT, "window_end": -(-window_end >> UNIT_SHIFT)}
    for name, value in values.items():
        for place in PLACES[name]:
            _CONSTANT.pack_into(program, place, value)
    return bytes(program)
