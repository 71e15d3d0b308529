"""Memory that a domain gives back: only when its process has really let go of it, and nobody reads through it what comes later.

A giver and a taker on a machine so small that the taker gets every free frame. With the window in force the giver is refused or
dies when it looks again; with it off the same giver reads the taker's secret.
"""

import ctypes
import signal
import time

import pytest

from xenproc.abi import Hypercall, XenMem
from xenproc.native import ffi, lib

SECRET = b"the taker's own"
SELF = 0x7FF0
MACHINE = "3M"


def memory_op(g, cmd, list_, nr, order=0) -> int:
    """[guest] Make a call on a reservation; `list_` is Pages that hold the extents."""
    with g.hypercalls.struct("struct xen_memory_reservation", extent_start=list_.address, nr_extents=nr, extent_order=order,
                             domid=SELF) as (address, _):
        return g.hypercall(Hypercall.memory_op, cmd, address)


def give_back(g, page, leave=True) -> int:
    """[guest] Give one page back, or say so."""
    list_ = g.memory.alloc(1)
    list_.view[:8] = page.mfn.to_bytes(8, "little")
    if leave:
        lib.xp_page_leave(page.address)
    return memory_op(g, XenMem.decrease_reservation, list_, 1)


def taker(g) -> int:
    """[guest] Take all the memory there is, write a secret into each page, wait to be told to end."""
    list_, giver = g.memory.alloc(1), g.board.resolve("giver")
    g.board.lookup(giver, "given", 10)
    got = memory_op(g, XenMem.increase_reservation, list_, 400)
    for mfn in list_.view.cast("Q")[:got]:
        ctypes.memmove(g.memory.address_of(mfn), SECRET, len(SECRET))
    g.board.publish(giver, "taken", got.to_bytes(4, "little"))
    while g.shutdown_request(1) is None:
        pass
    return got


def run(machine, attack, *args, without=()):
    """Return how the giver ended."""
    giver = machine.create(attack, *args, name="giver", memory="1M", without=without)
    holder = machine.create(taker, name="taker", memory="1M", maxmem="3M")
    end = giver.join(20)
    holder.shutdown()
    holder.wait(20)
    return end


def wait_for_taker(g) -> int:
    """[guest] Let the taker take everything; returns how many pages it got."""
    g.board.publish(g.board.resolve("taker"), "given", b"")
    return int.from_bytes(g.board.lookup(g.board.resolve("taker"), "taken", 10), "little")


def honest_then_curious(g) -> list:
    """[guest] Give a page back as one should, then look at it when somebody else has it."""
    page = g.memory.alloc(1)
    done = give_back(g, page)
    g.console.print(f"{done} given back")
    wait_for_taker(g)
    return [done, ctypes.string_at(page.address, len(SECRET)).decode()]


def liar(g) -> list:
    """[guest] Say that a page is given back, keep it, look at it later."""
    page = g.memory.alloc(1)
    page.view[: len(SECRET)] = b"m" * len(SECRET)
    done = give_back(g, page, leave=False)
    wait_for_taker(g)
    return [done, ctypes.string_at(page.address, len(SECRET)).decode()]


def test_what_was_given_back_is_somebody_elses(own_machine):
    end = run(own_machine(MACHINE), honest_then_curious)
    assert end.crash is not None and end.crash.signal == "SIGBUS" and "1 given back" in end.console, end


def test_a_page_that_was_kept_is_not_given_back(own_machine):
    """The call says that nothing was done, and the page is as it was."""
    assert run(own_machine(MACHINE), liar).result == [0, "m" * len(SECRET)]


@pytest.mark.parametrize("attack", [honest_then_curious, liar])
def test_the_same_reads_the_secret_where_the_window_is_off(own_machine, attack):
    assert run(own_machine(MACHINE), attack, without=["window"]).result == [1, SECRET.decode()]


def comes_back(g, how) -> list:
    """[guest] Let go of a page, try to have it again behind the hypervisor's back, give it back, look at it later."""
    libc = ctypes.CDLL(None, use_errno=True)
    page = g.memory.alloc(1)
    lib.xp_page_leave(page.address)
    tries = {
        "willneed": lambda: libc.madvise(ctypes.c_void_p(page.address), 4096, 3),
        "populate read": lambda: libc.madvise(ctypes.c_void_p(page.address), 4096, 22),
        "populate write": lambda: libc.madvise(ctypes.c_void_p(page.address), 4096, 23),
        "the kernel's hand": lambda: libc.getrandom(ctypes.c_void_p(page.address), ctypes.c_size_t(8), 0),
        "mlock": lambda: libc.mlock(ctypes.c_void_p(page.address), 4096),
        "mprotect": lambda: libc.mprotect(ctypes.c_void_p(page.address), 4096, 3),
    }
    tries[how]()
    done = give_back(g, page, leave=False)
    tries[how]()
    g.console.print(f"{done} given back")
    wait_for_taker(g)
    tries[how]()
    return [done, ctypes.string_at(page.address, len(SECRET)).decode()]


@pytest.mark.parametrize("how", ["willneed", "populate read", "populate write", "the kernel's hand", "mlock", "mprotect"])
def test_a_page_that_was_let_go_of_does_not_come_back(own_machine, how):
    end = run(own_machine(MACHINE), comes_back, how)
    assert end.crash is not None and end.crash.signal in ("SIGBUS", "SIGSYS", "SIGSEGV"), end
    assert SECRET.decode() not in str(end.result)


def racing(g) -> list:
    """[guest] A thread lets the kernel touch a page over and over while it is given back many times; how often it got in."""
    import threading

    libc = ctypes.CDLL(None, use_errno=True)
    list_, done, stop, hits, tries = g.memory.alloc(1), 0, threading.Event(), 0, 0
    pages = [g.memory.alloc(1) for _ in range(100)]
    where = [pages[0].address]

    def touch():
        nonlocal hits, tries
        while not stop.is_set():
            hits += libc.getrandom(ctypes.c_void_p(where[0]), ctypes.c_size_t(8), 0) == 8
            tries += 1

    thread = threading.Thread(target=touch)
    thread.start()
    for page in pages:
        where[0] = page.address
        before, end = hits, time.monotonic() + 5
        while hits == before and time.monotonic() < end:
            pass                            # it is at it
        list_.view[:8] = page.mfn.to_bytes(8, "little")
        lib.xp_page_leave(page.address)
        done += memory_op(g, XenMem.decrease_reservation, list_, 1)
        for _ in range(2):                  # the try under way when the page went has been counted
            before = tries
            while tries == before and time.monotonic() < end:
                pass
        seen = hits
        for _ in range(50):
            libc.getrandom(ctypes.c_void_p(page.address), ctypes.c_size_t(8), 0)
        if hits != seen:
            break
    stop.set()
    thread.join()
    return [done, hits >= 100, hits == seen]


def test_a_page_that_a_thread_works_on_while_it_is_given_back(hv):
    assert hv.create(racing, memory="2M").wait(20) == [100, True, True]


def there_and_back(g) -> list:
    """[guest] Give everything spare back, have it again, several times; what comes is clear and works."""
    list_, rounds = g.memory.alloc(8), []
    pages = [g.memory.alloc(1) for _ in range(600)]
    mfns = [page.mfn for page in pages]
    words = list_.view.cast("Q")
    for _ in range(3):
        for i, mfn in enumerate(mfns):
            words[i] = mfn
            lib.xp_page_leave(g.memory.address_of(mfn))
        gone = memory_op(g, XenMem.decrease_reservation, list_, len(mfns))
        with g.hypercalls.struct("uint16_t") as (address, domid):
            domid[0] = SELF
            left = g.hypercall(Hypercall.memory_op, XenMem.current_reservation, address)
        for i in range(len(mfns)):
            words[i] = 1000 + i
        come = memory_op(g, XenMem.populate_physmap, list_, len(mfns))
        mfns = list(words[:come])
        clear = all(not any(ffi.buffer(ffi.cast("char *", g.memory.address_of(mfn)), 4096)[:]) for mfn in mfns)
        for mfn in mfns:
            ctypes.memset(g.memory.address_of(mfn), 0xA5, 4096)
        rounds.append([gone, left, come, clear, [g.memory.m2p[mfn] for mfn in mfns] == list(range(1000, 1000 + come))])
    return rounds


def test_there_and_back(hv):
    assert hv.create(there_and_back, memory="4M").wait(20) == [[600, 424, 600, True, True]] * 3


def exchanged(g) -> list:
    """[guest] Scattered pages for 2 MiB in one piece."""
    ins, outs = g.memory.alloc(1), g.memory.alloc(1)
    pages = [g.memory.alloc(1) for _ in range(1024)]
    for i, page in enumerate(pages[::2]):
        ins.view[8 * i : 8 * i + 8] = page.mfn.to_bytes(8, "little")
        lib.xp_page_leave(page.address)
    outs.view[:8] = (5000).to_bytes(8, "little")
    with g.hypercalls.struct("struct xen_memory_exchange") as (address, op):
        side = getattr(op, "in")
        side.extent_start, side.nr_extents, side.domid = ins.address, 512, SELF
        op.out.extent_start, op.out.nr_extents, op.out.extent_order, op.out.domid = outs.address, 1, 9, SELF
        ret = g.hypercall(Hypercall.memory_op, XenMem.exchange, address)
        done = op.nr_exchanged
    first = int.from_bytes(outs.view[:8], "little")
    ctypes.memset(g.memory.address_of(first), 1, 512 * 4096)
    return [ret, done, first % 512, [g.memory.m2p[first + i] for i in range(512)] == list(range(5000, 5512))]


def test_exchange(hv):
    assert hv.create(exchanged, memory="8M").wait(20) == [0, 512, 0, True]


def killed_half_way(g) -> None:
    """[guest] Give back and take for ever, many pages at a time."""
    list_ = g.memory.alloc(8)
    pages = [g.memory.alloc(1).mfn for _ in range(2000)]
    words = list_.view.cast("Q")
    g.console.print("at it")
    while True:
        for i, mfn in enumerate(pages):
            words[i] = mfn
            lib.xp_page_leave(g.memory.address_of(mfn))
        memory_op(g, XenMem.decrease_reservation, list_, len(pages))
        memory_op(g, XenMem.populate_physmap, list_, len(pages))
        pages = list(words[: len(pages)])


@pytest.mark.parametrize("after_ms", [1, 7, 20])
def test_a_death_in_the_middle_of_a_long_call(hv, after_ms):
    """The fixture counts frames and audits."""
    import os

    dom = hv.create(killed_half_way, memory="12M")
    end = time.monotonic() + 10
    while "at it" not in dom.console.read() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(after_ms / 1000)
    os.kill(dom.pid, signal.SIGKILL)
    assert dom.join(10).crash.signal == "SIGKILL"
