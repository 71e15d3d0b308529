"""What a ring is, in plain Python: Xen's io/ring.h, with a private index beside every shared one, and numbers checked.

Nothing here is fast or clever; native/ring.c is held against it step by step (tests/property/test_ring_machine.py).
"""

EILSEQ, EINVAL = 84, 22
WORDS = 1 << 32


def entries(nr_pages: int, entry_size: int) -> int:
    """Return the slots of a ring: the largest power of two that fits behind the 64-byte header."""
    fit = (nr_pages * 4096 - 64) // entry_size
    return 1 << (fit.bit_length() - 1) if fit else 0


class Shared:
    """The ring's pages: four indices that run freely modulo 2**32, and slots."""

    def __init__(self, nr: int, entry_size: int, start: int) -> None:
        self.req_prod = self.rsp_prod = start % WORDS
        self.req_event = self.rsp_event = (start + 1) % WORDS
        self.slots = [bytearray(entry_size) for _ in range(nr)]

    def words(self) -> tuple[int, int, int, int]:
        """Return the header as it lies in memory."""
        return self.req_prod, self.req_event, self.rsp_prod, self.rsp_event


class End:
    """What both ends do alike. Private indices are plain integers; they are compared modulo 2**32."""

    def __init__(self, shared: Shared, start: int) -> None:
        self.shared = shared
        self.nr = len(shared.slots)
        self.put_at = self.pushed = self.cons = start
        self.closed = False

    def refuse(self) -> int:
        """Close this end for good."""
        self.closed = True
        return -EILSEQ

    def there(self, prod: int, limit: int) -> int:
        """Return how many entries the peer claims to have produced, or refuse."""
        nr = (prod - self.cons) % WORDS
        return self.refuse() if nr > limit else nr

    def push_word(self, prod: str, event: str) -> int:
        """Show what was put; 1 if the peer asked to be told on the way."""
        old, new = self.pushed, self.put_at
        if old == new:
            return 0
        self.pushed = new
        setattr(self.shared, prod, new % WORDS)
        wanted = getattr(self.shared, event)
        return int((new - wanted) % WORDS < new - old)


class Front(End):
    """Makes requests and numbers them."""

    def __init__(self, shared: Shared, start: int, id_at: int, rsp_id_at: int, id_size: int) -> None:
        super().__init__(shared, start)
        self.id_at, self.rsp_id_at, self.id_size = id_at, rsp_id_at, id_size
        self.free = list(range(self.nr - 1, -1, -1))
        self.used: dict[int, int] = {}          # number -> index of its request

    def put(self, requests: list[bytes]) -> int:
        """Copy as many as there is room for into slots; return how many."""
        if self.closed:
            return -EILSEQ
        done = 0
        for request in requests:
            if self.put_at - self.cons == self.nr:
                break
            number = self.free.pop()
            self.used[number] = self.put_at
            data = bytearray(request)
            data[self.id_at : self.id_at + self.id_size] = number.to_bytes(self.id_size, "little")
            self.shared.slots[self.put_at % self.nr][: len(data)] = data
            self.put_at += 1
            done += 1
        return done

    def push(self) -> int:
        """Show the requests."""
        return -EILSEQ if self.closed else self.push_word("req_prod", "req_event")

    def get(self, size: int, most: int) -> int | list[bytes]:
        """Take responses: each must carry the number of a request that was pushed and is not answered."""
        if self.closed:
            return -EILSEQ
        nr = self.there(self.shared.rsp_prod, self.pushed - self.cons)
        if nr < 0:
            return nr
        taken = []
        for i in range(min(nr, most)):
            data = bytes(self.shared.slots[(self.cons + i) % self.nr][:size])
            number = int.from_bytes(data[self.rsp_id_at : self.rsp_id_at + self.id_size], "little")
            if number not in self.used or self.used[number] >= self.pushed:
                return self.refuse()
            del self.used[number]
            self.free.append(number)
            taken.append(data)
        self.cons += len(taken)
        return taken

    def final_check(self, holdoff: int) -> int:
        """Ask to be told, then look once more."""
        if self.closed:
            return -EILSEQ
        self.shared.rsp_event = (self.cons + max(holdoff, 1)) % WORDS
        return self.there(self.shared.rsp_prod, self.pushed - self.cons)


class Back(End):
    """Answers requests."""

    def most(self) -> int:
        """Return how many requests the front can have made beyond what was taken."""
        return self.nr - (self.cons - self.pushed)

    def get(self, size: int, most: int) -> int | list[bytes]:
        """Take requests."""
        if self.closed:
            return -EILSEQ
        nr = self.there(self.shared.req_prod, self.most())
        if nr < 0:
            return nr
        taken = [bytes(self.shared.slots[(self.cons + i) % self.nr][:size]) for i in range(min(nr, most))]
        self.cons += len(taken)
        return taken

    def put(self, responses: list[bytes]) -> int:
        """Put responses, never more than requests were taken."""
        if self.closed:
            return -EILSEQ
        if len(responses) > self.cons - self.put_at:
            return -EINVAL
        for response in responses:
            self.shared.slots[self.put_at % self.nr][: len(response)] = response
            self.put_at += 1
        return len(responses)

    def push(self) -> int:
        """Show the responses."""
        return -EILSEQ if self.closed else self.push_word("rsp_prod", "rsp_event")

    def final_check(self, holdoff: int) -> int:
        """Ask to be told, then look once more."""
        if self.closed:
            return -EILSEQ
        self.shared.req_event = (self.cons + max(holdoff, 1)) % WORDS
        return self.there(self.shared.req_prod, self.most())
