"""Writing to a page table: before, during and after its pin, by plain stores, by the kernel's hand, from a racing thread.

With the window in force a store into a table ends the domain at that very address, and every table stays what was validated.
With the defence off the store goes through; the hypervisor then trusts its own copies, so the guest fools itself alone.
"""

import ctypes
import os
import threading

import pytest

from xenproc.abi import Hypercall

PAGE = 4096
FULL = 0x67             # present, writable, user, accessed, dirty
PIN, UNPIN, SELF = 3, 4, 0x7FF0


class Space:
    """[guest] One table of each level and four leaves, in frames of the guest's own."""

    def __init__(self, g) -> None:
        self.g = g
        self.pages = g.memory.alloc(9)
        self.l4, self.l3, self.l2, self.l1, *self.leaves = self.pages.mfns
        self.entries(self.l4)[0] = self.l3 << 12 | FULL
        self.entries(self.l3)[0] = self.l2 << 12 | FULL
        self.entries(self.l2)[0] = self.l1 << 12 | FULL
        for i, mfn in enumerate(self.leaves[:4]):
            self.entries(self.l1)[i] = mfn << 12 | FULL

    def entries(self, mfn: int) -> memoryview:
        """Return a frame's 64-bit words."""
        raw = (ctypes.c_uint8 * PAGE).from_address(self.g.memory.address_of(mfn))
        return memoryview(raw).cast("B").cast("Q")

    def ext(self, cmd: int, mfn: int) -> int:
        """Do one mmuext_op, with its argument in the last leaf."""
        at = self.leaves[4]
        words = self.entries(at)
        words[0], words[1], words[2] = cmd, mfn, 0
        return self.g.hypercall(int(Hypercall.mmuext_op), self.g.memory.address_of(at), 1, 0, SELF)

    def address(self, mfn: int, index: int) -> int:
        """Return where an entry lies in this process."""
        return self.g.memory.address_of(mfn) + 8 * index


def life(g) -> list:
    """[guest] An ordinary life: written before, read while pinned, written after."""
    space = Space(g)
    results = [space.ext(PIN, space.l4)]
    results.append(space.entries(space.l1)[0] == space.leaves[0] << 12 | FULL)
    results.append(space.entries(space.l4)[256] & 0xFFF)
    results.append(space.ext(UNPIN, space.l4))
    space.entries(space.l1)[0] = 77
    return [*results, space.entries(space.l1)[0]]


@pytest.mark.parametrize("without", [(), ("window",)])
def test_a_table_is_the_guests_to_write_until_it_is_pinned_and_again_after(hv, without):
    assert hv.create(life, memory="1M", without=without).wait() == [0, True, 0x25, 0, 77]


def store(g, level: int) -> str:
    """[guest] Pin, then store into a table of this level."""
    space = Space(g)
    assert space.ext(PIN, space.l4) == 0
    g.console.print(f"{space.address([0, space.l1, space.l2, space.l3, space.l4][level], 5):#x}")
    ctypes.memmove(space.address([0, space.l1, space.l2, space.l3, space.l4][level], 5), b"\1", 1)
    return "written"


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_store_into_a_pinned_table_ends_the_domain(hv, level):
    dom = hv.create(store, level, memory="1M")
    end = dom.join(20)
    assert end.crash.signal == "SIGBUS"
    assert int(end.crash.fault_address, 16) & ~(PAGE - 1) == int(end.console, 16) & ~(PAGE - 1)
    assert hv.create(store, level, memory="1M", without=["window"]).wait() == "written"


def by_the_kernels_hand(g) -> int:
    """[guest] Have read() write into a table."""
    space = Space(g)
    assert space.ext(PIN, space.l4) == 0
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/urandom", os.O_RDONLY)
    got = libc.read(fd, ctypes.c_void_p(space.address(space.l1, 5)), ctypes.c_size_t(8))
    return ctypes.get_errno() if got < 0 else 0


def test_the_kernel_does_not_write_there_either(hv):
    assert hv.create(by_the_kernels_hand, memory="1M").wait() == 14
    assert hv.create(by_the_kernels_hand, memory="1M", without=["window"]).wait() == 0


def race(g) -> list:
    """[guest] A thread stores a bad entry into the last slot again and again while the table is pinned."""
    space = Space(g)
    begun = threading.Event()
    slot = (ctypes.c_uint64 * 1).from_address(space.address(space.l1, 511))

    def scribble() -> None:
        begun.set()
        while True:
            slot[0] = 0
            slot[0] = 1 << 12 | FULL            # of the hypervisor's: never validated

    threading.Thread(target=scribble, daemon=True).start()
    begun.wait()
    refused = 0
    while space.ext(PIN, space.l4) != 0:
        refused += 1
    # Pinned with what was there at that moment; the thread has not stored since, or this domain is dead.
    return [slot[0], refused]


def test_a_thread_that_races_the_pin_loses(hv):
    """The table is protected before it is looked at: the scribbler dies, or the pin saw what it wrote and refused."""
    for _ in range(5):
        end = hv.create(race, memory="1M").join(20)
        assert end.crashed and end.crash.signal == "SIGBUS", end
        assert hv.audit() == 0


def straight_to_the_hypervisor(g) -> list:
    """[guest] Have calls write their answers into a table, and a grant copy."""
    space = Space(g)
    assert space.ext(PIN, space.l4) == 0
    at, before = g.memory.address_of(space.l1), bytes(space.entries(space.l1))
    results = [g.hypercall(int(Hypercall.xen_version), 1, at), g.hypercall(int(Hypercall.mmuext_op), at, 0, at, SELF),
               g.hypercall(int(Hypercall.memory_op), 5, at)]
    return [*results, bytes(space.entries(space.l1)) == before]


def test_no_call_writes_into_a_table_for_its_guest(hv):
    assert hv.create(straight_to_the_hypervisor, memory="1M").wait() == [-14, -14, -14, True]


def descriptors(g, store_into: bool) -> list:
    """[guest] A GDT; then perhaps a store into it."""
    space = Space(g)
    gdt, arguments = space.leaves[0], space.entries(space.leaves[4])
    space.entries(gdt)[1] = 0x00AF9A000000FFFF
    arguments[0] = gdt
    ret = g.hypercall(int(Hypercall.set_gdt), g.memory.address_of(space.leaves[4]), 512)
    ring = space.entries(gdt)[1] >> 45 & 3
    if store_into:
        space.entries(gdt)[1] = 0x00AF9A000000FFFF
    return [ret, ring]


def test_descriptors_cannot_be_changed_behind_the_hypervisors_back(hv):
    assert hv.create(descriptors, False, memory="1M").wait() == [0, 3]
    assert hv.create(descriptors, True, memory="1M").join(20).crash.signal == "SIGBUS"
    assert hv.create(descriptors, True, memory="1M", without=["window"]).wait() == [0, 3]
