"""How much memory a domain has, and which: the model of native/reservation.c and exchange.c, in plain Python.

Written from Xen's memory.c: what each call returns, what it changes. Which free frames an extent gets is the machine's own affair: the
model is told (`places`) and checks that they were free, in one piece, aligned and low enough. Clearing frames is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

EPERM, ESRCH, ENOMEM, EFAULT, EINVAL, ENOSYS = -1, -3, -12, -14, -22, -38
NOTHING = (1 << 64) - 1
SELF = 0x7FF0
MAX_ORDER = 9
MAX_EXTENTS = (1 << 26) - 1
ON_DEMAND, EXACT_NODE, VNODE = 1 << 16, 1 << 17, 1 << 18

Places = Callable[[int], int]       # number of the extent or page that comes -> the frame it got


@dataclass
class Frame:
    """A machine frame. No owner: free."""

    owner: int | None = None
    allocated: bool = False     # the owner's own reference
    others: int = 0             # references that others hold
    typed: int = 0              # as a page table, a descriptor page or by writable grants
    hv: bool = False


@dataclass
class Domain:
    """A domain: what it may have, and what its process still has in its window."""

    domid: int
    max_pages: int
    window: set[int] = field(default_factory=set)


class Refused(Exception):
    """An extent that is not done."""


@dataclass
class Machine:
    """Frames, the table of their numbers, domains."""

    nr: int
    frames: list[Frame] = field(default_factory=list)
    m2p: list[int] = field(default_factory=list)
    domains: dict[int, Domain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.frames = [Frame() for _ in range(self.nr)]
        self.frames[0].owner = -1
        self.m2p = [NOTHING] * self.nr

    # ---- frames ----

    def pages(self, domid: int) -> list[int]:
        """The frames of a domain's reservation."""
        return [mfn for mfn, f in enumerate(self.frames) if f.owner == domid and f.allocated and not f.hv]

    def reserved(self, domid: int) -> int:
        """How many count against its limit: those that others have not let go of, too."""
        return sum(f.owner == domid and not f.hv for f in self.frames)

    def owns(self, domid: int, mfn: int) -> bool:
        """Is it a page of the domain's reservation?"""
        return 0 <= mfn < self.nr and self.frames[mfn].owner == domid and self.frames[mfn].allocated and not self.frames[mfn].hv

    def drop(self, mfn: int) -> None:
        """The owner's reference goes; the frame does if it was the last."""
        self.frames[mfn].allocated = False
        self.settle(mfn)

    def settle(self, mfn: int) -> None:
        """A frame that nobody refers to is free."""
        if not self.frames[mfn].allocated and not self.frames[mfn].others:
            self.frames[mfn] = Frame()
            self.m2p[mfn] = NOTHING

    def room(self, order: int, limit: int, but: set[int] = frozenset()) -> bool:
        """Is there an extent, `but` left out?"""
        nr = 1 << order
        ends = range(nr, min(limit, self.nr) + 1, nr)
        return any(all(self.frames[m].owner is None and m not in but for m in range(end - nr, end)) for end in ends)

    def take(self, d: Domain, first: int, order: int, limit: int) -> None:
        """An extent comes; it must have been free."""
        nr = 1 << order
        assert first % nr == 0 and first + nr <= limit, (first, order, limit)
        for mfn in range(first, first + nr):
            assert self.frames[mfn].owner is None, mfn
            self.frames[mfn] = Frame(d.domid, True)
            d.window.add(mfn)

    # ---- the calls ----

    def whom(self, caller: int, domid: int) -> Domain | None:
        """The domain that an argument names."""
        return self.domains.get(caller if domid == SELF else domid)

    def reservation(self, caller: int, kind: str, op: dict, words: list[int], places: Places) -> int:
        """increase, decrease or populate; words: the guest's list, changed in place (None: there is no such memory)."""
        if op["nr_extents"] > MAX_EXTENTS or self.whom(caller, op["domid"]) is not self.domains[caller]:
            return 0
        limit = address_limit(op["mem_flags"])
        if limit == 0 or op["extent_order"] > MAX_ORDER or (kind == "populate" and op["mem_flags"] & ON_DEMAND):
            return 0
        if exact_elsewhere(op["mem_flags"]):
            limit = 0
        for i in range(op["nr_extents"]):
            try:
                if kind == "decrease":
                    self._remove(self.domains[caller], self._word(words, i), op["extent_order"])
                else:
                    self._add(self.domains[caller], kind, i, op["extent_order"], limit, words, places)
            except Refused:
                return i
        return op["nr_extents"]

    def _word(self, words: list[int] | None, i: int) -> int:
        if words is None or i >= len(words):
            raise Refused
        return words[i]

    def _add(self, d: Domain, kind: str, i: int, order: int, limit: int, words: list[int] | None, places: Places) -> None:
        pfn = self._word(words, i) if kind == "populate" or words is not None else None
        if self.reserved(d.domid) + (1 << order) > d.max_pages or not self.room(order, limit):
            raise Refused
        first = places(i)
        self.take(d, first, order, limit)
        if words is not None:
            words[i] = first
        if kind == "populate":
            for k in range(1 << order):
                self.m2p[first + k] = (pfn + k) & NOTHING

    def _remove(self, d: Domain, first: int, order: int) -> None:
        for mfn in range(first, first + (1 << order)):
            if not self.owns(d.domid, mfn) or mfn in d.window:
                raise Refused
            self.drop(mfn)

    def exchange(self, caller: int, op: dict, words: list[int], out_words: list[int] | None, places: Places) -> tuple[int, int]:
        """Return (result, nr_exchanged). op: in_ and out_ nr_extents, extent_order, domid; out_mem_flags; nr_exchanged."""
        done = op["nr_exchanged"]
        if max(op["in_extent_order"], op["out_extent_order"]) > MAX_ORDER:
            return EPERM, done
        sizes = [op[f"{side}_nr_extents"] << op[f"{side}_extent_order"] for side in ("in", "out")]
        if done > op["in_nr_extents"] or op["in_domid"] != op["out_domid"] or max(sizes) > NOTHING or sizes[0] != sizes[1]:
            return EINVAL, done
        d = self.whom(caller, op["in_domid"])
        if d is not self.domains[caller]:
            return (ESRCH if d is None else EPERM), done
        order = max(op["in_extent_order"], op["out_extent_order"])
        in_per = 1 << order - op["in_extent_order"]
        for chunk in range(done // in_per, op["in_nr_extents"] // in_per):
            error = self._chunk(d, op, chunk, order, words, out_words, places)
            if error:
                return error, chunk * in_per
        return 0, op["in_nr_extents"]

    def _chunk(self, d: Domain, op: dict, chunk: int, order: int, words: list, out_words: list | None, places: Places) -> int:
        in_nr, out_nr = 1 << op["in_extent_order"], 1 << op["out_extent_order"]
        in_per, out_per = (1 << order) // in_nr, (1 << order) // out_nr
        going: list[int] = []
        for i in range(chunk * in_per, (chunk + 1) * in_per):
            if i >= len(words):
                return EFAULT
            for mfn in range(words[i], words[i] + in_nr):
                if not self.owns(d.domid, mfn) or mfn in going or self.frames[mfn].others or self.frames[mfn].typed or mfn in d.window:
                    return EINVAL
                going.append(mfn)
        coming = range(chunk * out_per, (chunk + 1) * out_per)
        limit = address_limit(op["out_mem_flags"])
        # All must be had before any goes, each in one piece; the machine says which, where it says so at all.
        taken: set[int] = set()
        for i in coming:
            if not self.room(op["out_extent_order"], limit, taken):
                return ENOMEM
            if out_words is None or i >= len(out_words):
                return EFAULT
            first = places(i)
            if first is None:
                return ENOMEM
            taken |= set(range(first, first + out_nr))
        for i in coming:
            first = places(i)
            self.take(d, first, op["out_extent_order"], limit)
            for k in range(out_nr):
                self.m2p[first + k] = (out_words[i] + k) & NOTHING
            out_words[i] = first
        for mfn in going:
            self.drop(mfn)
        return 0


def address_limit(mem_flags: int) -> int:
    """Frames must lie below."""
    bits = mem_flags & 0xFF
    if bits == 0 or bits >= 64:
        return 1 << 60
    return 0 if bits <= 12 else 1 << (bits - 12)


def exact_elsewhere(mem_flags: int) -> bool:
    """Is a memory node asked for that there is not?"""
    node = mem_flags >> 8 & 0xFF
    return bool(mem_flags & EXACT_NODE) and not mem_flags & VNODE and node not in (0, 1)
