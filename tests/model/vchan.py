"""A vchan in plain Python: the shared page and what each end knows, one obvious step at a time, never waiting.

The shared side is what a hostile peer can write: memory of both rings, four indices, two bytes of liveness, two of
notification. `Machine` holds it; `End` is one honest end. Results are a number >= 0 or -errno, as in native/vchan.h with a
timeout of 0.
"""

E2BIG, EAGAIN, EBUSY, EINVAL, EILSEQ, ENOTCONN, EIO = 7, 11, 16, 22, 84, 107, 5
NOTIFY_WRITE, NOTIFY_READ = 1, 2
READ, WRITE = 1, 2
OPEN, CLOSED, BROKEN, TORN = range(4)
STATE_ERROR = {OPEN: 0, CLOSED: -ENOTCONN, BROKEN: -EILSEQ, TORN: -EIO}
MASK = (1 << 32) - 1
HEADER = 4
SERVER, CLIENT = 0, 1


class Machine:
    """What both ends share, the event page included."""

    def __init__(self, left_size: int, right_size: int, start: int = 0, run: int = 1 << 20) -> None:
        """run: how many bytes of a ring lie in one piece."""
        self.size = {"left": left_size, "right": right_size}
        self.run = run
        self.memory = {"left": bytearray(left_size), "right": bytearray(right_size)}
        self.words = {("left", "cons"): start, ("left", "prod"): start, ("right", "cons"): start, ("right", "prod"): start}
        self.live = [1, 1]
        # Who may be told what, by side: the client has set the server's, the server the client's.
        self.notify = [NOTIFY_WRITE, NOTIFY_WRITE]
        self.pending = [True, False]  # the client's greeting
        self.hv_closed = False


class Ring:
    """One direction as one end sees it."""

    def __init__(self, machine: Machine, name: str, reading: bool) -> None:
        self.machine, self.name, self.reading = machine, name, reading
        self.size = machine.size[name]
        self.mine_word, self.theirs_word = (name, "cons" if reading else "prod"), (name, "prod" if reading else "cons")
        self.mine, self.theirs = machine.words[self.mine_word], machine.words[self.theirs_word]
        self.ask, self.tell = (NOTIFY_WRITE, NOTIFY_READ) if reading else (NOTIFY_READ, NOTIFY_WRITE)
        self.want = 1
        self.span = 0

    def level(self) -> int:
        """Bytes to read, or room."""
        used = (self.theirs - self.mine if self.reading else self.mine - self.theirs) & MASK
        return used if self.reading else self.size - used

    def copy_out(self, offset: int, count: int) -> bytes:
        """What lies there."""
        at = (self.mine + offset) % self.size
        memory = self.machine.memory[self.name]
        return bytes(memory[at : at + count] + memory[: max(0, at + count - self.size)])

    def copy_in(self, offset: int, data: bytes) -> None:
        """Put it there."""
        at = (self.mine + offset) % self.size
        memory = self.machine.memory[self.name]
        first = min(len(data), self.size - at)
        memory[at : at + first] = data[:first]
        memory[: len(data) - first] = data[first:]

    def piece(self) -> int:
        """How many bytes lie in one piece from here."""
        position = self.mine % self.size
        return min(self.size - position, self.machine.run - position % self.machine.run)


class End:
    """One end. Names and results as in native/vchan.h."""

    def __init__(self, machine: Machine, side: int, max_message: int = 16 << 20) -> None:
        self.machine, self.side = machine, side
        self.rd = Ring(machine, "left" if side == SERVER else "right", True)
        self.wr = Ring(machine, "right" if side == SERVER else "left", False)
        self.state = OPEN
        self.max_message = max_message
        self.rx_total = self.rx_left = 0
        self.tx: bytes | None = None
        self.tx_left = 0

    # ---- the parts ----

    def _event(self) -> None:
        if not self.machine.hv_closed:
            self.machine.pending[1 - self.side] = True

    def _end(self, state: int) -> int:
        if self.state == OPEN:
            self.state = state
            self.machine.live[self.side] = 0
            self._event()
            self.machine.pending[self.side] = True  # its own waiters
        return STATE_ERROR[self.state]

    def _gone(self) -> bool:
        return self.machine.live[1 - self.side] == 0 or self.machine.hv_closed

    def _refresh(self, ring: Ring) -> int:
        theirs = self.machine.words[ring.theirs_word]
        if (theirs - ring.theirs) & MASK > ring.size - ring.level():
            return self._end(BROKEN)
        ring.theirs = theirs
        return 0

    def _await(self, ring: Ring, want: int) -> int:
        if ring.level() >= want:
            return 0
        if self._refresh(ring):
            return -EILSEQ
        if ring.level() >= want:
            return 0
        if self._gone():
            return -ENOTCONN
        ring.want = want
        return -EAGAIN

    def _advance(self, ring: Ring, count: int) -> None:
        ring.mine = (ring.mine + count) & MASK
        ring.want, ring.span = 1, 0
        self.machine.words[ring.mine_word] = ring.mine
        if self.machine.notify[self.side] & ring.tell:
            self.machine.notify[self.side] &= ~ring.tell
            self._event()

    def _may_write(self) -> int:
        return STATE_ERROR[self.state] or (-ENOTCONN if self._gone() else 0)

    # ---- ends ----

    def close(self) -> int:
        self._end(CLOSED)
        return 0

    def peer(self) -> int:
        return -ENOTCONN if self._gone() else int(self.machine.live[1 - self.side] == 2)

    def ready(self) -> int:
        return STATE_ERROR[self.state] or self._refresh(self.rd) or self.rd.level()

    def room(self) -> int:
        return STATE_ERROR[self.state] or self._refresh(self.wr) or self.wr.level()

    def _something(self, ring: Ring) -> bool:
        return STATE_ERROR[self.state] != 0 or self._refresh(ring) != 0 or ring.level() >= ring.want or self._gone()

    def arm(self, which: int) -> int:
        rings = [ring for bit, ring in ((READ, self.rd), (WRITE, self.wr)) if which & bit]
        for ring in rings:
            self.machine.notify[1 - self.side] |= ring.ask
        found = any(self._something(ring) for ring in rings) or self.machine.hv_closed
        self.machine.pending[self.side] = False
        return int(found)

    # ---- byte stream ----

    def read(self, size: int, least: int) -> tuple[int, bytes]:
        got = b""
        while len(got) < size:
            if STATE_ERROR[self.state]:
                return STATE_ERROR[self.state], got
            if self._refresh(self.rd):
                return -EILSEQ, got
            if len(got) >= least and not self.rd.level():
                break
            if len(got) < least:
                ret = self._await(self.rd, 1 if least > self.rd.size else least - len(got))
                if ret:
                    return ret, got
            count = min(size - len(got), self.rd.level())
            got += self.rd.copy_out(0, count)
            self._advance(self.rd, count)
        return 0, got

    def write(self, data: bytes, least: int) -> tuple[int, int]:
        done = 0
        while done < len(data):
            ret = self._may_write() or self._refresh(self.wr)
            if ret:
                return ret, done
            if not self.wr.level():
                if done >= least:
                    break
                ret = self._await(self.wr, 1)
                if ret:
                    return ret, done
            count = min(len(data) - done, self.wr.level())
            self.wr.copy_in(0, data[done : done + count])
            self._advance(self.wr, count)
            done += count
        return 0, done

    def drain(self) -> int:
        return STATE_ERROR[self.state] or self._await(self.wr, self.wr.size)

    def _in_place(self, ring: Ring, want: int) -> int:
        if want > ring.size:
            return -EINVAL
        ret = STATE_ERROR[self.state] or self._refresh(ring) or self._await(ring, want or 1)
        if ret:
            return ret
        ring.span = min(ring.piece(), ring.level())
        return ring.span

    def reserve(self, want: int) -> int:
        if self.state == OPEN and self._gone():
            return -ENOTCONN
        return self._in_place(self.wr, want)

    def peek(self, want: int) -> int:
        return self._in_place(self.rd, want)

    def _pass(self, ring: Ring, count: int) -> int:
        if STATE_ERROR[self.state]:
            return STATE_ERROR[self.state]
        if count > ring.span:
            return -EINVAL
        if count:
            self._advance(ring, count)
        return 0

    def commit(self, count: int) -> int:
        return self._pass(self.wr, count)

    def consume(self, count: int) -> int:
        return self._pass(self.rd, count)

    # ---- messages ----

    def _fits(self, ring: Ring, size: int) -> bool:
        return HEADER + size <= ring.size

    def send(self, data: bytes) -> int:
        if len(data) > self.max_message:
            return -E2BIG
        ret = self._may_write()
        if ret:
            return ret
        if self.tx_left and data is not self.tx:
            return -EBUSY
        header = len(data).to_bytes(4, "little")
        if self._fits(self.wr, len(data)):
            ret = self._await(self.wr, HEADER + len(data))
            if not ret:
                self.wr.copy_in(0, header + data)
                self._advance(self.wr, HEADER + len(data))
            return ret
        if not self.tx_left:
            ret = self._await(self.wr, HEADER)
            if ret:
                return ret
            self.wr.copy_in(0, header)
            self._advance(self.wr, HEADER)
            self.tx, self.tx_left = data, len(data)
        while self.tx_left:
            ret = self._may_write() or self._refresh(self.wr) or self._await(self.wr, 1)
            if ret:
                return ret
            done = len(data) - self.tx_left
            count = min(self.tx_left, self.wr.level())
            self.wr.copy_in(0, data[done : done + count])
            self.tx_left -= count
            self._advance(self.wr, count)
        return 0

    def tear(self) -> int:
        self._end(TORN)
        return 0

    def send_many(self, messages: list[bytes]) -> int:
        if not self._may_write() and self.tx_left:
            return -EBUSY
        for sent, data in enumerate(messages):
            ret = self._may_write()
            if not ret and (len(data) > self.max_message or not self._fits(self.wr, len(data))):
                ret = -E2BIG
            ret = ret or self._await(self.wr, HEADER + len(data))
            if ret:
                return sent or ret
            self.wr.copy_in(0, len(data).to_bytes(4, "little") + data)
            self._advance(self.wr, HEADER + len(data))
        return len(messages)

    def _await_message(self) -> int:
        ret = STATE_ERROR[self.state] or self._await(self.rd, HEADER)
        if ret:
            return ret
        size = int.from_bytes(self.rd.copy_out(0, HEADER), "little")
        if size > self.max_message:
            return self._end(BROKEN)
        return (self._await(self.rd, HEADER + size) if self._fits(self.rd, size) else 0) or size

    def _announce(self, size: int) -> int:
        self.rx_total = self.rx_left = size
        self._advance(self.rd, HEADER)
        return -E2BIG

    def recv(self, cap: int) -> tuple[int, bytes]:
        if self.rx_left:
            return -E2BIG, b""
        size = self._await_message()
        if size < 0:
            return size, b""
        if size > cap or not self._fits(self.rd, size):
            return self._announce(size), b""
        data = self.rd.copy_out(HEADER, size)
        self._advance(self.rd, HEADER + size)
        return size, data

    def recv_rest(self) -> tuple[int, bytes]:
        got = b""
        while self.rx_left:
            ret = STATE_ERROR[self.state] or self._refresh(self.rd) or self._await(self.rd, 1)
            if ret:
                return ret, got
            count = min(self.rx_left, self.rd.level())
            got += self.rd.copy_out(0, count)
            self.rx_left -= count
            self._advance(self.rd, count)
        return 0, got

    def recv_many(self, most: int) -> tuple[int, list[bytes]]:
        """peek_many, a copy of each payload, consume."""
        if self.rx_left:
            return -E2BIG, []
        first = self._await_message()
        if first < 0:
            return first, []
        if not self._fits(self.rd, first):
            return self._announce(first), []
        if self._refresh(self.rd):
            return -EILSEQ, []
        run, offset, messages = min(self.rd.piece(), self.rd.level()), 0, []
        while len(messages) < most and run - offset >= HEADER:
            size = int.from_bytes(self.rd.copy_out(offset, HEADER), "little")
            if HEADER + size > run - offset or size > self.max_message:
                break
            if messages and offset + HEADER + size > self.rd.size // 4:
                break
            messages.append(self.rd.copy_out(offset + HEADER, size))
            offset += HEADER + size
        if messages:
            self._advance(self.rd, offset)
        return len(messages), messages
