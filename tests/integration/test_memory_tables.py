"""The two tables of a domain's memory: its own P2M, and the machine's M2P, which nobody but the hypervisor can write."""

import ctypes
import time

import pytest

from xenproc.abi import Hypercall, XenMem
from xenproc.guest.memory import INVALID, Memory
from xenproc.native import ffi

MACHINE_FRAMES = 16384


def test_the_tables_are_each_others_inverse(hv):
    def guest(g):
        mfns = list(g.memory.p2m)
        pages = g.memory.alloc(3)
        return [len(mfns), len(set(mfns)), [g.memory.m2p[mfn] for mfn in mfns] == list(range(len(mfns))),
                [g.memory.p2m[g.memory.m2p[mfn]] for mfn in pages.mfns] == pages.mfns, len(g.memory.m2p)]

    assert hv.create(guest, memory="2M").wait() == [512, 512, True, True, MACHINE_FRAMES]


def test_frames_of_nobody_have_no_number(hv):
    def guest(g):
        table = list(g.memory.m2p)
        return [table[0], sum(entry != INVALID for entry in table)]

    assert hv.create(guest, memory="2M").wait() == [INVALID, 512], "neither the hypervisor's nor a dead domain's"


def test_numpy_sees_it_without_a_copy(hv):
    def guest(g):
        import numpy

        table = numpy.asarray(g.memory.m2p)
        return [str(table.dtype), table.flags.writeable, int((table != INVALID).sum()), int(table[g.memory.p2m[7]])]

    assert hv.create(guest, memory="2M").wait(20) == ["uint64", False, 512, 7]


def test_another_domains_entries_are_seen_as_they_change(hv):
    def neighbour(g, watcher):
        g.board.lookup(g.board.resolve(watcher, 5), "end", 5)

    def guest(g, peer):
        peer = g.board.resolve(peer)
        seen = [sum(entry != INVALID for entry in g.memory.m2p)]
        g.board.publish(peer, "end", b"")
        ending = time.monotonic() + 5
        while (now := sum(entry != INVALID for entry in g.memory.m2p)) != 512 and time.monotonic() < ending:
            pass
        return [*seen, now]

    other = hv.create(neighbour, "watcher", name="neighbour", memory="1M")
    assert hv.create(guest, "neighbour", name="watcher", memory="2M").wait(10) == [768, 512]
    other.join()


def test_the_view_refuses_to_be_written(hv):
    def guest(g):
        try:
            g.memory.m2p[0] = 1
        except TypeError as error:
            return str(error)

    assert hv.create(guest).wait() == "cannot modify read-only memory"


def scribble(g, entry) -> int:
    """[guest] Write an entry of the table with a plain store."""
    g.memory.m2p[0]
    address = ffi.cast("uintptr_t", ffi.from_buffer(g.memory.m2p))
    ctypes.c_uint64.from_address(int(address) + 8 * entry).value = 0x5C41BB1E
    return g.memory.m2p[entry]


@pytest.mark.parametrize("entry", [1, MACHINE_FRAMES - 1])
def test_no_window_shows_it_writable(hv, entry):
    """A store is SIGBUS at that address."""
    end = hv.create(scribble, entry).join(10)
    assert end.crash is not None and end.crash.signal == "SIGBUS", end


def test_the_same_store_works_where_the_window_is_off(own_machine):
    assert own_machine().create(scribble, 1, without=["window"]).wait(10) == 0x5C41BB1E


def by_the_kernels_hand(g) -> list:
    """[guest] Let the kernel write into the table."""
    libc = ctypes.CDLL(None, use_errno=True)
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(g.memory.m2p)))
    before = g.memory.m2p[1]
    got = libc.getrandom(ctypes.c_void_p(address + 8), ctypes.c_size_t(8), 0)
    return [got, ctypes.get_errno(), g.memory.m2p[1] == before]


def test_nor_can_the_kernel_be_made_to_write_it(hv):
    assert hv.create(by_the_kernels_hand).wait(10) == [-1, 14, True]


def test_it_cannot_be_granted(hv):
    """A grant of a frame of the table is a grant of a frame that is not the granter's."""

    def granter(g, peer):
        with g.hypercalls.struct("struct xen_machphys_mapping") as (address, mapping):
            g.hypercalls.call(Hypercall.memory_op, XenMem.machphys_mapping, address)
            mfn = (mapping.v_start - g.window_base) >> 12
        refs = g.grants.grant(g.board.resolve(peer), mfn)
        g.board.publish(g.board.resolve(peer), "ref", refs[0].to_bytes(4, "little"))
        while g.shutdown_request(1) is None:
            pass

    def user(g, peer):
        domid = g.board.resolve(peer)
        ref = int.from_bytes(g.board.lookup(domid, "ref"), "little")
        try:
            g.grants.map(domid, [ref])
        except Exception as error:
            return error.status

    one = hv.create(granter, "user", name="granter")
    assert hv.create(user, "granter", name="user").wait(10) == -9       # GNTST_bad_page
    one.shutdown()
    one.wait()


def test_where_its_frames_are(hv):
    def guest(g):
        from xenproc.native import ffi

        found = []
        for room in (0, 1, 9):
            with g.hypercalls.struct("struct xen_machphys_mfn_list", max_extents=room) as (address, op):
                op.extent_start = address + 64
                result = g.hypercall(Hypercall.memory_op, XenMem.machphys_mfn_list, address)
                list_ = ffi.cast("uint64_t *", address + 64)
                found.append([result, op.nr_extents, list_[0] if op.nr_extents else None])
        with g.hypercalls.struct("struct xen_machphys_mapping") as (address, op):
            result = g.hypercall(Hypercall.memory_op, XenMem.machphys_mapping, address)
            first = (op.v_start - g.window_base) >> 12
            found.append([result, (op.v_end - op.v_start) >> 12, op.max_mfn])
        with g.hypercalls.struct("struct xen_machphys_mfn_list", max_extents=1) as (address, _):
            found.append(g.hypercall(Hypercall.memory_op, XenMem.machphys_mfn_list, address))
        found.append([g.hypercall(Hypercall.memory_op, op, 0) for op in (XenMem.machphys_mfn_list, XenMem.machphys_mapping)])
        return [first, found]

    first, found = hv.create(guest).wait()
    assert found == [[0, 0, None], [0, 1, first], [0, 1, first], [0, 32, MACHINE_FRAMES - 1], -14, [-14, -14]]


def test_the_p2m_is_the_guests_own_words_in_place():
    words = ffi.new("uint64_t[3]", [7, 8, 9])
    memory = Memory(0, [])
    memory.attach(None, int(ffi.cast("uintptr_t", words)), 3)
    memory.p2m[1] = INVALID
    assert list(words) == list(memory.p2m) == [7, INVALID, 9]
