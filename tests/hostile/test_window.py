"""Reaching for frames that were not given: from Python, by the kernel's hand, by descriptor, from a child.

A victim holds a secret in a frame of its own and tells an attacker which frame it is. With the window in force the attacker
dies of it or is refused, and the secret is as it was; with the named defence off the same attack reads or changes it.
"""

import ctypes
import os
import signal
import time

import pytest

SECRET = b"the victim's own"
PAGE = 4096


def victim(g, attacker: str) -> str:
    """[guest] Keep a secret until told to end; return what it is by then."""
    page = g.memory.alloc(1)
    page.view[: len(SECRET)] = SECRET
    peer = g.board.resolve(attacker)
    refs = g.grants.grant(peer, page, readonly=True)
    g.board.publish(peer, "secret", page.mfn.to_bytes(8, "little") + refs[0].to_bytes(4, "little"))
    while g.shutdown_request(1) is None:
        pass
    return bytes(page.view[: len(SECRET)]).decode("latin-1")


def find_secret(g) -> tuple[int, int]:
    """[guest] Return (address of the victim's frame in our window, its read-only grant)."""
    found = g.board.lookup(g.board.resolve("victim"), "secret")
    return g.memory.address_of(int.from_bytes(found[:8], "little")), int.from_bytes(found[8:], "little")


def run(hv, attack, *args, without=()):
    """Run an attack beside a victim; return (how the attacker ended, the secret afterwards)."""
    held = hv.create(victim, "attacker", name="victim")
    end = hv.create(attack, *args, name="attacker", without=without).join(20)
    held.shutdown()
    return end, held.wait(20)


def read_it(g) -> str:
    """[guest] Read the frame with a plain load."""
    return ctypes.string_at(find_secret(g)[0], len(SECRET)).decode()


def write_it(g) -> str:
    """[guest] Write the frame with a plain store."""
    ctypes.memmove(find_secret(g)[0], b"X", 1)
    return "written"


def test_a_neighbours_frame_cannot_be_read(hv):
    """A load is SIGBUS at that very address; it reads the secret where the window is off."""
    end, secret = run(hv, read_it)
    assert end.crash.signal == "SIGBUS" and secret == SECRET.decode()
    end, _ = run(hv, read_it, without=["window"])
    assert end.result == SECRET.decode()


def test_a_neighbours_frame_cannot_be_written(hv):
    """A store is SIGBUS and changes nothing; it changes the secret where the window is off."""
    end, secret = run(hv, write_it)
    assert end.crash.signal == "SIGBUS" and secret == SECRET.decode()
    assert int(end.crash.fault_address, 16) % PAGE == 0
    end, secret = run(hv, write_it, without=["window"])
    assert end.result == "written" and secret == "X" + SECRET.decode()[1:]


def by_the_kernels_hand(g) -> int:
    """[guest] Have the kernel write there: read() from a device into the frame. Returns errno or 0."""
    address, _ = find_secret(g)
    fd = os.open("/dev/urandom", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.read(fd, ctypes.c_void_p(address), ctypes.c_size_t(8)) < 0 else 0


def test_the_kernel_does_not_write_there_either(hv):
    """A system call with such an address is EFAULT, without any signal; it succeeds where the window is off."""
    end, secret = run(hv, by_the_kernels_hand)
    assert end.result == 14 and secret == SECRET.decode()
    end, secret = run(hv, by_the_kernels_hand, without=["window"])
    assert end.result == 0 and secret != SECRET.decode()


def write_a_readonly_grant(g) -> str:
    """[guest] Map the victim's read-only grant, read it, then write through it."""
    _, ref = find_secret(g)
    with g.grants.map(g.board.resolve("victim"), [ref], readonly=True) as mapping:
        if bytes(mapping.view[: len(SECRET)]) != SECRET:
            return "not what was granted"
        ctypes.memmove(mapping.addresses[0], b"Y", 1)
        return "written"


def test_a_readonly_grant_is_read_only(hv):
    """Reading is allowed, writing is SIGBUS; with the window off nothing stops it."""
    end, secret = run(hv, write_a_readonly_grant)
    assert end.crash.signal == "SIGBUS" and secret == SECRET.decode()
    end, secret = run(hv, write_a_readonly_grant, without=["window"])
    assert end.result == "written" and secret.startswith("Y")


def punch_a_readonly_grant(g) -> int:
    """[guest] MADV_REMOVE on a read-only mapping of another's frame: frees the page behind it, for everybody."""
    _, ref = find_secret(g)
    mapping = g.grants.map(g.board.resolve("victim"), [ref], readonly=True)
    libc = ctypes.CDLL(None, use_errno=True)
    madv_remove = 9
    failed = libc.madvise(ctypes.c_void_p(mapping.addresses[0]), ctypes.c_size_t(PAGE), madv_remove)
    return ctypes.get_errno() if failed else 0


def test_a_readonly_frame_cannot_be_punched_out(hv):
    """The filter's list of advice refuses it; with the filter off the owner's frame is gone (read as zeroes or SIGBUS)."""
    end, secret = run(hv, punch_a_readonly_grant)
    assert end.result == 1 and secret == SECRET.decode()
    held = hv.create(victim, "attacker", name="victim")
    end = hv.create(punch_a_readonly_grant, name="attacker", without=["seccomp"]).join(20)
    assert end.result == 0
    held.shutdown()
    after = held.join(20)
    assert after.crashed or after.result != SECRET.decode()


def by_descriptor(g) -> list[int]:
    """[guest] Write the victim's frame through a descriptor of machine memory, if one was left. Returns errnos."""
    address, _ = find_secret(g)
    offset = address - g.window_base
    answers = []
    for fd in range(3, 64):
        try:
            size = os.fstat(fd).st_size
        except OSError:
            continue
        if size > 1 << 20:
            answers.append(os.pwrite(fd, b"Z", offset))
    return answers


def test_no_descriptor_of_machine_memory_is_left(hv):
    """There is none to write through (nor may pwrite be called); where both are off, the write goes past every mapping."""
    end, secret = run(hv, by_descriptor)
    assert end.result == [] and secret == SECRET.decode()
    end, secret = run(hv, by_descriptor, without=["descriptors", "limits", "seccomp"])
    assert end.result == [1] and secret.startswith("Z")


def child_without_a_filter(g) -> int:
    """[guest] Fork (the filter is off) and read the victim's frame from the child. Returns the child's wait status."""
    address, _ = find_secret(g)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        ctypes.string_at(address, 1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_a_child_has_no_window(hv):
    """Even where a fork could be had, the child's address space holds no machine memory."""
    end, secret = run(hv, child_without_a_filter, without=["seccomp", "limits"])
    assert os.WIFSIGNALED(end.result) and os.WTERMSIG(end.result) == signal.SIGSEGV
    assert secret == SECRET.decode()


def keep_after_unmap(g) -> list[int]:
    """[guest] Unmap a grant without leaving the page, as a guest that wants to keep it would. Returns statuses."""
    from xenproc.abi import GnttabOp, Hypercall
    from xenproc.native import lib

    _, ref = find_secret(g)
    mapping = g.grants.map(g.board.resolve("victim"), [ref], readonly=True)
    ctypes.string_at(mapping.addresses[0], 1)
    statuses = []
    for leave in (False, True):
        if leave:
            lib.xp_page_leave(mapping.addresses[0])
        with g.hypercalls.struct("struct xen_gnttab_unmap_grant_ref", handle=mapping.handles[0]) as (address, op):
            g.hypercalls.call(Hypercall.grant_table_op, GnttabOp.unmap_grant_ref, address, 1)
            statuses.append(op.status)
    return statuses


def test_a_granted_frame_cannot_be_kept(hv):
    """An unmap is believed only once the page is gone: refused while it is there, done after it was left."""
    end, secret = run(hv, keep_after_unmap)
    refused, done = end.result
    assert refused < 0 and done == 0 and secret == SECRET.decode()


def racing_writer(g) -> str:
    """[guest] A thread writes to a read-only page without pause while unmaps are tried with the page present."""
    import threading

    from xenproc.abi import GnttabOp, Hypercall

    _, ref = find_secret(g)
    mapping = g.grants.map(g.board.resolve("victim"), [ref], readonly=True)
    fd = os.open("/dev/urandom", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    stop, wins = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            if libc.read(fd, ctypes.c_void_p(mapping.addresses[0]), ctypes.c_size_t(1)) >= 0:
                wins.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        ctypes.string_at(mapping.addresses[0], 1)
        with g.hypercalls.struct("struct xen_gnttab_unmap_grant_ref", handle=mapping.handles[0]) as (address, op):
            g.hypercalls.call(Hypercall.grant_table_op, GnttabOp.unmap_grant_ref, address, 1)
            if op.status == 0:
                break
    stop.set()
    thread.join()
    return f"{len(wins)} writes got through"


def test_an_unmap_never_makes_a_readonly_page_writable(hv):
    """Finding out whether a page is gone must not lift its protection, not for a moment."""
    end, secret = run(hv, racing_writer)
    assert end.result == "0 writes got through", end
    assert secret == SECRET.decode()


@pytest.mark.parametrize("what", ["a free frame", "the first frame", "the last frame"])
def test_frames_of_nobody_cannot_be_reached(hv, what):
    """Free frames and the ends of machine memory are as closed as a neighbour's."""

    def guest(g, mfn):
        return ctypes.string_at(g.memory.address_of(mfn), 1).hex()

    frames = hv.info()["memory"]["frames"]
    mfn = {"a free frame": frames - 100, "the first frame": 0, "the last frame": frames - 1}[what]
    crash = hv.create(guest, mfn).join(10).crash
    assert crash is not None and crash.signal == "SIGBUS", crash
