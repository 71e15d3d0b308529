"""Channel: messages on a vchan. A message is 4 bytes of length (little-endian) and as many of payload (native/vchan_msg.c)."""

from array import array
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

from xenproc.errors import ConfigError, WouldBlock, XenprocError
from xenproc.native import ffi, lib
from xenproc.units import timeout_ns
from xenproc.vchan.end import DEFAULT_NS, DEFAULT_TIMEOUT, E2BIG, EAGAIN, EINTR, READ, SCRATCH, WRITE, End
from xenproc.vchan.landing import address, landed, landing
from xenproc.vchan.turn import Limit

if TYPE_CHECKING:
    from xenproc.vchan.loop import Tasks

_send, _recv = lib.xp_vchan_send, lib.xp_vchan_recv
_send_many, _peek_many, _consume = lib.xp_vchan_send_many, lib.xp_vchan_peek_many, lib.xp_vchan_consume
_from_buffer = ffi.from_buffer
MANY = 1024  # messages that recv_many takes at most
JOIN_MAX = 8192  # size up to which copying messages together is cheaper than crossing to C for each
JOIN_BYTES = 128 << 10  # what is copied together at a time: it stays in the second-level cache
HEADER = lib.XP_VCHAN_HEADER
UNPACK = 64  # messages of one size that are cut apart in one go


class Channel(End):
    """A message channel to another guest.

    Messages keep their borders; any size up to max_message (both ends must agree on it), also far above the ring's. One
    that fits the ring goes whole or not at all; a larger one that its time limit cuts off closes the channel. A message
    that has come in part stays with the channel, and the next recv goes on with it: a time limit loses nothing.
    """

    def __init__(self, *args: Any, max_message: int = lib.XP_VCHAN_MAX_MESSAGE, **options: Any) -> None:
        """As End; max_message: bytes, the same at both ends."""
        super().__init__(*args, **options)
        if not 0 < max_message < 1 << 32:
            raise ConfigError(f"vchan: max_message: expected 1 to {(1 << 32) - 1} bytes, got {max_message}")
        self._c.max_message = max_message
        self._part: Any = None  # where a large message lands that has not come whole
        self._lens = array("I", bytes(4 * MANY))
        self._native_lens = _from_buffer("uint32_t[]", self._lens)
        self._piece, self._total = ffi.new("uint8_t **"), ffi.new("uint32_t *")
        self._cutter = (-1, Struct(""))

    # ---- sending ----

    def send(self, data: Any, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Send one message: any contiguous bytes-like object.

        Raises ConfigError if it is longer than max_message, or with timeout=0 than the ring; WouldBlock; Timeout; PeerGone;
        PeerMisbehaved.
        """
        if type(data) is not bytes:
            data = _from_buffer(data)
        turn = self._writing
        try:
            turn.token.pop()
        except IndexError:
            turn.wait(timeout, "send")
        try:
            ret = _send(self._c, data, len(data), DEFAULT_NS if timeout == DEFAULT_TIMEOUT else timeout_ns(timeout))
            if ret:
                self._send_on(ret, data)
        finally:
            turn.token.append(None)
            if turn.waiting:
                turn.wake()

    def _send_on(self, ret: int, data: Any) -> None:
        """Finish a send that returned `ret`: after a signal it goes on, otherwise it has failed."""
        c = self._c
        try:
            while ret == -EINTR:
                ret = _send(c, data, len(data), c.wr.left_ns)
            if ret == -E2BIG:
                raise ConfigError(f"vchan send: a message of {len(data)} bytes is over the limit of {c.max_message}")
            self._check(ret, "send")
        finally:
            if c.tx_left:
                lib.xp_vchan_tear(c)

    def send_many(self, messages: Iterable[Any], timeout: float | None = DEFAULT_TIMEOUT) -> int:
        """Send messages in order, crossing to C as seldom as possible; how many there were.

        timeout is for all of them together. An error carries as its attribute `sent` how many had been sent. Errors as for
        `send`; a message over the limit is refused before any is sent.
        """
        batch = messages if isinstance(messages, list | tuple) else list(messages)
        if not batch:
            return 0
        lens = array("I", map(len, batch))
        most = max(lens)
        if most > self._c.max_message:
            raise ConfigError(f"vchan send: a message of {most} bytes is over the limit of {self._c.max_message}")
        limit = Limit(timeout)
        self._writing.take(timeout, "send")
        try:
            if most > min(JOIN_MAX, self._c.wr.size - HEADER):
                return self._send_each(batch, limit)
            return self._send_joined(batch, lens, JOIN_BYTES // (most + 1) + 1, limit)
        finally:
            self._writing.give()

    def _send_joined(self, batch: Sequence[Any], lens: array, step: int, limit: Limit) -> int:
        """Send messages, `step` copied together at a time."""
        native_lens = _from_buffer("uint32_t[]", lens)
        for start in range(0, len(batch), step):
            data = b"".join(batch[start : start + step])
            sent, offset, end = start, 0, min(start + step, len(batch))
            if len(data) != sum(lens[start:end]):  # items wider than a byte
                return start + self._send_each(batch[start:], limit)
            source = _from_buffer(data)
            while sent < end:
                ret = _send_many(self._c, source + offset, native_lens + sent, end - sent, limit.ns())
                if ret > 0:
                    offset += sum(lens[sent : sent + ret]) if sent + ret < end else 0
                    sent += ret
                elif ret != -EINTR:
                    self._fail(ret, sent)
        return len(batch)

    def _send_each(self, batch: Sequence[Any], limit: Limit) -> int:
        c = self._c
        for sent, data in enumerate(batch):
            if type(data) is not bytes:
                data = _from_buffer(data)
            while ret := _send(c, data, len(data), 0):
                if ret == -EAGAIN and limit.timeout != 0:
                    ret = _send(c, data, len(data), limit.ns())
                    if not ret:
                        break
                if ret != -EINTR:
                    self._fail(ret, sent)
        return len(batch)

    def _fail(self, ret: int, sent: int) -> None:
        if self._c.tx_left:
            lib.xp_vchan_tear(self._c)
        try:
            self._check(ret, "send")
        except (XenprocError, ValueError) as error:
            error.sent = sent  # type: ignore[union-attr]
            raise

    async def asend(self, data: Any, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Send one message without holding up the event loop. Errors as for `send`; cancelled half-way it closes the channel."""
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        if HEADER + size <= self._c.wr.size:
            return await self._in_loop().until_done(WRITE, timeout, "send", self.send, data)
        tasks = self._in_loop()
        async with tasks.turn(WRITE, timeout, "send"):
            await self._asend_large(tasks, data if type(data) is bytes else _from_buffer(data))

    async def _asend_large(self, tasks: "Tasks", data: Any) -> None:
        c, begun = self._c, False
        try:
            while True:
                try:
                    self._writing.take(0, "send")
                    try:
                        ret = _send(c, data, len(data), 0)
                    finally:
                        self._writing.give()
                    begun = begun or c.tx_left != 0
                    if ret == -E2BIG:
                        raise ConfigError(f"vchan send: a message of {len(data)} bytes is over the limit of {c.max_message}")
                    self._check(ret, "send")
                    return
                except WouldBlock:
                    await tasks.news(WRITE)
        finally:
            if begun and c.tx_left:
                lib.xp_vchan_tear(c)

    # ---- receiving ----

    def recv(self, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """Receive one message. Raises WouldBlock, Timeout, PeerGone, PeerMisbehaved."""
        turn = self._reading
        try:
            turn.token.pop()
        except IndexError:
            turn.wait(timeout, "recv")
        try:
            n = _recv(self._c, self._scratch, SCRATCH, DEFAULT_NS if timeout == DEFAULT_TIMEOUT else timeout_ns(timeout))
            return self._view[:n] if n >= 0 else self._recv_on(n)
        finally:
            turn.token.append(None)
            if turn.waiting:
                turn.wake()

    def _recv_on(self, n: int) -> bytes:
        """Finish a recv that returned `n` < 0."""
        c = self._c
        while n == -EINTR:
            n = _recv(c, self._scratch, SCRATCH, c.rd.left_ns)
        if n >= 0:
            return self._view[:n]
        if n != -E2BIG:
            self._check(n, "recv")
        if self._part is None:
            self._part = landing(c.rx_total)
        self._rest(self._part, c.rd.left_ns)
        part, self._part = self._part, None
        return landed(part, c.rx_total)

    def _rest(self, place: Any, limit: int) -> None:
        """Receive what is left of a large message."""
        while (ret := lib.xp_vchan_recv_rest(self._c, place, limit)) == -EINTR:
            limit = self._c.rd.left_ns
        self._check(ret, "recv")

    def recv_into(self, buffer: Any, timeout: float | None = DEFAULT_TIMEOUT) -> int:
        """Receive one message into a writable contiguous buffer; its length.

        Raises ConfigError if the buffer is too small: the message then waits for the next recv or recv_into. Others as `recv`.
        """
        place = _from_buffer(buffer, require_writable=True)
        self._reading.take(timeout, "recv")
        try:
            c = self._c
            n = _recv(c, place, len(place), timeout_ns(timeout))
            while n == -EINTR:
                n = _recv(c, place, len(place), c.rd.left_ns)
            if n != -E2BIG:
                return self._check(n, "recv")
            return self._large_into(place)
        finally:
            self._reading.give()

    def _large_into(self, place: Any) -> int:
        c = self._c
        total, limit = c.rx_total, c.rd.left_ns
        if total > len(place):
            raise ConfigError(f"vchan recv_into: the message has {total} bytes, the buffer {len(place)}")
        if self._part is None:
            try:
                self._rest(place, limit)
            except BaseException:
                # What has come is ours to keep: the caller may come back with another buffer.
                self._part = landing(total)
                ffi.memmove(address(self._part), place, total - c.rx_left)
                raise
        else:
            self._rest(self._part, limit)
            ffi.memmove(place, address(self._part), total)
            self._part = None
        return total

    def recv_many(self, most: int = MANY, timeout: float | None = DEFAULT_TIMEOUT) -> list[bytes]:
        """Wait for a message and receive all that have come, up to `most` and a quarter of the ring; at least one.

        Errors as for `recv`.
        """
        turn, c = self._reading, self._c
        most = min(max(most, 1), MANY)
        turn.take(timeout, "recv")
        try:
            n = _peek_many(c, self._piece, self._total, self._native_lens, most, timeout_ns(timeout))
            while n == -EINTR:
                n = _peek_many(c, self._piece, self._total, self._native_lens, most, c.rd.left_ns)
            if n <= 0:
                return [self._recv_on(n or _recv(c, self._scratch, SCRATCH, 0))]
            total = self._total[0]
            out = self._cut(n, ffi.buffer(self._piece[0], total))
            self._check(_consume(c, total), "recv")
            return out
        finally:
            turn.give()

    def _cut(self, n: int, piece: Any) -> list[bytes]:
        """Copy n messages out of a piece of the ring."""
        lens = self._lens[:n]
        size, start = lens[0], 0
        out: list[bytes] = []
        if n >= UNPACK and lens[:1].tobytes() * n == lens.tobytes():
            if self._cutter[0] != size:
                self._cutter = (size, Struct(f"{HEADER}x{size}s" * UNPACK))
            start = n // UNPACK * UNPACK
            for group in self._cutter[1].iter_unpack(memoryview(piece)[: start * (HEADER + size)]):
                out += group
        offset = start * (HEADER + size) + HEADER
        for length in lens[start:]:
            out.append(piece[offset : offset + length])
            offset += length + HEADER
        return out

    async def arecv(self, timeout: float | None = DEFAULT_TIMEOUT) -> bytes:
        """Receive one message without holding up the event loop. Errors as for `recv`; cancelling loses nothing."""
        return await self._in_loop().until_done(READ, timeout, "recv", self.recv)

    async def arecv_many(self, most: int = MANY, timeout: float | None = DEFAULT_TIMEOUT) -> list[bytes]:
        """As `recv_many`, without holding up the event loop."""
        return await self._in_loop().until_done(READ, timeout, "recv", self.recv_many, most)

    def messages(self, timeout: float | None = DEFAULT_TIMEOUT) -> Iterator[bytes]:
        """Iterate over messages until the peer closes; `timeout` is for each. A peer that died raises PeerGone."""
        return self._until_closed(self.recv, timeout)

    def amessages(self, timeout: float | None = DEFAULT_TIMEOUT) -> AsyncIterator[bytes]:
        """As `messages`, for `async for`."""
        return self._auntil_closed(self.arecv, timeout)

    def __iter__(self) -> Iterator[bytes]:
        return self.messages()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.amessages()
