"""Stream: a vchan as two byte streams, with copies or in place (native/vchan_stream.c)."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from xenproc.errors import ConfigError, PeerGone, WouldBlock
from xenproc.native import ffi, lib
from xenproc.units import timeout_ns
from xenproc.vchan.end import DEFAULT_TIMEOUT, EINTR, READ, SCRATCH, WRITE, End
from xenproc.vchan.landing import address, landed, landing
from xenproc.vchan.turn import Limit

_from_buffer = ffi.from_buffer


class Stream(End):
    """A byte stream each way to another guest. There are no borders between what was written in several calls."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """As End."""
        super().__init__(*args, **options)
        self._got, self._put = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        self._held = b""  # taken from the ring by a readexactly that then failed
        self._span = ffi.new("uint8_t **")

    # ---- reading ----

    def _read(self, place: Any, size: int, least: int, timeout: float | None) -> int:
        """Read `least` to `size` bytes into `place`, what is held first; on an error hold what has come."""
        limit = Limit(timeout)
        have = min(len(self._held), size)
        if have:
            ffi.memmove(place, self._held, have)
            self._held = self._held[have:]
        while have < size:
            ret = lib.xp_vchan_read(self._c, place + have, size - have, max(0, least - have), limit.ns(), self._got)
            have += self._got[0]
            if ret == 0:
                break
            if ret != -EINTR:
                if have >= least > 0:
                    break
                self._held = ffi.buffer(place, have)[:] + self._held
                self._check(ret, "read")
        return have

    def read(self, size: int = -1, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """Read at least one byte and up to `size`, as they come; -1: everything until the peer closes.

        Raises WouldBlock, Timeout, PeerGone, PeerMisbehaved.
        """
        if size < 0:
            return self._read_all(timeout)
        if size == 0:
            return b""
        self._reading.take(timeout, "read")
        try:
            # A large read is sized by what is there, not by what was asked for.
            if size > SCRATCH:
                size = max(SCRATCH, min(size, lib.xp_vchan_ready(self._c) + len(self._held)))
            place = self._scratch if size <= SCRATCH else landing(size)
            return landed(place, self._read(address(place), size, 1, timeout))
        finally:
            self._reading.give()

    def _read_all(self, timeout: float | None) -> bytes:
        limit, parts = Limit(timeout), []
        try:
            while True:
                parts.append(self.read(1 << 20, limit.left()))
        except PeerGone:
            if self.peer_closed:
                return b"".join(parts)
            self._held = b"".join(parts) + self._held
            raise
        except BaseException:
            self._held = b"".join(parts) + self._held
            raise

    def recv(self, size: int, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """As `read`, under a socket's name."""
        return self.read(size, timeout)

    def readinto(self, buffer: Any, timeout: float | None = DEFAULT_TIMEOUT) -> int:
        """Read at least one byte into a writable contiguous buffer; how many. Errors as for `read`."""
        place = _from_buffer(buffer, require_writable=True)
        self._reading.take(timeout, "read")
        try:
            return self._read(place, len(place), 1, timeout)
        finally:
            self._reading.give()

    def readexactly(self, size: int, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """Read just `size` bytes. On an error nothing is lost: what has come is read by the next call. Errors as for `read`."""
        if size < 0:
            raise ConfigError(f"vchan readexactly: expected 0 or more bytes, got {size}")
        place = self._scratch if size <= SCRATCH else landing(size)
        self._reading.take(timeout, "read")
        try:
            self._read(address(place), size, size, timeout)
            return landed(place, size)
        finally:
            self._reading.give()

    def peek(self, want: int = 1, timeout: float | None = DEFAULT_TIMEOUT) -> memoryview:
        """Wait for `want` bytes and return the memory of the ring that holds the next ones in one piece: at least one.

        The peer can still write there: copy before you check. Then `consume`. Errors as for `read`, ConfigError if want is
        more than the ring.
        """
        self._reading.take(timeout, "peek")
        try:
            if self._held:
                return memoryview(self._held)
            return self._in_place(lib.xp_vchan_peek, self._c.rd, want, timeout, "peek").toreadonly()
        finally:
            self._reading.give()

    def consume(self, size: int) -> None:
        """Give the first `size` bytes of the last `peek` back to the writer. Raises ConfigError if it was shorter."""
        if self._held:
            if size > len(self._held):
                raise ConfigError(f"vchan consume: {size} bytes, but the last peek gave {len(self._held)}")
            self._held = self._held[size:]
            return
        self._pass(lib.xp_vchan_consume, size, "consume")

    # ---- writing ----

    def _write(self, data: Any, least: int, timeout: float | None) -> int:
        source, limit, done = _from_buffer(data), Limit(timeout), 0
        self._writing.take(timeout, "write")
        try:
            while done < len(source):
                ret = lib.xp_vchan_write(
                    self._c, source + done, len(source) - done, max(0, least - done), limit.ns(), self._put
                )
                done += self._put[0]
                if ret == 0 or (0 < least <= done):
                    break
                if ret != -EINTR:
                    self._fail(ret, done)
            return done
        finally:
            self._writing.give()

    def _fail(self, ret: int, sent: int) -> None:
        try:
            self._check(ret, "write")
        except Exception as error:
            error.sent = sent  # type: ignore[attr-defined]
            raise

    def write(self, data: Any, timeout: float | None = DEFAULT_TIMEOUT) -> int:
        """Write as much of a contiguous bytes-like object as there is room for, waiting for the first byte; how much.

        Raises WouldBlock, Timeout, PeerGone, PeerMisbehaved.
        """
        return self._write(data, 1, timeout)

    def sendall(self, data: Any, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Write all of it. An error carries as its attribute `sent` how many bytes went before it. Errors as for `write`."""
        self._write(data, max(1, memoryview(data).nbytes), timeout)

    def drain(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Wait until the peer has read everything. Errors as for `write`."""
        limit = Limit(timeout)
        self._writing.take(timeout, "drain")
        try:
            while (ret := lib.xp_vchan_drain(self._c, limit.ns())) == -EINTR:
                pass
            self._check(ret, "drain")
        finally:
            self._writing.give()

    def reserve(self, want: int = 1, timeout: float | None = DEFAULT_TIMEOUT) -> memoryview:
        """Wait for room for `want` bytes and return the ring's memory for the next ones that lies in one piece: at least one.

        Write there, then `commit`. Errors as for `write`, ConfigError if want is more than the ring.
        """
        self._writing.take(timeout, "reserve")
        try:
            return self._in_place(lib.xp_vchan_reserve, self._c.wr, want, timeout, "reserve")
        finally:
            self._writing.give()

    def commit(self, size: int) -> None:
        """Pass on the first `size` bytes of the last `reserve`. Raises ConfigError if it was shorter."""
        self._pass(lib.xp_vchan_commit, size, "commit")

    def _in_place(self, wait: Callable, ring: Any, want: int, timeout: float | None, op: str) -> memoryview:
        if not 0 <= want <= ring.size:
            raise ConfigError(f"vchan {op}: {want} bytes, but the ring has {ring.size}")
        limit = timeout_ns(timeout)
        while (size := wait(self._c, want, self._span, limit)) == -EINTR:
            limit = ring.left_ns
        self._check(size, op)
        return memoryview(ffi.buffer(self._span[0], size)).cast("B")

    def _pass(self, move: Callable, size: int, op: str) -> None:
        self._open(op)
        ret = move(self._c, size) if 0 <= size < 1 << 32 else -22
        if ret == -22:
            raise ConfigError(f"vchan {op}: {size} bytes are more than the last call gave")
        self._check(ret, op)

    # ---- asyncio ----

    async def aread(self, size: int, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """As `read` (size >= 0), without holding up the event loop."""
        return await self._in_loop().until_done(READ, timeout, "read", self.read, size)

    async def areadexactly(self, size: int, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """As `readexactly`, without holding up the event loop; cancelling loses nothing."""
        if size <= self._c.rd.size:
            return await self._in_loop().until_done(READ, timeout, "read", self.readexactly, size)
        tasks = self._in_loop()
        parts: list[bytes] = []
        left = size
        try:
            async with tasks.turn(READ, timeout, "read"):
                while left:
                    try:
                        parts.append(self.read(left, 0))
                        left -= len(parts[-1])
                    except WouldBlock:
                        await tasks.news(READ)
        except BaseException:
            self._held = b"".join(parts) + self._held
            raise
        return b"".join(parts)

    async def asendall(self, data: Any, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """As `sendall`, without holding up the event loop."""
        view = memoryview(data).cast("B")
        total, tasks = len(view), self._in_loop()
        try:
            async with tasks.turn(WRITE, timeout, "write"):
                while view:
                    try:
                        view = view[self.write(view, 0) :]
                    except WouldBlock:
                        await tasks.news(WRITE)
        except Exception as error:
            error.sent = total - len(view)  # type: ignore[attr-defined]
            raise

    async def adrain(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """As `drain`, without holding up the event loop."""
        await self._in_loop().until_done(WRITE, timeout, "drain", self.drain)

    # ---- as a file, as an iterator ----

    def chunks(self, size: int = SCRATCH, timeout: float | None = DEFAULT_TIMEOUT) -> Iterator[bytes]:
        """Iterate over what comes, up to `size` bytes at a time, until the peer closes; a peer that died raises PeerGone."""
        return self._until_closed(lambda timeout: self.read(size, timeout), timeout)

    def achunks(self, size: int = SCRATCH, timeout: float | None = DEFAULT_TIMEOUT) -> AsyncIterator[bytes]:
        """As `chunks`, for `async for`."""
        return self._auntil_closed(lambda timeout: self.aread(size, timeout), timeout)

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.achunks()

    def makefile(self, mode: str = "rb", buffering: int = -1, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
        """Return a file object ("rb", "wb" or "rwb"): the peer's close is its end. Closing it does not close the stream."""
        if mode not in ("rb", "wb", "rwb"):
            raise ConfigError(f"vchan makefile: mode: expected 'rb', 'wb' or 'rwb', got {mode!r}")
        raw = _Raw(self, timeout, "r" in mode, "w" in mode)
        if buffering == 0:
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering
        if mode == "rwb":
            return io.BufferedRWPair(raw, raw, size)
        return io.BufferedReader(raw, size) if mode == "rb" else io.BufferedWriter(raw, size)


class _Raw(io.RawIOBase):
    def __init__(self, stream: Stream, timeout: float | None, reads: bool, writes: bool) -> None:
        self._stream, self._timeout, self._reads, self._writes = stream, timeout, reads, writes

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def readinto(self, buffer: Any) -> int:
        try:
            return self._stream.readinto(buffer, self._timeout)
        except PeerGone:
            if self._stream.peer_closed:
                return 0
            raise

    def write(self, data: Any) -> int:
        return self._stream.write(data, self._timeout)
