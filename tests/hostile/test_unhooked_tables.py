"""Writable page tables attacked: stores while an unhooked table is being validated, and after, by a thread and by machine code.

With the window in force the table is protected before it is looked at: a store after that unhooks it again, so that what it wrote is
looked at, too, and ends the domain. With the defence off it goes through unseen; the hypervisor then trusts its own copy, so the guest
fools itself alone.
"""

import ctypes
import threading

import pytest

FULL = 0x67             # present, writable, user, accessed, dirty
BAD = 1 << 12 | FULL    # a frame of the hypervisor's
VA = 0x0840_0000
PT_FAULT, UNHOOKED = 21, 1
# void store(uint64_t *at, uint64_t value): mov [rdi], rsi; ret
STORE = bytes.fromhex("488937c3")


class Unhooked:
    """[guest] A loaded space whose level-1 table is unhooked, and the place of its last entry in this process."""

    def __init__(self, g) -> None:
        from xenproc.guest.paging import AddressSpace

        self.g = g
        self.space, self.page = AddressSpace(g, writes="direct"), g.memory.alloc(1)
        self.space.map(VA, self.page.mfns)
        self.space.load()
        self.entry = self.space._entry(1, VA) | 511 * 8
        self.again()

    def again(self) -> None:
        """Unhook it, by a store that changes nothing."""
        self.space.queue.put(self.entry, 0)

    def hook(self) -> int:
        """Have it hooked again."""
        return self.g.hypercall(62, PT_FAULT, VA, 0)

    @property
    def at(self) -> int:
        """Where the last entry lies."""
        return self.g.window_base + self.entry


def after(g, bad: int) -> list:
    """[guest] Machine code stores into the table after it has been hooked again."""
    from hostile.machine_code import assemble

    table = Unhooked(g)
    store = assemble(STORE)
    results = [table.hook(), table.hook()]
    store(table.at, bad)
    return [*results, ctypes.c_uint64.from_address(table.at).value == bad, table.space.read(VA, 1) != b""]


def test_a_bad_store_after_it_was_hooked_ends_the_domain(hv):
    end = hv.create(after, BAD, memory="1M").join(20)
    assert end.crashed and "writable page table: frame" in str(end.crash), end
    assert hv.create(after, BAD, memory="1M", without=["window"]).wait() == [0, 0, True, True]
    assert hv.audit() == 0


def race(g) -> str:
    """[guest] A thread stores a bad entry and a good one in turns, without end, while the table is hooked again and again."""
    table = Unhooked(g)
    page = g._page
    begun = threading.Event()
    slot = (ctypes.c_uint64 * 1).from_address(table.at)

    def scribble() -> None:
        begun.set()
        while True:
            slot[0] = 0
            slot[0] = BAD                       # what stays while the other thread has the interpreter

    threading.Thread(target=scribble, daemon=True).start()
    begun.wait()
    for _ in range(100_000):
        table.hook()
        for _ in range(100):
            # Only this thread has it hooked; so if it was hooked before and after, it was in between.
            hooked, bad = page.pt_unhooked == 0, slot[0] == BAD
            if hooked and bad and page.pt_unhooked == 0:
                return "a bad entry in a hooked table"
        table.again()
    return "never"


def test_a_thread_that_races_the_hooking_loses(hv):
    """Its store unhooks the table again, or is in what the hypervisor looks at, and ends the domain for; others live on."""
    ends = []
    for _ in range(6):
        end = hv.create(race, memory="1M").join(20)
        assert end.crashed, end
        ends.append(str(end.crash))
        assert "writable page table" in ends[-1], ends[-1]
        assert hv.audit() == 0
    assert hv.create(lambda g: "well", memory="1M").wait() == "well"


def test_without_the_window_the_thread_fools_its_own_domain(hv):
    for _ in range(20):
        end = hv.create(race, memory="1M", without=["window"]).join(20)
        assert hv.audit() == 0
        if not end.crashed:
            assert end.result == "a bad entry in a hooked table"
            return
        assert "writable page table" in str(end.crash)
    pytest.fail("the hypervisor saw every bad entry: nothing was attacked")
