"""What a guest's program and Domain0's can call, where no other test has it: each for what it promises."""

import mmap
import os

import pytest

import xenproc
from xenproc.dom0.domain import exit_of
from xenproc.guest.kernel import rehearse
from xenproc.native import ffi
from xenproc.ring import Layout


def test_a_peer_by_number_or_name(hv):
    def guest(g):
        return [g.board.domid_of(77), g.board.domid_of("me"), g.board.domid_of("me") == g.domid]

    domain = hv.create(guest, name="me")
    assert domain.wait() == [77, domain.domid, True]


def test_system_time_is_the_hypervisors(hv):
    def guest(g):
        times = [g.events.system_time() for _ in range(1000)]
        return [times[0], times[-1], times == sorted(times)]

    before = hv.info()["system_time_ns"]
    first, last, ordered = hv.create(guest).wait()
    after = hv.info()["system_time_ns"]
    assert ordered
    assert before - 1_000_000 <= first < last <= after + 1_000_000     # its clock is scaled from the TSC: 1 ms of slack


def test_pages_that_are_not_consecutive(hv):
    def owner(g):
        pages = [g.memory.alloc() for _ in range(3)]
        for n in (0, 2):
            pages[n].view[0] = 10 + n
        refs = [ref for n in (0, 2) for ref in g.grants.grant(g.board.resolve("mapper"), pages[n])]
        g.board.publish(g.board.resolve("mapper"), "refs", bytes(refs))
        g.board.lookup(g.board.resolve("mapper"), "done")
        return g.grants.end(refs)

    def mapper(g):
        peer = g.board.resolve("owner")
        with g.grants.map(peer, list(g.board.lookup(peer, "refs"))) as mapping:
            values = [mapping.page_view(n)[0] for n in (0, 1)]
            try:
                mapping.view    # noqa: B018  (a property that must refuse)
            except ValueError as error:
                refused = str(error)
            answer = [mapping.contiguous, values, refused]
        g.board.publish(peer, "done", b"")
        return answer

    owning = hv.create(owner, name="owner")
    contiguous, values, refused = hv.create(mapper, name="mapper").wait()
    assert (contiguous, values) == (False, [10, 12])
    assert "not consecutive" in refused
    assert owning.wait() == []


def test_pages_in_use_are_freed_later(hv):
    """end_with gives pages back only when the other side has let go of them."""

    def owner(g):
        mapper = g.board.resolve("mapper")
        free = g.memory.nr_free
        pages = g.memory.alloc(4)
        refs = g.grants.grant(mapper, pages)
        g.board.publish(mapper, "refs", bytes(refs))
        g.board.lookup(mapper, "mapped")
        g.grants.end_with(refs, pages)
        held = free - g.memory.nr_free
        g.board.publish(mapper, "unmap", b"")
        g.board.lookup(mapper, "unmapped")
        g.grants.end_with([], g.memory.alloc())
        return [held, free - g.memory.nr_free]

    def mapper(g):
        peer = g.board.resolve("owner")
        with g.grants.map(peer, list(g.board.lookup(peer, "refs"))):
            g.board.publish(peer, "mapped", b"")
            g.board.lookup(peer, "unmap")
        g.board.publish(peer, "unmapped", b"")

    owning = hv.create(owner, name="owner")
    hv.create(mapper, name="mapper").wait()
    assert owning.wait() == [4, 0]


def test_released_frames_are_one_run_again(hv):
    def guest(g):
        run = g.memory.alloc(8)
        mfn = run.mfn
        run.free()
        pieces = [g.memory.alloc() for _ in range(8)]
        for piece in reversed(pieces):
            g.memory.release(piece.mfn, 1)
        return [mfn, sorted(piece.mfn for piece in pieces), g.memory.alloc(8).mfn]

    mfn, pieces, again = hv.create(guest).wait()
    assert pieces == list(range(mfn, mfn + 8)) and again == mfn


def test_argument_buffers_are_the_domains_own(hv):
    def guest(g):
        pool = g.hypercalls.args
        taken = [pool.take() for _ in range(3)]
        for address in taken:
            pool.give_back(address)
        return [len(set(taken)), pool.take() in taken, all(address >= g.window_base for address in taken)]

    assert hv.create(guest).wait() == [3, True, True]


def test_an_unknown_operation_of_our_own(hv):
    def guest(g):
        try:
            g.hypercalls.xenproc_op(999)
        except xenproc.HypercallError as error:
            return [error.errno, error.domid == g.domid]

    assert hv.create(guest).wait() == [38, True]


def test_a_kick_is_an_event_and_a_closed_peer_is_gone(hv):
    def one(g):
        other = g.board.resolve("two")
        port = g.events.alloc_unbound(other)
        g.board.publish(other, "port", port.to_bytes(4, "little"))
        g.board.lookup(other, "bound")
        channel = g.events.direct(port)
        g.board.publish(other, "direct", b"")
        channel.wait()
        try:
            channel.wait()
        except xenproc.PeerGone as error:
            return f"gone: port {port} is named" if f"port {port}" in str(error) else str(error)

    def two(g):
        other = g.board.resolve("one")
        port = g.events.bind_interdomain(other, int.from_bytes(g.board.lookup(other, "port"), "little"))
        g.board.publish(other, "bound", b"")
        with g.events.direct(port) as channel:
            descriptor = g.events.receive_fd(port)
            g.board.lookup(other, "direct")
            channel.kick()
        return descriptor > 2

    first = hv.create(one, name="one")
    assert hv.create(two, name="two").wait() is True
    assert first.wait().startswith("gone: port")


def test_nothing_there_without_waiting(hv):
    def one(g):
        with g.channel_listen("two") as channel:
            try:
                channel.recv(timeout=0)
            except xenproc.WouldBlock:
                channel.send(b"nothing was there")

    def two(g):
        with g.channel_connect("one") as channel:
            return channel.recv().decode()

    hv.create(one, name="one")
    assert hv.create(two, name="two").wait() == "nothing was there"


def test_how_an_end_is_told(hv):
    def guest(g: xenproc.Guest):
        g.console.print("about to fail")
        raise LookupError("where is it?")

    domain = hv.create(guest, name="careless")
    with pytest.raises(xenproc.DomainCrashed, match="careless") as caught:
        domain.wait()
    end = domain.join()
    assert isinstance(end, xenproc.Exit) and end.crashed and isinstance(end.crash, xenproc.CrashReport)
    assert caught.value.report["detail"] == end.crash.detail == "LookupError: where is it?"
    assert "about to fail" in str(end.crash) and 'raise LookupError("where' in str(end.crash)


def test_an_end_from_its_record():
    end = exit_of({"reason": "poweroff", "result_bytes": "6869", "console": "x"})
    assert (end.reason, end.result, end.console, end.crash) == ("poweroff", b"hi", "x", None)
    end = exit_of({"reason": "crash", "console": "tail", "crash": {"detail": "d", "signal": "SIGBUS", "unheard of": 1}})
    assert end.crash == xenproc.CrashReport("d", signal="SIGBUS", console="tail")


def test_the_fast_way_round_a_ring(hv):
    """call_fast and reply_fast are the C functions themselves: a loop of them is a ring's fastest use from Python."""
    layout = Layout("struct { uint64_t id; uint64_t v; }", "struct { uint64_t id; uint64_t v; }")

    def front(g):
        with g.ring_front("back", layout) as ring:
            call, core = ring.call_fast()
            for n in range(2000):
                ring.request.v = n
                if call(core) != 1:
                    ring.resume()
                if ring.response.v != n + 1:
                    return n
            return "each answer was right"

    def back(g):
        answered = 0
        with g.ring_back("front", layout) as ring:
            reply, core = ring.reply_fast()
            n = 0
            try:
                while True:
                    n = reply(core, n)
                    if n < 1:
                        n = ring.wait()
                    for i in range(n):
                        ring.responses[i].v = ring.requests[i].v + 1
                    answered += n
            except xenproc.PeerGone:
                return answered

    answering = hv.create(back, name="back")
    assert hv.create(front, name="front").wait() == "each answer was right"
    assert answering.wait() == 2000


def test_a_rehearsal_needs_a_page_and_no_hypervisor():
    """The process that stands by to become a domain makes a guest's parts once beforehand; nothing of it may reach out."""
    page = mmap.mmap(-1, 8 * mmap.PAGESIZE)
    descriptors = os.listdir("/proc/self/fd")
    rehearse(int(ffi.cast("uintptr_t", ffi.from_buffer(page))))
    assert os.listdir("/proc/self/fd") == descriptors
    assert bytes(page) == bytes(len(page)), "something was left in the page"
