"""Shadow mode in plain Python: what a walk of the guest's own tables gives, and nothing else.

Shadows are a cache: they may never be seen. So the model has none; it walks what the guest's frames hold, filtered by the rules of
whose frames those may be. Written from the Intel SDM and Xen's rules, not from native/.
"""

from dataclasses import dataclass, field

P, RW, U, A, D, PSE, NX = 1, 2, 4, 32, 64, 128, 1 << 63
PF_P, PF_W, PF_U, PF_R, PF_I = 1, 2, 4, 8, 16
BITS_52_TO_62 = 0x7FF << 52
# mode: (levels, bytes of an entry, index shifts from level 1 up, index bits of the top level)
MODES = {0: (2, 4, (12, 22), 10), 1: (3, 8, (12, 21, 30), 2), 2: (4, 8, (12, 21, 30, 39), 9)}


@dataclass(frozen=True)
class Fault:
    """A page fault: its error code, and the level of the entry that said no."""

    code: int
    level: int


@dataclass
class Guest:
    """A domain: its frames' bytes, and what it may name."""

    mode: int
    frames: dict[int, bytearray]                            # its own
    borrowed: dict[int, bool] = field(default_factory=dict)  # mapped by a grant: may it write?
    lent: set[int] = field(default_factory=set)             # its own that another domain may write: never tables
    fixed: set[int] = field(default_factory=set)            # the hypervisor's frames for it: read-only, and never tables
    base: int = 0

    @property
    def size(self) -> int:
        """Bytes of an entry."""
        return MODES[self.mode][1]

    def entry(self, at: int) -> int:
        """The entry at a machine address."""
        return int.from_bytes(self.frames[at >> 12][at & 4095 : (at & 4095) + self.size], "little")

    def put(self, at: int, value: int, size: int) -> None:
        """A store of the guest's, or one that is done for it."""
        self.frames[at >> 12][at & 4095 : (at & 4095) + size] = (value % 256**size).to_bytes(size, "little")

    def mfn(self, entry: int) -> int:
        """The frame that an entry names."""
        return (entry & (0xFFFFF000 if self.size == 4 else 0x000FFFFFFFFFF000)) >> 12

    def sound(self, level: int, entry: int) -> bool:
        """Whether a processor that has the domain's memory alone can use a present entry."""
        reserved = PSE if level > 1 else 0
        if self.mode == 1:
            reserved |= NX | BITS_52_TO_62 | 0x1E6 if level == 3 else BITS_52_TO_62
        mfn = self.mfn(entry)
        if entry & reserved:
            return False
        if level > 1:
            return mfn in self.frames
        if mfn in self.borrowed:
            return self.borrowed[mfn] or not entry & RW
        return mfn in self.frames or mfn in self.fixed

    def way(self, va: int) -> list[tuple[int, int, int]] | Fault:
        """The entries on the way to va, as (level, machine address, entry); a fault's code is without the access' bits."""
        levels, size, shifts, top_bits = MODES[self.mode]
        found, table = [], self.base
        for level in range(levels, 0, -1):
            bits = top_bits if level == levels else 10 if size == 4 else 9
            at = (table << 12) + (va >> shifts[level - 1] & ((1 << bits) - 1)) * size
            entry = self.entry(at)
            if not entry & P:
                return Fault(0, level)
            if not self.sound(level, entry):
                return Fault(PF_P | PF_R, level)
            found.append((level, at, entry))
            table = self.mfn(entry)
        return found

    def access(self, va: int, access: int) -> int | Fault:
        """The machine address of va for an access, with A and D set on the way; or the fault, which changes nothing."""
        code = access if self.size == 8 else access & ~PF_I
        way = self.way(va)
        if isinstance(way, Fault):
            return Fault(way.code | code, way.level)
        denied = 0
        for level, _, entry in way:
            if self.mode == 1 and level == 3:
                continue
            denied |= (0 if entry & RW else PF_W) | (0 if entry & U else PF_U) | (PF_I if entry & NX else 0)
        mfn = self.mfn(way[-1][2])
        if mfn in self.fixed:
            denied |= PF_W
        if denied & code:
            return Fault(code | PF_P, 1)
        for level, at, entry in way:
            if level > 1 and self.mfn(entry) in self.lent:      # found out on the way, as a processor sets A on the way
                return Fault(code | PF_P | PF_R, level)
            bits = A | D if level == 1 and access & PF_W else A
            if not (self.mode == 1 and level == 3):
                self.put(at, self.entry(at) | bits, self.size)
        return (mfn << 12) + (va & 4095)
