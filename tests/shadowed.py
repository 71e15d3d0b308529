"""A machine whose domain 1 is in shadow mode, and its processor: a walker of shadows that asks the hypervisor, without a TLB."""

import tables
from model.shadow import PF_W, Fault
from tables import BASE, RW, Machine, P, lib

from xenproc.native import ffi as native_ffi
from xenproc.native import lib as native

SHADOWED, SHADOW, STORE = 8, 9, 0x10000


class Shadowed(Machine):
    """Domain 1 walks shadows. `pool`: frames for them."""

    def __init__(self, mode=tables.X64, enforced=True, step=0, pages=40, frames=256, pool=16):
        super().__init__(mode, enforced, step, pages, frames)
        assert lib.hvtest_shadow(self.t, 1, pool) == 0
        base = native_ffi.cast("void *", int(tables.ffi.cast("uintptr_t", lib.hvtest_frame(self.t, 0))))
        self.mmu = native.xp_mmu_new(mode, base, frames, 1, 1)
        self.said = native_ffi.new("struct xp_fault_info *")
        self.out = native_ffi.new("uint64_t *")

    def close(self):
        native.xp_mmu_free(self.mmu)
        super().close()

    @property
    def shadow(self):
        """The domain's struct xp_shadow."""
        return lib.hvtest_domain(self.t, 1).shadow

    def base(self, mfn, cmd=BASE):
        """Load a base pointer; return what the call said."""
        return self.ext((cmd, mfn))[0]

    def walk(self, va, access):
        """One walk of the shadows, which asks nobody: a machine address or the fault."""
        assert native.xp_mmu_switch(self.mmu, lib.hvtest_shadow_top(self.t, 1), 0) == 0
        ret = native.xp_mmu_translate(self.mmu, va, access, self.out, self.said)
        assert self.mmu.nr_ad == 0, "a shadow owes nothing"
        return self.out[0] if ret == 0 else Fault(self.said.error_code, self.said.level)

    def access(self, va, access):
        """An access as the guest's MMU does it: (machine address or fault, is it a store into a table)."""
        for _ in range(4):
            found = self.walk(va, access)
            if not isinstance(found, Fault):
                return found, False
            said = self.call(62, 21, va, found.code)
            if said == STORE and found == Fault(found.code & 4 | 3, 1):
                entry = lib.hvtest_frame(self.t, self.said.maddr >> 12)
                word = int.from_bytes(tables.ffi.buffer(entry, 4096)[self.said.maddr % 4096:][: self.size()], "little")
                return (word & 0x000FFFFFFFFFF000) + va % 4096, True
            if said not in (0, STORE):
                return (Fault(said & 0xFF, said >> 8) if said > 0 else found), False
        raise AssertionError(f"{va:#x} never settles: {found}")

    def store(self, va, value, access=PF_W):
        """An aligned store of an entry's size by virtual address; return the fault, or None."""
        at, trapped = self.access(va, access)
        if isinstance(at, Fault):
            return at
        if trapped:
            assert self.pt_write(at, value) == 0
        else:
            self.table(at >> 12)[at % 4096 // self.size()] = value
        return None

    def put(self, mfn, index, value):
        """A store of the guest's at a machine address: trapped where the frame is protected; return whether it was."""
        ret = self.pt_write(self.ptr(mfn, index), value)
        if ret == 2:
            self.table(mfn)[index] = value
        else:
            assert ret == 0
        return ret == 0

    def bytes_at(self, at, value, size):
        """A store into memory, as the process does it where nothing is protected."""
        frame = tables.ffi.buffer(lib.hvtest_frame(self.t, at >> 12), 4096)
        frame[at % 4096 : at % 4096 + size] = (value % 256**size).to_bytes(size, "little")

    def give_up(self, mfn):
        """decrease_reservation of a page that the process has let go of; return how many went."""
        self.words(self.own(1, skip=0)[0])[100] = mfn
        op = tables.ffi.new("struct xen_memory_reservation *")
        op.extent_start, op.nr_extents, op.domid = self.va(1, 800), 1, tables.SELF
        return lib.hvtest_memory_op(self.t, 1, 1, op, tables.ffi.sizeof("struct xen_memory_reservation"))

    def shadowed(self, mfn):
        """How many shadows a frame has."""
        kind, count, *_ = self.record(mfn)
        return count if kind == SHADOWED else 0


def leaf(mfn, bits=P | RW):
    """An entry."""
    return mfn << 12 | bits
