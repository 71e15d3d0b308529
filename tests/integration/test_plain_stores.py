"""Plain stores into page tables: by memoryview, ctypes, machine code and threads, with writable page tables enabled.

The table is unhooked and the store is done; it counts when the table is next used. What may not be stored ends the domain as ever.
"""

import ctypes
import signal
import threading

import pytest

MODES = ["x86_32", "x86_32p", "x86_64"]
VA = 0x0840_0000
FULL = 0x67             # present, writable, user, accessed, dirty


class Tables:
    """[guest] A loaded space with the assist on: `leaf` maps VA, and is in use; its directory; addresses of both in the window."""

    def __init__(self, g, writes: str = "direct") -> None:
        from xenproc.guest.paging import AddressSpace

        self.g, self.space, self.pages = g, AddressSpace(g, writes=writes), g.memory.alloc(4)
        self.pages.view[:] = b"".join(bytes([65 + i]) * 4096 for i in range(4))
        self.space.map(VA, self.pages.mfns[:1])
        self.space.load()
        self.space.read(VA, 1)                              # where it was unhooked: it is in use again
        self.size, self.form = (4, "I") if g.paging == "x86_32" else (8, "Q")
        self.leaf = self.view(self.space._entry(1, VA))
        self.directory = self.view(self.space._entry(2, VA))
        self.slot = VA >> 12 & len(self.leaf) - 1

    def view(self, entry: int):
        """Return the table that an entry's machine address is in."""
        from xenproc.native import ffi

        at = ffi.cast("char *", self.g.window_base + (entry & -4096))
        return memoryview(ffi.buffer(at, 4096)).cast("B").cast(self.form)

    def address(self, table) -> int:
        """Return where a table lies in this process."""
        return ctypes.addressof(ctypes.c_char.from_buffer(table))

    def word(self, page: int, flags: int = FULL) -> int:
        """Return an entry that shows one of the pages."""
        return self.pages.mfns[page] << 12 | flags


def by_memoryview(g) -> list:
    """[guest] Entries stored one by one, and as a slice."""
    t = Tables(g)
    trapped = t.space.link.nr_trapped
    t.leaf[t.slot + 1] = t.word(1)
    first = t.space.read(VA + 4096, 1).decode()
    t.leaf[t.slot + 2 : t.slot + 4] = memoryview(b"".join(t.word(i).to_bytes(t.size, "little") for i in (2, 3))).cast("B").cast(t.form)
    return [first, t.space.read(VA + 2 * 4096, 1).decode(), t.space.read(VA + 3 * 4096, 1).decode(), t.space.link.nr_trapped - trapped]


@pytest.mark.parametrize("mode", MODES)
def test_a_memoryview_of_a_table(hv, mode):
    assert hv.create(by_memoryview, memory="1M", paging=mode).wait() == ["B", "C", "D", 0]
    assert hv.audit() == 0


def by_memset(g) -> list:
    """[guest] A whole table cleared, and filled again by a copy: nothing is there, then all of it is."""
    from xenproc.errors import PageFault

    t = Tables(g)
    before = bytes(t.leaf)
    ctypes.memset(t.address(t.leaf), 0, 4096)
    try:
        t.space.read(VA, 1)
        results = ["read"]
    except PageFault as fault:
        results = [fault.error_code]
    ctypes.memmove(t.address(t.leaf), before, 4096)
    return [*results, t.space.read(VA, 1).decode()]


@pytest.mark.parametrize("mode", MODES)
def test_memset_and_memcpy_over_a_table(hv, mode):
    assert hv.create(by_memset, memory="1M", paging=mode).wait() == [0, "A"]
    assert hv.audit() == 0


def by_machine_code(g) -> list:
    """[guest] What a kernel's own code does."""
    from hostile.machine_code import assemble

    store = assemble(bytes.fromhex("488937c3"))             # mov [rdi], rsi; ret
    t = Tables(g)
    at = t.address(t.leaf) + t.slot * t.size
    store(at + t.size, t.word(1) | (t.word(2) << 32 if t.size == 4 else 0))
    return [t.space.read(VA + 4096, 1).decode()]


def test_machine_code(hv):
    for mode in MODES:
        assert hv.create(by_machine_code, memory="1M", paging=mode).wait() == ["B"], mode


def by_threads(g, nr: int) -> list:
    """[guest] Threads store into tables of their own, more than may be unhooked at once, while the first uses them."""
    t = Tables(g)
    step = len(t.leaf) << 12                                # what a table maps
    for i in range(nr):
        t.space.map(VA + (1 + i) * step, t.pages.mfns[:1])
    t.space.read(VA, 1)
    leaves = [t.view(t.space._entry(1, VA + (1 + i) * step)) for i in range(nr)]
    failed: list = []

    def scribble(leaf) -> None:
        try:
            for i in range(40):
                leaf[t.slot + 1 + i] = t.word(i % 4)
        except BaseException as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=scribble, args=(leaf,)) for leaf in leaves]
    for thread in threads:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in threads) or not turns:
        t.space.read(VA, 1)
        turns += 1
    for thread in threads:
        thread.join(20)
    shown = {t.space.read(VA + (1 + i) * step + (1 + j) * 4096, 1).decode() == "ABCD"[j % 4] for i in range(nr) for j in range(40)}
    return [failed, shown == {True}]


@pytest.mark.parametrize("mode", MODES)
def test_threads(hv, mode):
    assert hv.create(by_threads, 4, memory="1M", paging=mode).wait(60) == [[], True]
    assert hv.audit() == 0


# ---- what stays a crash ----


def refused(g, what: str) -> str:
    """[guest] Stores that are not let; returns if one was."""
    from xenproc.abi import Hypercall
    from xenproc.abi.hypercall import VmAssist, VmAssistCmd
    from xenproc.native import ffi, lib

    t = Tables(g, "queued" if what == "no assist" else "direct")
    if what == "pinned leaf":
        t.space.queue.extended(0, t.space._entry(1, VA) >> 12)
    if what == "switched off":
        g.hypercalls.call(Hypercall.vm_assist, VmAssistCmd.disable, VmAssist.writable_pagetables, op="vm_assist")
    if what == "no frame":
        ctypes.memset(g.window_base, 0, 8)
    if what == "a page let go of":
        assert lib.xp_page_leave(t.pages.address) == 0
        ctypes.memset(t.pages.address, 0, 8)
    place = {"directory": t.directory, "m2p": g.memory.m2p}.get(what, t.leaf)
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(place)))
    ctypes.memmove(address, ctypes.string_at(address, 8), 8)    # a store all the same, of what is there
    return "stored"


@pytest.mark.parametrize("what", ["directory", "m2p", "no frame", "no assist", "switched off", "pinned leaf", "a page let go of"])
def test_other_stores_end_the_domain(hv, what):
    end = hv.create(refused, what, memory="1M").join(20)
    assert end.crashed and end.crash.signal == "SIGBUS", end
    assert end.crash.fault_address is not None and int(end.crash.fault_address, 16) >> 45 == 1
    assert hv.audit() == 0


def owner(g) -> None:
    """[guest] A page for the other, to read."""
    peer, page = g.board.resolve("writer"), g.memory.alloc(1)
    ref = g.grants.grant(peer, page, readonly=True)[0]
    g.board.publish(peer, "ref", ref.to_bytes(4, "little"))
    g.shutdown_request(timeout=None)


def writer(g) -> str:
    """[guest] Stores into a page of another's that it may read, the assist being on."""
    Tables(g)
    peer = g.board.resolve("owner")
    ref = int.from_bytes(g.board.lookup(peer, "ref", 5), "little")
    mapping = g.grants.map(peer, [ref], readonly=True)
    ctypes.memset(mapping.addresses[0], 1, 1)
    return "stored"


def test_a_page_that_was_granted_to_be_read(hv):
    other = hv.create(owner, name="owner", memory="1M")
    end = hv.create(writer, name="writer", memory="1M").join(20)
    assert end.crashed and end.crash.signal == "SIGBUS", end
    other.destroy()
    assert hv.audit() == 0


def test_a_crash_in_a_thread_is_on_record(hv):
    """Its address too: every thread has the handlers' state."""

    def guest(g):
        thread = threading.Thread(target=ctypes.string_at, args=(0x1234_5678_9000, 1))
        thread.start()
        thread.join()

    end = hv.create(guest, memory="1M").join(20)
    assert end.crash is not None and end.crash.signal == "SIGSEGV" and int(end.crash.fault_address, 16) == 0x1234_5678_9000


def own_handler(g) -> str:
    """[guest] A handler of the guest's own takes the place of the library's."""
    t, libc = Tables(g), ctypes.CDLL(None)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda signo: libc._exit(7))
    libc.signal(signal.SIGBUS, handler)
    t.leaf[t.slot + 1] = t.word(1)
    return "stored"


def test_a_guests_own_handler_is_in_charge(hv):
    end = hv.create(own_handler, memory="1M").join(20)
    assert end.result is None and "exit" in str(end).lower(), end
