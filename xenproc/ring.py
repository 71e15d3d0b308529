"""Xen's shared I/O ring from Python: FrontRing makes requests, BackRing answers them. The ring itself: native/ring.h.

    front.request.sector = 7                        n = back.wait()
    response = front.call()                         for i in range(n): back.responses[i].status = 0
                                                    n = back.reply_and_wait(n)

A call crosses into C once, for one request or for a batch; buffers are made once. responses[i] at the back carries the
number of requests[i] already, for a back that answers in order. What lies in `requests` at the back is a
private copy, checked before it is seen. A peer that breaks the rules closes the ring: PeerMisbehaved from then on.
One thread uses an end at a time. Every wait has a time limit.
"""
# Tour R:090

import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from xenproc.errors import ConfigError, PeerGone, Timeout
from xenproc.native import check, ffi, lib
from xenproc.ring_layout import Layout
from xenproc.units import timeout_ns

DEFAULT_TIMEOUT = 5.0
MODES = {"poll": lib.XP_WAIT_POLL, "adaptive": lib.XP_WAIT_ADAPTIVE, "block": lib.XP_WAIT_BLOCK}
_EAGAIN, _EINTR, _ENOTCONN = 11, lib.XP_EINTR, 107


class _End:
    """What both ends have: buffers, the way to wait, and what to do when a call comes back unfinished."""

    _core: Any

    def __init__(
        self, layout: Layout, addresses: Sequence[int], event: Any, mode: str, timeout: float | None, init: Any
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"ring: mode: expected one of {', '.join(MODES)}, got {mode!r}")
        if not 1 <= len(addresses) <= lib.XP_RING_MAX_PAGES:
            raise ConfigError(f"ring: expected 1 to {lib.XP_RING_MAX_PAGES} pages, got {len(addresses)}")
        self.layout = layout
        self.event = event
        native = ffi.new("struct xp_ring_layout *")
        native.req_size, native.rsp_size, native.entry_size = layout.request_size, layout.response_size, layout.entry_size
        native.id_size, native.req_id_at, native.rsp_id_at = layout.id_place
        pages = ffi.new("uint64_t[]", list(addresses))
        check(init(self._core, native, pages, len(addresses), 0), "ring")
        self.nr_ents: int = self._core.r.nr_ents
        types = layout.ffi
        self.requests = types.new(f"request_t[{self.nr_ents}]")
        self.responses = types.new(f"response_t[{self.nr_ents}]")
        self.request, self.response = types.addressof(self.requests, 0), types.addressof(self.responses, 0)
        self._core.req_buf = ffi.cast("void *", int(types.cast("uintptr_t", self.requests)))
        self._core.rsp_buf = ffi.cast("void *", int(types.cast("uintptr_t", self.responses)))
        self._wait = ffi.addressof(self._core, "wait")
        self._wait.direct = event.core if event is not None else ffi.NULL
        self._wait.mode = MODES[mode] | lib.XP_WAIT_SIGNALS
        self._wait.timeout_ns = timeout_ns(timeout)
        if event is not None:
            self._core.r.tracer, self._core.r.port = event.core.tracer, event.core.port
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether this end is closed, by close() or because the peer broke the rules."""
        return self._closed or self._core.r.closed != 0

    @property
    def counters(self) -> dict[str, int]:
        """Pushes, and how many of them had to tell the peer."""
        return {"pushes": self._core.r.pushes, "notified": self._core.r.notified}

    def view(self, what: str) -> memoryview:
        """Return the bytes of "requests" or "responses" (the private buffers), without copying."""
        return memoryview(self.layout.ffi.buffer(getattr(self, what)))

    def words(self, what: str, format: str = "Q") -> memoryview:
        """Return "requests" or "responses" as integers of one size ("Q": 8 bytes): the fastest access from Python.

        Raises ConfigError if an entry is no multiple of that size.
        """
        view = self.view(what)
        if len(view) // self.nr_ents % struct.calcsize(format):
            raise ConfigError(f"ring: entries of {len(view) // self.nr_ents} bytes are no whole number of {format!r}")
        return view.cast("B").cast(format)  # type: ignore[call-overload]

    def array(self, what: str) -> Any:
        """Return "requests" or "responses" as a NumPy structured array, without copying. Needs numpy."""
        import numpy

        return numpy.frombuffer(self.view(what), dtype=self.layout.dtype(what[:-1]))

    def set_timeout(self, timeout: float | None) -> None:
        """Set the time limit of every call from now on, in seconds; None: no limit."""
        self._wait.timeout_ns = timeout_ns(timeout)

    def fileno(self) -> int:
        """Return the event descriptor. Raises ConfigError for a ring without an event channel."""
        if self.event is None:
            raise ConfigError("ring: it has no event channel, so no descriptor")
        return self.event.fileno()

    def close(self) -> None:
        """Close this end: calls raise PeerGone from now on. Twice is harmless."""
        if not self._closed:
            self._closed = True
            lib.xp_ring_close(ffi.addressof(self._core, "r"), -_ENOTCONN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _finish(self, ret: int, again: Callable[[], int], op: str) -> int:
        """Go on after a call that came back early: tell the peer the long way, let signal handlers run."""
        while ret in (-_EAGAIN, -_EINTR):
            if ret == -_EAGAIN:
                if self.event is None:
                    break
                self.event.kick()
            ret = again()
        return check(ret, op)


class FrontRing(_End):
    """The end that makes requests and owns the pages."""

    def __init__(
        self, layout: Layout, addresses: Sequence[int], event: Any = None, *, mode: str = "adaptive",
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """Make a ring in the pages at `addresses` (1 to 16 of 4 KiB, cleared), whose header is set up here.

        event: the direct end of an event channel (has `core`, `kick()`, `fileno()`), or None: then waiting is polling.
        mode: "poll", "adaptive" or "block". timeout: the limit of each call in seconds, None: none. Raises ConfigError.
        """
        self._core = ffi.gc(ffi.new("struct xp_front *"), lib.xp_front_free)
        super().__init__(layout, addresses, event, mode, timeout, lib.xp_front_init)

    def call(self) -> Any:
        """Send `request` and wait for its response; return it (the same struct each time).

        Raises Timeout (then resume() goes on waiting), PeerGone, PeerMisbehaved.
        """
        ret = lib.xp_front_call(self._core)
        if ret != 1:
            self._finish(ret, self._resume, "ring request")
        return self.response

    def call_fast(self) -> tuple[Callable[[Any], int], Any]:
        """Return (function, argument) for a tight loop: `if function(argument) != 1: front.resume()`; see docs/rings.md."""
        return lib.xp_front_call, self._core

    def exchange(self, n: int) -> int:
        """Send requests[0:n] and wait for n responses in responses[0:n], in the order they came. Returns n."""
        ret = lib.xp_front_exchange(self._core, self._core.req_buf, n, self._core.rsp_buf, self._wait)
        return ret if ret == n else self._finish(ret, self._resume, "ring exchange")

    def resume(self) -> int:
        """Go on waiting for the responses of a call or exchange that ran out of time."""
        return self._finish(self._resume(), self._resume, "ring exchange")

    def _resume(self) -> int:
        return lib.xp_front_resume(self._core, self._wait)

    # ---- step by step ----

    def put(self, n: int) -> int:
        """Copy up to n of `requests` into the ring, as many as there is room for; return how many."""
        return check(lib.xp_front_put(self._core, self._core.req_buf, n), "ring put")

    def push(self) -> None:
        """Show the back what was put, and tell it if it wants to be told."""
        ret = lib.xp_front_send(self._core, self._wait)
        if ret < 0:
            self._finish(ret, lambda: 0, "ring push")

    def get(self) -> int:
        """Copy the responses that are there into `responses`; return how many (0: none)."""
        return check(lib.xp_front_get(self._core, self._core.rsp_buf, self.nr_ents), "ring get")

    def wait(self) -> int:
        """Wait for at least one response; return how many are in `responses`."""

        def again() -> int:
            return lib.xp_front_wait(self._core, self._core.rsp_buf, self.nr_ents, self._wait)

        return self._finish(again(), again, "ring wait")

    def final_check(self, holdoff: int = 1) -> int:
        """Ask to be told once `holdoff` more responses are there; return how many are there already."""
        return check(lib.xp_front_final_check(self._core, holdoff), "ring final check")


class BackRing(_End):
    """The end that answers requests."""

    def __init__(
        self, layout: Layout, addresses: Sequence[int], event: Any = None, *, mode: str = "adaptive",
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """Attach to a ring in the pages at `addresses`. The arguments are FrontRing's."""
        self._core = ffi.new("struct xp_back *")
        super().__init__(layout, addresses, event, mode, timeout, lib.xp_back_init)
        self._core.max_reqs = self.nr_ents

    def wait(self) -> int:
        """Wait for requests; return how many are in `requests`. Raises Timeout, PeerGone, PeerMisbehaved."""
        return self.reply_and_wait(0)

    def reply_and_wait(self, n: int) -> int:
        """Send responses[0:n] and wait for requests; return how many are in `requests`."""
        ret = lib.xp_back_call(self._core, n)
        return ret if ret > 0 else self._finish(ret, self._again, "ring wait")

    def reply_fast(self) -> tuple[Callable[[Any, int], int], Any]:
        """Return (function, argument) for a tight loop: `n = function(argument, n)`; where n < 1, `n = back.wait()`."""
        return lib.xp_back_call, self._core

    def turn_fast(self) -> tuple[Callable[[Any], int], Any]:
        """Return (function, argument), faster still: `n = function(argument)` answers all requests of the call before.

        Where n < 1, `n = back.wait()`, as with reply_fast. After reply() by hand it answers nothing.
        """
        return lib.xp_back_turn, self._core

    def _again(self) -> int:
        return lib.xp_back_call(self._core, 0)

    def reply(self, n: int) -> None:
        """Send responses[0:n] and tell the front if it wants to be told."""
        check(lib.xp_back_put(self._core, self._core.rsp_buf, n), "ring reply")
        ret = lib.xp_back_send(self._core, self._wait)
        if ret < 0:
            self._finish(ret, lambda: 0, "ring reply")

    def get(self) -> int:
        """Copy the requests that are there into `requests`; return how many (0: none)."""
        return check(lib.xp_back_get(self._core, self._core.req_buf, self.nr_ents), "ring get")

    def final_check(self, holdoff: int = 1) -> int:
        """Ask to be told once `holdoff` more requests are there; return how many are there already."""
        return check(lib.xp_back_final_check(self._core, holdoff), "ring final check")

    def serve(self, handler: Callable[[Any, Any], None], until: Callable[[], bool] | None = None) -> int:
        """Answer until the front is gone or `until()` says so; `handler(request, response)` fills in each response.

        Returns how many were answered.
        """
        answered = n = 0
        while True:
            try:
                n = self.reply_and_wait(n)
            except PeerGone:
                return answered
            except Timeout:
                n = 0
            for i in range(n):
                handler(self.requests[i], self.responses[i])
            answered += n
            if until is not None and until():
                if n:
                    self.reply(n)
                return answered


__all__ = ["BackRing", "FrontRing", "Layout"]
