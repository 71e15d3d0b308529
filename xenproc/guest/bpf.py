"""A small assembler for the classic BPF that seccomp runs.

Pure. Used by xenproc/guest/filter.py. Source: linux/filter.h, Documentation/networking/filter.rst, seccomp(2).
  1. Jumps go forward to labels; a conditional jump that is too far for its eight bits is given a plain jump to hop on.
  2. A constant that differs from process to process is a Symbol: assembled as 0, its places listed for patching.
"""

import struct
from dataclasses import dataclass

# struct seccomp_data: what a filter can see of a call.
DATA_NR, DATA_ARCH, DATA_ARGS = 0, 4, 16

RET_KILL_PROCESS = 0x80000000
RET_ERRNO = 0x00050000
RET_ALLOW = 0x7FFF0000

# Operation codes (class | size or operation | mode or source).
LD_ABS, LD_MEM, LDX_MEM, ST = 0x20, 0x60, 0x61, 0x02
ADD_K, ADD_X, AND_K, OR_X, LSH_K, RSH_K = 0x04, 0x0C, 0x54, 0x4C, 0x64, 0x74
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45
RET = 0x06

MAX_INSNS = 4096
INSN = struct.Struct("<HBBI")


@dataclass(frozen=True)
class Symbol:
    """A constant that is filled in later."""

    name: str


@dataclass
class _Op:
    code: int
    k: int | Symbol = 0
    yes: str | None = None      # where to go; None: the next instruction
    no: str | None = None


class Assembler:
    """Instructions and labels in order; `assemble` gives the program and the places of its symbols."""

    def __init__(self) -> None:
        self._items: list[_Op | str] = []
        self._nr_labels = 0

    def new_label(self) -> str:
        """Return the name of a label that nobody else has; `label` says where it is."""
        self._nr_labels += 1
        return f".{self._nr_labels}"

    def label(self, name: str) -> None:
        """The next instruction is at `name`."""
        self._items.append(name)

    def op(self, code: int, k: int | Symbol = 0) -> None:
        """An instruction that goes on with the next one, or a return."""
        self._items.append(_Op(code, k))

    def jump(self, target: str) -> None:
        """Go to `target`."""
        self._items.append(_Op(JA, 0, target))

    def branch(self, code: int, k: int | Symbol, yes: str | None = None, no: str | None = None) -> None:
        """Compare the accumulator with k (JEQ, JGT, JGE unsigned; JSET: any bit in common) and go on at yes or no."""
        self._items.append(_Op(code, k, yes, no))

    def arg(self, n: int, *, high: bool = False) -> None:
        """Load half of the call's argument n (0 to 5)."""
        self.op(LD_ABS, DATA_ARGS + 8 * n + (4 if high else 0))

    def assemble(self) -> tuple[bytes, dict[str, list[int]]]:
        """Return (program, {symbol: byte offsets of its 32-bit constants}).

        Raises ValueError for a jump backwards or nowhere, and where the kernel's limit of 4096 instructions is passed.
        """
        far: set[tuple[int, str]] = set()      # (item, side) of the conditional jumps that need a hop
        while True:
            places, labels = self._place(far)
            more = self._too_far(places, labels) - far
            if not more:
                break
            far |= more
        out = bytearray()
        symbols: dict[str, list[int]] = {}
        for index, item in enumerate(self._items):
            if isinstance(item, str):
                continue
            if isinstance(item.k, Symbol):
                symbols.setdefault(item.k.name, []).append(len(out) + 4)
            out += self._encode(index, item, places[index], labels, far)
        if len(out) > MAX_INSNS * INSN.size:
            raise ValueError(f"{len(out) // INSN.size} instructions, the kernel takes {MAX_INSNS}")
        return bytes(out), symbols

    def _place(self, far: set[tuple[int, str]]) -> tuple[dict[int, int], dict[str, int]]:
        places: dict[int, int] = {}
        labels: dict[str, int] = {}
        at = 0
        for index, item in enumerate(self._items):
            if isinstance(item, str):
                labels[item] = at
            else:
                places[index] = at
                at += 1 + ((index, "yes") in far) + ((index, "no") in far)
        return places, labels

    def _too_far(self, places: dict[int, int], labels: dict[str, int]) -> set[tuple[int, str]]:
        found = set()
        for index, item in enumerate(self._items):
            if isinstance(item, str):
                continue
            for side in ("yes", "no"):
                target = getattr(item, side)
                if target is None:
                    continue
                if labels.get(target, -1) <= places[index]:
                    raise ValueError(f"{target}: no such label ahead")
                if item.code != JA and labels[target] - places[index] - 1 > 255:
                    found.add((index, side))
        return found

    def _encode(self, index: int, item: _Op, at: int, labels: dict[str, int], far: set[tuple[int, str]]) -> bytes:
        k = 0 if isinstance(item.k, Symbol) else item.k
        if item.code == JA:
            assert item.yes is not None
            return INSN.pack(JA, 0, 0, labels[item.yes] - at - 1)
        if item.yes is None and item.no is None:
            return INSN.pack(item.code, 0, 0, k)
        hops = [side for side in ("yes", "no") if (index, side) in far]
        offset = {}
        for side in ("yes", "no"):
            target = getattr(item, side)
            if side in hops:
                offset[side] = hops.index(side)
            else:
                offset[side] = len(hops) if target is None else labels[target] - at - 1
        out = INSN.pack(item.code, offset["yes"], offset["no"], k)
        for n, side in enumerate(hops):
            out += INSN.pack(JA, 0, 0, labels[getattr(item, side)] - (at + 1 + n) - 1)
        return out
