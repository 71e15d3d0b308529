"""What the two guests of the fault tests do with each other: everything that has a fault point, in both roles, asleep and awake.

The *victim* has one point armed and dies there; the *partner* plays the same piece from the other side and must get a clear
error in time, whatever the victim was doing.
"""

import select
import struct
import time

from xenproc.abi import Hypercall
from xenproc.errors import HypercallError, PeerGone, Timeout
from xenproc.guest import link as linking
from xenproc.native import ffi, lib
from xenproc.ring import Layout

LIMIT_S = 3.0
ROUNDS = 8
LAYOUT = Layout("struct { uint64_t id; uint64_t x; }", "struct { uint64_t id; uint64_t x; }")
ESRCH = 3


def nap(i: int) -> None:
    """Let the other end fall asleep now and then, so that both ways of telling it are taken."""
    if i % 2:
        time.sleep(0.002)


def hypercalls(g) -> None:
    """Calls that sleep, calls that spin, calls that nobody waits for."""
    for mode in (lib.XP_WAIT_BLOCK, lib.XP_WAIT_ADAPTIVE):
        g.hypercalls.mode = mode
        for _ in range(ROUNDS):
            g.hypercall(Hypercall.xen_version, 0)
            g.hypercalls.post(Hypercall.xen_version, 0)


def balloon(g) -> None:
    """Pages back to the hypervisor and from it."""
    for _ in range(ROUNDS):
        assert g.balloon.inflate(20) == g.balloon.deflate(20) == 20


def rings(g, peer: int, first: bool) -> None:
    """A ring in each role."""
    for name, front in (("one", first), ("two", not first)):
        for mode in ("block", "adaptive"):
            if front:
                with g.ring_front(peer, LAYOUT, f"{name}-{mode}", timeout=LIMIT_S, mode=mode) as ring:
                    for i in range(ROUNDS):
                        nap(i)
                        ring.request.x = i
                        assert ring.call().x == i + 1
                    assert ring.final_check() == 0
            else:
                with g.ring_back(peer, LAYOUT, f"{name}-{mode}", timeout=LIMIT_S, mode=mode) as ring:
                    ring.serve(answer)


def answer(request, response) -> None:
    """The back end's work."""
    nap(request.x)
    response.x = request.x + 1


def events(g, peer: int, first: bool) -> None:
    """Direct events: waited for on the semaphore, then on a descriptor."""
    if first:
        link = linking.offer(g, peer, "events", 1, 1, LIMIT_S)
        event = linking.await_peer(link, "events", LIMIT_S)
        try:
            linking.confirm(link, "events", LIMIT_S)
        except BaseException:
            link.close()
            raise
    else:
        link = linking.accept(g, peer, "events", LIMIT_S)
        linking.ready(link, "events")
        event = link.event
    words = ffi.cast("volatile uint32_t *", link.addresses[0])      # one each: events merge, and one comes with the binding
    mine, theirs = (0, 1) if first else (1, 0)
    try:
        for i in range(2 * ROUNDS):
            wait = (lambda: event.wait(LIMIT_S, "block")) if i < ROUNDS else (lambda: wait_on_descriptor(event))
            for turn in (first, not first):
                while not turn and words[theirs] <= i:
                    wait()
                if turn:
                    nap(i)
                    if i >= ROUNDS:
                        await_sleeper(event)
                    words[mine] = i + 1
                    event.send()
        g.board.publish(link.peer, "events/end", b"")               # neither closes before the other is through
        g.board.lookup(link.peer, "events/end", LIMIT_S)
    finally:
        link.close()


def await_sleeper(event) -> None:
    """Give the other end time to sleep on its descriptor, so that it has to be written."""
    halves = [ffi.cast("struct xp_event_half *", event.page + 64 * n) for n in range(2)]
    for _ in range(100):
        if any(half.sleep == lib.XP_SLEEP_FD for half in halves):
            break
        time.sleep(0.001)


def wait_on_descriptor(event) -> None:
    """Wait with poll, as asyncio does."""
    fd = event.fileno()
    end = time.monotonic() + LIMIT_S
    while not event.take():
        if not event.arm() and not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
            raise Timeout("no event by descriptor")
        event.disarm()


def channels(g, peer: int, first: bool) -> None:
    """A message channel in each role, with messages that fill it."""
    for name, listens in (("alpha", first), ("beta", not first)):
        make = g.channel_listen if listens else g.channel_connect
        options = {"ring_size": "4K"} if listens else {}
        with make(peer, name, timeout=LIMIT_S, mode="block", **options) as channel:
            for i in range(ROUNDS):
                data = bytes([i]) * (3000 * (1 + i % 3))
                if listens:
                    nap(i)
                    channel.send(data, LIMIT_S)
                    assert channel.recv(LIMIT_S) == data
                else:
                    assert channel.recv(LIMIT_S) == data
                    nap(i)
                    channel.send(data, LIMIT_S)


def flips(g, peer: int, first: bool) -> None:
    """Pages that change hands, in both directions."""
    for i in range(ROUNDS):
        if first == (i % 2 == 0):
            refs = struct.unpack("<3I", g.board.lookup(peer, f"flip{i}", LIMIT_S))
            g.grants.transfer(peer, list(refs), g.memory.alloc(3))
            g.board.publish(peer, f"flipped{i}", b"")
            assert g.balloon.deflate(3) == 3
        else:
            assert g.balloon.inflate(3) == 3        # room for what comes, as netfront made it
            refs = [g.grants.accept(peer) for _ in range(3)]
            g.board.publish(peer, f"flip{i}", struct.pack("<3I", *refs))
            g.board.lookup(peer, f"flipped{i}", LIMIT_S)
            for ref in refs:
                g.grants.accepted(ref).free()


def meet(g, name: str) -> int:
    """Return the other's number when both are there: for a name that is gone one would wait for its next bearer."""
    peer = g.board.resolve(name, 10 * LIMIT_S)
    g.board.publish(peer, "here", b"")
    g.board.lookup(peer, "here", 10 * LIMIT_S)
    return peer


def play(g, peer: int, first: bool) -> None:
    """The whole piece."""
    hypercalls(g)
    balloon(g)
    rings(g, peer, first)
    events(g, peer, first)
    channels(g, peer, first)
    flips(g, peer, first)


def victim(g, point: str, count: int) -> str:
    """[guest] Die at the count-th time that `point` is reached."""
    peer = meet(g, "partner")
    ret = lib.xp_fault_arm(point.encode(), count)
    if ret != 0:
        raise OSError(-ret, "this build has no fault points")
    play(g, peer, True)
    return "lived"


def partner(g) -> str:
    """[guest] Play the other side; return how it ended."""
    try:
        play(g, meet(g, "victim"), False)
    except (PeerGone, Timeout) as error:
        return type(error).__name__
    except HypercallError as error:
        if error.errno == ESRCH:
            return "ESRCH"
        raise
    return "done"
