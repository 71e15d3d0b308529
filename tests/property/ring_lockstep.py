"""A ring in C and its model, driven together: every call goes to both, results and every shared byte are compared."""

import mmap
from collections import Counter

from model import ring_turns as model

from xenproc.native import ffi, lib

SEEN: Counter[tuple[str, int]] = Counter()      # (operation, error or 0): how often, over the whole run


class Lockstep:
    """Two ends over pages that may lie anywhere, beside the model's two ends."""

    def __init__(self, layout: model.Layout, nr_pages: int, start: int = 0, order: list[int] | None = None) -> None:
        self.layout = layout
        self.memory = mmap.mmap(-1, nr_pages * model.PAGE)
        self.base = ffi.from_buffer(self.memory)
        self.order = order or list(range(nr_pages))
        address = int(ffi.cast("uintptr_t", self.base))
        pages = [address + n * model.PAGE for n in self.order]
        native = ffi.new("struct xp_ring_layout *", layout.__dict__)
        self.c_front = ffi.gc(ffi.new("struct xp_front *"), lib.xp_front_free)
        self.c_back = ffi.new("struct xp_back *")
        assert lib.xp_ring_entries(native, nr_pages) == layout.entries(nr_pages)
        assert lib.xp_front_init(self.c_front, native, pages, nr_pages, start) == 0
        assert lib.xp_back_init(self.c_back, native, pages, nr_pages, start) == 0
        self.shared = model.Shared(layout, nr_pages, start)
        self.front, self.back = model.Front(self.shared), model.Back(self.shared)
        self.wait = ffi.new("struct xp_ring_wait *")            # nobody to tell, no time to wait
        self.collected = ffi.new("uint8_t[]", max(1, self.shared.nr_ents) * layout.rsp_size)

    def view(self) -> bytes:
        """The pages in the ring's order."""
        return b"".join(self.memory[n * model.PAGE:(n + 1) * model.PAGE] for n in self.order)

    def scribble(self, at: int, data: bytes) -> None:
        """The hostile peer writes into the shared pages."""
        for i, byte in enumerate(data, at):
            self.memory[self.order[i // model.PAGE] * model.PAGE + i % model.PAGE] = byte
        self.shared.memory[at:at + len(data)] = data

    def note(self, op: str, real: int, modelled: int) -> int:
        assert real == modelled, f"{op}: C says {real}, the model {modelled}"
        SEEN[op, min(real, 0)] += 1
        return real

    def compare(self) -> None:
        """Whatever happened, both are in the same state."""
        assert self.view() == bytes(self.shared.memory)
        f, b = self.c_front, self.c_back
        assert (f.req_prod_pvt, f.req_pushed, f.rsp_cons, f.r.closed) == (
            self.front.put_at, self.front.pushed, self.front.cons, self.front.closed)
        assert (b.rsp_prod_pvt, b.rsp_pushed, b.req_cons, b.r.closed) == (
            self.back.put_at, self.back.pushed, self.back.cons, self.back.closed)

    # ---- the front ----

    def _requests(self, reqs: list[bytes]):
        return ffi.new("uint8_t[]", b"".join(reqs) or 1), [bytearray(req) for req in reqs]

    def put(self, reqs: list[bytes]) -> int:
        buffer, mine = self._requests(reqs)
        ret = self.note("put", lib.xp_front_put(self.c_front, buffer, len(reqs)), self.front.put(mine))
        assert bytes(ffi.buffer(buffer))[:len(b"".join(mine))] == b"".join(mine)     # the numbers are in both
        return ret

    def push(self) -> int:
        return self.note("push", lib.xp_front_push(self.c_front), self.front.push())

    def get(self, most: int) -> list[bytes]:
        buffer = ffi.new("uint8_t[]", max(1, most * self.layout.rsp_size))
        ret, out = self.front.get(most)
        self.note("get", lib.xp_front_get(self.c_front, buffer, most), ret)
        if ret > 0:
            assert bytes(ffi.buffer(buffer))[:ret * self.layout.rsp_size] == b"".join(out)
        return out

    def final_check(self, holdoff: int) -> int:
        return self.note("final_check", lib.xp_front_final_check(self.c_front, holdoff), self.front.final_check(holdoff))

    def exchange(self, reqs: list[bytes]) -> int:
        buffer, mine = self._requests(reqs)
        ret, out = self.front.exchange(mine)
        real = lib.xp_front_exchange(self.c_front, buffer, len(reqs), self.collected, self.wait)
        return self._collected("exchange", real, ret, out)

    def resume(self) -> int:
        ret, out = self.front.resume()
        return self._collected("resume", lib.xp_front_resume(self.c_front, self.wait), ret, out)

    def wait_response(self, most: int) -> int:
        ret, out = self.front.wait(most)
        return self._collected("wait", lib.xp_front_wait(self.c_front, self.collected, most, self.wait), ret, out)

    def _collected(self, op: str, real: int, modelled: int, out: list[bytes]) -> int:
        self.note(op, real, modelled)
        if not self.front.closed:
            end = self.front.got * self.layout.rsp_size
            begin = end - len(b"".join(out))
            assert bytes(ffi.buffer(self.collected))[begin:end] == b"".join(out)
        return real

    # ---- the back ----

    def back_get(self, most: int) -> list[bytes]:
        buffer = ffi.new("uint8_t[]", max(1, most * self.layout.req_size))
        ret, out = self.back.get(most)
        self.note("back_get", lib.xp_back_get(self.c_back, buffer, most), ret)
        if ret > 0:
            assert bytes(ffi.buffer(buffer))[:ret * self.layout.req_size] == b"".join(out)
        return out

    def back_put(self, rsps: list[bytes]) -> int:
        buffer = ffi.new("uint8_t[]", b"".join(rsps) or 1)
        return self.note("back_put", lib.xp_back_put(self.c_back, buffer, len(rsps)), self.back.put(rsps))

    def back_push(self) -> int:
        return self.note("back_push", lib.xp_back_push(self.c_back), self.back.push())

    def back_final_check(self, holdoff: int) -> int:
        return self.note("back_final_check", lib.xp_back_final_check(self.c_back, holdoff), self.back.final_check(holdoff))

    def reply_and_wait(self, rsps: list[bytes], most: int) -> list[bytes]:
        given = ffi.new("uint8_t[]", b"".join(rsps) or 1)
        buffer = ffi.new("uint8_t[]", max(1, most * self.layout.req_size))
        ret, out = self.back.reply_and_wait(rsps, most)
        real = lib.xp_back_reply_and_wait(self.c_back, given, len(rsps), buffer, most, self.wait)
        self.note("reply_and_wait", real, ret)
        if ret > 0:
            assert bytes(ffi.buffer(buffer))[:ret * self.layout.req_size] == b"".join(out)
        return out

    def close(self, front: bool, error: int) -> None:
        """One of our ends is closed by its owner."""
        end, modelled = (self.c_front, self.front) if front else (self.c_back, self.back)
        lib.xp_ring_close(ffi.addressof(end, "r"), error)
        modelled.close(error)


# What each operation can say, 0 standing for acceptance.
E = model
OUTCOMES = {
    "put": {0, -E.EILSEQ, -E.ENOTCONN},
    "push": {0, -E.EILSEQ, -E.ENOTCONN},
    "get": {0, -E.EILSEQ, -E.ENOTCONN},
    "final_check": {0, -E.EILSEQ, -E.ENOTCONN},
    "exchange": {0, -E.EINVAL, -E.EBUSY, -E.ETIMEDOUT, -E.EILSEQ, -E.ENOTCONN},
    "resume": {0, -E.EINVAL, -E.ETIMEDOUT, -E.EILSEQ, -E.ENOTCONN},
    "wait": {0, -E.EINVAL, -E.ETIMEDOUT, -E.EILSEQ, -E.ENOTCONN},
    "back_get": {0, -E.EILSEQ, -E.ENOTCONN},
    "back_put": {0, -E.EINVAL, -E.EILSEQ, -E.ENOTCONN},
    "back_push": {0, -E.EILSEQ, -E.ENOTCONN},
    "back_final_check": {0, -E.EILSEQ, -E.ENOTCONN},
    "reply_and_wait": {0, -E.EINVAL, -E.ETIMEDOUT, -E.EILSEQ, -E.ENOTCONN},
}


def expected_pairs() -> set[tuple[str, int]]:
    """Every (operation, outcome) that a run must reach."""
    return {(op, error) for op, errors in OUTCOMES.items() for error in errors}
