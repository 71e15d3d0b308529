"""A machine in one process (native/hvtest.h) for tests of page tables: calls by name, entries as memory, records as tuples."""

import errno
import struct
from array import array
from itertools import pairwise

import pytest
from native.hvtest_real import Real, ffi, lib

P, RW, U, PWT, PCD, A, D, PSE, G, NX = 1, 2, 4, 8, 16, 32, 64, 128, 256, 1 << 63
FULL = P | RW | U | A | D
FULL_COUNT = 0xFFFFFFFF
NONE, L1, L2, L3, L4, SEG, WRITABLE, L2_HOLE = range(8)
ALLOCATED, HV, PINNED, VALIDATED = 1, 2, 4, 8
X32, X32P, X64 = range(3)
LEVELS = {X32: 2, X32P: 3, X64: 4}
SELF = 0x7FF0
EPERM, ESRCH, E2BIG, ENOMEM, EFAULT, EBUSY, EINVAL, ENOSYS, EOPNOTSUPP, EACCES = (
    -getattr(errno, name) for name in
    ("EPERM", "ESRCH", "E2BIG", "ENOMEM", "EFAULT", "EBUSY", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EACCES")
)
PIN = {L1: 0, L2: 1, L3: 2, L4: 3}
UNPIN, BASE, FLUSH, INVLPG, USER_BASE, CLEAR, COPY, LDT = 4, 5, 6, 7, 15, 16, 17, 13
LIMITS = {"max_evtchns": 8, "max_grant_frames": 1, "max_maptrack": 8, "max_direct": 0, "max_board": 0}
VARIANTS = [(mode, enforced, step) for mode in (X32, X32P, X64) for enforced in (True, False) for step in (0, 1, 7)]
DONE_AT = 4000          # in the frame of arguments: where a batch's count goes


class Machine:
    """One machine with domain 1 (and others on demand) in one paging mode."""

    def __init__(self, mode: int = X64, enforced: bool = True, step: int = 0, pages: int = 40, frames: int = 256) -> None:
        self.real = Real(frames)
        self.t, self.mode, self.frames = self.real.t, mode, frames
        assert lib.hvtest_tables(self.t, enforced, step) == 0
        lib.hvtest_paging(self.t, mode)
        self.first: dict[int, int] = {}
        self.domain(1, pages)

    def close(self) -> None:
        """Everything adds up, and everything goes."""
        assert lib.hvtest_mm_audit(self.t) == 0
        ended = {domid: self.real.destroy(domid) for domid in self.first}
        assert all(gone or self.real.reap(domid) for domid, gone in ended.items()), "a frame is used by nobody who lives"
        self.real.close()

    def domain(self, domid: int, pages: int = 8) -> int:
        """Make a domain; return its first frame, which is for arguments."""
        first = lib.hvtest_domain_create(self.t, domid, pages, LIMITS)
        assert first > 0
        self.first[domid] = first
        return first

    def grants(self, domid: int) -> list[int]:
        """Make the domain's grant table, of one frame; return it."""
        op = {"dom": SELF, "nr_frames": 1, "frame_list": self.va(domid, 2048)}
        ret, got = self.real.grant(domid, 2, "setup_table", [op])
        assert (ret, got[0].status) == (0, 0)
        return self.real.grant_frames(domid)

    def grant_map(self, domid: int, granter: int, ref: int, mfn: int, flags: int, host_addr: int = 0) -> int:
        """Grant a frame and map it; return the handle, or the status that refuses it."""
        entry = self.real.entry(granter, ref)
        entry.flags, entry.domid, entry.frame = 1, domid, mfn
        ret, got = self.real.grant(domid, 0, "map_grant_ref", [{"dom": granter, "ref": ref, "flags": flags, "host_addr": host_addr}])
        assert ret == 0 or self.crashed(domid)
        return got[0].handle if got[0].status == 0 else got[0].status

    def grant_unmap(self, domid: int, handle: int, host_addr: int = 0, new_addr: int = 0) -> int:
        """End a mapping, with another in its place if there is a new address; return the status."""
        op = {"handle": handle, "host_addr": host_addr} | ({"new_addr": new_addr} if new_addr else {})
        ret, got = self.real.grant(domid, 7 if new_addr else 1, "unmap_and_replace" if new_addr else "unmap_grant_ref", [op])
        assert ret == 0 or self.crashed(domid)
        return got[0].status

    def drop(self, domid: int, mfn: int) -> None:
        """The domain's process lets go of a page."""
        lib.hvtest_drop(self.t, domid, mfn)

    def end(self, domid: int) -> None:
        """Kill it and take it down: every frame must be free again."""
        del self.first[domid]
        assert self.real.destroy(domid)

    def own(self, nr: int, domid: int = 1, skip: int = 1) -> list[int]:
        """Return frames of the domain's own, behind the one for arguments."""
        return [self.first[domid] + skip + i for i in range(nr)]

    # ---- looking ----

    def table(self, mfn: int) -> memoryview:
        """Return the entries of a frame."""
        return memoryview(ffi.buffer(lib.hvtest_frame(self.t, mfn), 4096)).cast("I" if self.mode == X32 else "Q")

    def words(self, mfn: int) -> memoryview:
        """Return a frame as 64-bit words."""
        return memoryview(ffi.buffer(lib.hvtest_frame(self.t, mfn), 4096)).cast("Q")

    def record(self, mfn: int) -> tuple[int, int, int, int]:
        """Return (type, type count, references, flags)."""
        frame = lib.hvtest_frame_record(self.t, mfn)
        return frame.type, frame.type_count, frame.ref_count, frame.flags

    def records(self) -> list[tuple[int, int, int, int]]:
        """Return all records."""
        return [self.record(mfn) for mfn in range(self.frames)]

    def snapshot(self) -> array:
        """Return hvtest_snapshot's words."""
        words = array("I", bytes(12 * self.frames))
        lib.hvtest_snapshot(self.t, ffi.from_buffer("uint32_t[]", words))
        return words

    def window(self, domid: int, first: int, nr: int) -> bytes:
        """Return what the domain's window shows of nr frames, a byte each."""
        return bytes(ffi.buffer(lib.hvtest_window(self.t, domid) + first, nr))

    def bytes(self, first: int, nr: int) -> bytes:
        """Return what is in nr frames."""
        return bytes(ffi.buffer(lib.hvtest_frame(self.t, first), nr << 12))

    def shown(self, mfn: int, domid: int = 1) -> int:
        """Return what the domain's window shows: 0 nothing, 1 for reading, 2 for writing."""
        return lib.hvtest_shown(self.t, domid, mfn)

    def mm(self, domid: int = 1):
        """Return the domain's struct xp_mm."""
        return lib.hvtest_domain(self.t, domid).mm

    def crashed(self, domid: int = 1) -> bool:
        """Say whether the hypervisor has ended the domain."""
        return bool(lib.hvtest_domain(self.t, domid).crashed)

    # ---- calls ----

    def va(self, domid: int = 1, offset: int = 0) -> int:
        """Return the guest's address of its arguments."""
        return lib.HVTEST_BASE + (self.first[domid] << 12) + offset

    def call(self, nr: int, *args: int, domid: int = 1, steps: int = 1_000_000) -> int:
        """Make a call by number, to its end."""
        words = [*args, *[0] * (6 - len(args))]
        ret = lib.hvtest_mm(self.t, domid, nr, ffi.new("uint64_t[6]", words), steps)
        assert steps < 1_000_000 or ret != lib.XP_CALL_AGAIN or self.crashed(domid), "it never ends"
        return ret

    def _batch(self, nr: int, packed: list[bytes], domid: int, steps: int, foreign: int) -> tuple[int, int]:
        frame = ffi.buffer(lib.hvtest_frame(self.t, self.first[domid]), 4096)
        data = b"".join(packed)
        frame[: len(data)] = data
        frame[DONE_AT : DONE_AT + 4] = b"\xee" * 4
        ret = self.call(nr, self.va(domid), len(packed), self.va(domid, DONE_AT), foreign, domid=domid, steps=steps)
        return ret, struct.unpack_from("<I", frame, DONE_AT)[0]

    def update(self, *requests: tuple[int, int], domid: int = 1, steps: int = 1_000_000, foreign: int = SELF) -> tuple[int, int]:
        """mmu_update of (ptr, val); return (result, done)."""
        return self._batch(1, [struct.pack("<QQ", *request) for request in requests], domid, steps, foreign)

    def ext(self, *ops: tuple[int, ...], domid: int = 1, steps: int = 1_000_000, foreign: int = SELF) -> tuple[int, int]:
        """mmuext_op of (cmd, arg1, arg2); return (result, done)."""
        return self._batch(26, [struct.pack("<IIQQ", op[0], 0, *[*op[1:], 0, 0][:2]) for op in ops], domid, steps, foreign)

    def map_va(self, va: int, entry: int, flags: int = 0) -> int:
        """update_va_mapping."""
        return self.call(14, va, entry, flags)

    def assist(self, on: bool = True, domid: int = 1) -> int:
        """vm_assist: writable page tables."""
        return self.call(21, 0 if on else 1, 2, domid=domid)

    def pt_write(self, ptr: int, value: int, size: int | None = None, domid: int = 1, steps: int = 1_000_000) -> int:
        """Our hypercall of a store that met write protection."""
        return self.call(62, 20, ptr, value, self.size() if size is None else size, domid=domid, steps=steps)

    def pt_fault(self, va: int = 0, domid: int = 1, steps: int = 1_000_000) -> int:
        """Our hypercall of a walk that found nothing."""
        return self.call(62, 21, va, 0, domid=domid, steps=steps)

    # ---- building ----

    def size(self) -> int:
        """Return the bytes of an entry."""
        return 4 if self.mode == X32 else 8

    def ptr(self, mfn: int, index: int, cmd: int = 0) -> int:
        """Return where an entry stands, with the kind of update."""
        return (mfn << 12) + index * self.size() + cmd

    def space(self, leaves: int = 4, skip: int = 1) -> list[int]:
        """Write one table of each level (PAE: with the one that carries the hole, last), the lowest mapping frames of its
        own from slot 0 on. Returns [top, ..., level 1] and, PAE, the hole's table. Nothing is pinned."""
        levels = LEVELS[self.mode]
        tables = self.own(levels, skip=skip)
        for above, below in pairwise(tables):
            self.table(above)[0] = below << 12 | (P if self.mode == X32P and above == tables[0] else FULL)
        for i, mfn in enumerate(self.own(leaves, skip=skip + 5)):
            self.table(tables[-1])[i] = mfn << 12 | FULL
        if self.mode == X32P:
            hole = self.own(1, skip=skip + 4)[0]
            self.table(tables[0])[3] = hole << 12 | P
            tables.append(hole)
        return tables


def top(m: Machine) -> int:
    """Return the number of levels."""
    return LEVELS[m.mode]


def kind(variant: tuple[int, bool, int]) -> str:
    """Return a test's name for one of VARIANTS."""
    mode, enforced, step = variant
    return f"{('x86_32', 'x86_32p', 'x86_64')[mode]}-{'enforced' if enforced else 'cooperative'}-{step}"


@pytest.fixture(params=VARIANTS, ids=kind)
def every_machine(request):
    """A machine of each of VARIANTS, for tests that hold for all: `m = every_machine` in a module."""
    machine = Machine(*request.param)
    yield machine
    machine.close()
