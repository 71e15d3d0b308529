"""xenproc.vchan.Stream: bytes in order, in place, as a file; time limits that lose nothing; the end."""

import multiprocessing
import os
import random
import signal
import threading

import numpy as np
import pytest

from xenproc.bench.vchan import Shared
from xenproc.errors import ConfigError, PeerGone, PeerMisbehaved, Timeout, WouldBlock
from xenproc.native import ffi, lib
from xenproc.vchan import Stream

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
    server, client = shared.server(Stream), shared.client(Stream)
    yield server, client
    server.close()
    client.close()


def started(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def test_bytes_arrive_in_order_whatever_the_pieces(pair):
    server, client = pair
    data = noise(2_000_000)
    sizes = random.Random(5)

    def write():
        at = 0
        while at < len(data):
            n = sizes.choice([1, 50, 5000, 100_000, 300_000])
            if n % 2:
                at += client.write(memoryview(data)[at : at + n])
            else:
                client.sendall(data[at : at + n])
                at += min(n, len(data) - at)

    writer, got = started(write), b""
    while len(got) < len(data):
        left = len(data) - len(got)
        kind = len(got) % 3
        if kind == 0:
            got += server.read(min(left, 70_000))
        elif kind == 1:
            got += server.readexactly(min(left, 10_001))
        else:
            buffer = bytearray(3000)
            n = server.readinto(buffer)
            got += buffer[:n]
    assert got == data
    writer.join(5)
    assert server.read(0) == b""
    assert server.readexactly(0) == b""
    client.sendall(b"")
    assert client.write(b"") == 0


def test_a_write_takes_what_there_is_room_for(pair):
    server, client = pair
    assert client.write(b"x" * (RING + 10)) == RING
    with pytest.raises(WouldBlock) as caught:
        client.write(b"y", 0)
    assert caught.value.sent == 0
    with pytest.raises(Timeout):
        client.write(b"y", 0.05)
    assert server.read(10) == b"x" * 10
    with pytest.raises(Timeout) as caught:
        client.sendall(b"z" * 15, 0.05)
    assert caught.value.sent == 10
    assert len(server.recv(RING)) == RING


def test_a_read_takes_what_there_is(pair):
    server, client = pair
    with pytest.raises(WouldBlock):
        server.read(5, 0)
    client.sendall(b"abcdef")
    assert server.read(4) == b"abcd"
    assert server.read(100) == b"ef"
    client.sendall(noise(RING))
    assert server.read(1 << 20) == noise(RING)


def test_an_exact_read_that_fails_loses_nothing(pair):
    server, client = pair
    client.sendall(b"abc")
    with pytest.raises(Timeout):
        server.readexactly(5, 0.05)
    with pytest.raises(WouldBlock):
        server.readexactly(5, 0)
    client.sendall(b"de")
    assert server.readexactly(5) == b"abcde"
    # Larger than the ring: what has come is taken out of it, and held.
    client.sendall(noise(RING))
    with pytest.raises(Timeout):
        server.readexactly(RING + 100, 0.05)
    client.drain(0)
    assert server.read(10) == noise(RING)[:10]
    assert bytes(server.peek()) == noise(RING)[10:]
    with pytest.raises(ConfigError):
        server.consume(RING)
    server.consume(10)
    client.sendall(b"more")
    assert server.readexactly(RING - 16) == (noise(RING) + b"more")[20:]
    client.close()
    with pytest.raises(PeerGone):
        server.readexactly(1)


def test_what_is_left_of_an_exact_read_at_the_end(pair):
    server, client = pair
    client.sendall(b"abc")
    client.close()
    with pytest.raises(PeerGone):
        server.readexactly(5)
    assert server.read(100) == b"abc"
    with pytest.raises(PeerGone):
        server.read(100)
    with pytest.raises(PeerGone):
        server.write(b"x")


def test_reading_until_the_end(pair):
    server, client = pair
    data = noise(500_000)
    writer = started(lambda: (client.sendall(data), client.close()))
    assert server.read() == data
    writer.join(5)
    assert server.read() == b""
    assert list(server) == []


def test_reading_until_the_end_within_a_limit(pair):
    server, client = pair
    client.sendall(b"abc")
    with pytest.raises(Timeout):
        server.read(-1, 0.1)
    client.sendall(b"def")
    assert server.readexactly(6) == b"abcdef"


def test_chunks(pair):
    server, client = pair
    data = noise(300_000)
    writer = started(lambda: (client.sendall(data), client.close()))
    parts = list(server.chunks(1000))
    assert max(map(len, parts)) == 1000
    assert b"".join(parts) == data
    writer.join(5)


def test_drain(pair):
    server, client = pair
    client.drain(0)
    client.sendall(b"abc")
    with pytest.raises(WouldBlock):
        client.drain(0)
    with pytest.raises(Timeout):
        client.drain(0.05)
    server.read(2)
    reader = started(lambda: server.read(1))
    client.drain(5)
    reader.join(5)


def test_in_place(pair):
    server, client = pair
    for round in range(200):
        data = noise(1000, round)
        sent = 0
        while sent < len(data):
            room = client.reserve()
            n = min(len(room), len(data) - sent)
            room[:n] = data[sent : sent + n]
            client.commit(n)
            sent += n
        with pytest.raises(ConfigError, match="more than the last call gave"):
            client.commit(1)
        got = b""
        while len(got) < len(data):
            view = server.peek()
            assert view.readonly
            got += bytes(view)
            server.consume(len(view))
        assert got == data
    with pytest.raises(WouldBlock):
        server.peek(timeout=0)
    with pytest.raises(ConfigError):
        server.peek(RING + 1)
    with pytest.raises(ConfigError):
        client.reserve(RING + 1)
    with pytest.raises(ConfigError):
        server.consume(-1)
    array = np.frombuffer(client.reserve(800), "u8", 100)
    array[:] = np.arange(100)
    client.commit(800)
    assert (np.frombuffer(server.peek(800), "u8", 100) == np.arange(100)).all()


def test_as_files(pair):
    server, client = pair
    with client.makefile("wb") as out:
        out.write(b"first line\nsecond line\nlast")
    client.close()
    lines = server.makefile("rb")
    assert lines.readline() == b"first line\n"
    assert lines.readlines() == [b"second line\n", b"last"]
    assert lines.read() == b""
    with pytest.raises(ConfigError):
        server.makefile("r")


def test_as_one_file_both_ways(pair):
    server, client = pair
    one, other = server.makefile("rwb"), client.makefile("rwb", buffering=100)
    one.write(b"hello\n")
    one.flush()
    assert other.readline() == b"hello\n"
    raw = client.makefile("rb", buffering=0, timeout=0.05)
    with pytest.raises(Timeout):
        raw.read(1)
    assert raw.readable()
    assert not raw.writable()


def test_a_killed_peer_is_no_end_of_file(shared):
    server, client = shared.server(Stream), shared.client(Stream)

    def victim():
        client.sendall(b"abc")
        client.read(1, None)

    process = CTX.Process(target=victim)
    process.start()
    assert server.read(1, 10) == b"a"
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    lib.xp_direct_close_page(ffi.cast("void *", shared.base + 4096))
    with pytest.raises(PeerGone):
        server.read()
    assert server.read(10) == b"bc"
    with pytest.raises(PeerGone):
        server.makefile("rb").read()


def test_two_processes(shared):
    server, client = shared.server(Stream, mode="block"), shared.client(Stream, mode="block")

    def child():
        for chunk in client.chunks(timeout=20):
            client.sendall(chunk, 20)

    process = CTX.Process(target=child)
    process.start()
    data = noise(3_000_000)
    writer = started(lambda: server.sendall(data, 20))
    assert server.readexactly(len(data), 20) == data
    writer.join(10)
    server.close()
    process.join(10)
    assert process.exitcode == 0


def test_an_impossible_index_of_a_reader_closes_the_stream(shared, pair):
    _, client = pair
    client.sendall(b"abc")
    page = ffi.cast("struct xen_vchan_interface *", shared.base)
    page.left.cons = 1 << 31
    with pytest.raises(PeerMisbehaved):
        client.sendall(b"x" * RING)
    with pytest.raises(PeerMisbehaved):
        client.read(1)
    with pytest.raises(PeerMisbehaved):
        client.drain()
