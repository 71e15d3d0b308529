"""A domain's hypercalls: numbers and argument structs in, results or HypercallError out.

Struct arguments must lie in the domain's own frames: they are built in a small pool there (ArgPool). Any thread may call.
"""
# Tour G:020

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xenproc.abi import Hypercall
from xenproc.abi.ours import XenprocOp
from xenproc.errors import HypercallError, Timeout, WouldBlock
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SIZE, timeout_ns

DEFAULT_TIMEOUT = 5.0
MODES = {"poll": lib.XP_WAIT_POLL, "adaptive": lib.XP_WAIT_ADAPTIVE, "block": lib.XP_WAIT_BLOCK}
_ARG_BYTES = 1024
_OPS = {int(op): op.name for op in XenprocOp}


class ArgPool:
    """Pieces of `_ARG_BYTES` in the domain's own frames, for argument structs; larger ones take whole pages."""

    def __init__(self, address: int, nr_pages: int) -> None:
        self._free = [address + i * _ARG_BYTES for i in range(nr_pages * PAGE_SIZE // _ARG_BYTES)]
        self._ready = threading.Condition()

    def take(self) -> int:
        """Return the address of a free piece; waits for one. Raises Timeout after 5 s."""
        with self._ready:
            if not self._ready.wait_for(lambda: self._free, DEFAULT_TIMEOUT):
                raise Timeout("every argument buffer is in use")
            return self._free.pop()

    def give_back(self, address: int) -> None:
        """Return a piece to the pool."""
        with self._ready:
            self._free.append(address)
            self._ready.notify()


class Line:
    """Hypercalls for one thread that makes many: nothing is allocated for a call. Results as Hypercalls.raw gives them."""

    def __init__(self, calls: "Hypercalls") -> None:
        self._calls = calls
        self._values = ffi.new("uint64_t[6]")
        self._result = ffi.new("int64_t *")

    def __call__(self, nr: int, *args: int) -> int:
        """Make a hypercall with up to six integers, none negative; what is not given is what the last call had."""
        values, calls = self._values, self._calls
        for i, arg in enumerate(args):
            values[i] = arg
        check(lib.xp_gcall(calls.core, nr, values, calls.mode, calls.timeout_ns, self._result), "hypercall", calls.domid)
        return self._result[0]


class Hypercalls:
    """The call page and its doorbell."""

    def __init__(self, page: int, doorbell: int, args: ArgPool, domid: int) -> None:
        self.domid = domid
        self.args = args
        self.mode = lib.XP_WAIT_ADAPTIVE
        self.timeout_ns = timeout_ns(DEFAULT_TIMEOUT)
        self.core = ffi.new("struct xp_gcall *")
        lib.xp_gcall_init(self.core, ffi.cast("void *", page), doorbell)

    def raw(self, nr: int, *args: int, timeout_ns: int | None = None) -> int:
        """Make a hypercall with up to six integers and return its result, negative errors included.

        Raises Timeout if the hypervisor does not answer in time.
        """
        values = ffi.new("uint64_t[6]", [arg & 0xFFFF_FFFF_FFFF_FFFF for arg in args])
        result = ffi.new("int64_t *")
        limit = self.timeout_ns if timeout_ns is None else timeout_ns
        check(lib.xp_gcall(self.core, nr, values, self.mode, limit, result), f"hypercall {nr}", self.domid)
        return result[0]

    def call(self, nr: int, *args: int, op: str = "", timeout_ns: int | None = None) -> int:
        """As raw, but raises HypercallError for a negative result (Timeout for -ETIMEDOUT, WouldBlock for -EAGAIN)."""
        result = self.raw(nr, *args, timeout_ns=timeout_ns)
        if result < 0:
            if result == -110:
                raise Timeout(f"{op or f'hypercall {nr}'}: time limit passed")
            if result == -11:
                raise WouldBlock(11, f"{op or f'hypercall {nr}'}: not now")
            raise HypercallError(-result, op or f"hypercall {nr}", self.domid)
        return result

    def post(self, nr: int, *args: int) -> None:
        """Submit a hypercall and go on: nobody looks at its result."""
        values = ffi.new("uint64_t[6]", [arg & 0xFFFF_FFFF_FFFF_FFFF for arg in args])
        check(lib.xp_gcall_post(self.core, nr, values, self.timeout_ns), f"hypercall {nr}", self.domid)

    @contextmanager
    def struct(self, ctype: str, **fields: Any) -> Iterator[Any]:
        """Yield (address, struct) of a C struct in the domain's own memory, zeroed, with `fields` set."""
        size = ffi.sizeof(ctype)
        if size > _ARG_BYTES:
            raise ValueError(f"{ctype}: {size} bytes do not fit an argument buffer of {_ARG_BYTES}")
        address = self.args.take()
        try:
            ffi.memmove(ffi.cast("void *", address), bytes(size), size)
            value = ffi.cast(f"{ctype} *", address)
            for name, field in fields.items():
                setattr(value, name, field)
            yield address, value
        finally:
            self.args.give_back(address)

    @contextmanager
    def array(self, ctype: str, nr: int) -> Iterator[Any]:
        """Yield (address, list of structs) of `nr` zeroed C structs one behind the other in the domain's own memory."""
        size = ffi.sizeof(ctype)
        if size * nr > _ARG_BYTES:
            raise ValueError(f"{ctype}: {nr} of {size} bytes do not fit an argument buffer of {_ARG_BYTES}")
        address = self.args.take()
        try:
            ffi.memmove(ffi.cast("void *", address), bytes(size * nr), size * nr)
            first = ffi.cast(f"{ctype} *", address)
            yield address, [first + i for i in range(nr)]
        finally:
            self.args.give_back(address)

    def event_channel_op(self, cmd: int, ctype: str, result: str | None = None, **fields: Any) -> int:
        """Make an event_channel_op; return the field `result` of the struct afterwards, or 0."""
        with self.struct(ctype, **fields) as (address, value):
            self.call(Hypercall.event_channel_op, cmd, address, op=ctype.removeprefix("struct xen_"))
            return getattr(value, result) if result else 0

    def xenproc_op(self, cmd: int, *args: int, timeout_ns: int | None = None) -> int:
        """Make a call of our own hypercall."""
        op = _OPS.get(cmd, f"xenproc_op {cmd}")
        return self.call(lib.XP_HYPERVISOR_xenproc_op, cmd, *args, op=op, timeout_ns=timeout_ns)
