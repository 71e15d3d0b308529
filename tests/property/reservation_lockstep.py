"""The real memory_op and its model, one step at a time on both, everything compared: for the tests of this directory."""
# Tour T:090

from collections import Counter

from model import reservation as model
from native.hvtest_real import FAILS_WITH, Real, ffi, lib

CMD = {"increase": 0, "decrease": 1, "populate": 6}
EXCHANGE = 11
PAGES = 10          # of a domain's own at first; the first holds the arguments of its calls, the second the lists
ROOM = 256          # entries of a list: half of the second page, one half for what goes, one for what comes
SEEN: Counter = Counter()


class Lockstep:
    """The model and the real thing side by side; each method does one step on both and compares."""

    def __init__(self, nr_frames: int = 160) -> None:
        self.real = Real(nr_frames)
        self.model = model.Machine(nr_frames)
        self.own: dict[int, int] = {}       # first frame of each domain
        self.held: list[int] = []

    def close(self) -> None:
        for mfn in self.held:
            self._untype(mfn)
            lib.hvtest_let_go(self.real.t, mfn)
        self.real.close()

    # ---- domains ----

    def create(self, domid: int, nr_pages: int = PAGES, max_pages: int = 3 * PAGES) -> None:
        first = self.real.create(domid, nr_pages, max_evtchns=4, max_direct=0, max_grant_frames=1, max_maptrack=4)
        lib.hvtest_set_max(self.real.t, domid, max_pages)
        self.own[domid] = first
        self.model.domains[domid] = model.Domain(domid, max_pages, set(range(first, first + nr_pages)))
        for mfn in range(self.real.nr_frames):
            record = lib.hvtest_frame_record(self.real.t, mfn)
            if record.owner == domid:
                self.model.frames[mfn] = model.Frame(domid, True, hv=not first <= mfn < first + nr_pages)
        self.model.m2p[first : first + nr_pages] = range(nr_pages)

    def destroy(self, domid: int) -> None:
        """Its frames go, but for those that are held."""
        for mfn, f in enumerate(self.model.frames):
            if f.owner == domid and f.allocated:
                self.model.drop(mfn)
        zombies = any(f.owner == domid for f in self.model.frames)
        assert self.real.destroy(domid) == (not zombies)
        if zombies:
            self.zombie = domid
        del self.model.domains[domid], self.own[domid]

    def set_max(self, domid: int, max_pages: int) -> None:
        lib.hvtest_set_max(self.real.t, domid, max_pages)
        self.model.domains[domid].max_pages = max_pages

    # ---- what others and the guests do ----

    def leave(self, domid: int, mfn: int) -> None:
        """The process lets go of a page (madvise)."""
        lib.hvtest_drop(self.real.t, domid, mfn)
        self.model.domains[domid].window.discard(mfn)

    def hold(self, mfn: int, type_: int = 0) -> None:
        """Somebody else refers to a frame, perhaps as a page table."""
        assert lib.hvtest_hold(self.real.t, mfn) == 0
        if type_ and not self.model.frames[mfn].typed:
            lib.hvtest_frame_type(self.real.t, mfn, type_, 1)
            self.model.frames[mfn].typed = 1
        self.model.frames[mfn].others += 1
        self.held.append(mfn)

    def let_go(self, i: int) -> None:
        mfn = self.held.pop(i)
        if mfn not in self.held:
            self._untype(mfn)
        lib.hvtest_let_go(self.real.t, mfn)
        self.model.frames[mfn].others -= 1
        self.model.settle(mfn)

    def _untype(self, mfn: int) -> None:
        if self.model.frames[mfn].typed:
            lib.hvtest_frame_type(self.real.t, mfn, 0, 0)
            self.model.frames[mfn].typed = 0

    # ---- memory_op ----

    def _list(self, domid: int, out: bool = False) -> object:
        frame = ffi.cast("uint64_t *", lib.hvtest_frame(self.real.t, self.own[domid] + 1))
        return frame + (ROOM if out else 0)

    def _where(self, domid: int, out: bool = False) -> int:
        return lib.HVTEST_BASE + (self.own[domid] + 1 << 12) + 8 * ROOM * out

    def _owned(self, domid: int) -> set[int]:
        return {mfn for mfn in range(self.real.nr_frames)
                if (r := lib.hvtest_frame_record(self.real.t, mfn)).owner == domid and r.flags & 3 == 1}

    def reservation(self, domid: int, kind: str, words: list[int] | None, nr_extents: int | None = None, order: int = 0,
                    mem_flags: int = 0, whom: int = model.SELF) -> int:
        """increase, decrease, populate; words None: no list is given. One extent is tried with every failure first."""
        fields = {"nr_extents": len(words) if nr_extents is None else nr_extents, "extent_order": order,
                  "mem_flags": mem_flags, "domid": whom}
        op = ffi.new("struct xen_memory_reservation *")
        listed, before = self._list(domid), self._owned(domid)
        expected_words = None if words is None else list(words)

        def act() -> int:
            for name, value in {**fields, "extent_start": 0 if words is None else self._where(domid)}.items():
                setattr(op, name, value)
            for i, word in enumerate(words or []):
                listed[i] = word
            return lib.hvtest_memory_op(self.real.t, domid, CMD[kind], op, ffi.sizeof("struct xen_memory_reservation"))

        if fields["nr_extents"] == 1 and order == 0:
            ret = self.real.every_failure(act, lambda what, ret: ret == 0)
        else:
            ret = act()
        new = self._owned(domid) - before

        def place(i: int) -> int:
            if words is not None:
                return listed[i]
            mine = sorted(mfn for mfn in new if self.model.frames[mfn].owner is None)
            return next(mfn for mfn in mine if mfn % (1 << order) == 0)

        expected = self.model.reservation(domid, kind, fields, expected_words, place)
        assert ret == expected, (kind, fields, words)
        assert words is None or list(listed[0 : len(words)]) == expected_words
        SEEN[kind, "all" if ret == fields["nr_extents"] else "none" if ret == 0 else "some"] += 1
        return ret

    def exchange(self, domid: int, words: list[int], out_words: list[int], in_order: int = 0, out_order: int = 0, **other: int) -> int:
        """Frames in `words` for new ones, known by the numbers in `out_words`."""
        fields = {"in_nr_extents": len(words), "out_nr_extents": len(out_words), "in_extent_order": in_order,
                  "out_extent_order": out_order, "in_domid": model.SELF, "out_domid": model.SELF, "out_mem_flags": 0, "nr_exchanged": 0,
                  **other}
        op = ffi.new("struct xen_memory_exchange *")
        ins, outs = self._list(domid), self._list(domid, out=True)
        starts = {"in_extent_start": self._where(domid), "out_extent_start": self._where(domid, out=True)}

        def act() -> int:
            for name, value in {**fields, **starts}.items():
                if name.startswith("nr_"):
                    setattr(op, name, value)
                else:
                    side, rest = name.split("_", 1)
                    setattr(getattr(op, side), rest, value)
            for where, values in ((ins, words), (outs, out_words)):
                for i, word in enumerate(values):
                    where[i] = word
            return lib.hvtest_memory_op(self.real.t, domid, EXCHANGE, op, ffi.sizeof("struct xen_memory_exchange"))

        pages = len(out_words) << out_order
        if pages == 1:
            ret = self.real.every_failure(act, lambda what, ret: ret == FAILS_WITH[what])
        else:
            ret = act()
        new_words = list(out_words)
        got = [outs[i] for i in range(len(out_words))]

        def place(i: int) -> int | None:
            """Its frame, or None where the call failed for lack of one and so has told of none."""
            return got[i] if ret == 0 or i < op.nr_exchanged << in_order >> out_order else None

        expected = self.model.exchange(domid, fields, list(words), new_words, place)
        assert (ret, op.nr_exchanged) == expected, (fields, words, out_words)
        assert got == new_words
        SEEN["exchange", ret] += 1
        return ret

    # ---- comparing everything ----

    def compare(self) -> None:
        assert lib.hvtest_audit(self.real.t) == 0
        for mfn in range(1, self.real.nr_frames):
            real, frame = lib.hvtest_frame_record(self.real.t, mfn), self.model.frames[mfn]
            assert (real.owner, real.ref_count) == (
                0x7FFF if frame.owner is None else frame.owner, frame.allocated + frame.others), mfn
            assert bool(real.flags & 1) == frame.allocated and bool(real.flags & 32) == (not frame.allocated and frame.others > 0)
            assert lib.hvtest_m2p(self.real.t, mfn) == self.model.m2p[mfn], mfn
        for domid, d in self.model.domains.items():
            assert lib.hvtest_nr_pages(self.real.t, domid) == len(self.model.pages(domid))
            assert lib.hvtest_reserved(self.real.t, domid) == self.model.reserved(domid)
            shown = {mfn for mfn in range(self.real.nr_frames) if lib.hvtest_shown(self.real.t, domid, mfn)}
            assert shown == d.window
            # What nobody may see: a frame in a window that is not its owner's.
            assert all(self.model.frames[mfn].owner == domid for mfn in shown)
