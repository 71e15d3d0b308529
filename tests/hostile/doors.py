"""The doors that are easily forgotten, one line each: a system call by which a guest would get out or get at others.

`nr` is the call's number, `nr32` its number through `int 0x80`; `args(g, low)` makes its arguments within the guest, `low` being
a zeroed page below 4 GiB. `opened(result, g)` says whether the attack worked; `without` are the defences that must be off
for it to work. Where the kernel itself does not have the door, `absent` says so and no success is asked for.
"""
# Tour T:050

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PAGE = 4096
Args = Callable[[Any, int], tuple[int, ...]]


def _done(result: int, g: Any) -> bool:
    return result >= 0


def _reached(result: int, g: Any) -> bool:
    """The call itself was reached and judged our made-up arguments; neither the filter's EPERM nor a kernel without it."""
    return result not in (-1, -38)


@dataclass(frozen=True)
class Door:
    """An attack and what stands in its way."""

    name: str
    nr: int
    nr32: int
    args: Args
    why: str
    opened: Callable[[int, Any], bool] = _done
    without: tuple[str, ...] = ("seccomp",)
    enters_fork: bool = False           # w/o its defence the call returns twice


def _words(address: int, *values: int) -> int:
    """Write 8-byte words at an address; return it."""
    for i, value in enumerate(values):
        ctypes.c_uint64.from_address(address + 8 * i).value = value
    return address


def _own_page(g: Any) -> int:
    return g.memory.alloc(1).address


def _socketpair_message(g: Any, low: int) -> tuple[int, int, int]:
    """A sendmsg that carries descriptor 0 over a socket pair of the guest's own."""
    import socket

    a, b = socket.socketpair()
    g.keep = (a, b)
    control, iov, header = low + 256, low + 512, low + 768
    ctypes.c_char.from_address(low + 1024).value = b"x"
    _words(iov, low + 1024, 1)
    _words(control, 20, (1 << 32) | 1, 0)       # cmsg_len 20, SOL_SOCKET, SCM_RIGHTS, descriptor 0
    _words(header, 0, 0, iov, 1, control, 24, 0)
    return a.fileno(), header, 0


def _futex_pair(g: Any, low: int) -> tuple[int, ...]:
    return low, 3, 0, 1, low + 64               # FUTEX_REQUEUE: moves the peer's waiter onto a word of ours


def _timespec_or_rlimit(g: Any, low: int) -> tuple[int, ...]:
    return 0, 7, _words(low, 100, 100), 0       # prlimit64(0, RLIMIT_NOFILE, {100, 100}, NULL)


def _iovecs(g: Any, low: int) -> tuple[int, ...]:
    import os

    _words(low, low + 64, 8)
    _words(low + 16, low + 128, 8)
    return os.getpid(), low, 1, low + 16, 1, 0


DOORS = [
    Door("socket", 41, 359, lambda g, low: (1, 1, 0), "a socket reaches other processes by name"),
    Door("fork", 57, 2, lambda g, low: (), "a child has every frame: userfaultfd does not follow a fork", enters_fork=True),
    Door("clone", 56, 120, lambda g, low: (17, 0, 0, 0, 0), "fork by another name", enters_fork=True),
    Door("clone3", 435, 435, lambda g, low: (_words(low, 0, 0, 0, 0, 17, 0, 0, 0), 64), "flags in memory, which no filter sees",
         enters_fork=True),
    Door("unshare", 272, 310, lambda g, low: (0x10000000,), "a user namespace gives capabilities back"),
    Door("execve", 59, 11, lambda g, low: (low, 0, 0), "a fresh program without our limits",
         opened=lambda r, g: r in (-2, -13, -14)),
    Door("ptrace", 101, 26, lambda g, low: (0, 0, 0, 0), "PTRACE_TRACEME and its relatives"),
    Door("process_vm_readv", 310, 347, _iovecs, "reads another process's memory"),
    Door("pidfd_open", 434, 434, lambda g, low: (__import__("os").getpid(), 0), "a handle on a process, then pidfd_getfd"),
    Door("pidfd_getfd", 438, 438, lambda g, low: (0, 0, 0), "takes another's descriptor", opened=lambda r, g: r == -9),
    Door("kill", 62, 37, lambda g, low: (1, 0), "signals to others", opened=lambda r, g: r == 0,
         without=("seccomp", "landlock", "uid", "capabilities")),
    Door("io_uring_setup", 425, 425, lambda g, low: (4, low), "does calls where no filter looks", without=("seccomp", "limits")),
    Door("bpf", 321, 357, lambda g, low: (0, low, 72), "programs in the kernel", opened=_reached,
         without=("seccomp", "uid", "capabilities")),
    Door("perf_event_open", 298, 336, lambda g, low: (low, 0, -1, -1, 0), "samples others",
         opened=lambda r, g: r in (-22, -7, -13)),
    Door("userfaultfd", 323, 374, lambda g, low: (1,), "undoes the window"),
    Door("memfd_create", 319, 356, lambda g, low: (low, 0), "memory that outlives it and can be passed on"),
    Door("futex requeue", 202, 240, _futex_pair, "moves a peer's waiter onto a word of ours"),
    Door("futex_waitv", 449, 449, lambda g, low: (low, 0, 0, 0, 0), "the newer futex calls", opened=_reached),
    Door("prlimit64", 302, 340, _timespec_or_rlimit, "changes limits, its own and those of others"),
    Door("prctl death signal", 157, 172, lambda g, low: (1, 0, 0, 0, 0), "outlives the hypervisor"),
    Door("fcntl F_SETOWN", 72, 55, lambda g, low: (0, 8, 1), "has the kernel send a signal to anybody"),
    Door("fcntl F_SETSIG", 72, 55, lambda g, low: (0, 10, 9), "any signal, SIGKILL too"),
    Door("sendmsg SCM_RIGHTS", 46, 370, _socketpair_message, "passes descriptors on"),
    Door("madvise MADV_REMOVE", 28, 219, lambda g, low: (_own_page(g), PAGE, 9),
         "punches a frame out of machine memory, for everybody, even through a read-only mapping"),
    Door("munmap of the window", 11, 91, lambda g, low: (_own_page(g), PAGE), "then anything can be mapped there",
         without=("seccomp", "seal")),
    Door("mprotect of the window", 10, 125, lambda g, low: (_own_page(g), PAGE, 0), "changes rights of frames",
         without=("seccomp", "seal")),
    Door("mremap of the window", 25, 163, lambda g, low: (_own_page(g), PAGE, 2 * PAGE, 1), "moves a page out of the watch",
         without=("seccomp", "seal")),
    Door("mmap over the window", 9, 192, lambda g, low: (_own_page(g), PAGE, 3, 0x32, -1),
         "replaces a frame by memory of its own", without=("seccomp", "seal")),
    Door("remap_file_pages", 216, 257, lambda g, low: (_own_page(g), PAGE, 0, 0, 0), "another frame under the same address",
         without=("seccomp", "seal")),
    Door("process_madvise", 440, 440, lambda g, low: (0, low, 0, 0, 0), "advice for others' memory", opened=_reached),
    Door("vmsplice", 278, 316, lambda g, low: (0, low, 1, 0), "pins a frame beyond its time", opened=lambda r, g: r in (0, -9)),
    Door("mount", 165, 21, lambda g, low: (low, low, low, 0, 0), "changes what there is to see", opened=_reached,
         without=("seccomp", "uid", "capabilities")),
    Door("open for writing", 2, 5, lambda g, low: (ctypes.addressof(_PATH), 0x42, 0o600), "files of the host",
         opened=lambda r, g: r in (-30, -13, -2)),
    Door("setuid", 105, 213, lambda g, low: (0,), "another domain's uid", opened=lambda r, g: r == 0,
         without=("seccomp", "uid", "capabilities")),
    Door("sched_setscheduler", 144, 156, lambda g, low: (0, 0, low), "real-time class: nobody else runs"),
    Door("move_pages", 279, 317, lambda g, low: (0, 0, 0, 0, 0, 0), "moves others' pages"),
    Door("keyctl", 250, 288, lambda g, low: (0, -3, 0), "keys shared by uid"),
    Door("shmget", 29, 395, lambda g, low: (0, PAGE, 0o1600), "System V memory outlives everybody"),
]

_PATH = ctypes.create_string_buffer(b"/x")
