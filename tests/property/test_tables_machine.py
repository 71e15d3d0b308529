"""Page tables: the C and the plain model run the same random histories in all modes and agree on everything after each step.

Everything: results and done counts, the type, counts and flags of every frame, every entry of every frame, what each window
shows, base pointers, and the C's own audit. The C does each call in steps of a random size. After each history: at least three in ten
operations were accepted, and (test_every_pair) every operation was seen with each of its errors.
"""

import os
import random
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
import tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model import tables as model
from model import writable_tables as writable
from model.tables import EINVAL, EPERM, L2_HOLE, RW, A, D, G, P, U
from tables import BASE, CLEAR, COPY, PIN, UNPIN, USER_BASE, Machine, lib

PAGES = 16              # of a domain; the first is for arguments
FULL = P | RW | U | A | D


class Lockstep:
    """A machine and its model; each operation is done to both."""

    def __init__(self, mode: int, seed: int, chance: random.Random | None = None) -> None:
        self.chance = chance or random.Random(seed)
        self.mode = mode
        self.real = Machine(mode, enforced=bool(seed % 2), step=self.chance.choice([0, 1, 2, 50]), pages=PAGES, frames=96)
        self.model: writable.WritableTables | None = None
        self.domains: dict[int, model.Domain] = {}
        self.refs: dict[int, int] = {}                  # the frame of each domain's grant table
        self.used: dict[tuple[int, int], tuple[int, int]] = {}     # (domain, handle) -> (granter, reference)
        self.seen: Counter = Counter()
        self.add(1)
        self.add(2)
        self.assist(self.domains[1])

    def add(self, domid: int) -> None:
        """A domain is made, in both."""
        first = self.real.first.get(domid) or self.real.domain(domid, PAGES)
        mode = model.MODES[self.mode]
        if self.model is None:
            self.model = writable.WritableTables(self.real.frames, self.hole_entries(mode))
        shared_info = lib.hvtest_domain(self.real.t, domid).shared_info_mfn.v      # behind its pages only if there was room
        d = model.Domain(domid, mode, [*range(first, first + PAGES), shared_info])
        for mfn in d.mfns:
            self.model.frames[mfn] = model.Frame(owner=d, refs=1, hv=mfn == shared_info)
            self.model.words[mfn] = array(self.real.table(mfn).format, self.real.table(mfn).tobytes())
        self.domains[domid] = d
        (table,) = self.real.grants(domid)              # of the hypervisor's making, like shared_info, which comes before it
        self.model.frames[table] = model.Frame(owner=d, refs=1, hv=True)
        self.refs[domid] = table

    def hole_entries(self, mode: model.Mode) -> dict[int, int]:
        """What the hypervisor puts into the hole: read once from a table of a machine of its own."""
        probe = Machine(self.mode, pages=PAGES, frames=96)
        spaces = probe.space()
        probe.ext((PIN[mode.levels], spaces[0]))
        carrier = spaces[-1] if self.mode == tables.X32P else spaces[0]
        found = {i: probe.table(carrier)[slot] for i, slot in enumerate(mode.hole)}
        probe.ext((UNPIN, spaces[0]))
        probe.close()
        assert any(found.values()) and not any(entry & RW for entry in found.values())
        return found

    def close(self) -> None:
        self.real.close()

    # ---- drawing ----

    def frame(self, d: model.Domain) -> int:
        """A frame number: mostly of its own, not the one for arguments."""
        if self.chance.random() < 0.95:
            return self.chance.choice(d.mfns[1:-1])
        other = self.domains[3 - d.domid].mfns if 3 - d.domid in self.domains else [5]
        return self.chance.choice([self.chance.choice(other), 0, 1, 95, 4000, 1 << 19, d.mfns[-1]])

    def typed(self, d: model.Domain, *types: int) -> int:
        """A frame of one of these types, if there is one."""
        found = [mfn for mfn in d.mfns[1:-1] if self.model.frames[mfn].type in types]
        return self.chance.choice(found) if found and self.chance.random() < 0.9 else self.frame(d)

    def entry(self, d: model.Domain, level: int) -> int:
        """An entry for a table of this level."""
        top_pae = self.mode == tables.X32P and level == 3
        usual = [P] if top_pae else [FULL, FULL, P | U, P, P | RW]
        odd = [0, FULL | G, FULL | model.PSE, P | model.PCD, *([1 << 53 | P] if self.mode else [])]
        flags = self.chance.choice([*usual * 4, *odd, P | 1 << self.chance.randrange(12)])
        wanted = (model.NONE,) if level == 1 else (L2_HOLE, level - 1) if level == 3 else (level - 1, level - 1, level)
        return self.typed(d, *wanted, model.NONE) << 12 | flags

    def slot(self, d: model.Domain, level: int) -> int:
        """A slot: the first few, the hole's edges, the last."""
        hole = d.mode.hole
        odd = [hole[0] - 1, hole[0], hole[-1], hole[-1] + 1, d.mode.nr[level] - 1, d.mode.nr[level]]
        return min(self.chance.choice([0, 1, 2, 3, 3, 5, *odd[:: 1 + self.chance.randrange(3)]]), 4096 * 8 // d.mode.bits - 1)

    # ---- operations ----

    def both(self, d: model.Domain, name: str, real, plain, keep: int = 0) -> None:
        """Do it twice; the same must come out. What needs tables hooks the unhooked ones first."""
        try:
            self.model.hook(d, keep)
            expected = plain() or 0
        except writable.Crashed:
            self.crash(d, name, real)
            return
        except model.Refused as refused:
            expected = refused.error
        got = real()
        assert got == expected, (name, got, expected)
        self.seen[name, expected] += 1

    def crash(self, d: model.Domain, name: str, real) -> None:
        """A table that was unhooked does not validate: the hypervisor ends the domain, whatever the call was."""
        real()
        assert self.real.crashed(d.domid), name
        self.seen[name, "crash"] += 1
        self.again(d)

    def scribble(self, d: model.Domain) -> None:
        """The guest writes entries into a frame that it may write."""
        mfn = self.chance.choice([mfn for mfn in d.mfns[1:-1] if self.model.writable(d, mfn)] or [0])
        unhooked = [table for table, *_ in d.unhooked if self.chance.random() < 0.7]
        mfn = unhooked[0] if unhooked else mfn
        if mfn:
            for _ in range(self.chance.randrange(1, 4)):
                level = 1 if unhooked else self.chance.randrange(1, d.mode.levels + 1)
                slot, value = self.slot(d, level), self.entry(d, level) if self.chance.random() < 0.8 else 0
                if unhooked and self.chance.random() < 0.1:
                    value = self.chance.choice([1 << 12 | P, FULL | G, mfn << 12 | FULL])
                value &= (1 << d.mode.bits) - 1
                self.real.table(mfn)[slot] = value
                self.model.words[mfn][slot] = value

    def build(self, d: model.Domain) -> int:
        """The guest writes a whole chain of tables into frames without a type; return the top one or 0."""
        free = [mfn for mfn in d.mfns[1:-1] if not self.model.frames[mfn].count]
        self.chance.shuffle(free)
        if len(free) < 6:
            return 0
        chain = free[: d.mode.levels]
        for mfn in free[:5]:
            self.blank(mfn)
        for level, (above, below) in zip(range(d.mode.levels, 1, -1), pairwise(chain), strict=True):
            self.poke(above, 0, below << 12 | (P if (d.mode.levels, level) == (3, 3) else FULL))
        for slot in range(3):
            self.poke(chain[-1], slot, self.entry(d, 1) & ((1 << d.mode.bits) - 1))
        if self.chance.random() < 0.15:
            self.poke(chain[-1], 4, 1 << 12 | P)                    # of the hypervisor's
        if d.mode.levels == 3:
            self.poke(chain[0], 3, free[4] << 12 | P)
        return chain[0]

    def settle(self, d: model.Domain) -> None:
        """... and loads it."""
        top = self.build(d)
        if top and d.mode.levels == 4 and self.chance.random() < 0.3:
            self.ext(d, "user base", USER_BASE, lambda: self.model.new_user_base(d, top), top)
        elif top:
            self.ext(d, "base", BASE, lambda: self.model.new_base(d, top), top)

    def blank(self, mfn: int) -> None:
        self.real.table(mfn).cast("B")[:] = bytes(4096)
        self.model.words[mfn] = array(self.model.words[mfn].typecode, bytes(4096))

    def poke(self, mfn: int, slot: int, value: int) -> None:
        self.real.table(mfn)[slot] = value
        self.model.words[mfn][slot] = value

    def update(self, d: model.Domain) -> None:
        """mmu_update of several; what was before a bad one stands."""
        requests = []
        for _ in range(self.chance.randrange(1, 5)):
            mfn = self.typed(d, 1, 2, 3, 4, L2_HOLE) if self.chance.random() < 0.9 else self.frame(d)
            frame = self.model.frames[mfn] if mfn < len(self.model.frames) else model.Frame()
            level = model.level_of(frame.type) if model.is_table(frame.type) else 1
            value = self.entry(d, level) if self.chance.random() < 0.7 else 0
            cmd = self.chance.choice([0, 0, 0, 2, 3, 1, *([5] if d.mode.bits == 64 else [])])
            requests.append((self.real.ptr(mfn, self.slot(d, level), cmd), value))
        done, error = 0, 0
        try:
            self.model.hook(d)
        except writable.Crashed:
            self.crash(d, "update", lambda: self.real.update(*requests, domid=d.domid))
            return
        for ptr, value in requests:
            try:
                self.model.update(d, ptr, value)
            except model.Refused as refused:
                error = refused.error
                break
            done += 1
        assert self.real.update(*requests, domid=d.domid) == (error, done), requests
        self.seen["update", error] += 1

    def ext(self, d: model.Domain, name: str, cmd: int, plain, *args: int) -> None:
        self.both(d, name, lambda: self.real.ext((cmd, *args), domid=d.domid)[0], plain)

    def pin(self, d: model.Domain) -> None:
        level = self.chance.choice([*range(1, d.mode.levels + 1), *[d.mode.levels] * 3, 4])
        mfn = self.typed(d, model.NONE, level)
        self.ext(d, "pin", PIN[level], lambda: self.model.pin(d, mfn, level), mfn)

    def unpin(self, d: model.Domain) -> None:
        pinned = [mfn for mfn in d.mfns if self.model.frames[mfn].pinned]
        mfn = self.chance.choice(pinned) if pinned and self.chance.random() < 0.9 else self.frame(d)
        self.ext(d, "unpin", UNPIN, lambda: self.model.unpin(d, mfn), mfn)

    def base(self, d: model.Domain) -> None:
        mfn = self.typed(d, d.mode.levels)
        self.ext(d, "base", BASE, lambda: self.model.new_base(d, mfn), mfn)

    def user_base(self, d: model.Domain) -> None:
        mfn = self.chance.choice([0, self.typed(d, 4), self.typed(d, 4)])
        self.ext(d, "user base", USER_BASE, lambda: self.model.new_user_base(d, mfn), mfn)

    def clear(self, d: model.Domain) -> None:
        mfn = self.chance.choice([self.frame(d), self.typed(d, model.WRITABLE, model.NONE)])
        if mfn != d.mfns[-1]:
            self.ext(d, "clear", CLEAR, lambda: self.model.copy(d, mfn, None), mfn)

    def copy(self, d: model.Domain) -> None:
        to, source = self.typed(d, model.WRITABLE, model.NONE), self.frame(d)
        if d.mfns[-1] not in (to, source):
            self.ext(d, "copy", COPY, lambda: self.model.copy(d, to, source), to, source)

    def map_va(self, d: model.Domain) -> None:
        va = self.chance.choice([i << 12 for i in range(6)] + [1 << 30, d.mode.hole_va[0], 1 << 47, 1 << 32])
        value = self.entry(d, 1) if self.chance.random() < 0.7 else 0
        self.both(d, "map_va", lambda: self.real.call(14, va, value, 0, domid=d.domid), lambda: self.model.map_va(d, va, value))

    def gdt(self, d: model.Domain) -> None:
        mfns = [self.frame(d) for _ in range(self.chance.randrange(3))]
        sound = {mfn for mfn in mfns if mfn in self.model.words and not any(word >> (15 if d.mode.bits == 32 else 47) & 1
                                                                            for word in self.model.words[mfn])}
        for i, mfn in enumerate(mfns):
            self.real.words(d.mfns[0])[i] = mfn
        if all(mfn in sound or mfn not in d.mfns for mfn in mfns):
            self.both(d, "gdt", lambda: self.real.call(2, self.real.va(d.domid), 512 * len(mfns), domid=d.domid),
                      lambda: self.model.set_gdt(d, mfns, sound))

    def place(self, d: model.Domain, is_pte: bool) -> int:
        """An address for a grant's entry: mostly one where there is a table."""
        tables_ = [mfn for mfn in d.mfns if self.model.frames[mfn].type == 1]
        if is_pte:
            mfn = self.chance.choice(tables_) if tables_ and self.chance.random() < 0.95 else self.frame(d)
            return self.real.ptr(mfn, self.chance.randrange(6)) + (self.chance.random() < 0.03)
        return self.chance.choice([i << 12 for i in range(1, 6)] * 3 + [1 << 30, d.mode.hole_va[0], 1 << 47])

    def grant_map(self, d: model.Domain) -> None:
        """Granted and mapped: into an entry, or into the window alone."""
        kind = self.chance.choice(["window", "va", "va", "pte", "pte"])
        e = self.domains[self.chance.choice(sorted(self.domains))]
        mfn = self.typed(e, model.NONE, model.WRITABLE) if self.chance.random() < 0.9 else self.frame(e)
        if (e.writable and e is not d) or mfn >= len(self.model.frames) or mfn == e.mfns[0] or len(d.handles) >= 6:
            return
        flags = 2 | (16 if kind == "pte" else 0)
        flags |= self.chance.choice([0, 4]) | (self.chance.choice([0, 8, 0x30000]) if kind != "window" else 0)
        host_addr = 0 if kind == "window" else self.place(d, kind == "pte")
        taken = {self.used[user.domid, handle] for user in self.domains.values() for handle in user.handles}
        ref = next(ref for ref in range(8, 64) if (e.domid, ref) not in taken)
        made: list[model.Mapping] = []
        handle = self.real.grant_map(d.domid, e.domid, ref, mfn, flags, host_addr)

        def plain() -> None:
            made.append(self.model.grant_map(d, e, mfn, flags, host_addr))

        self.both(d, "grant_map", lambda: min(handle, 0), plain, keep=2 if kind == "window" else 0)
        if made:
            assert handle not in d.handles
            d.handles[handle] = made[0]
            self.used[d.domid, handle] = (e.domid, ref)

    def grant_unmap(self, d: model.Domain) -> None:
        """Ended at the right address, mostly, or replaced."""
        if not d.handles:
            return
        handle = self.chance.choice(sorted(d.handles))
        m = d.handles[handle]
        if m.granter is not d and self.chance.random() < 0.5:
            self.real.drop(d.domid, m.mfn)
            d.dropped.add(m.mfn)
        right = [self.real.ptr(mfn, slot) if m.is_pte else slot << 12 for mfn in d.mfns if self.model.frames[mfn].type == 1
                 for slot, entry in self.model.entries(d, mfn, 1) if d.mode.mfn(entry) == m.mfn]
        host_addr = self.chance.choice(right) if right and self.chance.random() < 0.9 else self.chance.choice([0, self.place(d, m.is_pte)])
        new_addr = self.place(d, False) if self.chance.random() < 0.5 else 0
        self.both(d, "grant_replace" if new_addr else "grant_unmap",
                  lambda: self.real.grant_unmap(d.domid, handle, host_addr, new_addr),
                  lambda: self.model.grant_unmap(d, handle, host_addr, new_addr), keep=0 if m.entry else 2)

    def end(self, d: model.Domain) -> None:
        """It dies and comes again, unless others use its pages."""
        if self.chance.random() < 0.2 and not self.used_by_others(d):
            self.again(d)

    def used_by_others(self, d: model.Domain) -> bool:
        return any(m.granter is d for e in self.domains.values() if e is not d for m in e.handles.values())

    def again(self, d: model.Domain) -> None:
        self.real.end(d.domid)
        for m in d.handles.values():
            self.model.let_go(m.mfn, m.writes)
        for mfn in d.mfns:
            frame = self.model.frames[mfn]
            if frame.type == 1:
                for _, entry in self.model.entries(d, mfn, 1):
                    if self.model.frames[d.mode.mfn(entry)].owner is not d:
                        self.model.let_go(d.mode.mfn(entry), bool(entry & RW))
        for mfn in [*d.mfns, self.refs[d.domid]]:
            self.model.frames[mfn] = model.Frame()
            self.model.words.pop(mfn, None)
        del self.domains[d.domid]
        self.add(d.domid)

    def assist(self, d: model.Domain) -> None:
        """vm_assist: writable page tables, mostly on."""
        on = self.chance.random() < 0.9
        if self.used_by_others(d):
            return                                  # who may be ended at any call would leave its pages to them
        self.both(d, "assist", lambda: self.real.assist(on, domid=d.domid), lambda: self.model.assist(d, on))

    def store(self, d: model.Domain) -> None:
        """A store into a table, which the hypervisor unhooks, or stores for the guest."""
        alone = [mfn for mfn in d.mfns[1:-1] if self.model.frames[mfn].type == model.L1 and self.model.only_user(d, mfn)]
        mfn, whole = self.chance.choice(alone) if alone and self.chance.random() < 0.8 else self.typed(d, model.L1), d.mode.bits // 8
        size = self.chance.choice([whole, whole, whole, 4, 1, 8, 3, 0, 0])
        ptr = (mfn << 12) + self.slot(d, 1) * whole + self.chance.choice([0, 0, 0, 0, 4 % whole, 1])
        value = self.entry(d, 1) if self.chance.random() < 0.7 else 0
        self.both(d, "store", lambda: self.real.pt_write(ptr, value, size, domid=d.domid),
                  lambda: self.model.store(d, ptr, value, size), keep=2)
        self.seen["unhooked", len(d.unhooked)] += 1

    def stores(self, d: model.Domain) -> None:
        """Tables unhooked one after the other, and written."""
        for _ in range(3):
            self.compare()
            if self.domains.get(d.domid) is d:
                self.store(d)
                self.scribble(d)

    def fault(self, d: model.Domain) -> None:
        """A walk that found nothing."""
        if d.writable:
            self.both(d, "fault", lambda: self.real.pt_fault(0, domid=d.domid), lambda: 0)

    OPERATIONS = (
        "assist", "store", "store", "stores", "stores", "scribble", "fault", "settle", "settle", "scribble", "build",
        "update", "update", "update", "update", "pin", "pin", "unpin", "unpin", "settle", "base", "user_base",
        "clear", "copy", "map_va", "map_va", "gdt", "end", "grant_map", "grant_map", "grant_unmap",
    )

    def step(self) -> None:
        d = self.domains[self.chance.choice(sorted(self.domains))]
        getattr(self, self.chance.choice(self.OPERATIONS))(d)
        self.compare()

    # ---- comparing ----

    def compare(self) -> None:
        """Everything at once: all records, each domain's window on all domains' frames, all bytes of all frames."""
        self.model.check()
        assert lib.hvtest_mm_audit(self.real.t) == 0
        got, expected = self.real.snapshot(), array("I", self.records())
        if got != expected:
            bad = next(i for i in range(len(expected)) if got[i] != expected[i]) // 3
            raise AssertionError((bad, self.model.frames[bad], got[3 * bad : 3 * bad + 3].tolist()))
        for d in self.domains.values():
            mm = self.real.mm(d.domid)
            assert (mm.base.v, mm.user_base.v, mm.nr_gdt, mm.ticket, mm.nr_work) == (d.base, d.user_base, len(d.gdt), 0, 0)
            assert mm.nr_unhooked == len(d.unhooked)
            for other in self.domains.values():
                assert self.real.window(other.domid, d.mfns[0], PAGES) == self.shown(other, d), (other.domid, d.domid)
            memory = b"".join([self.model.words[mfn].tobytes() for mfn in d.mfns[1:-1]])
            if self.real.bytes(d.mfns[1], PAGES - 1) != memory:
                raise AssertionError([mfn for mfn in d.mfns[1:-1] if self.real.bytes(mfn, 1) != self.model.words[mfn].tobytes()])

    def records(self) -> Iterator[int]:
        """Yield what the hypervisor's records should be, three words a frame."""
        for f in self.model.frames:
            if f.owner is None:
                yield from (0, 0, 0)
            else:
                flags = 1 | 2 * f.hv | 4 * f.pinned | 8 * f.validated
                yield from (f.count, f.refs, f.owner.domid << 16 | f.type << 8 | flags)

    def shown(self, other: model.Domain, d: model.Domain) -> bytes:
        """Return what a domain's window should show of a domain's frames."""
        if other is d:
            return bytes([1 if model.is_table(frame.type) or frame.type == model.SEG else 2
                          for frame in map(self.model.frames.__getitem__, d.mfns[:-1])])
        mapped = {m.mfn for m in other.handles.values()}
        return bytes([other.shows(mfn) if mfn in mapped else 0 for mfn in d.mfns[:-1]])


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}
HISTORIES = int(os.environ.get("XENPROC_HISTORIES", "34"))        # of each part in each mode; fewer for each mutant
STEPS = 500             # of a history
SEEN: Counter = Counter()


@settings(max_examples=60, **QUIET)
@given(chance=st.randoms(), mode=st.sampled_from([tables.X32, tables.X32P, tables.X64]), steps=st.integers(1, 40), seed=st.integers(0, 1))
def test_histories_that_shrink(chance, mode, steps, seed):
    """Each choice is Hypothesis' own: a failure shrinks to few steps."""
    both = Lockstep(mode, seed, chance)
    for _ in range(steps):
        both.step()
    both.close()


@pytest.mark.parametrize("mode", [tables.X32, tables.X32P, tables.X64])
@pytest.mark.parametrize("part", range(4))
def test_random_histories(mode, part):
    """Hypothesis draws where a long history begins; it ends at the step that failed, so there is nothing to shrink but the seed."""
    total: Counter = Counter()

    @settings(max_examples=HISTORIES, **QUIET)
    @given(seed=st.integers(0, (1 << 32) - 1))
    def histories(seed):
        both = Lockstep(mode, seed)
        for nr in range(STEPS):
            try:
                both.step()
            except AssertionError as wrong:
                wrong.add_note(f"step {nr}")
                raise
        total.update(both.seen)
        total["steps", None] += STEPS
        both.close()

    histories()
    results = {key: nr for key, nr in total.items() if key[0] not in ("steps", "unhooked")}
    assert sum(nr for (_, error), nr in results.items() if error in (0, 1, 2)) >= 0.3 * sum(results.values()), results
    SEEN.update(total)


def test_every_pair():
    """Each operation with each error that the model has for it, over all histories."""
    wanted = {(name, error) for name in ("update", "map_va") for error in (0, EPERM, EINVAL, model.EBUSY)}
    wanted |= {(name, error) for name in ("pin", "base", "user base") for error in (0, EINVAL, EPERM)}
    wanted |= {(name, error) for name in ("unpin", "clear", "copy", "gdt") for error in (0, EINVAL)}
    wanted |= {("grant_map", error) for error in (0, model.GENERAL_ERROR, model.BAD_PAGE)}
    wanted |= {(name, error) for name in ("grant_unmap", "grant_replace") for error in (0, model.GENERAL_ERROR, model.EAGAIN)}
    wanted |= {("store", result) for result in (0, 1, 2, EPERM, EINVAL, model.EBUSY, "crash")}
    wanted |= {("unhooked", nr) for nr in (0, 1, 2)}
    wanted |= {("update", "crash"), ("map_va", "crash"), ("fault", "crash"), ("pin", "crash")}
    wanted |= {("update", model.ENOSYS), ("user base", model.EOPNOTSUPP)}
    if not SEEN:
        pytest.skip("the histories were not run")
    assert not wanted - set(SEEN), sorted(wanted - set(SEEN))
    assert SEEN["steps", None] % (HISTORIES * STEPS) == 0 and 12 * HISTORIES * STEPS >= 200_000
