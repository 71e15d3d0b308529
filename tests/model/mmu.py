"""An MMU in plain Python: page tables in a bytearray, a walk, a TLB that is a dictionary, loads and stores.

Written from Intel's manual (vol. 3 ch. 4) with this machine's rules: no superpages, physical addresses end with memory.
The TLB never forgets by itself, and the real one may at any time: they agree as long as whoever changes a table flushes.
"""

import itertools
from dataclasses import dataclass, field

P, W, U, R, I = 1, 2, 4, 8, 16          # noqa: E741 - the bits' names, of a page fault's error code
PRESENT, RW, USER, ACCESSED, DIRTY, PSE, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63
GP, PF, MC = 13, 14, 18
RESERVED_52 = 0x7FF << 52


@dataclass(frozen=True)
class Mode:
    """levels from the top: (shift, entries, reserved bits, has rights and A)."""

    number: int
    size: int
    bits: int
    levels: tuple
    nx: bool


MODES = {
    "x86_32": Mode(0, 4, 32, ((22, 1024, PSE, True), (12, 1024, 0, True)), False),
    "x86_32p": Mode(1, 8, 32, ((30, 4, NX | RESERVED_52 | 0x1E6, False), (21, 512, RESERVED_52 | PSE, True),
                               (12, 512, RESERVED_52, True)), True),
    "x86_64": Mode(2, 8, 48, ((39, 512, PSE, True), (30, 512, PSE, True), (21, 512, PSE, True), (12, 512, 0, True)), True),
}


class Fault(Exception):
    """What the processor says: (vector, address, error code)."""

    def __init__(self, vector, va, code=0):
        super().__init__(vector, va, code)
        self.vector, self.va, self.code = vector, va, code


@dataclass
class Mmu:
    """One processor's."""

    mode: Mode
    memory: bytearray
    top: int = 1 << 40
    tag: int = 0
    tlb: dict = field(default_factory=dict)       # (tag, page) -> (frame, denied)

    def canonical(self, va):
        if self.mode.bits == 32:
            return 0 <= va < 1 << 32
        return va < 1 << 47 or (1 << 64) - (1 << 47) <= va < 1 << 64

    def entry(self, at):
        return int.from_bytes(self.memory[at:at + self.mode.size], "little")

    def walk(self, va, access):
        """(frame, denied, [(address of an entry, bits owed)]) or a Fault; nothing changes."""
        if not self.mode.nx:
            access &= ~I
        if not self.canonical(va):
            raise Fault(GP, va)
        if self.top << 12 >= len(self.memory):
            raise Fault(MC, va)
        frame, denied, owed = self.top, 0, []
        for shift, entries, reserved, full in self.mode.levels:
            at = (frame << 12) + (va >> shift) % entries * self.mode.size
            entry = self.entry(at)
            if not entry & PRESENT:
                raise Fault(PF, va, access)
            frame = (entry & ((1 << 52) - 1)) >> 12
            if entry & reserved or frame << 12 >= len(self.memory):
                raise Fault(PF, va, access | P | R)
            if full:
                denied |= (0 if entry & RW else W) | (0 if entry & USER else U) | (I if entry & NX else 0)
                want = ACCESSED | (DIRTY if shift == 12 and access & W else 0)
                if want & ~entry:
                    owed.append((at, want & ~entry))
        if denied & access:
            raise Fault(PF, va, access | P)
        dirty = self.entry(at) & DIRTY or access & W
        return frame, denied | (0 if dirty else W), owed

    def look(self, va, access):
        """What resolve does, without its effects."""
        found = self.tlb.get((self.tag, va >> 12))
        if found and not found[1] & access & (~0 if self.mode.nx else ~I):
            return (*found, [])
        return self.walk(va, access)

    def resolve(self, va, access):
        frame, denied, owed = self.look(va, access)
        for at, bits in owed:
            self.memory[at] |= bits
        self.tlb[self.tag, va >> 12] = frame, denied
        return (frame << 12) + va % 4096

    def parts(self, va, length):
        """The access page by page: [(va, length), ...]."""
        last = va + length - 1
        if not (self.canonical(va) and self.canonical(last)) or (va ^ last) >> 63:
            raise Fault(GP, va)
        cut = [va, *range((va | 4095) + 1, last + 1, 4096), last + 1]
        return [(a, b - a) for a, b in itertools.pairwise(cut)]

    def load(self, va, length, access=0):
        if not length:
            return b""
        parts = self.parts(va, length)
        for at, _ in parts:
            self.look(at, access)
        found = b""
        for at, n in parts:
            maddr = self.resolve(at, access)
            found += self.memory[maddr:maddr + n]
        return found

    def store(self, va, data, access=0):
        parts = self.parts(va, len(data)) if data else []
        for at, _ in parts:
            self.look(at, access | W)
        for at, n in parts:
            maddr = self.resolve(at, access | W)
            self.memory[maddr:maddr + n], data = data[:n], data[n:]

    def switch(self, top, tag):
        self.top, self.tag = top, tag
        if not tag:
            self.tlb = {key: hit for key, hit in self.tlb.items() if key[0]}

    def flush(self):
        self.tlb.clear()

    def flush_page(self, va):
        self.tlb.pop((self.tag, va >> 12), None)
