"""Shadow mode attacked by machine code: entries for a neighbour's page stored past the library, and a store into a shadow.

With the window in force a store into a table that has a shadow is trapped and ends the shadow; the next walk checks what is there,
and the neighbour's page is to the guest one that does not exist. Shadows themselves are read-only: who stores into one is ended.
With the defence off the first store is never seen, and the second one opens the neighbour's page, to read and to write.
"""

import threading

import pytest
from helpers import until

PAGE = 4096
FULL = 0x67             # present, writable, user, accessed, dirty
VA = 0x0840_0000
P, W, R = 1, 2, 8       # of a fault's error code: something was there, a write, a bit that may not be
OURS, THEIRS, SPOILED = "our page", "theirs..", "spoiled!"
# void store(uint64_t *at, uint64_t value): mov [rdi], rsi; ret
STORE = bytes.fromhex("488937 c3")
# void scribble(uint64_t *at, uint64_t one, uint64_t other, uint64_t n): again: mov [rdi], rsi; mov [rdi], rdx; dec rcx; jnz again; ret
SCRIBBLE = bytes.fromhex("488937 488917 48ffc9 75f5 c3")


def neighbour(g) -> str:
    """[guest] Keep a page, say where, and return what it holds in the end."""
    page = g.memory.alloc(1)
    page.view[:8] = THEIRS.encode()
    g.console.print(f"at {int(page.mfns[0])}")
    g.shutdown_request(60)
    return bytes(page.view[:8]).decode()


@pytest.fixture
def target(hv):
    """A neighbour: (the domain, its page's frame). Its page is as it was when the test is over, unless the test asked for it."""
    made = hv.create(neighbour, memory="64K")
    mfn = int(until(lambda: made.console.read().strip(), "the neighbour's page").split()[1])
    yield made, mfn
    made.destroy()


def holds(made) -> str:
    """End a neighbour and return what its page holds."""
    made.shutdown()
    return made.wait(20)


class Attack:
    """[guest] A loaded space whose page has been written to, so that every table on the way has a shadow."""

    def __init__(self, g, code: bytes) -> None:
        from hostile.machine_code import assemble

        from xenproc.guest.paging import AddressSpace

        self.g, self.code = g, assemble(code)
        self.space, self.page = AddressSpace(g, writes="direct"), g.memory.alloc(1)
        self.space.map(VA, self.page.mfns)
        self.space.load()
        self.space.write(VA, OURS.encode())
        self.own = int(self.page.mfns[0]) << 12 | FULL

    def place(self, mfn: int, shift: int) -> int:
        """Where the entry for VA lies in this process, in a table whose entries cover 1 << shift bytes."""
        return self.g.window_base + (mfn << 12) + 8 * (VA >> shift & 511)

    def word(self, at: int) -> int:
        """What this process sees there."""
        from xenproc.native import ffi

        return int(ffi.cast("uint64_t *", at)[0])

    def table(self, level: int) -> int:
        """Where the guest's own entry of a level lies."""
        return self.g.window_base + self.space._entry(level, VA)

    def shadow(self) -> int:
        """Where the leaf lies that the walker goes by."""
        mfn = self.g._page.shadow[0].top
        for shift in (39, 30, 21):
            mfn = (self.word(self.place(mfn, shift)) & 0x000F_FFFF_FFFF_F000) >> 12
        return self.place(mfn, 12)

    def store(self, *args: int) -> threading.Thread:
        """Run the machine code in a thread of its own."""
        thread = threading.Thread(target=self.code, args=args, daemon=True)
        thread.start()
        return thread

    def read(self) -> str | int:
        """What is at VA, or the error code of the fault; no TLB remembers."""
        return self._try(lambda: self.space.read(VA, 8).decode())

    def write(self) -> int | None:
        """Store there: None, or the error code."""
        return self._try(lambda: self.space.write(VA, SPOILED.encode()))

    def _try(self, access):
        from xenproc.errors import PageFault
        from xenproc.native import lib

        lib.xp_mmu_flush(self.space.mmu)
        try:
            return access()
        except PageFault as fault:
            return fault.error_code


def behind(g, level: int, mfn: int) -> list:
    """[guest] Store an entry that names a neighbour's frame into a table of this level, then go where it leads, then put it back."""
    attack = Attack(g, STORE)
    at, good = attack.table(level), attack.word(attack.table(level))
    attack.store(at, mfn << 12 | FULL).join()
    results = [attack.word(at) == mfn << 12 | FULL, attack.read(), attack.write()]
    attack.store(at, good).join()
    return [*results, attack.read()]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_an_entry_stored_behind_its_back_is_checked_before_it_counts(hv, target, level):
    made, mfn = target
    assert hv.create(behind, level, mfn, memory="1M", shadow=True).wait() == [True, P | R, P | W | R, OURS]
    assert hv.audit() == 0 and holds(made) == THEIRS


def test_without_the_window_it_is_never_seen(hv, target):
    """The shadows are not followed: the guest fools itself."""
    made, mfn = target
    stored = hv.create(behind, 1, mfn, memory="1M", shadow=True, without=["window"]).wait()
    assert stored == [True, OURS, None, SPOILED]
    assert hv.audit() == 0 and holds(made) == THEIRS


def test_the_table_of_the_base_pointer_ends_it(hv, target):
    made, mfn = target
    end = hv.create(behind, 4, mfn, memory="1M", shadow=True).join(20)
    assert end.crashed and end.crash.signal == "SIGBUS", end
    assert hv.audit() == 0 and holds(made) == THEIRS


def race(g, mfn: int) -> list[str | int]:
    """[guest] A thread stores the neighbour's entry and a good one in turns, while the walker goes by that entry; return what it met."""
    attack = Attack(g, SCRIBBLE)
    thread = attack.store(attack.table(1), mfn << 12 | FULL, attack.own, 1 << 40)
    met: set = set()
    for i in range(20_000):
        met.add(attack.read())
        if i > 500 and len(met) > 1:
            break
    assert thread.is_alive()
    return sorted(met, key=str)


def test_a_thread_that_races_the_walks_gets_nothing(hv, target):
    made, mfn = target
    assert hv.create(race, mfn, memory="1M", shadow=True).wait(60) == [P | R, OURS]
    assert hv.audit() == 0 and holds(made) == THEIRS


def into_a_shadow(g, mfn: int) -> list:
    """[guest] Store the neighbour's entry where the walker goes by it."""
    attack = Attack(g, STORE)
    at = attack.shadow()
    assert attack.word(at) == attack.own, "that is the leaf"
    g.console.print(f"{at:#x}")
    attack.store(at, mfn << 12 | FULL).join()
    return [attack.read(), attack.write()]


def test_a_store_into_a_shadow_ends_the_domain(hv, target):
    made, mfn = target
    end = hv.create(into_a_shadow, mfn, memory="1M", shadow=True).join(20)
    assert end.crashed and end.crash.signal == "SIGBUS", end
    assert int(end.crash.fault_address, 16) == int(end.console, 16)
    assert hv.audit() == 0 and holds(made) == THEIRS


def test_without_the_window_it_opens_the_neighbours_page(hv, target):
    made, mfn = target
    assert hv.create(into_a_shadow, mfn, memory="1M", shadow=True, without=["window"]).wait() == [THEIRS, None]
    assert holds(made) == SPOILED
