"""The balloon: by hand, at Domain0's word, at its limits, killed half-way; mem-set as a command and as a method."""

import os
import signal
import subprocess
import sys
import time

import pytest

import xenproc
from xenproc.guest.balloon import RESERVE
from xenproc.guest.memory import INVALID, Memory
from xenproc.native import ffi

MIB = 256           # pages


def wait_until(what, seconds=5.0):
    """Return what() as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := what()) and time.monotonic() < end:
        time.sleep(0.002)
    return value


def by_hand(g) -> list:
    """[guest] Out and in, looking at the tables on the way."""
    balloon, seen = g.balloon, []
    free = g.memory.nr_free
    went = balloon.inflate(300)
    holes = [pfn for pfn, mfn in enumerate(g.memory.p2m) if mfn == INVALID]
    seen.append([went, balloon.current, free - g.memory.nr_free, len(holes)])
    came = balloon.deflate(300)
    seen.append([came, balloon.current, free - g.memory.nr_free, INVALID in g.memory.p2m])
    seen.append([g.memory.m2p[mfn] for mfn in g.memory.p2m] == list(range(len(g.memory.p2m))))
    pages = g.memory.alloc(1)
    pages.view[:] = b"\1" * 4096
    return seen


def test_out_and_in(hv):
    assert hv.create(by_hand, memory="2M").wait(10) == [[300, 212, 300, 300], [300, 512, 0, False], True]


def to_the_limits(g) -> list:
    """[guest] All that is free and more than there may be."""
    balloon = g.balloon
    free = g.memory.nr_free - RESERVE
    seen = [balloon.inflate(10**6) == free, g.memory.nr_free, balloon.inflate(1)]
    seen += [balloon.deflate(10**6) - free, balloon.current, balloon.maximum, balloon.deflate(1), len(g.memory.p2m)]
    pfns = [g.memory.m2p[mfn] for mfn in g.memory.p2m]
    return [*seen, pfns == list(range(len(pfns)))]


def test_beyond_what_it_began_with(hv):
    """The P2M grows with it."""
    assert hv.create(to_the_limits, memory="2M", maxmem="3M").wait(10) == [True, RESERVE, 0, 256, 768, 768, 0, 768, True]


def test_when_the_machine_is_full(own_machine):
    hv = own_machine("4M")
    free = hv.info()["memory"]["free"]

    def guest(g):
        return g.balloon.deflate(10**6)

    assert hv.create(guest, memory="2M", maxmem="16M").wait(10) == free - 512 - 2


def test_a_target_by_hand(hv):
    def guest(g):
        return [g.balloon.set_target(pages) for pages in (400, 600, 600, 0, 10**6)]

    assert hv.create(guest, memory="2M", maxmem="3M").wait(10) == [400, 600, 600, 3 + 1 + 2 + 1 + RESERVE, 768]


def test_pages_in_use_are_left_alone(hv):
    def guest(g):
        pages = g.memory.alloc(100)
        pages.view[:] = b"\7" * len(pages.view)
        g.balloon.inflate(10**6)
        return bytes(pages.view) == b"\7" * 4096 * 100

    assert hv.create(guest, memory="2M").wait(10) is True


def obedient(g) -> int:
    """[guest] Follow Domain0's targets until told to end."""
    g.balloon.start()
    g.balloon.start()
    g.shutdown_request(None)
    return g.balloon.current


def test_at_domain0s_word(hv):
    dom = hv.create(obedient, memory="4M", maxmem="8M")
    for size in ("2M", "8M", "4M", "4M", "1M"):
        dom.set_memory(size)
        pages = xenproc.units.pages(size)
        assert wait_until(lambda pages=pages: dom.memory == pages * 4096), (size, dom.memory)
    dom.shutdown()
    assert dom.wait(10) == MIB
    assert dom.memory == 0


def test_the_last_target_counts(hv):
    """Targets that came before anybody looked are not gone through one by one."""

    def guest(g):
        g.board.lookup(0, "control/shutdown", 10)
        return [g.balloon.obey(5), g.balloon.obey(0)]

    dom = hv.create(guest, memory="4M", maxmem="8M")
    for size in ("6M", "3M", "2M"):
        dom.set_memory(size)
    dom.shutdown()
    assert dom.wait(10) == [2 * MIB, None]


def test_a_target_is_a_limit(hv):
    """As in Xen: a guest that takes no notice does not shrink, but cannot grow either."""

    def guest(g):
        g.board.lookup(0, "control/shutdown", 10)
        return [g.balloon.current, g.balloon.maximum, g.balloon.deflate(1), g.balloon.inflate(300), g.balloon.deflate(1000)]

    dom = hv.create(guest, memory="4M", maxmem="8M")
    dom.set_memory("3M")
    dom.shutdown()
    assert dom.wait(10) == [4 * MIB, 3 * MIB, 0, 300, 3 * MIB - (4 * MIB - 300)]


@pytest.mark.parametrize(("size", "what"), [("16K", "at least"), ("9M", "maxmem"), ("4097", "multiple"), ("much", "size")])
def test_targets_that_cannot_be(hv, size, what):
    dom = hv.create(obedient, memory="4M", maxmem="8M")
    with pytest.raises(xenproc.ConfigError, match=what):
        dom.set_memory(size)
    assert dom.memory == 4 << 20
    dom.destroy()
    with pytest.raises(xenproc.NoSuchDomain):
        dom.set_memory("4M")


def command(*args):
    return subprocess.run([sys.executable, "-m", "xenproc.cli.main", *args], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(("size", "pages"), [("2", 512), ("2M", 512), ("1536K", 384)])
def test_the_command(hv, size, pages):
    dom = hv.create(obedient, name="soft", memory="4M")
    done = command("mem-set", "--hv", str(hv.pid), "soft", size)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert wait_until(lambda: dom.memory == pages * 4096), dom.memory
    assert hv.domains()[1]["max_memory_kb"] == pages * 4
    dom.destroy()


def test_the_command_says_what_is_wrong(hv):
    dom = hv.create(obedient, name="soft", memory="4M")
    for args, said in ((("soft", "5M"), "maxmem"), (("soft", "x"), "size"), (("hard", "4M"), "no domain")):
        done = command("mem-set", "--hv", str(hv.pid), *args)
        assert done.returncode == 1 and said in done.stderr, done
    dom.destroy()


def breathing(g) -> None:
    """[guest] Out and in for ever."""
    g.console.print("at it")
    while True:
        g.balloon.inflate(700)
        g.balloon.deflate(700)


def test_many_breathe_at_once_and_die(hv):
    """The fixture counts every frame."""
    doms = [hv.create(breathing, memory="4M") for _ in range(4)]
    for dom in doms:
        assert wait_until(lambda dom=dom: "at it" in dom.console.read())
    for i, dom in enumerate(doms):
        time.sleep(0.01 * i)
        os.kill(dom.pid, signal.SIGKILL)
    assert [dom.join(10).crash.signal for dom in doms] == ["SIGKILL"] * 4


def test_the_allocator_gives_its_shortest_runs_first():
    memory = Memory(0, [1, 2, 3, 10, 20, 21])
    assert memory.take(4) == [(10, 1), (20, 2), (3, 1)]
    memory.add([11, 10, 3])
    assert memory.take(2) == [(10, 2)] and memory.take(9) == [(1, 3)] and memory.nr_free == 0
    assert memory.take(1) == []


def test_the_p2m_grows():
    words = ffi.new("uint64_t[2]", [7, 8])
    memory = Memory(0, [])
    memory.attach(None, int(ffi.cast("uintptr_t", words)), 2)
    memory.grow_p2m(4)
    assert list(memory.p2m) == [7, 8, INVALID, INVALID]
    memory.p2m[0] = 9
    memory.grow_p2m(3)
    assert list(memory.p2m) == [9, 8, INVALID, INVALID]


def test_page_numbers_become_free_and_are_used_again():
    """Also where the M2P does not know what a frame is called."""
    words, m2p = ffi.new("uint64_t[3]", [7, 8, 9]), ffi.new("uint64_t[10]", [INVALID] * 8 + [1, 5])
    memory = Memory(0, [])
    memory.attach(None, int(ffi.cast("uintptr_t", words)), 3)
    memory._m2p = memoryview(ffi.buffer(m2p)).cast("Q")
    assert [memory.number_of(mfn) for mfn in (7, 8, 9, 6)] == [0, 1, 2, None]
    memory.forget([7, 8, 6])
    assert list(memory.p2m) == [INVALID, INVALID, 9]
    assert memory.numbers(1, 3) == [0] and memory.numbers(2, 0) == [1, 3] and len(memory.p2m) == 4
    memory.unused([3])
    assert memory.numbers(1, 9) == [3]
