"""The C core of vchan and tests/model/vchan.py do the same things, step by step, with a peer that may write anything.

After each step both agree about the result and about every byte that is shared: indices, liveness, notification, events,
both rings. An end that was armed and has something to do has been woken. Every operation is seen to succeed and to fail in
every way it can.
"""

import collections
import mmap
import os
import random
import select
import sys
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from xenproc.native import ffi, lib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from model import vchan as model

PAGE = 4096
ORDERS = {1024: 10, 2048: 11, 4096: 12, 8192: 13, 16384: 14}
SIDES = st.integers(0, 1)
SELDOM = st.sampled_from([False] * 7 + [True])
SIZES = st.one_of(st.integers(0, 40), st.integers(0, 1500), st.sampled_from([1020, 1021, 2044, 2045, 4092, 4093, 6000]))
BATCHES = st.lists(st.one_of(st.just(20), st.integers(0, 200), SIZES), min_size=1, max_size=30)
OTHER = {0: 1, 1: 0}
SETTINGS = settings(
    max_examples=200, stateful_step_count=60, deadline=None, derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


class Real:
    """Both ends in C, in one process, and the shared memory as a hostile peer sees it."""

    def __init__(self, left: int, right: int, scattered: bool, start: int) -> None:
        # Scattered pages have a page between them, so that no two lie in one piece.
        stride = 2 if scattered else 1
        nr = [size // PAGE for size in (left, right)]
        self.memory = mmap.mmap(-1, (2 + stride * sum(nr)) * PAGE)
        self.base = int(ffi.cast("uintptr_t", ffi.from_buffer(self.memory)))
        where = [self.base + (2 + stride * i) * PAGE for i in range(sum(nr))]
        parts = (where[: nr[0]], where[nr[0] :])
        self.lists = [ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", a) for a in part] or 1) for part in parts]
        self.page = ffi.cast("struct xen_vchan_interface *", self.base)
        self.halves = [ffi.cast("struct xp_event_half *", self.base + PAGE + 64 * side) for side in range(2)]
        self.fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.events = [ffi.new("struct xp_direct *") for _ in range(2)]
        for side in range(2):
            lib.xp_direct_init(self.events[side], ffi.cast("void *", self.base + PAGE), side, self.fds[side], self.fds[1 - side])
        self.ends = [ffi.new("struct xp_vchan *") for _ in range(2)]
        page, null = ffi.cast("void *", self.base), ffi.NULL
        orders = ORDERS[left], ORDERS[right]
        assert lib.xp_vchan_server(self.ends[0], page, *orders, *self.lists, null, self.events[0], null, null) == 0
        for ring in (self.page.left, self.page.right):
            ring.cons = ring.prod = start
        for ring in (self.ends[0].rd, self.ends[0].wr):
            ring.mine = ring.theirs = start
        shape = ffi.new("struct xp_vchan_geometry *")
        assert lib.xp_vchan_geometry(page, shape) == 0
        assert lib.xp_vchan_client(self.ends[1], page, shape, *self.lists, self.events[1], null, null) == 0
        self.places = []
        for name, size, part in (("left", left, parts[0]), ("right", right, parts[1])):
            pieces = [(address, PAGE) for address in part] or [(self.base + size, size)]
            self.places.append((name, [ffi.buffer(ffi.cast("char *", address), length) for address, length in pieces]))

    def ring_bytes(self, name):
        return b"".join(piece[:] for piece in dict(self.places)[name])

    def poke(self, name, position, data):
        pieces = dict(self.places)[name]
        size = len(pieces[0])
        for i, byte in enumerate(data):
            pieces[(position + i) // size % len(pieces)][(position + i) % size] = bytes([byte])

    def close(self):
        for fd in self.fds:
            os.close(fd)


class Base(RuleBasedStateMachine):
    """What streams and channels have in common: making, looking, closing, and the hostile hand."""

    seen: ClassVar[collections.Counter]
    max_message = 16 << 20

    @initialize(
        sizes=st.sampled_from([(1024, 2048), (2048, 1024), (1024, 4096), (8192, 2048), (4096, 8192), (8192, 16384)]),
        scattered=st.booleans(),
        start=st.sampled_from([0, 5, 0xFFFFF800, 0xFFFFFFFF]),
    )
    def make(self, sizes, scattered, start):
        self.real = Real(*sizes, scattered, start)
        self.machine = model.Machine(*sizes, start, run=PAGE if scattered else 1 << 20)
        self.ends = [model.End(self.machine, side, self.max_message) for side in range(2)]
        for end in self.real.ends:
            end.max_message = self.max_message
        self.armed = [False, False]
        self.wanted = [0, 0]
        self.honest = True

    def teardown(self):
        if hasattr(self, "real"):
            self.real.close()

    def note(self, op, ret):
        self.seen[op, min(ret, 0)] += 1

    def look(self, side):
        """Both look at both indices, so that it does not matter when the C core does."""
        c, end = self.real.ends[side], self.ends[side]
        assert lib.xp_vchan_ready(c) == end.ready()
        assert lib.xp_vchan_room(c) == end.room()

    def ends_of(self, side):
        self.look(side)
        return self.real.ends[side], self.ends[side]

    @invariant()
    def same(self):
        if not hasattr(self, "real"):
            return
        page = self.real.page
        words = {(name, word): getattr(getattr(page, name), word) for name in ("left", "right") for word in ("cons", "prod")}
        assert words == self.machine.words
        assert [page.srv_live, page.cli_live] == self.machine.live
        # cli_notify is what the client is to tell.
        assert [page.srv_notify, page.cli_notify] == self.machine.notify
        assert [bool(half.pending) for half in self.real.halves] == self.machine.pending
        for name, memory in self.machine.memory.items():
            assert self.real.ring_bytes(name) == memory
        for c, end in zip(self.real.ends, self.ends, strict=True):
            assert (c.rd.mine, c.wr.mine) == (end.rd.mine, end.wr.mine)
            assert (c.rx_left, c.tx_left) == (end.rx_left, end.tx_left)

    @invariant()
    def woken(self):
        for side in range(2):
            if getattr(self, "armed", [False, False])[side]:
                readable = bool(select.select([self.real.fds[side]], [], [], 0)[0])
                assert readable == self.machine.pending[side]
                end = self.ends[side]
                if self.honest and self.armed[side] & model.READ and end.rd.want == self.wanted[side]:
                    used = (self.machine.words[end.rd.theirs_word] - end.rd.mine) & model.MASK
                    assert readable or used < end.rd.want

    @rule(side=SIDES, which=st.integers(0, 3))
    def arm(self, side, which):
        c, end = self.ends_of(side)
        ret = lib.xp_vchan_arm(c, which)
        assert ret == end.arm(which)
        self.armed[side] = which | 4 if ret == 0 else 0
        self.wanted[side] = self.ends[side].rd.want     # a read in between may want something else: that is not what was armed for
        self.note("arm", -ret)

    @rule(side=SIDES)
    def disarm(self, side):
        lib.xp_vchan_disarm(self.real.ends[side])
        self.machine.pending[side] = False
        self.armed[side] = 0

    @rule(side=SIDES)
    def state(self, side):
        c, end = self.real.ends[side], self.ends[side]
        ret = lib.xp_vchan_peer(c)
        assert ret == end.peer()
        self.note("peer", ret)
        for op in ("ready", "room"):
            ret = getattr(end, op)()
            assert getattr(lib, f"xp_vchan_{op}")(c) == ret
            self.note(op, ret)

    @rule(side=SIDES, really=SELDOM)
    def close(self, side, really):
        if really:
            lib.xp_vchan_close(self.real.ends[side])
            self.ends[side].close()

    # ---- the hostile hand ----

    @rule(ring=st.sampled_from(["left", "right"]), word=st.sampled_from(["cons", "prod"]), really=SELDOM,
          by=st.one_of(st.integers(-3, 3), st.integers(0, model.MASK)))
    def scribble(self, ring, word, really, by):
        self.scribble_index(ring, word, really, by)

    def scribble_index(self, ring, word, really, by):
        if really:
            self.honest = False
            value = (self.machine.words[ring, word] + by) & model.MASK
            self.machine.words[ring, word] = value
            setattr(getattr(self.real.page, ring), word, value)

    @rule(field=st.sampled_from(["srv_live", "cli_live", "srv_notify", "cli_notify"]), really=SELDOM,
          value=st.sampled_from([0, 1, 2, 3, 7, 255]))
    def scribble_byte(self, field, really, value):
        if really:
            self.honest = False
            setattr(self.real.page, field, value)
            (self.machine.live if "live" in field else self.machine.notify)[field.startswith("cli")] = value

    @rule(really=SELDOM, again=SELDOM)
    def hypervisor_closes(self, really, again):
        if really and again:
            lib.xp_direct_close_page(ffi.cast("void *", self.real.base + PAGE))
            self.machine.hv_closed = True
            self.honest = False


class Streams(Base):
    """Byte streams, copied and in place."""

    seen: ClassVar = collections.Counter()

    @rule(side=SIDES, size=SIZES, least=st.sampled_from([0, 1, "all"]), seed=st.integers(0, 255))
    def write(self, side, size, least, seed):
        c, end = self.ends_of(side)
        data, done = random.Random(seed).randbytes(size), ffi.new("uint64_t *")
        least = size if least == "all" else min(least, size)
        ret = lib.xp_vchan_write(c, data, size, least, 0, done)
        assert (ret, done[0]) == end.write(data, least)
        self.note("write", ret)

    @rule(side=SIDES, size=SIZES, least=st.sampled_from([0, 1, "all"]))
    def read(self, side, size, least):
        c, end = self.ends_of(side)
        place, done = ffi.new("char[]", size or 1), ffi.new("uint64_t *")
        least = size if least == "all" else min(least, size)
        ret = lib.xp_vchan_read(c, place, size, least, 0, done)
        assert (ret, ffi.buffer(place, done[0])[:]) == end.read(size, least)
        self.note("read", ret)

    @rule(side=SIDES)
    def drain(self, side):
        c, end = self.ends_of(side)
        ret = lib.xp_vchan_drain(c, 0)
        assert ret == end.drain()
        self.note("drain", ret)

    @rule(side=SIDES, want=SIZES, seed=st.integers(0, 255), part=st.sampled_from([0, 1, 0.5, 0.99, 1.5]))
    def in_place_write(self, side, want, seed, part):
        c, end = self.ends_of(side)
        span = ffi.new("uint8_t **")
        room = lib.xp_vchan_reserve(c, want, span, 0)
        assert room == end.reserve(want)
        self.note("reserve", room)
        data = random.Random(seed).randbytes(int(max(room, 4) * part))
        if len(data) <= room:
            ffi.memmove(span[0], data, len(data))
            end.wr.copy_in(0, data)
        ret = lib.xp_vchan_commit(c, len(data))
        assert ret == end.commit(len(data))
        self.note("commit", ret)

    @rule(side=SIDES, want=SIZES, part=st.sampled_from([0, 1, 0.5, 0.99, 1.5]))
    def in_place_read(self, side, want, part):
        c, end = self.ends_of(side)
        span = ffi.new("uint8_t **")
        there = lib.xp_vchan_peek(c, want, span, 0)
        assert there == end.peek(want)
        self.note("peek", there)
        if there > 0:
            assert ffi.buffer(span[0], there)[:] == end.rd.copy_out(0, there)
        count = int(max(there, 4) * part)
        ret = lib.xp_vchan_consume(c, count)
        assert ret == end.consume(count)
        self.note("consume", ret)


class Channels(Base):
    """Messages."""

    seen: ClassVar = collections.Counter()
    max_message = 5000

    @initialize()
    def no_message(self):
        self.large = [None, None]

    def _send(self, op, side, data):
        c, end = self.ends_of(side)
        ret = lib.xp_vchan_send(c, data, len(data), 0)
        assert ret == end.send(data)
        self.note(op, ret)
        if not self.large[side] or data is self.large[side]:
            self.large[side] = data if c.tx_left else None

    @rule(side=SIDES, size=SIZES, seed=st.integers(0, 255))
    def send(self, side, size, seed):
        self._send("send", side, random.Random(seed).randbytes(size))

    @rule(side=SIDES, size=st.integers(1100, 5000), seed=st.integers(0, 255))
    def send_large(self, side, size, seed):
        self._send("send", side, random.Random(seed).randbytes(size))

    @precondition(lambda self: any(self.large))
    @rule(side=SIDES)
    def send_on(self, side):
        side = side if self.large[side] else OTHER[side]
        self._send("send_on", side, self.large[side])

    @precondition(lambda self: any(self.large))
    @rule(side=SIDES, times=st.integers(1, 4))
    def carry(self, side, times):
        """The peer reads, the sender goes on."""
        for _ in range(times):
            self.recv(OTHER[side], 8000)
            self.recv_rest(OTHER[side])
            if self.large[side]:
                self._send("send_on", side, self.large[side])

    @precondition(lambda self: any(self.large))
    @rule(side=SIDES, really=SELDOM)
    def tear(self, side, really):
        if really and self.large[side] is not None:
            lib.xp_vchan_tear(self.real.ends[side])
            self.ends[side].tear()

    @precondition(lambda self: any(self.large))
    @rule(side=SIDES, really=SELDOM, reading=st.booleans(), by=st.integers(-3, 3))
    def scribble_meanwhile(self, side, really, reading, by):
        end = self.ends[side]
        self.scribble_index(*(end.rd if reading else end.wr).theirs_word, really, by)

    @rule(side=SIDES, sizes=BATCHES, seed=st.integers(0, 255))
    def send_many(self, side, sizes, seed):
        c, end = self.ends_of(side)
        source = random.Random(seed)
        messages = [source.randbytes(size) for size in sizes]
        ret = lib.xp_vchan_send_many(c, b"".join(messages), ffi.new("uint32_t[]", sizes), len(sizes), 0)
        assert ret == end.send_many(messages)
        self.note("send_many", ret)

    @rule(side=SIDES, cap=st.sampled_from([0, 30, 2000, 8000]))
    def recv_one(self, side, cap):
        self.recv(side, cap)

    def recv(self, side, cap):
        c, end = self.ends_of(side)
        place = ffi.new("char[]", cap or 1)
        ret = lib.xp_vchan_recv(c, place, cap, 0)
        want, data = end.recv(cap)
        assert (ret, ffi.buffer(place, max(ret, 0))[:]) == (want, data)
        self.note("recv", ret)

    @precondition(lambda self: any(end.rx_left for end in self.ends))
    @rule(side=SIDES)
    def recv_rest(self, side):
        c, end = self.ends_of(side)
        if not c.rx_left:
            return
        place = ffi.new("char[]", c.rx_total)
        before = c.rx_total - c.rx_left
        ret = lib.xp_vchan_recv_rest(c, place, 0)
        want, data = end.recv_rest()
        assert (ret, ffi.buffer(place, c.rx_total - c.rx_left)[before:]) == (want, data)
        self.note("recv_rest", ret)

    @rule(side=SIDES, most=st.sampled_from([1, 3, 64]))
    def recv_many(self, side, most):
        c, end = self.ends_of(side)
        span, total, lens = ffi.new("uint8_t **"), ffi.new("uint32_t *"), ffi.new("uint32_t[]", most)
        ret = lib.xp_vchan_peek_many(c, span, total, lens, most, 0)
        messages = []
        if ret > 0:
            piece, offset = ffi.buffer(span[0], total[0])[:], 0
            for length in lens[0:ret]:
                messages.append(piece[offset + 4 : offset + 4 + length])
                offset += 4 + length
            assert lib.xp_vchan_consume(c, total[0]) == 0
        assert (ret, messages) == end.recv_many(most)
        self.note("recv_many", ret)

    @rule(side=SIDES, really=SELDOM, value=st.sampled_from([0, 4096, 5001, 0x7FFFFFFF, 0xFFFFFFFF]))
    def forge_length(self, side, really, value):
        """The peer writes a length over whatever comes next."""
        if really:
            self.honest = False
            ring, data = self.ends[side].rd, value.to_bytes(4, "little")
            ring.copy_in(0, data)
            self.real.poke(ring.name, ring.mine, data)


OK, EAGAIN, EBUSY, EINVAL, E2BIG, EILSEQ, ENOTCONN, EIO = (
    0, -model.EAGAIN, -model.EBUSY, -model.EINVAL, -model.E2BIG, -model.EILSEQ, -model.ENOTCONN, -model.EIO,
)
COMMON = {"ready": [OK, EILSEQ, ENOTCONN], "room": [OK, EILSEQ, ENOTCONN], "peer": [OK, ENOTCONN], "arm": [OK, -1]}
STREAM = {
    **{op: [OK, EAGAIN, EILSEQ, ENOTCONN] for op in ("write", "read", "drain")},
    **{op: [OK, EAGAIN, EINVAL, EILSEQ, ENOTCONN] for op in ("reserve", "peek")},
    **{op: [OK, EINVAL, EILSEQ, ENOTCONN] for op in ("commit", "consume")},
}
CHANNEL = {
    "send": [OK, EAGAIN, E2BIG, EBUSY, EILSEQ, ENOTCONN, EIO],
    "send_on": [OK, EAGAIN, EILSEQ, ENOTCONN, EIO],
    "send_many": [OK, EAGAIN, E2BIG, EBUSY, EILSEQ, ENOTCONN],
    "recv": [OK, EAGAIN, E2BIG, EILSEQ, ENOTCONN, EIO],
    "recv_rest": [OK, EAGAIN, EILSEQ, ENOTCONN],
    "recv_many": [OK, EAGAIN, E2BIG, EILSEQ, ENOTCONN],
}


def check(machine, expected):
    machine.seen.clear()
    for times in (1, 3, 8):         # the rarest pairs may want more histories
        run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=200 * times))
        missing = [(op, ret) for op, rets in expected.items() for ret in rets if not machine.seen[op, ret]]
        if not missing:
            break
    assert not missing, f"never seen: {missing}"
    accepted = sum(count for (_, ret), count in machine.seen.items() if ret == 0)
    assert accepted >= 0.3 * machine.seen.total(), (accepted, machine.seen)


@pytest.mark.timeout(300)
def test_streams_do_what_the_model_does():
    check(Streams, COMMON | STREAM)


@pytest.mark.timeout(300)
def test_channels_do_what_the_model_does():
    check(Channels, COMMON | CHANNEL)
