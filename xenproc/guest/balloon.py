"""A domain's balloon: gives free pages back to the hypervisor and takes others, keeping the P2M true; follows Domain0's target.

    g.balloon.start()                   # a thread that does what `xenproc mem-set` and dom.set_memory ask for
    g.balloon.set_target(512)           # or by hand, in pages

Invariants: a page is let go of by this process (madvise) before it is said to be given back; only pages that the allocator had
free go; a page number whose page went is INVALID in the P2M until another page gets it. The target comes over the board until
there is a xenstore (memory/target, in KiB, as there).
"""
# Tour G:080

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xenproc.abi import Hypercall, XenMem
from xenproc.errors import Timeout
from xenproc.guest.memory import Memory
from xenproc.native import lib

if TYPE_CHECKING:
    from xenproc.guest.board import Board
    from xenproc.guest.hypercall import Hypercalls

TARGET = "memory/target"
_SELF = 0x7FF0
_BATCH = 512            # extents of a call: a page of their numbers
RESERVE = 16            # free pages that stay: what the library itself needs for the longest report


class Balloon:
    """The balloon of this domain. Any thread may use it."""

    def __init__(self, memory: Memory, calls: "Hypercalls", board: "Board") -> None:
        """Takes a page of the domain's memory for its lists. Raises OutOfMemory."""
        self.memory = memory
        self._calls = calls
        self._board = board
        self._lock = threading.RLock()
        self._words = memory.alloc(1)
        self._thread: threading.Thread | None = None

    # ---- what there is ----

    @property
    def current(self) -> int:
        """How many pages the domain has, those included that it gave up and others still use. Raises HypercallError."""
        return self._ask(XenMem.current_reservation)

    @property
    def maximum(self) -> int:
        """How many it may have. Raises HypercallError."""
        return self._ask(XenMem.maximum_reservation)

    def _ask(self, cmd: XenMem) -> int:
        with self._calls.struct("struct xen_memory_domain", domid=_SELF) as (address, _):
            return self._calls.call(Hypercall.memory_op, cmd, address, op=cmd.name)

    # ---- blowing it up and letting air out ----

    def inflate(self, nr: int) -> int:
        """Give up to `nr` free pages back; return how many went (fewer where fewer are free; RESERVE of them stay).

        Raises HypercallError.
        """
        gone = 0
        with self._lock:
            while gone < nr:
                mfns = self._leave(min(nr - gone, _BATCH))
                if not mfns:
                    break
                done = self._change(XenMem.decrease_reservation, mfns)
                lib.xp_fault(b"balloon.inflate.done")
                self.memory.absent += mfns[done:]
                gone += done
                if done < len(mfns):
                    break
        return gone

    def _leave(self, nr: int) -> list[int]:
        """Take free frames from the allocator, and their page numbers from them, and let go of them."""
        mfns, self.memory.absent = self.memory.absent[:nr], self.memory.absent[nr:]
        for first, length in self.memory.take(min(nr - len(mfns), self.memory.nr_free - RESERVE)):
            lib.xp_fault(b"balloon.inflate.taken")
            lib.xp_pages_leave(self.memory.address_of(first), length)
            lib.xp_fault(b"balloon.inflate.left")
            mfns += range(first, first + length)
        self.memory.forget(mfns)
        return mfns

    def deflate(self, nr: int) -> int:
        """Take up to `nr` pages more; return how many came (fewer at the domain's limit or the machine's end).

        They are clear. Raises HypercallError.
        """
        come = 0
        with self._lock:
            nr = min(nr, self.maximum - self.current)
            while come < nr:
                pfns = self.memory.numbers(min(nr - come, _BATCH), self.maximum)
                done = self._change(XenMem.populate_physmap, pfns)
                lib.xp_fault(b"balloon.deflate.done")
                mfns = self._words.view.cast("Q")[:done].tolist()
                for pfn, mfn in zip(pfns[:done], mfns, strict=True):
                    self.memory.p2m[pfn] = mfn
                self.memory.unused(pfns[done:])
                self.memory.add(mfns)
                come += done
                if done < len(pfns):
                    break
        return come

    def _change(self, cmd: XenMem, numbers: Sequence[int]) -> int:
        words = self._words.view.cast("Q")
        for i, number in enumerate(numbers):
            words[i] = number
        with self._calls.struct("struct xen_memory_reservation", extent_start=self._words.address,
                                nr_extents=len(numbers), domid=_SELF) as (address, _):
            lib.xp_fault(b"balloon.change.before")
            return self._calls.call(Hypercall.memory_op, cmd, address, op=cmd.name)

    # ---- Domain0's word ----

    def set_target(self, nr_pages: int) -> int:
        """Come as near to `nr_pages` as free pages, the limit and the machine allow; return what there is then.

        Raises HypercallError.
        """
        with self._lock:
            now = self.current
            if nr_pages < now:
                self.inflate(now - nr_pages)
            elif nr_pages > now:
                self.deflate(nr_pages - now)
            return self.current

    def obey(self, timeout: float | None = 0) -> int | None:
        """Wait up to `timeout` seconds for a new target of Domain0's and go there; return what there is then, None: none came.

        Raises HypercallError.
        """
        try:
            target = self._board.lookup(0, TARGET, timeout or 1e-9, take=True)
        except Timeout:
            return None
        return self.set_target(int(target) // 4)

    def start(self) -> None:
        """Obey from now on, in a thread of its own. Twice is harmless."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._obey_all, name="balloon", daemon=True)
            self._thread.start()

    def _obey_all(self) -> None:
        while True:
            self.obey(None)
