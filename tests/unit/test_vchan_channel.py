"""xenproc.vchan.Channel: messages of all sizes and kinds, time limits, ends, threads, a peer that misbehaves or dies."""

import multiprocessing
import os
import random
import signal
import threading
import time
from array import array

import numpy as np
import pytest
from helpers import until

from xenproc.bench.vchan import Shared
from xenproc.errors import ConfigError, PeerGone, Timeout, WouldBlock
from xenproc.native import ffi, lib

CTX = multiprocessing.get_context("fork")
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


def child(target):
    """Fork a child that runs target and exits 0; an exception exits 1."""
    process = CTX.Process(target=target)
    process.start()
    return process


# ---- messages ----

@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 4096, RING - 5, RING - 4, RING - 3, RING, 300_000, 1 << 20, 16 << 20])
def test_every_size_arrives(pair, size):
    server, client = pair
    data = random.Random(size).randbytes(size)
    sender = started(lambda: client.send(data))
    assert server.recv() == data
    sender.join(5)
    client.send(b"after")
    assert server.recv() == b"after"


@pytest.mark.parametrize(
    "data", [b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), memoryview(array("I", [7, 8])), np.arange(5), array("H", [1, 2])]
)
def test_every_kind_of_buffer(pair, data):
    server, client = pair
    client.send(data)
    assert server.recv() == bytes(memoryview(data).cast("B"))
    assert client.send_many([b"x", data, b"y"]) == 3
    assert [server.recv() for _ in range(3)] == [b"x", bytes(memoryview(data).cast("B")), b"y"]


def test_both_directions_are_independent(pair):
    server, client = pair
    client.send(b"to server")
    server.send(b"to client")
    assert (server.recv(), client.recv()) == (b"to server", b"to client")


@pytest.mark.parametrize("sizes", [[64] * 3000, [0] * 500, [7] * 63, [7] * 64, [7] * 65, [4096] * 40,
                                   [random.Random(1).randrange(300) for _ in range(2000)], [1, 70_000, 2, 65_536, 9000, 3]])
def test_many_at_once(pair, sizes):
    server, client = pair
    messages = [random.Random(i).randbytes(size) for i, size in enumerate(sizes)]
    sender = started(lambda: client.send_many(messages))
    got = []
    while len(got) < len(messages):
        got += server.recv_many()
    assert got == messages
    sender.join(5)
    with pytest.raises(WouldBlock):
        server.recv_many(timeout=0)


def test_many_takes_an_iterable_and_a_limit(pair):
    server, client = pair
    assert client.send_many(str(i).encode() for i in range(10)) == 10
    assert client.send_many([]) == 0
    assert server.recv_many(3) == [b"0", b"1", b"2"]
    assert server.recv_many() == [b"3", b"4", b"5", b"6", b"7", b"8", b"9"]


def test_receiving_into_a_buffer(pair):
    server, client = pair
    buffer = bytearray(10)
    client.send(b"hello")
    assert server.recv_into(buffer) == 5
    assert buffer[:5] == b"hello"
    client.send(b"much too long")
    with pytest.raises(ConfigError, match="13 bytes, the buffer 10"):
        server.recv_into(buffer)
    assert server.recv() == b"much too long"
    big = np.zeros(50_000, "u4")
    data = random.Random(2).randbytes(big.nbytes)
    sender = started(lambda: client.send(data))
    assert server.recv_into(big) == big.nbytes
    assert big.tobytes() == data
    sender.join(5)
    with pytest.raises((TypeError, BufferError, ValueError)):
        server.recv_into(b"read-only")


def test_a_message_over_the_limit_is_refused_before_anything_is_done(shared):
    server, client = shared.server(max_message=1000), shared.client(max_message=1000)
    with pytest.raises(ConfigError, match="1001 bytes is over the limit of 1000"):
        client.send(b"x" * 1001)
    with pytest.raises(ConfigError, match="1001 bytes is over the limit of 1000"):
        client.send_many([b"ok", b"x" * 1001])
    client.send(b"x" * 1000)
    assert server.recv() == b"x" * 1000
    with pytest.raises(WouldBlock):
        server.recv(0)
    with pytest.raises(ConfigError, match="max_message"):
        shared.client(max_message=0)


# ---- time limits ----

def test_time_limits(pair):
    server, client = pair
    for timeout in (0.05, 0.2):
        begin = time.monotonic()
        with pytest.raises(Timeout):
            server.recv(timeout)
        assert timeout <= time.monotonic() - begin < timeout + 1
    with pytest.raises(WouldBlock):
        server.recv(0)
    with pytest.raises(ConfigError):
        server.recv(-1)
    for _ in range(RING // 104):
        client.send(b"x" * 100)
    with pytest.raises(WouldBlock):
        client.send(b"x" * 100, 0)
    with pytest.raises(Timeout):
        client.send(b"x" * 100, 0.05)
    assert server.recv() == b"x" * 100
    client.send(b"x" * 100, 0)
    late = started(lambda: server.send(b"late"))
    assert client.recv(None) == b"late"
    late.join(5)


@pytest.mark.parametrize("mode", ["poll", "adaptive", "block"])
def test_time_limits_in_every_mode(shared, mode):
    server, _ = shared.server(mode=mode), shared.client()
    begin = time.monotonic()
    with pytest.raises(Timeout):
        server.recv(0.1)
    assert 0.1 <= time.monotonic() - begin < 1


def test_how_many_were_sent_before_the_limit(pair):
    server, client = pair
    with pytest.raises(Timeout) as caught:
        client.send_many([b"x" * 60] * 2000, 0.05)
    assert caught.value.sent == RING // 64
    with pytest.raises(WouldBlock) as caught:
        client.send_many([b"x" * 9000] * 2, 0)
    assert caught.value.sent == 0
    assert sum(len(server.recv_many()) for _ in range(4)) == RING // 64


def test_a_large_message_cut_off_closes_the_channel(pair):
    server, client = pair
    with pytest.raises(Timeout):
        client.send(b"x" * (2 * RING), 0.05)
    with pytest.raises(PeerGone, match="cut a message off"):
        client.send(b"next")
    with pytest.raises(PeerGone):
        server.recv()
    with pytest.raises(PeerGone):
        list(server)


def test_a_large_message_that_comes_late_is_not_lost(pair):
    server, client = pair
    data = random.Random(3).randbytes(3 * RING)
    step = threading.Event()
    # In the ring: all of a message but what does not fit.
    sender = started(lambda: (step.set(), client.send(data)))
    assert step.wait(5)
    buffer = bytearray(len(data))
    calls = 0
    while True:
        calls += 1
        try:
            size = server.recv_into(buffer, 0)
            break
        except WouldBlock:
            assert calls < 1_000_000
    assert size == len(data)
    assert buffer == data
    sender.join(5)
    client.send(b"next")
    assert server.recv() == b"next"


# ---- the end ----

def test_what_was_sent_is_received_before_the_end(pair):
    server, client = pair
    assert server.connected
    client.send_many([b"one", b"two"])
    client.close()
    assert not server.connected
    assert server.peer_closed
    assert server.recv() == b"one"
    assert list(server) == [b"two"]
    for call in (server.recv, server.recv_many, lambda: server.send(b"x"), lambda: server.send_many([b"x"])):
        with pytest.raises(PeerGone):
            call()


def test_a_closed_end_is_closed(pair):
    server, client = pair
    client.close()
    client.close()
    assert client.closed
    for call in (
        client.recv, client.recv_many, lambda: client.send(b"x"), lambda: client.send_many([b"x"]), client.fileno, client.arm,
        client.disarm, lambda: client.peer_closed, lambda: client.recv_into(bytearray(5)), client.wait_connected,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert not client.connected
    with server as entered:
        assert entered is server
    assert server.closed


def test_closing_wakes_who_waits_and_then_lets_go(shared):
    order = []
    server = shared.server(on_close=lambda: order.append("let go"), mode="block")
    client = shared.client()

    def wait():
        with pytest.raises(ValueError, match="closed"):
            server.recv(10)
        order.append("woken")

    waiters = [started(wait) for _ in range(3)]
    until(lambda: server.stats["read_slept"])
    ok = soon(5)
    server.close()
    for waiter in waiters:
        waiter.join(5)
    assert ok()
    assert order.count("let go") == 1
    assert order.count("woken") == 3
    assert client.peer_closed


def test_a_forked_child_does_not_close_for_its_parent(pair):
    server, client = pair

    def drop():
        nonlocal server, client
        client.__del__()
        server.__del__()

    process = child(drop)
    process.join(10)
    assert process.exitcode == 0
    client.send(b"still here")
    assert server.recv() == b"still here"


def test_an_end_that_is_dropped_is_closed(shared):
    server, client = shared.server(), shared.client()
    assert server.connected
    del client
    assert server.peer_closed


def test_waiting_for_the_client(shared):
    server = shared.server()
    assert not server.connected
    with pytest.raises(Timeout):
        server.wait_connected(0.05)
    with pytest.raises(WouldBlock):
        server.wait_connected(0)
    server.send(b"early")
    keep = []
    late = started(lambda: keep.append(shared.client()))
    server.wait_connected(5)
    late.join(5)
    assert keep[0].recv() == b"early"


# ---- two processes ----

@pytest.mark.parametrize("mode", ["poll", "adaptive", "block"])
def test_echo_between_processes(shared, mode):
    server, client = shared.server(mode=mode), shared.client(mode=mode)

    def echo():
        for message in server.messages(20):
            server.send(message)

    process = child(echo)
    for i in range(300):
        data = random.Random(i).randbytes(i * 7 % 2000 if i % 50 else 200_000)
        if len(data) > RING:
            sender = started(lambda data=data: client.send(data, 20))
            assert client.recv(20) == data
            sender.join(5)
        else:
            client.send(data, 20)
            assert client.recv(20) == data
    client.close()
    process.join(20)
    assert process.exitcode == 0


@pytest.mark.parametrize("mode", ["adaptive", "block"])
def test_a_killed_peer_ends_by_the_limit_and_at_once_when_the_hypervisor_says_so(shared, mode):
    server, client = shared.server(mode=mode), shared.client(mode=mode)

    def victim():
        client.send_many([b"last words"] * 3)
        client.recv(None)

    process = child(victim)
    assert server.recv(10) == b"last words"
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    assert [server.recv(0), server.recv(0)] == [b"last words"] * 2
    begin = time.monotonic()
    with pytest.raises(Timeout):
        server.recv(0.2)
    assert time.monotonic() - begin < 1
    server.send(b"to nobody")
    waiter = started(lambda: lib.xp_direct_close_page(ffi.cast("void *", shared.base + 4096)))
    ok = soon(4)
    with pytest.raises(PeerGone):
        server.recv(5)
    assert ok()
    waiter.join(5)
    with pytest.raises(PeerGone):
        server.send(b"x")
    # It died: that is not an end of messages.
    with pytest.raises(PeerGone):
        list(server)
