"""Whole turns on a ring of any layout in plain Python, over one bytearray: exchange, resume, wait, reply_and_wait (ringwait.c).

model/ring.py has the steps alone. Here every layout counts (numbers of any size and place, or none), both reasons of closing.

Shared words and slots are what both ends and a hostile peer write; everything else is private to its end. Results are what
C returns: a number, or -Xen's error. Waiting is not modelled: a wait has no time left and nobody asleep.
"""

import struct
from dataclasses import dataclass, field

EINVAL, EBUSY, EILSEQ, ENOTCONN, ETIMEDOUT = 22, 16, 84, 107, 110
WORDS = {"req_prod": 0, "req_event": 4, "rsp_prod": 8, "rsp_event": 12}
SLOTS_AT = 64
PAGE = 4096
MOD = 1 << 32


@dataclass(frozen=True)
class Layout:
    req_size: int
    rsp_size: int
    entry_size: int
    id_size: int = 0
    req_id_at: int = 0
    rsp_id_at: int = 0

    def entries(self, nr_pages: int) -> int:
        """Slots in so many pages: the largest power of two that fits."""
        fit = (nr_pages * PAGE - SLOTS_AT) // self.entry_size
        return 1 << (fit.bit_length() - 1) if fit else 0


@dataclass
class Shared:
    """The pages."""

    layout: Layout
    nr_pages: int
    start: int = 0
    memory: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.memory = bytearray(self.nr_pages * PAGE)
        self.nr_ents = self.layout.entries(self.nr_pages)
        for word in WORDS:
            self[word] = self.start + word.endswith("event")

    def __getitem__(self, word: str) -> int:
        return struct.unpack_from("<I", self.memory, WORDS[word])[0]

    def __setitem__(self, word: str, value: int) -> None:
        struct.pack_into("<I", self.memory, WORDS[word], value % MOD)

    def slot(self, index: int) -> int:
        """Where the slot of an index begins."""
        return SLOTS_AT + index % self.nr_ents * self.layout.entry_size

    def write(self, index: int, data: bytes) -> None:
        self.memory[self.slot(index):self.slot(index) + len(data)] = data

    def read(self, index: int, size: int) -> bytes:
        return bytes(self.memory[self.slot(index):self.slot(index) + size])


class End:
    """What both ends do alike: produce `mine`, consume `theirs`."""

    def __init__(self, shared: Shared, mine: str, theirs: str) -> None:
        self.shared, self.mine, self.theirs = shared, mine, theirs
        self.put_at = self.pushed = self.cons = shared.start      # free-running, modulo 2**32
        self.closed = 0

    def push(self) -> int:
        """Show what was put; 1 if the peer's event lies in what is new."""
        if self.closed or self.put_at == self.pushed:
            return self.closed
        old, self.pushed = self.pushed, self.put_at
        self.shared[f"{self.mine}_prod"] = self.pushed
        new = (self.pushed - old) % MOD
        return int((self.pushed - self.shared[f"{self.mine}_event"]) % MOD < new)

    def most(self) -> int:
        """How many unconsumed entries an honest peer can have produced."""
        raise NotImplementedError

    def there(self) -> int:
        nr = (self.shared[f"{self.theirs}_prod"] - self.cons) % MOD
        if nr > self.most():
            self.closed = -EILSEQ
        return self.closed or nr

    def final_check(self, holdoff: int) -> int:
        if self.closed:
            return self.closed
        self.shared[f"{self.theirs}_event"] = self.cons + max(holdoff, 1)
        return self.there()

    def close(self, error: int) -> None:
        self.closed = self.closed or error

    def ready(self) -> int:
        """What a wait without time says: 0 if there is something to get."""
        if self.shared[f"{self.theirs}_prod"] != self.cons:
            return 0
        return self.closed or -ETIMEDOUT


class Front(End):
    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, "req", "rsp")
        layout = shared.layout
        self.nr_ids = min(shared.nr_ents, 1 << 8 * layout.id_size) if layout.id_size else 0
        self.free = list(range(self.nr_ids))[::-1]
        self.owed: dict[int, int] = {}          # id: the index of its request
        self.wanted: int | None = None          # an exchange under way
        self.got = 0

    def most(self) -> int:
        return (self.pushed - self.cons) % MOD

    def put(self, reqs: list[bytearray]) -> int:
        if self.closed:
            return self.closed
        room = self.shared.nr_ents - (self.put_at - self.cons) % MOD
        if self.nr_ids:
            room = min(room, len(self.free))
        layout = self.shared.layout
        for req in reqs[:room]:
            if self.nr_ids:
                number = self.free.pop()
                self.owed[number] = self.put_at
                req[layout.req_id_at:layout.req_id_at + layout.id_size] = number.to_bytes(layout.id_size, "little")
            self.shared.write(self.put_at, req)
            self.put_at = (self.put_at + 1) % MOD
        return min(len(reqs), room)

    def get(self, most: int) -> tuple[int, list[bytes]]:
        nr = self.closed or self.there()
        if nr < 0:
            return nr, []
        layout, out = self.shared.layout, []
        for i in range(min(nr, most)):
            rsp = self.shared.read(self.cons + i, layout.rsp_size)
            if self.nr_ids and not self.answers(int.from_bytes(rsp[layout.rsp_id_at:layout.rsp_id_at + layout.id_size], "little")):
                self.closed = -EILSEQ
                return self.closed, []
            out.append(rsp)
        self.cons = (self.cons + len(out)) % MOD
        return len(out), out

    def answers(self, number: int) -> bool:
        """Is a request of this number pushed and unanswered? Then it is answered now."""
        at = self.owed.get(number)
        if at is None or (self.pushed - at - 1) % MOD >= self.shared.nr_ents:
            return False
        del self.owed[number]
        self.free.append(number)
        return True

    def exchange(self, reqs: list[bytearray]) -> tuple[int, list[bytes]]:
        if self.closed:
            return self.closed, []
        if not reqs or len(reqs) > self.shared.nr_ents or (self.nr_ids and len(reqs) > self.nr_ids):
            return -EINVAL, []
        if self.put_at != self.cons:
            return -EBUSY, []
        self.put(reqs)
        self.wanted, self.got = len(reqs), 0
        self.push()
        return self.collect(len(reqs))

    def resume(self) -> tuple[int, list[bytes]]:
        if self.closed or self.wanted is None:
            return self.closed or -EINVAL, []
        return self.collect(self.wanted)

    def wait(self, most: int) -> tuple[int, list[bytes]]:
        if most == 0 or self.closed:
            return -EINVAL if most == 0 else self.closed, []
        self.wanted, self.got = most, 0
        return self.collect(1)

    def collect(self, least: int) -> tuple[int, list[bytes]]:
        """Get until there are `least` of what is wanted; gives what came in this call."""
        out: list[bytes] = []
        while self.got < least:
            ret, more = self.ready(), []
            if ret == 0:
                ret, more = self.get(self.wanted - self.got)
            if ret < 0:
                return ret, out
            out += more
            self.got += ret
        return self.got, out


class Back(End):
    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, "rsp", "req")

    def most(self) -> int:
        return self.shared.nr_ents - (self.cons - self.pushed) % MOD

    def get(self, most: int) -> tuple[int, list[bytes]]:
        nr = self.closed or self.there()
        if nr < 0:
            return nr, []
        out = [self.shared.read(self.cons + i, self.shared.layout.req_size) for i in range(min(nr, most))]
        self.cons = (self.cons + len(out)) % MOD
        return len(out), out

    def put(self, rsps: list[bytes]) -> int:
        if self.closed:
            return self.closed
        if len(rsps) > (self.cons - self.put_at) % MOD:
            return -EINVAL
        for rsp in rsps:
            self.shared.write(self.put_at, rsp)
            self.put_at = (self.put_at + 1) % MOD
        return len(rsps)

    def reply_and_wait(self, rsps: list[bytes], most: int) -> tuple[int, list[bytes]]:
        if most == 0 or self.closed:
            return -EINVAL if most == 0 else self.closed, []
        if rsps:
            ret = self.put(rsps)
            if ret < 0:
                return ret, []
            self.push()
        ret = self.ready()
        return (ret, []) if ret else self.get(most)
