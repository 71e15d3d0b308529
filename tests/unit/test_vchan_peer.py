"""A vchan's end against a peer that breaks the rules, between threads, under signals and in poll: each wait ends as it should."""

import os
import signal
import threading
import time

import pytest
from helpers import until

from xenproc.bench.vchan import Shared
from xenproc.errors import ConfigError, PeerGone, PeerMisbehaved, Timeout, WouldBlock
from xenproc.native import ffi, lib
from xenproc.vchan import Channel

RING = 64 << 10
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def shared():
    memory = Shared(RING)
    yield memory
    memory.close()


@pytest.fixture
def pair(shared):
    server, client = shared.server(), shared.client()
    yield server, client
    server.close()
    client.close()


def soon(seconds):
    """A time limit on the test's own measure."""
    begin = time.monotonic()
    return lambda: time.monotonic() - begin < seconds


def started(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


# ---- a peer that misbehaves ----

def page(shared):
    return ffi.cast("struct xen_vchan_interface *", shared.base)


@pytest.mark.parametrize("prod", [RING + 1, 1 << 31, (1 << 32) - 1])
def test_an_impossible_index_closes_the_channel(shared, pair, prod):
    server, client = pair
    client.send(b"ok")
    assert server.recv() == b"ok"
    page(shared).left.prod = (page(shared).left.prod + prod) & 0xFFFFFFFF
    for _ in range(2):
        with pytest.raises(PeerMisbehaved):
            server.recv()
    with pytest.raises(PeerMisbehaved):
        server.send(b"x")
    with pytest.raises(PeerGone):
        client.recv()


def test_an_impossible_index_under_a_waiting_reader(shared):
    server, client = shared.server(mode="block"), shared.client(mode="block")

    def forge():
        until(lambda: server.stats["read_slept"])
        page(shared).left.prod = RING + 1
        lib.xp_direct_send(client._event)

    forger = started(forge)
    ok = soon(4)
    with pytest.raises(PeerMisbehaved):
        server.recv(5)
    assert ok()
    forger.join(5)


def test_a_flood_of_empty_events_closes_the_channel(shared):
    server, client = shared.server(mode="block"), shared.client()
    done = threading.Event()

    def flood():
        while not done.is_set():
            lib.xp_direct_send(client._event)

    flooder = started(flood)
    try:
        with pytest.raises(PeerMisbehaved):
            server.recv(30)
    finally:
        done.set()
        flooder.join(5)


@pytest.mark.parametrize("length", [17 << 20, 1 << 31, (1 << 32) - 1])
def test_a_forged_length_closes_the_channel(shared, pair, length):
    server, client = pair
    client.send(b"1234")
    ring = ffi.cast("uint32_t *", shared.pages["left_pages"][0])
    ring[0] = length
    with pytest.raises(PeerMisbehaved):
        server.recv()
    with pytest.raises(PeerGone):
        client.send(b"x")


def test_a_page_that_no_server_makes(shared):
    shared.server()
    for left, right in ((9, 16), (21, 16), (10, 10), (11, 11), (0xFFFF, 16)):
        page(shared).left_order, page(shared).right_order = left, right
        with pytest.raises(PeerMisbehaved):
            shared.client()
    page(shared).left_order, page(shared).right_order = 13, 16
    with pytest.raises(ConfigError, match="left ring of 8192 bytes: got 16 pages"):
        shared.client()
    page(shared).left_order = 16
    page(shared).right.prod = 5_000_000
    with pytest.raises(PeerMisbehaved):
        shared.client()


# ---- threads, signals, descriptors ----

def test_threads_take_turns(pair):
    server, client = pair
    got, lock = [], threading.Lock()

    def read():
        for message in server.messages(10):
            with lock:
                got.append(message)

    def write(name):
        for i in range(300):
            client.send(b"%d:%d" % (name, i) * (1 if i % 20 else 5000), 10)

    readers = [started(read) for _ in range(3)]
    writers = [started(lambda name=name: write(name)) for name in range(3)]
    for writer in writers:
        writer.join(30)
    client.close()
    for reader in readers:
        reader.join(30)
    assert sorted(got) == sorted(b"%d:%d" % (name, i) * (1 if i % 20 else 5000) for name in range(3) for i in range(300))


def test_waiting_for_ones_turn_has_a_limit(pair):
    server, _ = pair

    def wait():
        with pytest.raises(Timeout):
            server.recv(1)

    first = started(wait)
    until(lambda: not server._reading.token)
    with pytest.raises(WouldBlock, match="another thread"):
        server.recv(0)
    with pytest.raises(Timeout, match="another thread"):
        server.recv(0.1)
    first.join(10)


@pytest.mark.parametrize("mode", ["poll", "adaptive", "block"])
def test_a_signal_handler_runs_meanwhile(shared, mode):
    server, client = shared.server(mode=mode), shared.client()
    hits = []

    def handler(*_):
        hits.append(1)
        if len(hits) == 3:
            client.send(b"from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        assert server.recv(20) == b"from the handler"
        with pytest.raises(Timeout):
            server.recv(0.3)
        assert len(hits) > 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_descriptor_with_poll(pair):
    import select

    server, client = pair
    poller = select.poll()
    poller.register(server, select.POLLIN)
    with pytest.raises(WouldBlock):
        server.recv(0)
    assert server.arm()
    assert not poller.poll(0)
    client.send(b"news")
    assert poller.poll(5000)
    server.disarm()
    assert not poller.poll(0)
    assert not server.arm()  # there is something to do
    assert server.recv(0) == b"news"


def test_the_descriptor_says_when_there_is_room(pair):
    import select

    server, client = pair
    while True:
        try:
            client.send(b"x" * 1000, 0)
        except WouldBlock:
            break
    assert client.arm(read=False, write=True)
    assert not select.select([client], [], [], 0)[0]
    server.recv()
    assert select.select([client], [], [], 5)[0]
    client.disarm()
    client.send(b"x" * 1000, 0)


def test_the_hypervisor_is_asked_where_the_event_cannot_reach(shared):
    kicks = []

    @ffi.callback("int(void *)")
    def kick(_):
        kicks.append(1)
        os.eventfd_write(shared.fds[0], 1)
        return 0

    server, client = shared.server(), shared.client(kick=(kick, ffi.NULL))
    client._event.wake_fd = -1
    with pytest.raises(WouldBlock):
        server.recv(0)
    server.arm()
    client.send(b"x")
    assert kicks == [1]
    server.disarm()
    assert server.recv(0) == b"x"


@pytest.mark.parametrize(
    "sizes,reason",
    [
        (dict(left_size=1024, right_size=1024), "cannot lie in one"),
        (dict(left_size=2048, right_size=2048), "cannot lie in one"),
        (dict(left_size=1024, right_size=512), "power of two"),
        (dict(left_size=1024, right_size=3072), "power of two"),
        (dict(left_size=1024), "power of two"),
        (dict(left_size=1024, right_size=4096), "got 0 pages"),
        (dict(left_size=1024, right_size=2048, mode="fast"), "mode"),
        (dict(left_size=1024, right_size=2048, grants=[1]), "grants"),
    ],
)
def test_sizes_that_do_not_fit_together(shared, sizes, reason):
    with pytest.raises(ConfigError, match=reason):
        Channel.server(shared.base, shared._event(0), **sizes)


def test_a_loopback_in_the_shared_page_alone(shared):
    server = Channel.server(shared.base, shared._event(0), left_size=1024, right_size=2048)
    client = Channel.client(shared.base, shared._event(1))
    for i in range(2000):
        client.send(b"%d" % i * 100)
        assert server.recv() == b"%d" % i * 100
        server.send(b"%d" % i * 300)
        assert client.recv() == b"%d" % i * 300
