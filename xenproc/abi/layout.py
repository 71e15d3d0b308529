"""Layouts of C structs, declared once and laid out for both architectures. Imports nothing of ours.

Owns the small language in which the other files of this package state a struct:
`sched_poll = struct("sched_poll", ports=PTR, nr_ports=U32, timeout=U64)`. `sched_poll[X86_64]` is then a
ctypes class with the layout that a 64-bit guest sees.
  1. A pointer and an unsigned long are 8 bytes on x86_64 and 4 on x86_32.
  2. A 64-bit integer aligns to 8 on x86_64 and to 4 on x86_32 (a pack of 4 does just that).
  3. All integers are little-endian.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Arch(Enum):
    """Whose layout: that of a 64-bit or of a 32-bit guest. The value is Xen's name."""

    X86_64 = "x86_64"
    X86_32 = "x86_32"


X86_64, X86_32 = Arch.X86_64, Arch.X86_32


class Type:
    """What a field can be: a scalar, an array, a layout."""

    def ctype(self, arch: Arch) -> Any:
        """Return the ctypes class for `arch`."""
        raise NotImplementedError

    def __mul__(self, count: int) -> "Array":
        """Return the type of an array of `count` of these; 0 is an open array at a struct's end."""
        return Array(self, count)


class Scalar(Type):
    """An integer or a character."""

    def __init__(self, on_64: Any, on_32: Any = None, *, signed: bool = False, ptr: bool = False) -> None:
        self._ctypes = {X86_64: on_64, X86_32: on_32 or on_64}
        self.signed = signed
        self.ptr = ptr

    def ctype(self, arch: Arch) -> Any:
        return self._ctypes[arch]


U8, I8 = Scalar(ctypes.c_uint8), Scalar(ctypes.c_int8, signed=True)
U16, I16 = Scalar(ctypes.c_uint16), Scalar(ctypes.c_int16, signed=True)
U32, I32 = Scalar(ctypes.c_uint32), Scalar(ctypes.c_int32, signed=True)
U64, I64 = Scalar(ctypes.c_uint64), Scalar(ctypes.c_int64, signed=True)
ULONG = Scalar(ctypes.c_uint64, ctypes.c_uint32)
PTR = Scalar(ctypes.c_uint64, ctypes.c_uint32, ptr=True)
CHAR = Scalar(ctypes.c_char)


class Array(Type):
    """`count` elements of one type. CHAR * n reads as bytes up to the first NUL."""

    def __init__(self, elem: Type, count: int) -> None:
        self.elem = elem
        self.count = count

    def ctype(self, arch: Arch) -> Any:
        return self.elem.ctype(arch) * self.count


@dataclass(frozen=True)
class Field:
    """Where a field lies: offset and size in bytes; elem is the size of an array's element, else None."""

    offset: int
    size: int
    signed: bool = False
    ptr: bool = False
    count: int | None = None
    elem: int | None = None


class Layout(Type):
    """A struct or union, under its name in Xen's headers (in ours.py: in native/ours.h)."""

    def __init__(self, name: str, fields: Mapping[Arch, Mapping[str, Type]], union: bool = False) -> None:
        self.name = name
        self.union = union
        self._fields = fields
        self._classes: dict[Arch, Any] = {}

    def __repr__(self) -> str:
        return f"<{'union' if self.union else 'struct'} {self.name}>"

    def __getitem__(self, arch: Arch) -> Any:
        """Return the ctypes class for `arch`: Layout[X86_64](field=value), .from_buffer(), bytes(instance).

        Raises KeyError if guests of that architecture do not have this struct.
        """
        if arch not in self._classes:
            fields = [(name, type_.ctype(arch)) for name, type_ in self._fields[arch].items()]
            base = ctypes.LittleEndianUnion if self.union else ctypes.LittleEndianStructure
            # Newer Pythons want to be told the algorithm with a pack; without bit fields both agree.
            pack = {"_pack_": 4, "_layout_": "ms"} if arch is X86_32 else {}
            self._classes[arch] = type(self.name, (base,), {**pack, "_fields_": fields})
        return self._classes[arch]

    def ctype(self, arch: Arch) -> Any:
        return self[arch]

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The architectures that have it."""
        return tuple(self._fields)

    def size(self, arch: Arch) -> int:
        """Return the size in bytes."""
        return ctypes.sizeof(self[arch])

    def align(self, arch: Arch) -> int:
        """Return the alignment in bytes."""
        return ctypes.alignment(self[arch])

    def offset(self, arch: Arch, path: str) -> int:
        """Return the offset in bytes of a field; nested ones with dots: "u.interdomain.port".

        Raises KeyError if there is none.
        """
        return self.fields(arch)[path].offset

    def fields(self, arch: Arch) -> dict[str, Field]:
        """Return every field under its dotted name, aggregates and what is in them, but not into arrays."""
        found: dict[str, Field] = {}
        for name, type_ in self._fields[arch].items():
            at = getattr(self[arch], name).offset
            size = ctypes.sizeof(type_.ctype(arch))
            if isinstance(type_, Array):
                found[name] = Field(at, size, count=type_.count, elem=ctypes.sizeof(type_.elem.ctype(arch)))
            elif isinstance(type_, Layout):
                found[name] = Field(at, size)
                for inner, f in type_.fields(arch).items():
                    found[f"{name}.{inner}"] = Field(at + f.offset, f.size, f.signed, f.ptr, f.count, f.elem)
            else:
                assert isinstance(type_, Scalar)
                found[name] = Field(at, size, type_.signed, type_.ptr)
        return found


@dataclass(frozen=True)
class _Only(Type):
    """A field that one architecture has."""

    arch: Arch
    type_: Type


def only(arch: Arch, type_: Type) -> Type:
    """Mark a field that guests of the other architecture do not have."""
    return _Only(arch, type_)


def _make(name: str, union: bool, fields: Mapping[str, Type]) -> Layout:
    per_arch: dict[Arch, dict[str, Type]] = {}
    for arch in Arch:
        here = {n: t for n, t in fields.items() if not isinstance(t, _Only) or t.arch is arch}
        if here:
            per_arch[arch] = {n: t.type_ if isinstance(t, _Only) else t for n, t in here.items()}
    return Layout(name, per_arch, union)


def struct(name: str = "", /, **fields: Type) -> Layout:
    """Return the layout of a struct from its fields in order; no name for one inside another."""
    return _make(name, False, fields)


def union(name: str = "", /, **fields: Type) -> Layout:
    """Return the layout of a union, likewise."""
    return _make(name, True, fields)


def by_arch(name: str, fields_64: Mapping[str, Type], fields_32: Mapping[str, Type]) -> Layout:
    """Return the layout of a struct that is quite another on each architecture."""
    return Layout(name, {X86_64: fields_64, X86_32: fields_32})
