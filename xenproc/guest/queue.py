"""Requests of mmu_update that wait for company: what a guest's page tables are changed by. Source: public/xen.h."""

from typing import TYPE_CHECKING

from xenproc.abi import Hypercall
from xenproc.units import PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

_SELF = 0x7FF0
_BATCH = 512                                # requests of a queue: two pages of them


class UpdateQueue:
    """mmu_update requests that wait for company: at most 512, sent in one call."""

    def __init__(self, g: "Guest") -> None:
        self._g = g
        self._pages = g.memory.alloc(3)         # two of requests; one for counts and for what mmuext_op is told
        self._requests = memoryview(self._pages.view[: 2 * PAGE_SIZE]).cast("B").cast("Q")
        self._rest = memoryview(self._pages.view[2 * PAGE_SIZE :]).cast("B").cast("Q")
        self._nr = 0
        self.nr_calls = self.nr_sent = 0

    def __len__(self) -> int:
        return self._nr

    def put(self, entry: int, value: int) -> None:
        """Queue a change of the entry at this machine address. Raises as flush, if the queue was full."""
        if self._nr == _BATCH:
            self.flush()
        self._requests[2 * self._nr], self._requests[2 * self._nr + 1] = entry, value
        self._nr += 1

    def flush(self) -> None:
        """Send what is queued. Raises HypercallError at the first that is refused; those before it stand, the rest is dropped."""
        waiting = self.take()
        if waiting:
            self._g.hypercalls.call(Hypercall.mmu_update, *waiting, op="mmu_update")

    def take(self) -> tuple[int, ...] | None:
        """Hand over what is queued: the arguments of the mmu_update that sends it, for a multicall; None if nothing is."""
        nr, self._nr = self._nr, 0
        if nr == 0:
            return None
        self.nr_calls += 1
        self.nr_sent += nr
        return self._pages.address, nr, self._pages.address + 2 * PAGE_SIZE, _SELF

    def extended(self, cmd: int, argument: int, *second: int) -> None:
        """Do one mmuext_op, or two in one call (`second`: cmd, argument), after what is queued. Raises HypercallError."""
        self.flush()
        self._rest[1], self._rest[2], self._rest[3] = cmd, argument, 0
        if second:
            self._rest[4], self._rest[5], self._rest[6] = *second, 0
        at = self._pages.address + 2 * PAGE_SIZE + 8
        self._g.hypercalls.call(Hypercall.mmuext_op, at, 2 if second else 1, 0, _SELF, op="mmuext_op")

    @property
    def scratch(self) -> int:
        """An address with room for the arguments of XP_OP_set_ad."""
        return self._pages.address + 2 * PAGE_SIZE + 64

    def free(self) -> None:
        """Give the pages back; what is queued is dropped."""
        self._pages.free()
