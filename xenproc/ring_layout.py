"""What goes through a ring: a request and a response, given as C structs. Pure; parsed by cffi.

    BLK = Layout("struct { uint64_t id; uint64_t sector; uint32_t count; }", "struct { uint64_t id; int32_t status; }")

The slot is as large as the larger of the two with the compiler's padding, as in Xen's DEFINE_RING_TYPES.
"""

from functools import cached_property
from typing import Any

from cffi import FFI

from xenproc.errors import ConfigError

MAX_ENTRY = 4096 - 64
_ID_SIZES = (1, 2, 4, 8)


class Layout:
    """The two structs of a ring; equal texts make equal rings. Travels to a guest as its texts."""

    def __init__(self, request: str, response: str, id: str | None = "id") -> None:
        """request, response: C structs ("struct { ... }", fixed-size types, arrays and nested structs as C has them).

        id: the name of the integer field by which the front tells requests apart; it numbers them itself and refuses a
        response with a number that is not under way. A layout where either struct lacks the field has no numbers.
        Raises ConfigError where cffi cannot parse a text or a struct is empty or larger than 4032 bytes.
        """
        self.request = request
        self.response = response
        self.id = id
        self.ffi = FFI()
        self.request_type = self._parse("request", request)
        self.response_type = self._parse("response", response)

    def _parse(self, what: str, text: str) -> Any:
        try:
            self.ffi.cdef(f"typedef {text.strip().rstrip(';')} {what}_t;")
            ctype = self.ffi.typeof(f"{what}_t")
            size = self.ffi.sizeof(ctype)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(f"layout: {what}: expected a C struct, got {text!r}: {reason}") from None
        if ctype.kind != "struct" or not ctype.fields or size > MAX_ENTRY:
            raise ConfigError(f"layout: {what}: expected a struct of 1 to {MAX_ENTRY} bytes, got {text!r}")
        return ctype

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.request, self.response, self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__()[1])

    @cached_property
    def request_size(self) -> int:
        """Bytes of a request."""
        return self.ffi.sizeof(self.request_type)

    @cached_property
    def response_size(self) -> int:
        """Bytes of a response."""
        return self.ffi.sizeof(self.response_type)

    @cached_property
    def entry_size(self) -> int:
        """Bytes of a slot: the union of both, with its padding."""
        self.ffi.cdef("typedef union { request_t request; response_t response; } entry_t;")
        return self.ffi.sizeof("entry_t")

    @cached_property
    def id_place(self) -> tuple[int, int, int]:
        """Return (size of the number, its offset in a request, in a response), or zeros where there is none."""
        places = []
        for ctype in (self.request_type, self.response_type):
            field = dict(ctype.fields).get(self.id) if self.id else None
            size = self.ffi.sizeof(field.type) if field is not None and field.type.kind == "primitive" else 0
            if field is None or size not in _ID_SIZES or field.bitsize != -1:
                return 0, 0, 0
            places.append((size, field.offset))
        (size, at_request), (other, at_response) = places
        if size != other:
            raise ConfigError(f"layout: {self.id} has {size} bytes in a request and {other} in a response")
        return size, at_request, at_response

    def dtype(self, what: str) -> Any:
        """Return the NumPy dtype of "request" or "response". Needs numpy. Raises ConfigError for a field NumPy lacks."""
        import numpy

        ctype = {"request": self.request_type, "response": self.response_type}[what]
        return _numpy_type(numpy, self.ffi, ctype)


def _numpy_type(numpy: Any, ffi: FFI, ctype: Any) -> Any:
    if ctype.kind == "array":
        return numpy.dtype((_numpy_type(numpy, ffi, ctype.item), ctype.length))
    if ctype.kind == "struct":
        names = [name for name, _ in ctype.fields]
        return numpy.dtype({
            "names": names,
            "formats": [_numpy_type(numpy, ffi, field.type) for _, field in ctype.fields],
            "offsets": [field.offset for _, field in ctype.fields],
            "itemsize": ffi.sizeof(ctype),
        })
    size = ffi.sizeof(ctype)
    if ctype.kind != "primitive":
        raise ConfigError(f"layout: {ctype.cname} has no NumPy type")
    if ctype.cname in ("float", "double"):
        return numpy.dtype(f"<f{size}")
    signed = int(ffi.cast(ctype, -1)) < 0 if ctype.cname not in ("char", "_Bool") else False
    return numpy.dtype(f"<{'i' if signed else 'u'}{size}")
