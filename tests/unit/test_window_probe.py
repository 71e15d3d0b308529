"""The window, with a real userfaultfd over a real second process: given, protected, taken back, dead; races included.

The child tries pages by system calls (read and write with a buffer in the window): what would be SIGBUS is EFAULT there.
"""

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from cffi import FFI
from helpers import require, until

from xenproc.native import ffi as xffi
from xenproc.native import lib as xlib

ROOT = Path(__file__).resolve().parents[2]
NR = 16
EBUSY = -16
CDEF = """
typedef struct { uint64_t v; } xp_mfn_t;
struct xp_window { int uffd; uint64_t base; uint64_t nr; int pagemap_fd; };
int xp_window_give(const struct xp_window *w, xp_mfn_t first, uint64_t nr, bool readonly);
int xp_window_protect(const struct xp_window *w, xp_mfn_t mfn, bool readonly);
int xp_window_gone(const struct xp_window *w, xp_mfn_t mfn);
bool xp_window_dead(const struct xp_window *w);
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """(ffi, lib) of window.c alone."""
    path = tmp_path_factory.mktemp("window") / "window.so"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", f"-I{ROOT / 'native'}",
                    ROOT / "native/window.c", "-o", path], check=True)
    ffi = FFI()
    ffi.cdef(CDEF)
    return ffi, ffi.dlopen(str(path))


class Child:
    """A process with a window over `memory`; it does what it is told over a socket."""

    def __init__(self, window):
        self.ffi, self.lib = window
        self.memory_fd = os.memfd_create("xenproc-test-machine")
        os.ftruncate(self.memory_fd, NR * 4096)
        os.posix_fallocate(self.memory_fd, 0, NR * 4096)
        self.memory = mmap.mmap(self.memory_fd, NR * 4096)
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.sock.close()
                serve(theirs, self.memory_fd)
            finally:
                os._exit(1)
        theirs.close()
        data, fds, _, _ = socket.recv_fds(self.sock, 100, 1)
        if not fds:
            self.end()
            require(False, f"userfaultfd on shared memory ({data.decode()})")
        pagemap = os.open(f"/proc/{self.pid}/pagemap", os.O_RDONLY)
        self.fds = [fds[0], pagemap]
        self.w = self.ffi.new("struct xp_window *", {"uffd": fds[0], "base": int(data), "nr": NR, "pagemap_fd": pagemap})

    def ask(self, *words) -> str:
        self.sock.send(" ".join(map(str, words)).encode())
        return self.sock.recv(100).decode()

    def can(self, mfn: int) -> str:
        """"", "r" or "rw": what the child can do with a frame."""
        return self.ask("try", mfn)

    def give(self, mfn, nr=1, readonly=False):
        return self.lib.xp_window_give(self.w, {"v": mfn}, nr, readonly)

    def protect(self, mfn, readonly):
        return self.lib.xp_window_protect(self.w, {"v": mfn}, readonly)

    def gone(self, mfn):
        return self.lib.xp_window_gone(self.w, {"v": mfn})

    def dead(self):
        return self.lib.xp_window_dead(self.w)

    def end(self):
        if self.pid:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def close(self):
        self.end()
        for fd in [*getattr(self, "fds", []), self.memory_fd]:
            os.close(fd)
        self.sock.close()
        self.memory.close()


def serve(sock, memory_fd):
    """The child."""
    base = xffi.new("uint64_t *")
    uffd = xlib.xp_window_open(memory_fd, NR, 0, base)
    if uffd < 0:
        sock.send(os.strerror(-uffd).encode())
        os._exit(0)
    socket.send_fds(sock, [str(base[0]).encode()], [uffd])
    libc = ctypes.CDLL(None, use_errno=True)
    read_end, write_end = os.pipe()
    zero = os.open("/dev/zero", os.O_RDONLY)
    raced = {"stop": False, "written": 0, "tried": 0}

    def reads(at):
        if libc.write(write_end, ctypes.c_void_p(at), 8) == 8:
            os.read(read_end, 8)
            return True
        assert ctypes.get_errno() == errno.EFAULT
        return False

    def writes(at):
        return libc.read(zero, ctypes.c_void_p(at), 8) == 8

    def race(at):
        while not raced["stop"]:
            raced["written"] += writes(at)
            raced["tried"] += 1

    thread = None
    while True:
        word, *args = sock.recv(100).decode().split()
        at = base[0] + int(args[0]) * 4096 if args else 0
        if word == "try":
            answer = ("r" if reads(at) else "") + ("w" if writes(at) else "")
        elif word == "leave":
            answer = str(libc.madvise(ctypes.c_void_p(at), 4096, mmap.MADV_DONTNEED))
        elif word == "race":
            raced.update(stop=False, written=0, tried=0)
            thread = threading.Thread(target=race, args=(at,))
            thread.start()
            answer = "begun"
        elif word == "tried":
            answer = str(raced["tried"])
        else:
            raced["stop"] = True
            thread.join()
            answer = f"{raced['written']} {raced['tried']}"
        sock.send((answer or "-").encode())


@pytest.fixture
def child(window):
    made = Child(window)
    yield made
    made.close()


def test_nothing_is_there_until_it_is_given(child):
    assert [child.can(mfn) for mfn in range(NR)] == ["-"] * NR
    assert child.give(3) == 0
    assert [child.can(mfn) for mfn in (2, 3, 4)] == ["-", "rw", "-"]


def test_runs_and_edges(child):
    assert child.give(0, NR) == 0
    assert [child.can(mfn) for mfn in range(NR)] == ["rw"] * NR
    assert child.give(NR, 1) == child.give(0, NR + 1) == child.give(NR - 1, 2) == child.give(2**60, 1) == child.give(1, 2**64 - 1) == -22


def test_giving_twice_changes_nothing(child):
    assert child.give(5) == child.give(4, 3) == child.give(4, 3) == 0
    assert [child.can(mfn) for mfn in (3, 4, 5, 6, 7)] == ["-", "rw", "rw", "rw", "-"]


def test_read_only_and_back(child):
    assert child.give(2, readonly=True) == 0
    assert child.can(2) == "r"
    assert child.protect(2, False) == 0 and child.can(2) == "rw"
    assert child.protect(2, True) == 0 and child.can(2) == "r"


def test_the_same_bytes(child):
    child.memory[4096:4104] = b"machine!"
    child.give(1)
    assert child.can(1) == "rw"
    assert child.memory[4096:4104] == bytes(8), "the child wrote zeros"


@pytest.mark.parametrize("readonly", [False, True])
def test_gone_is_probed(child, readonly):
    """A page that is there is busy, as often as one asks; one that was left is gone, as often as one asks; it can come again."""
    assert child.give(6, readonly=readonly) == 0
    child.can(6)
    for _ in range(3):
        assert child.gone(6) == EBUSY
    assert child.can(6) == ("r" if readonly else "rw"), "the question has changed nothing"
    for _ in range(2):
        assert child.ask("leave", 6) == "0"
        assert child.gone(6) == 0
        assert child.gone(6) == 0
        assert child.can(6) == "-"
        assert child.give(6, readonly=readonly) == 0
        assert child.can(6) == ("r" if readonly else "rw")


def test_a_page_never_given_is_gone(child):
    assert child.gone(7) == 0
    assert child.can(7) == "-"
    assert child.give(7) == 0 and child.can(7) == "rw"


def test_a_page_given_and_never_touched(child):
    assert child.give(8) == 0
    assert child.gone(8) == EBUSY
    assert child.ask("leave", 8) == "0" and child.gone(8) == 0


def test_a_page_that_was_left_does_not_come_back_by_itself(child):
    child.give(9)
    child.ask("leave", 9)
    assert child.can(9) == "-"
    assert child.gone(9) == 0


def test_asking_never_makes_a_read_only_page_writable(child):
    """A thread writes all the time while the hypervisor asks whether the page is gone."""
    child.give(4, readonly=True)
    child.can(4)
    child.ask("race", 4)
    for _ in range(30000):
        assert child.gone(4) == EBUSY
    written, tried = map(int, child.ask("stop").split())
    assert tried > 1000 and written == 0


def test_giving_and_protecting_under_a_writer(child):
    """Protected means protected: after the call returns no write arrives."""
    child.give(4)
    child.ask("race", 4)
    for _ in range(200):
        assert child.protect(4, True) == 0
        child.memory[4 * 4096 : 4 * 4096 + 8] = b"unharmed"
        for _ in range(50):
            assert child.memory[4 * 4096 : 4 * 4096 + 8] == b"unharmed"
        assert child.protect(4, False) == 0
    # At least once it is certain that the other thread tried meanwhile.
    assert child.protect(4, True) == 0
    before = int(child.ask("tried"))
    until(lambda: int(child.ask("tried")) > before + 1, "a try")
    written, tried = map(int, child.ask("stop").split())
    assert 0 < written < tried


def test_dead(child):
    child.give(3)
    assert not child.dead()
    child.end()
    assert child.dead()
    assert child.gone(3) == 0
    assert child.give(4) == -errno.ESRCH


def test_without_a_descriptor_nothing_is_enforced_and_all_succeeds(window):
    ffi, lib = window
    w = ffi.new("struct xp_window *", {"uffd": -1, "pagemap_fd": -1, "nr": NR})
    assert lib.xp_window_give(w, {"v": 3}, 1, True) == lib.xp_window_protect(w, {"v": 3}, True) == lib.xp_window_gone(w, {"v": 3}) == 0
    assert lib.xp_window_dead(w)


def test_without_a_pagemap_a_marker_counts_as_a_page(child):
    """It cannot be told apart, so the worse is believed."""
    child.w.pagemap_fd = -1
    child.give(5)
    child.can(5)
    assert child.gone(5) == EBUSY
    child.ask("leave", 5)
    assert child.gone(5) == 0
