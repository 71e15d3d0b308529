"""One end of a vchan as Python holds it: its memory, modes, errors, descriptor and asyncio; Stream and Channel build on it.

Whoever has granted or mapped the pages makes an end: `server(page, event, ...)` or `client(page, event, ...)`, with
addresses in this process and a `struct xp_direct *`. Layout and rules: native/vchan.h.
  1. Any number of threads may use an end: readers take turns, writers take turns, a reader and a writer do not meet.
  2. Every wait has a time limit (default 5 s, None: none), waiting for one's turn included.
  3. Once closed, an end does not touch its pages any more: they may be gone.
"""
# Tour R:110

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from xenproc.errors import ConfigError, PeerGone
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SIZE
from xenproc.vchan.landing import SCRATCH, new
from xenproc.vchan.turn import Limit, Turn

if TYPE_CHECKING:
    from xenproc.vchan.loop import Tasks

MODES = {"poll": lib.XP_WAIT_POLL, "adaptive": lib.XP_WAIT_ADAPTIVE, "block": lib.XP_WAIT_BLOCK}
DEFAULT_TIMEOUT = 5.0
DEFAULT_NS = 5_000_000_000
RING_SIZE = 256 << 10  # a direction: what makes messages of a megabyte fast without costing a small domain much
READ, WRITE = lib.XP_VCHAN_READ, lib.XP_VCHAN_WRITE
CLOSE_S = 1.0  # how long close waits for threads that it has woken
E2BIG, EAGAIN, EBUSY, EINTR, EIO = 7, 11, 16, lib.XP_EINTR, 5
NO_KICK = (ffi.NULL, ffi.NULL)


class Geometry(NamedTuple):
    """What a client must map: sizes in bytes, and the grant references of each ring's pages (none: in the shared page)."""

    left_size: int
    right_size: int
    left_grants: list[int]
    right_grants: list[int]
    native: Any


def geometry(page: int) -> Geometry:
    """Copy and check what the server wrote into the shared page at address `page`.

    Raises PeerMisbehaved if no server may write that.
    """
    native = ffi.new("struct xp_vchan_geometry *")
    check(lib.xp_vchan_geometry(ffi.cast("void *", page), native), "vchan geometry")
    left, right = native.left_pages, native.right_pages
    grants = list(native.grants[0 : left + right])
    return Geometry(1 << native.left_order, 1 << native.right_order, grants[:left], grants[left:], native)


def _order(size: int, pages: Sequence[int], what: str) -> int:
    """Return the order of a ring of `size` bytes (0: as many as `pages` hold), having checked that they fit together."""
    size = size or len(pages) * PAGE_SIZE
    order = size.bit_length() - 1
    if size <= 0 or size != 1 << order or not 10 <= order <= 20:
        raise ConfigError(f"vchan: {what} ring: expected a power of two from 1 KiB to 1 MiB, got {size}")
    if len(pages) * PAGE_SIZE != (size if size >= PAGE_SIZE else 0):
        raise ConfigError(f"vchan: {what} ring of {size} bytes: got {len(pages)} pages")
    return order


def _core(event: Any) -> Any:
    """Return the struct xp_direct of an end of a direct event channel, given as such or as an object that has it."""
    return getattr(event, "core", event)


class End:
    """An end of a vchan; see the module's text. Use Stream or Channel."""

    def __init__(
        self,
        native: Any,
        event: Any,
        keep: object,
        *,
        mode: str = "adaptive",
        owner: object = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Take over a struct xp_vchan that was made: use `server` or `client`, which pass these options on.

        mode: "poll", "adaptive" or "block". owner: what keeps the memory mapped. on_close: called once, when no thread
        looks at the pages any more.
        """
        if mode not in MODES:
            raise ConfigError(f"vchan: mode: expected one of {', '.join(MODES)}, got {mode!r}")
        self._c = native
        self._event = event
        self._keep = (owner, keep)
        self._on_close = on_close
        self._c.mode = MODES[mode] | lib.XP_WAIT_SIGNALS
        self._closed = False
        self._pid = os.getpid()
        self._reading, self._writing = Turn(), Turn()
        self._scratch = new("char[]", SCRATCH)
        self._view = ffi.buffer(self._scratch)
        self._tasks: Tasks | None = None

    @classmethod
    def server(
        cls,
        page: int,
        event: Any,
        *,
        left_pages: Sequence[int] = (),
        right_pages: Sequence[int] = (),
        left_size: int = 0,
        right_size: int = 0,
        grants: Sequence[int] = (),
        kick: tuple[Any, Any] = NO_KICK,
        **options: Any,
    ) -> Self:
        """Make the server's end, which reads the left ring and writes the right one.

        page: address of the shared page, which is cleared. event: an EventChannel, or struct xp_direct *. left_pages,
        right_pages: addresses of the rings' pages; a ring of 1024 or 2048 bytes (left_size, right_size) has none, and the
        two must differ. grants: references of the left pages, then of the right ones. kick: (C function, argument) that
        tells the peer through the hypervisor, where the event alone cannot. options: as for End. Raises ConfigError for
        sizes that do not fit together.
        """
        left, right = _order(left_size, left_pages, "left"), _order(right_size, right_pages, "right")
        if grants and len(grants) != len(left_pages) + len(right_pages):
            raise ConfigError(f"vchan: expected {len(left_pages) + len(right_pages)} grants, got {len(grants)}")
        native = ffi.new("struct xp_vchan *")
        lists = [ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", a) for a in pages]) for pages in (left_pages, right_pages)]
        refs = ffi.new("uint32_t[]", grants) if grants else ffi.NULL
        ret = lib.xp_vchan_server(native, ffi.cast("void *", page), left, right, *lists, refs, _core(event), *kick)
        if ret:
            raise ConfigError(f"vchan: rings of {1 << left} and {1 << right} bytes cannot lie in one shared page")
        return cls(native, event, (lists, kick), **options)

    @classmethod
    def client(
        cls,
        page: int,
        event: Any,
        *,
        shape: Geometry | None = None,
        left_pages: Sequence[int] = (),
        right_pages: Sequence[int] = (),
        kick: tuple[Any, Any] = NO_KICK,
        **options: Any,
    ) -> Self:
        """Make the client's end, which reads the right ring and writes the left one, and tell the server.

        shape: from `geometry`, by which the pages were mapped (None: the page is asked now). The others: as for `server`.
        Raises PeerMisbehaved for a page that no server makes, ConfigError if the pages do not fit it.
        """
        shape = shape or geometry(page)
        _order(shape.left_size, left_pages, "left")
        _order(shape.right_size, right_pages, "right")
        native = ffi.new("struct xp_vchan *")
        lists = [ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", a) for a in pages]) for pages in (left_pages, right_pages)]
        check(lib.xp_vchan_client(native, ffi.cast("void *", page), shape.native, *lists, _core(event), *kick), "vchan client")
        return cls(native, event, (lists, kick), **options)

    # ---- state ----

    @property
    def closed(self) -> bool:
        """Whether this end was closed with close()."""
        return self._closed

    @property
    def peer_closed(self) -> bool:
        """Whether the peer has closed its end; what it wrote before can still be read."""
        self._open("peer_closed")
        return bool(lib.xp_vchan_peer_closed(self._c))

    @property
    def connected(self) -> bool:
        """Whether there is a peer: the client has come, and neither end has gone."""
        return not self._closed and lib.xp_vchan_peer(self._c) == 0

    @property
    def stats(self) -> dict[str, int]:
        """Counters: bytes, waits that spun and waits that slept, for each direction."""
        rings = (("read", self._c.rd), ("write", self._c.wr))
        return {f"{name}_{key}": getattr(ring, key) for name, ring in rings for key in ("bytes", "spun", "slept")}

    def wait_connected(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """[server] Wait until the client has come. Raises Timeout, PeerGone."""
        self._open("connect")
        limit = Limit(timeout)
        while (ret := lib.xp_vchan_accept(self._c, limit.ns())) == -EINTR:
            pass
        self._check(ret, "connect")

    def close(self) -> None:
        """Close this end: the peer reads what is in the ring and is then told; waits of this end stop. Again: no effect."""
        if self._closed:
            return
        self._closed = True
        lib.xp_vchan_close(self._c)
        if self._tasks:
            self._tasks.leave()
        # Threads in the C core have been woken; only then may the pages go. One that does not leave keeps them.
        left = [turn.end(CLOSE_S) for turn in (self._reading, self._writing)]
        if all(left) and self._on_close:
            self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A forked child that drops its copy must not close for its parent.
        if getattr(self, "_pid", None) == os.getpid():
            self.close()

    # ---- errors, turns ----

    def _open(self, op: str) -> None:
        """Raise ValueError if this end is closed: its pages may be gone."""
        if self._closed:
            raise ValueError(f"vchan {op}: this end is closed")

    def _check(self, ret: int, op: str) -> int:
        """Return `ret`, or raise what it stands for."""
        if ret >= 0:
            return ret
        self._open(op)
        if ret == -EIO:
            raise PeerGone(f"vchan {op}: the channel was closed when a time limit cut a message off")
        if ret == -EBUSY:
            raise RuntimeError(f"vchan {op}: a large message is being sent")
        return check(ret, f"vchan {op}")

    # ---- descriptor ----

    def fileno(self) -> int:
        """Return the descriptor that becomes readable, for select, poll and epoll; see `arm`."""
        self._open("fileno")
        return self._event.fileno() if hasattr(self._event, "fileno") else self._event.wait_fd

    def arm(self, read: bool = True, write: bool = False) -> bool:
        """Prepare to sleep on fileno(); return False if there is something to do at once.

        Do so after a call with timeout=0 has raised WouldBlock; call `disarm` when select or epoll has returned.
        """
        self._open("arm")
        return lib.xp_vchan_arm(self._c, (READ if read else 0) | (WRITE if write else 0)) == 0

    def disarm(self) -> None:
        """Undo `arm`, and drain the descriptor."""
        self._open("disarm")
        lib.xp_vchan_disarm(self._c)

    # ---- asyncio, iteration ----

    def _in_loop(self) -> "Tasks":
        """Return what the running event loop has to do with this end."""
        # Guests that use no asyncio should not have to pay for its memory.
        import asyncio

        from xenproc.vchan.loop import Tasks

        self._open("wait")
        if self._tasks is None or self._tasks.loop is not asyncio.get_running_loop():
            if self._tasks and not self._tasks.loop.is_closed():
                raise RuntimeError("vchan: this end is in use in another event loop")
            self._tasks = Tasks(self._c, self.fileno())
        return self._tasks

    def _ended(self) -> bool:
        """After PeerGone: whether the peer has closed, at the end of something."""
        return self.peer_closed and not self._c.rx_left

    def _until_closed(self, receive: Callable, timeout: float | None) -> Iterator[Any]:
        """Iterate over receive(timeout) until the peer has closed; a peer that died raises PeerGone."""
        while True:
            try:
                item = receive(timeout=timeout)
            except PeerGone:
                if self._ended():
                    return
                raise
            yield item

    async def _auntil_closed(self, receive: Callable, timeout: float | None) -> AsyncIterator[Any]:
        while True:
            try:
                item = await receive(timeout=timeout)
            except PeerGone:
                if self._ended():
                    return
                raise
            yield item
