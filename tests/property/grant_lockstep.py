"""The real grant tables and their model, one step at a time on both, everything compared: for the tests of this directory."""
# Tour T:040

from collections import Counter
from errno import EBUSY, EINVAL, ENOSYS, EPERM, ESRCH

from model import grant as model
from native.hvtest_real import Real, ffi, lib

MAP, UNMAP, SETUP_TABLE, TRANSFER, COPY, QUERY_SIZE, REPLACE, SET_VERSION, GET_VERSION = 0, 1, 2, 4, 5, 6, 7, 8, 10
PAGES = 5           # of a domain's own; the first holds the arguments of its calls, the second the list of setup_table
ALL_PAGES = PAGES + 2       # ... and behind them its page tables: of level 1, of level 2
SEEN: Counter = Counter()


def expected_pairs() -> set[tuple[str, int]]:
    """Every outcome the model can have, read off its checks."""
    m = model
    statuses = {
        "map": [m.OKAY, m.BAD_GNTREF, m.GENERAL_ERROR, m.BAD_DOMAIN, m.NO_DEVICE_SPACE, m.BAD_PAGE],
        "unmap": [m.OKAY, m.BAD_HANDLE, m.GENERAL_ERROR, m.EAGAIN],
        "replace": [m.OKAY, m.BAD_HANDLE, m.GENERAL_ERROR, m.EAGAIN], "mmu_update": [0, -EPERM, -EBUSY],
        "copy": [m.OKAY, m.PERMISSION_DENIED, m.BAD_DOMAIN, m.BAD_GNTREF, m.GENERAL_ERROR, m.BAD_PAGE, m.BAD_COPY_ARG],
        "transfer": [m.OKAY, m.BAD_PAGE, m.EAGAIN, m.BAD_DOMAIN, m.GENERAL_ERROR],
        "setup_table": [m.OKAY, m.BAD_DOMAIN, m.PERMISSION_DENIED, m.GENERAL_ERROR, m.BAD_VIRT_ADDR],
        "query_size": [m.OKAY, m.BAD_DOMAIN, m.PERMISSION_DENIED],
        "set_version": [0, -EINVAL, -ENOSYS], "get_version": [0, -ESRCH, -EPERM],
    }
    return {(op, status) for op, list_ in statuses.items() for status in list_}


class Lockstep:
    """The model and the real thing side by side; each method does one step on both and compares its result."""

    def __init__(self) -> None:
        self.real = Real()
        self.model = model.Machine()
        self.zombies: set[int] = set()
        self.own: dict[int, list[int]] = {}

    def close(self) -> None:
        self.real.close()

    # ---- domains ----

    def create(self, domid: int, limits: dict) -> None:
        self.zombies -= {z for z in self.zombies if self.real.reap(z)}
        if domid in self.model.domains or domid in self.zombies:
            return
        first = self.real.create(domid, ALL_PAGES, max_evtchns=4, max_direct=0, **limits)
        own = self.own[domid] = list(range(first, first + PAGES))
        tables = (first + PAGES, first + PAGES + 1)
        hv = [mfn for mfn in range(self.real.nr_frames) if mfn not in own and mfn not in tables and self.frame(mfn).owner == domid]
        self.model.create(domid, own, hv, tables, **limits)
        self.load_tables(domid, tables)
        self.model.domains[domid].max_pages = ALL_PAGES + 2
        lib.hvtest_set_max(self.real.t, domid, ALL_PAGES + 2)
        for mfn in own[2:]:
            data = bytes([domid * 16 + mfn - first]) * 4096
            self.real.memory(mfn)[:] = self.model.frames[mfn].data[:] = data

    def load_tables(self, domid: int, tables: tuple[int, int]) -> None:
        """Its page tables: an empty one of level 1 for the first 4 MiB, and the base pointer."""
        self.real.memory(tables[1])[0:4] = (tables[0] << 12 | 0x67).to_bytes(4, "little")
        assert self.call(domid, 26, (5 | tables[1] << 64).to_bytes(24, "little")) == 0
        for mfn in tables:
            self.model.frames[mfn].data[:] = self.real.memory(mfn)

    def call(self, domid: int, nr: int, argument: bytes) -> int:
        """mmu_update or mmuext_op with one argument."""
        self.real.memory(self.own[domid][0])[: len(argument)] = argument
        args = ffi.new("uint64_t[6]", [lib.HVTEST_BASE + (self.own[domid][0] << 12), 1, 0, model.SELF])
        return lib.hvtest_mm(self.real.t, domid, nr, args, 1000)

    def mmu_update(self, domid: int, slot: int, entry: int) -> int:
        """The guest changes one of its entries."""
        maddr = (self.model.domains[domid].tables[0] << 12) + 4 * slot
        expected = self.model.mmu_update(self.model.domains[domid], slot, entry)
        assert self.call(domid, 1, maddr.to_bytes(8, "little") + entry.to_bytes(8, "little")) == expected, (domid, slot, entry)
        SEEN["mmu_update", expected] += 1
        return expected

    def destroy(self, domid: int) -> None:
        self.model.destroy(domid)
        gone = self.real.destroy(domid)
        assert gone == (self.model.zombies(domid) == 0)
        if not gone:
            self.zombies.add(domid)

    def frame(self, mfn: int):
        return lib.hvtest_frame_record(self.real.t, mfn)

    # ---- grant_table_op ----

    def honest(self) -> bool:
        """Do all use bits say what is so, and are all mapped pages there? Else an undone step may put that right."""
        for d in self.model.domains.values():
            for ref, e in d.entries.items():
                pins = d.pins.get(ref, model.Pins())
                want = (model.WRITING if pins.writers else 0) | (model.READING if pins.readers + pins.writers else 0)
                if e.flags & (model.READING | model.WRITING) != want:
                    return False
            if any(m.granter is not d and m.mfn not in d.window for m in d.handles.values()):
                return False
        return True

    def maps(self, domid: int, ops: list[dict]) -> list[int]:
        """Map, one or several at once; returns the statuses."""
        if len(ops) == 1:
            ret, got = self.real.grant_one(domid, MAP, "map_grant_ref", ops[0], fixed=self.honest())
        else:
            ret, got = self.real.grant(domid, MAP, "map_grant_ref", ops)
        assert ret == 0
        d, statuses = self.model.domains[domid], []
        for op, arg in zip(ops, got, strict=False):
            status, out = self.model.map_grant_ref(d, **op)
            assert arg.status == status, (domid, op)
            assert {name: getattr(arg, name) for name in out} == out
            SEEN["map", status] += 1
            statuses.append(status)
        return statuses

    def unmaps(self, domid: int, ops: list[dict]) -> list[int]:
        if len(ops) == 1:
            ret, got = self.real.grant_one(domid, UNMAP, "unmap_grant_ref", ops[0])
        else:
            ret, got = self.real.grant(domid, UNMAP, "unmap_grant_ref", ops)
        assert ret == 0
        statuses = []
        for op, arg in zip(ops, got, strict=False):
            status = self.model.unmap_grant_ref(self.model.domains[domid], **op)
            assert arg.status == status, (domid, op)
            SEEN["unmap", status] += 1
            statuses.append(status)
        return statuses

    def replace(self, domid: int, handle: int, host_addr: int, new_addr: int) -> int:
        element = {"handle": handle, "host_addr": host_addr, "new_addr": new_addr}
        ret, got = self.real.grant_one(domid, REPLACE, "unmap_and_replace", element)
        status = self.model.unmap_and_replace(self.model.domains[domid], handle, host_addr, new_addr)
        assert (ret, got[0].status) == (0, status), (domid, element)
        SEEN["replace", status] += 1
        return status

    def copy(self, domid: int, source: dict, dest: dict, length: int, flags: int) -> int:
        element = {"len": length, "flags": flags}
        for side, ptr in (("source", source), ("dest", dest)):
            for name, value in ptr.items():
                element[f"{side}__u__{name}" if name in ("ref", "gmfn") else f"{side}__{name}"] = value
        ret, got = self.real.grant_one(domid, COPY, "copy", element, fixed=self.honest())
        status = self.model.copy(self.model.domains[domid], source, dest, length, flags)
        assert (ret, got[0].status) == (0, status), (domid, source, dest, length, flags)
        SEEN["copy", status] += 1
        return status

    def transfer(self, domid: int, mfn: int, dom: int, ref: int) -> int:
        element = {"mfn": mfn, "domid": dom, "ref": ref}
        ret, got = self.real.grant_one(domid, TRANSFER, "transfer", element, fixed=self.honest())
        status = self.model.transfer(self.model.domains[domid], mfn, dom, ref)
        assert (ret, got[0].status) == (0, status), (domid, element)
        if status == model.OKAY:
            self.own[domid].remove(mfn)
            self.own[dom].append(mfn)
            assert lib.hvtest_m2p(self.real.t, mfn) == (1 << 64) - 1
        SEEN["transfer", status] += 1
        return status

    def setup_table(self, domid: int, dom: int, nr_frames: int, writable: bool = True) -> int:
        d = self.model.domains[domid]
        where = lib.HVTEST_BASE + (self.own[domid][1] << 12 if writable else 0)
        target = self.model._find(d, dom)
        old = list(target.table) if target else []
        element = {"dom": dom, "nr_frames": nr_frames, "frame_list": where}

        def resync() -> None:
            """A growth that was stopped half-way stays as far as it was shown."""
            if target:
                new = self.real.grant_frames(target.domid)
                assert new[: len(target.table)] == target.table and len(new) <= max(nr_frames, len(old))
                self.model.grow(target, new[len(target.table) :])
                for mfn in new[:nr_frames]:
                    if lib.hvtest_shown(self.real.t, target.domid, mfn):
                        target.window.setdefault(mfn, model.RW)

        fails = nr_frames > 1 and len(old) < nr_frames      # else the failures can be tried as everywhere
        ret, got = self.real.grant_one(domid, SETUP_TABLE, "setup_table", element, fixed=not fails)
        if fails:
            resync()
        new = self.real.grant_frames(target.domid)[len(target.table) :] if target else []
        status = self.model.setup_table(d, dom, nr_frames, writable, new)
        assert (ret, got[0].status) == (0, status), (domid, element)
        if status == model.OKAY and nr_frames:
            told = ffi.cast("uint64_t *", lib.hvtest_frame(self.real.t, self.own[domid][1]))
            assert list(told[0:nr_frames]) == target.table[:nr_frames]
        SEEN["setup_table", status] += 1
        return status

    def query_size(self, domid: int, dom: int) -> int:
        out: dict = {}
        status = self.model.query_size(self.model.domains[domid], dom, out)
        ret, got = self.real.grant_one(domid, QUERY_SIZE, "query_size", {"dom": dom})
        assert (ret, got[0].status) == (0, status) and all(getattr(got[0], k) == v for k, v in out.items())
        SEEN["query_size", status] += 1
        return status

    def version(self, domid: int, dom: int | None, version: int) -> int:
        """get_version of a domain, or set_version."""
        d = self.model.domains[domid]
        if dom is None:
            expected, op, struct, element = self.model.set_version(d, version), SET_VERSION, "set_version", {"version": version}
        else:
            expected, op, struct, element = self.model.get_version(d, dom), GET_VERSION, "get_version", {"dom": dom}
        ret, got = self.real.grant_one(domid, op, struct, element)
        assert ret == expected
        assert got[0].version == 1 or (dom is not None and ret != 0)
        SEEN[struct, ret] += 1
        return ret

    # ---- what the guests do to their own memory ----

    def write_entry(self, domid: int, ref: int, flags: int, user: int, frame: int) -> bool:
        d = self.model.domains[domid]
        if ref >= len(d.table) * 512:
            return False
        entry, real = d.entry(ref), self.real.entry(domid, ref)
        entry.flags, entry.domid, entry.frame = flags, user, frame
        real.flags, real.domid, real.frame = flags, user, frame
        return True

    def drop(self, domid: int, mfn: int) -> None:
        lib.hvtest_drop(self.real.t, domid, mfn)
        self.model.domains[domid].window.pop(mfn, None)

    def set_type(self, mfn: int, type_: int, count: int) -> None:
        """As if it were a descriptor page (5), which nothing refers to."""
        lib.hvtest_frame_type(self.real.t, mfn, type_, count)
        self.model.frames[mfn].type, self.model.frames[mfn].writers = type_, count

    # ---- comparing everything ----

    def compare(self) -> None:
        assert lib.hvtest_audit(self.real.t) == 0
        assert lib.hvtest_mm_audit(self.real.t) == sum(frame.type == 5 for frame in self.model.frames.values())
        for mfn in range(1, self.real.nr_frames):
            real, frame = self.frame(mfn), self.model.frames.get(mfn)
            if frame is None:
                assert real.ref_count == 0, mfn
                continue
            assert (real.owner, real.ref_count, real.type_count) == (frame.owner, frame.refs, frame.writers), mfn
            assert real.type == frame.type, mfn
        for domid, own in self.own.items():
            for mfn in own[2:]:
                frame = self.model.frames.get(mfn)
                if frame and frame.owner == domid and not frame.hv:
                    assert bytes(self.real.memory(mfn)) == frame.data, mfn
        for d in self.model.domains.values():
            self._compare_domain(d)

    def _compare_domain(self, d: model.Domain) -> None:
        for mfn in d.tables:
            assert bytes(self.real.memory(mfn)) == self.model.frames[mfn].data, (d.domid, mfn)
        assert self.real.grant_frames(d.domid) == d.table
        for i, mfn in enumerate(d.table):
            words = ffi.cast("struct xen_grant_entry_v1 *", lib.hvtest_frame(self.real.t, mfn))
            known = {ref: e for ref, e in d.entries.items() if ref // 512 == i}
            for ref, e in known.items():
                word = words[ref % 512]
                assert (word.flags, word.domid, word.frame) == (e.flags, e.domid, e.frame), (d.domid, ref)
                pins, p = lib.xp_grant_pins_of(lib.hvtest_domain(self.real.t, d.domid), ref), d.pins.get(ref, model.Pins())
                assert (pins.readers, pins.writers) == (p.readers, p.writers)
                assert not p.readers + p.writers or (pins.mfn, pins.user) == (p.mfn, p.user)
        assert self.real.uses(d.domid) == [
            (handle, m.granter.domid, m.ref, m.flags, m.mfn) for handle, m in sorted(d.handles.items())]
        assert lib.hvtest_counts(self.real.t, d.domid).nr_maptrack == len(d.handles)
        shown = {mfn: s for mfn in range(self.real.nr_frames) if (s := lib.hvtest_shown(self.real.t, d.domid, mfn))}
        assert shown == d.window, d.domid


def maps(both: Lockstep, user: int, granter: int, ref: int, flags: int = model.HOST_MAP, host_addr: int = 0) -> int:
    (status,) = both.maps(user, [{"flags": flags, "ref": ref, "dom": granter, "host_addr": host_addr}])
    both.compare()
    return status


def unmaps(both: Lockstep, user: int, handle: int, dev_bus_addr: int = 0, host_addr: int = 0) -> int:
    (status,) = both.unmaps(user, [{"handle": handle, "dev_bus_addr": dev_bus_addr, "host_addr": host_addr}])
    both.compare()
    return status
