"""Private memory that the C core receives into, and bytes objects made of it with as few copies as Python allows."""

import functools
from collections.abc import Callable
from typing import Any

from xenproc.native import ffi

SCRATCH = 64 << 10  # what an end keeps for small things, as it fits the second-level cache

# Without clearing: what was received is all that is looked at.
new = ffi.new_allocator(should_clear_after_alloc=False)



@functools.cache
def _allocator() -> Callable[[None, int], bytes]:
    """Return what makes a bytes object without clearing it (PyBytes_FromStringAndSize, which allows filling it in later)."""
    try:
        import ctypes

        allocate = ctypes.pythonapi.PyBytes_FromStringAndSize
        allocate.restype = ctypes.py_object
        allocate.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t)
        allocate(None, SCRATCH)
    except Exception:  # an interpreter without it, or one that may not load it now: clearing costs a third more
        return lambda _, size: bytes(size)
    return allocate


def landing(size: int) -> Any:
    """Return private memory of `size` bytes to receive into; `landed` makes bytes of it, without a copy where it is large."""
    return _allocator()(None, size) if size >= SCRATCH else new("char[]", size)


def landed(place: Any, size: int) -> bytes:
    """Return the first `size` bytes of what `landing` gave."""
    if type(place) is bytes:
        return place if len(place) == size else place[:size]
    return ffi.buffer(place, size)[:]


def address(place: Any) -> Any:
    """Return where what `landing` gave lies, as C takes it."""
    return ffi.from_buffer(place) if type(place) is bytes else place
