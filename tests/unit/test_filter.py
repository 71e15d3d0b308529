"""The seccomp table: each line accepts what it is for and refuses what it is not, on an interpreter and on the kernel."""

import ctypes
import mmap
import os
import signal
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from model import bpf as model

from xenproc.guest import bpf
from xenproc.guest.filter import FALL_BACK, NR_INSNS, PLACES, RULES, TABLE, TEMPLATE, build_filter
from xenproc.guest.syscalls import NR_SYSCALLS, NUMBER
from xenproc.native import ffi, lib

PID = 4242
BASE, END = 0x2000_0000_0000, 0x2000_1000_0000
PROGRAM = build_filter(PID, BASE, END)
ALLOW, REFUSE, ABSENT, KILL = bpf.RET_ALLOW, bpf.RET_ERRNO | 1, bpf.RET_ERRNO | 38, bpf.RET_KILL_PROCESS
HIGH = 1 << 32          # what the kernel does not look at in an int
FAR = 0x7F00_0000_0000
THREAD = 0x3D0F00

# name: (accepted, refused): arguments in order, missing ones zero. Every call with a condition is here: a test sees to it.
CASES = {
    "futex": (
        [(0, 0), (0, 1), (0, 9), (0, 10), (0, 128), (0, 129), (0, 128 | 256 | 9), (0, HIGH | 1)],
        [(0, op | private) for op in (2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 512) for private in (0, 128)],
    ),
    "madvise": (
        [(BASE, 4096, 4), (FAR, 4096, 4), (FAR, 4096, HIGH | 4),
         *[(FAR, 4096, advice) for advice in (0, 1, 2, 3, 8, 14, 15, 16)]],
        [*[(FAR, 4096, advice) for advice in (9, 10, 11, 12, 13, 17, 18, 19, 20, 21, 22, 23, 24, 25, 100, 101, 102, 103, -1)],
         *[(BASE, 4096, advice) for advice in (0, 1, 2, 3, 8, 9, 14, 15, 16)]],
    ),
    "mmap": (
        [(0, 4096, 3, 0x22), (0, 4096, 7, 0x22), (0, 4096, 1, 2, 3), (FAR, 4096, 0, 0x4022), (FAR, 4096, 3, 0x32),
         (BASE, 4096, 3, 0x22), (BASE, 4096, 3, 0x100022), (0, 4096, 3, 0x20022), (0, 4096, 3, 1, 5)],
        [(BASE, 4096, 3, 0x32), (BASE - 4096, 8192, 3, 0x32), (END - 4096, 4096, 3, 0x32),
         (BASE - 4096, END - BASE + 8192, 3, 0x32), (BASE, 4096, 3, 0x10 | 0x100022),
         (FAR, 4096, 3, 0x122), (FAR, 4096, 3, 0x2022), (FAR, 4096, 3, 0x40022), (FAR, 4096, 3, 0x2A),
         (FAR, 4096, 3, 0x80003), (FAR, 4096, 3, HIGH | 0x22), (FAR, 4096, 0x1000003, 0x22), (FAR, 4096, HIGH | 3, 0x22),
         (FAR, 4096, 8, 0x22)],
    ),
    "mprotect": (
        [(FAR, 4096, 0), (FAR, 4096, 7), (END + (1 << 18), 4096, 1), (BASE - (1 << 18), 4096, 1)],
        [(BASE, 4096, 7), (BASE - 4096, 8192, 0), (END - 4096, 4096, 1), (FAR, 4096, 0x1000003), (FAR, 4096, HIGH | 1)],
    ),
    "munmap": (
        [(FAR, 4096), (END + (1 << 18), 1 << 30), (BASE - (1 << 20), 1 << 19)],
        [(BASE, 4096), (BASE - 4096, 8192), (0, (1 << 47) - 4096), (END - 4096, 1), (BASE - (1 << 40), 1 << 46), (1 << 47, 4096),
         (0, 1 << 63), (0, -1), (BASE - 4096, -4096)],
    ),
    "mremap": (
        [(FAR, 4096, 8192, 0), (FAR, 4096, 8192, 1)],
        # 2: to a chosen place; 4: leaves the old one; a length of 0 makes a second mapping of a shared one.
        [(FAR, 4096, 4096, 3, BASE), (FAR, 4096, 4096, 2, BASE), (FAR, 4096, 4096, 5), (FAR, 4096, 4096, HIGH | 1),
         (BASE, 0, 4096, 1), (BASE, 4096, 4096, 1), (BASE - 4096, 8192, 4096, 1), (END - 4096, 0, 4096, 1)],
    ),
    "fcntl": (
        [(3, 1), (3, 2, 1), (3, 3), (3, 4, 0x802), (3, 4, 0), (3, HIGH | 3)],
        # dup, locks, owner, signal, lease, notify, dup with close-on-exec, pipe size, seals; O_ASYNC, O_DIRECT, O_APPEND.
        [(3, command) for command in (0, 5, 6, 7, 8, 9, 10, 11, 15, 16, 36, 37, 38, *range(1024, 1037))]
        + [(3, 4, 0x2000), (3, 4, 0x4000), (3, 4, 0x400), (3, 4, 0x40000)],
    ),
    "ioctl": (
        [(3, request) for request in (0x5401, 0x541B, 0x5421, 0x5450, 0x5451, HIGH | 0x5421)],
        # TIOCSTI, TIOCLINUX, FIOASYNC, FIOSETOWN, SIOCSPGRP, TIOCSWINSZ, UFFDIO_CONTINUE, KDSKBENT, FICLONE
        [(3, request) for request in (0x5412, 0x541C, 0x5452, 0x8901, 0x8902, 0x5414, 0xC020AA07, 0x4B47, 0x40049409, 0)],
    ),
    "epoll_create1": ([(0,), (0x80000,)], [(1,), (-1,)]),
    "eventfd2": ([(0, 0), (0, 1), (0, 0x80801)], [(0, 2), (0, 0x4000)]),
    "socketpair": (
        [(1, 1, 0), (1, 0x801, 0), (1, 0x80001, 0), (1, 0x80801, 0)],
        [(2, 1, 0), (16, 3, 0), (17, 3, 0), (1, 2, 0), (1, 5, 0), (1, 3, 0), (1, 1, 1), (1, 0x1001, 0), (38, 5, 0)],
    ),
    "sendto": (
        [(3, FAR, 8, 0), (3, FAR, 8, 0x4040), (3, FAR, 8, 0x40)],
        # MSG_OOB, MSG_EOR, MSG_MORE, zero-copy, fast open; an address in either half.
        [(3, FAR, 8, 1), (3, FAR, 8, 0x80), (3, FAR, 8, 0x8000), (3, FAR, 8, 0x4000000), (3, FAR, 8, 0x20000000),
         (3, FAR, 8, 0, FAR), (3, FAR, 8, 0, 1), (3, FAR, 8, 0, HIGH)],
    ),
    "recvfrom": ([(3, FAR, 8, 0), (3, FAR, 8, 0x40), (3, FAR, 8, 0x120)], [(3, FAR, 8, 1), (3, FAR, 8, 2), (3, FAR, 8, 0x2000)]),
    "recvmsg": ([(3, FAR, 0), (3, FAR, 0x40000000), (3, FAR, 0x40000040)], [(3, FAR, 1), (3, FAR, 2), (3, FAR, 0x2000)]),
    "getsockopt": ([(3, 1, 3), (3, 1, 4), (3, 1, 38), (3, 1, 39)], [(3, 1, 17), (3, 1, 26), (3, 0, 3), (3, 6, 3), (3, 41, 4)]),
    "openat": (
        [(-100, FAR, 0), (-100, FAR, 0x80000), (5, FAR, 0x90800), (-100, FAR, HIGH | 0x80000)],
        # writing, creating, truncating, O_ASYNC, O_DIRECT, O_PATH, O_TMPFILE, O_APPEND, O_NOATIME
        [(-100, FAR, flags) for flags in (1, 2, 3, 0x40, 0x200, 0x2000, 0x4000, 0x200000, 0x410002, 0x410000, 0x400, 0x40000)],
    ),
    "open": (
        [(FAR, 0), (FAR, 0x80000), (FAR, 0x90800)],
        [(FAR, flags) for flags in (1, 2, 3, 0x40, 0x200, 0x2000, 0x4000, 0x200000, 0x410000, 0x400)],
    ),
    "clone": (
        [(THREAD,), (THREAD | 0x400000,)],
        # fork, vfork, a sibling, every namespace, a process that shares memory, untraced; a thread without one of its bits.
        [(17,), (0x4111,), (0x8011,), (0x100,), (0x10000000,), (HIGH | THREAD,), (0x800000 | THREAD,)]
        + [(THREAD | flag,) for flag in (0x1, 0x11, 0x8000, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000,
                                         0x40000000, 0x80, 0x1000, 0x2000, 0x4000)]
        + [(THREAD & ~flag,) for flag in (0x100, 0x10000, 0x800, 0x200, 0x400)],
    ),
    "sched_getaffinity": ([(0,), (PID,)], [(1,), (PID + 1,), (-1,)]),
    "tgkill": ([(PID, PID, 6), (PID, PID + 1, 6), (HIGH | PID, 0, 0)], [(1, 1, 9), (PID + 1, PID, 9), (0, 0, 9), (-1, PID, 9)]),
    "kill": ([(PID, 6)], [(1, 9), (0, 9), (-1, 9), (-PID, 9), (PID - 1, 0)]),
    "prctl": (
        [(15, FAR), (16, FAR)],
        [(option,) for option in (1, 2, 4, 8, 9, 22, 23, 24, 26, 28, 35, 36, 38, 40, 47, 52, 59, 62, 0x53564D41)],
    ),
    "clock_gettime": ([(clock, FAR) for clock in range(12)], [(-2, FAR), (-6, FAR), (12, FAR), (16, FAR)]),
    "clock_getres": ([(1, FAR)], [(-6, FAR)]),
    "clock_nanosleep": ([(1, 0, FAR), (0, 1, FAR)], [(-6, 0, FAR)]),
    "prlimit64": ([(0, 7, 0, FAR)], [(0, 7, FAR, 0), (0, 7, 1, 0), (0, 7, HIGH, 0), (1, 7, 0, FAR), (PID, 7, 0, FAR)]),
}

# The doors that DESIGN.md names and their neighbours: refused whatever their arguments.
DOORS = (
    "fork", "vfork", "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd",
    "pidfd_send_signal", "process_madvise", "process_mrelease", "kcmp", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup", "io_submit", "bpf", "perf_event_open",
    "userfaultfd", "seccomp", "memfd_create", "memfd_secret", "vmsplice", "splice", "tee", "sendfile", "copy_file_range",
    "dup", "dup2", "dup3", "pipe", "pipe2", "sendmsg", "sendmmsg", "recvmmsg", "socket", "connect", "bind", "listen",
    "accept", "accept4", "setsockopt", "pwrite64", "pwritev", "pwritev2", "preadv2", "ftruncate", "truncate", "fallocate",
    "mlock", "mlock2", "mlockall", "msync", "mincore", "remap_file_pages", "mbind", "set_mempolicy", "migrate_pages",
    "move_pages", "pkey_mprotect", "mseal", "shmget", "shmat", "semget", "semop", "msgget", "msgsnd", "mq_open", "keyctl",
    "add_key", "request_key", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount",
    "fsopen", "fsmount", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "openat2", "creat", "mknod", "unlink",
    "rename", "link", "symlink", "mkdir", "chmod", "chown", "setuid", "setgid", "setresuid", "setresgid", "setgroups",
    "capset", "personality", "modify_ldt", "arch_prctl", "set_thread_area", "iopl", "ioperm", "sched_setaffinity",
    "sched_setscheduler", "sched_setattr", "setpriority", "ioprio_set", "setrlimit", "get_robust_list", "futex_waitv",
    "futex_wake", "futex_wait", "futex_requeue", "timer_create", "timerfd_create", "signalfd4", "inotify_init1",
    "fanotify_init", "flock", "setsid", "setpgid", "wait4", "waitid", "init_module", "finit_module", "delete_module",
    "kexec_load", "reboot", "swapon", "syslog", "landlock_create_ruleset", "landlock_restrict_self", "quotactl", "acct",
    "settimeofday", "clock_settime", "adjtimex", "lookup_dcookie", "uselib",
)


def verdict(name: str, args: tuple[int, ...], program: bytes = PROGRAM) -> int:
    return model.run(program, model.data(NUMBER[name], args))


def test_every_condition_has_cases():
    conditional = {name for rule in TABLE if rule.when for name in rule.names.split()}
    assert set(CASES) == conditional
    assert all(accepted and refused for accepted, refused in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_a_condition_holds(name):
    accepted, refused = CASES[name]
    assert {args: verdict(name, args) for args in accepted} == dict.fromkeys(accepted, ALLOW)
    assert {args: verdict(name, args) for args in refused} == dict.fromkeys(refused, REFUSE)


@pytest.mark.parametrize("high", [0, 0xFFFFFFFF])
def test_what_has_no_condition_is_allowed_whatever_the_arguments(high):
    args = tuple(high << 32 | 0xFFFFFFFF for _ in range(6))
    free = [name for rule in TABLE if not rule.when for name in rule.names.split()]
    assert len(free) > 50
    assert {name for name in free if verdict(name, args) != ALLOW or verdict(name, ()) != ALLOW} == set()


def test_what_is_not_named_is_refused():
    """Over all numbers there are or may be, up to where x32's begin."""
    fall_back = {NUMBER[name] for name in FALL_BACK.split()}
    for nr in [*range(1024), 4096, 1 << 20, (1 << 30) - 1]:
        if nr not in RULES:
            assert model.run(PROGRAM, model.data(nr)) == (ABSENT if nr in fall_back else REFUSE), nr


def test_the_doors_are_shut():
    assert [name for name in DOORS if NUMBER[name] in RULES] == []
    for args in ((), (1, 1, 1, 1, 1, 1), (PID,), tuple((1 << 64) - 1 for _ in range(6))):
        assert {name for name in DOORS if verdict(name, args) != REFUSE} == set()


@pytest.mark.parametrize("arch", [0x40000003, 0xC00000B7, 0x4000003E, 0])
def test_another_door_ends_the_process(arch):
    for nr in (0, 1, 60, 202, 400):
        assert model.run(PROGRAM, model.data(nr, arch=arch)) == KILL


@pytest.mark.parametrize("nr", [0x40000000, 0x40000001, 0x40000200, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_x32_ends_the_process(nr):
    assert model.run(PROGRAM, model.data(nr)) == KILL


ADDRESSES = st.one_of(
    st.sampled_from([0, BASE, END, BASE - 4096, END - 4096, END + 4096, BASE - (1 << 16), END + (1 << 16), (1 << 47) - 4096]),
    st.integers(0, (1 << 35)).map(lambda page: page << 12), st.integers(0, (1 << 64) - 1),
)
LENGTHS = st.one_of(ADDRESSES, st.integers(0, 1 << 22))
NEAR = 192 * 1024


@given(address=ADDRESSES, length=LENGTHS)
@example(address=BASE - (1 << 16) * 2, length=1 << 16)
@example(address=(1 << 47) - 1, length=(1 << 47) - (1 << 32) - 1)
@example(address=BASE - 4096, length=(1 << 64) - 4096)
def test_no_call_reaches_the_window(address, length):
    """Allowed means apart, by the kernel's own arithmetic; and well apart means allowed."""
    end = address + -(-length // 4096) * 4096                # as the kernel rounds it
    apart = end <= BASE or address >= END
    for name, args in (("munmap", ()), ("mprotect", (1,)), ("mremap", (4096, 1)), ("madvise", (0,)), ("mmap", (3, 0x32))):
        got = verdict(name, (address, length, *args))
        if got == ALLOW:
            assert apart or end > 1 << 64, name              # past the end of all: the kernel refuses it
            assert end <= 1 << 64 or address >= END
        elif end <= (1 << 47) - (1 << 33):
            assert not (end + NEAR <= BASE or address >= END + NEAR), name


@pytest.mark.parametrize(("base", "end"), [(0x7F00_1234_5000, 0x7F00_2234_5000), (0x1000, 0x2000), (BASE, BASE + 4096)])
def test_a_window_anywhere_is_rounded_outwards(base, end):
    program = build_filter(PID, base, end)
    for address, length in ((base, 4096), (end - 4096, 4096), (base - 4096, 8192), (base, end - base)):
        assert verdict("munmap", (address, length), program) == REFUSE
    assert verdict("munmap", (end + NEAR, 4096), program) == ALLOW


def test_without_a_window_every_address_is_free():
    program = build_filter(PID, 0, 0)
    assert verdict("munmap", (BASE, 4096), program) == ALLOW
    assert verdict("munmap", (0, 4096), program) == ALLOW


@pytest.mark.parametrize("wrong", [(0, 0, 0), (1 << 31, 0, 0), (PID, END, BASE), (PID, BASE, 1 << 47), (PID, -4096, END)])
def test_a_filter_for_nonsense_is_not_built(wrong):
    with pytest.raises(ValueError, match="expected"):
        build_filter(*wrong)


def test_the_program_is_one_that_the_kernel_takes():
    """Known instructions, jumps within, a return at the end; small enough that installing it stays cheap."""
    assert len(PROGRAM) == len(TEMPLATE) == 8 * NR_INSNS and NR_INSNS <= 320
    insns = list(model.INSN.iter_unpack(PROGRAM))
    for at, (code, jt, jf, k) in enumerate(insns):
        if code in (0x15, 0x25, 0x35, 0x45):
            assert at + 1 + max(jt, jf) < NR_INSNS
        elif code == 0x05:
            assert at + 1 + k < NR_INSNS
    assert insns[-1][0] == 0x06
    assert set(PLACES) == {"pid", "window_first", "window_end"} and len(PLACES["pid"]) == 3


def test_far_jumps_are_given_a_hop():
    asm = bpf.Assembler()
    asm.op(bpf.LD_ABS, bpf.DATA_NR)
    asm.branch(bpf.JEQ, 7, yes="far", no="farther")
    for _ in range(600):
        asm.op(bpf.ADD_K, 1)
    asm.label("far")
    asm.op(bpf.RET, 1)
    asm.label("farther")
    asm.op(bpf.RET, 2)
    program, _ = asm.assemble()
    assert model.run(program, model.data(7)) == 1
    assert model.run(program, model.data(8)) == 2
    backwards = bpf.Assembler()
    backwards.label("here")
    backwards.op(bpf.LD_ABS, bpf.DATA_NR)
    backwards.jump("here")
    with pytest.raises(ValueError, match="no such label ahead"):
        backwards.assemble()


# ---- against the kernel ----

MAGIC, SEEN = 0x0BADCAFE, 133           # of the probing program: what marks a probe, and the errno that stands for "allowed"


def probing_program() -> bytes:
    """The program, judging only calls whose sixth argument is MAGIC (no rule looks at it) and carrying none of them out."""
    insns = []
    for code, jt, jf, k in model.INSN.iter_unpack(build_filter(PID, BASE, END)):
        insns.append((code, jt, jf, bpf.RET_ERRNO | SEEN if (code, k) == (bpf.RET, bpf.RET_ALLOW) else k))
    guard = [(bpf.LD_ABS, 0, 0, bpf.DATA_ARGS + 8 * 5), (bpf.JEQ, 1, 0, MAGIC), (bpf.RET, 0, 0, bpf.RET_ALLOW)]
    return b"".join(model.INSN.pack(*insn) for insn in (*guard, *insns))


def in_child(work) -> int:
    """Run work() in a forked child; return its wait status. 99: it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(99)
    return os.waitpid(pid, 0)[1]


def test_the_kernel_agrees_with_the_interpreter():
    probes = [(NUMBER[name], args) for name, lists in CASES.items() for args in (*lists[0], *lists[1])]
    # The kernel lets 335 and 336 through whatever a filter says: its own probes use them, from nowhere else do they work.
    probes += [(nr, ()) for nr in range(NR_SYSCALLS + 8) if nr not in (335, 336)]
    probes = [(nr, [arg & ((1 << 64) - 1) for arg in (*args, *[0] * (5 - len(args)))]) for nr, args in probes]
    assert not any(len(args) > 5 for _, args in probes)
    verdicts = [model.run(PROGRAM, model.data(nr, tuple(args))) for nr, args in probes]
    expected = [SEEN if action == ALLOW else action & 0xFFFF for action in verdicts]
    answers = mmap.mmap(-1, 4096 * 4)
    program = probing_program()
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype, syscall.argtypes = ctypes.c_long, [ctypes.c_long] + [ctypes.c_ulong] * 6

    def probe():
        assert lib.xp_prctl(38, 1, 0, 0, 0) == 0
        assert lib.xp_seccomp_install(ffi.from_buffer(program), len(program) // 8) == 0
        for at, (nr, args) in enumerate(probes):
            ret = syscall(nr, *args, MAGIC)
            struct.pack_into("<i", answers, 4 * at, ctypes.get_errno() if ret == -1 else 0)

    assert in_child(probe) == 0
    got = list(struct.unpack_from(f"<{len(probes)}i", answers))
    differ = [(nr, args, want, saw) for (nr, args), want, saw in zip(probes, expected, got, strict=True) if want != saw]
    assert differ == []
    assert expected.count(SEEN) > 100 and expected.count(1) > 400


# mov eax, imm32; int 0x80 / syscall; ret
ENTRIES = {"int 0x80": (20, b"\xcd\x80"), "x32": (0x40000000 | 39, b"\x0f\x05")}


@pytest.mark.parametrize("entry", ENTRIES)
def test_another_door_ends_a_real_process(entry):
    nr, instruction = ENTRIES[entry]

    def attack():
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8" + struct.pack("<I", nr) + instruction + b"\xc3")
        call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        program = build_filter(os.getpid(), 0, 0)
        lib.xp_prctl(38, 1, 0, 0, 0)
        assert lib.xp_seccomp_install(ffi.from_buffer(program), len(program) // 8) == 0
        call()

    status = in_child(attack)
    # A kernel without 32-bit support has no such door at all: SIGSEGV.
    deadly = {signal.SIGSYS, signal.SIGSEGV} if entry == "int 0x80" else {signal.SIGSYS}
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) in deadly
