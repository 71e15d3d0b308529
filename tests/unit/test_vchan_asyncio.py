"""vchan in an event loop: nothing blocks it, no wake is lost, cancelling loses nothing, ends end."""

import asyncio
import random
import threading
import time

import pytest
from helpers import until

from xenproc.bench.vchan import Shared
from xenproc.errors import ConfigError, PeerGone, PeerMisbehaved, Timeout, WouldBlock
from xenproc.native import ffi, lib
from xenproc.vchan import Channel, Stream

RING = 64 << 10


@pytest.fixture
def shared():
    memory = Shared(RING)
    yield memory
    memory.close()


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def run(shared, test, kind=Channel, **options):
    """Run test(server, client) in a loop of its own, twenty seconds at most."""

    async def limited():
        async with asyncio.timeout(20):
            await test(server, client)

    with shared.server(kind, **options) as server, shared.client(kind, **options) as client:
        asyncio.run(limited())


def test_messages_of_all_sizes(shared):
    async def test(server, client):
        for size in (0, 1, 100, RING - 4, RING - 3, RING, 1 << 20):
            _, got = await asyncio.gather(client.asend(noise(size)), server.arecv())
            assert got == noise(size)
        await client.asend(bytearray(b"abc"))
        assert await server.arecv_many() == [b"abc"]

    run(shared, test)


def test_many_tasks_at_both_ends(shared):
    """Readers and writers in both directions on one loop: a wake that one consumes must not be lost to another."""

    async def test(server, client):
        counts = {}

        async def write(end, name):
            for i in range(200):
                await end.asend(b"%d" % name + noise(i * 13 % 3000 if i % 40 else 100_000, name * 1000 + i))

        async def read(end, key, total):
            for _ in range(total):
                message = await end.arecv()
                counts[key, message[:1]] = counts.get((key, message[:1]), 0) + 1

        tasks = []
        for key, source, sink in (("right", server, client), ("left", client, server)):
            tasks += [write(source, 1), write(source, 2), read(sink, key, 250), read(sink, key, 150)]
        await asyncio.gather(*tasks)
        assert counts == {(key, name): 200 for key in ("left", "right") for name in (b"1", b"2")}

    run(shared, test)


def test_the_loop_goes_on_meanwhile(shared):
    async def test(server, client):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        with pytest.raises(Timeout):
            await server.arecv(0.1)
        ticker.cancel()
        assert ticks > 20

    run(shared, test)


def test_time_limits(shared):
    async def test(server, client):
        begin = time.monotonic()
        with pytest.raises(Timeout):
            await server.arecv(0.1)
        assert 0.1 <= time.monotonic() - begin < 1
        with pytest.raises(WouldBlock):
            await server.arecv(0)
        while True:
            try:
                await client.asend(noise(1000), 0)
            except WouldBlock:
                break
        with pytest.raises(Timeout):
            await client.asend(noise(1000), 0.1)
        with pytest.raises(ConfigError):
            await client.asend(b"x" * 5_000_001)

    run(shared, test, max_message=5_000_000)


def test_cancelling_loses_nothing(shared):
    async def test(server, client):
        for i in range(50):
            waiting = asyncio.create_task(server.arecv())
            await asyncio.sleep(0)
            if i % 2:
                client.send(b"%d" % i)
            waiting.cancel()
            try:
                got = await waiting
            except asyncio.CancelledError:
                got = None
            if i % 2:
                assert got == b"%d" % i or await server.arecv() == b"%d" % i
        # In the middle of a large message, too.
        data = noise(4 * RING)
        sender = asyncio.create_task(client.asend(data))
        receiver = asyncio.create_task(server.arecv())
        for _ in range(3):
            await asyncio.sleep(0)
        receiver.cancel()
        assert await server.arecv() == data
        await sender

    run(shared, test)


def test_a_large_message_cancelled_half_way_closes_the_channel(shared):
    async def test(server, client):
        sender = asyncio.create_task(client.asend(noise(2 * RING)))
        await asyncio.sleep(0.01)
        sender.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sender
        with pytest.raises(PeerGone):
            await client.asend(b"x")
        with pytest.raises(PeerGone):
            await server.arecv()

    run(shared, test)


def test_iteration_ends_when_the_peer_closes(shared):
    async def test(server, client):
        async def produce():
            for i in range(100):
                await client.asend(b"%d" % i)
            client.close()

        producer = asyncio.create_task(produce())
        assert [message async for message in server] == [b"%d" % i for i in range(100)]
        await producer
        with pytest.raises(PeerGone):
            await server.arecv()

    run(shared, test)


def test_a_death_ends_the_wait(shared):
    async def test(server, client):
        waiting = asyncio.create_task(server.arecv())
        await asyncio.sleep(0.01)
        lib.xp_direct_close_page(ffi.cast("void *", shared.base + 4096))
        shared.write_fd(0)  # the hypervisor's part, too
        with pytest.raises(PeerGone):
            await waiting

    run(shared, test)


def test_closing_wakes_the_tasks(shared):
    async def test(server, client):
        waiting = [asyncio.create_task(server.arecv()) for _ in range(3)]
        await asyncio.sleep(0.01)
        server.close()
        for task in waiting:
            with pytest.raises(ValueError, match="closed"):
                await task
        with pytest.raises(ValueError, match="closed"):
            await server.arecv()

    run(shared, test)


def test_closing_from_another_thread_wakes_the_tasks(shared):
    async def test(server, client):
        waiting = asyncio.create_task(server.arecv())
        await asyncio.sleep(0.01)
        closer = threading.Thread(target=server.close)
        closer.start()
        with pytest.raises(ValueError, match="closed"):
            await waiting
        closer.join(5)

    run(shared, test)


def test_a_misbehaving_peer(shared):
    async def test(server, client):
        waiting = asyncio.create_task(server.arecv())
        await asyncio.sleep(0.01)
        ffi.cast("struct xen_vchan_interface *", shared.base).left.prod = RING + 1
        lib.xp_direct_send(client._event)
        with pytest.raises(PeerMisbehaved):
            await waiting

    run(shared, test)


def test_a_thread_and_a_loop_at_one_end(shared):
    """The thread's blocking wait takes events that the loop waits for, and must pass them on."""

    async def test(server, client):
        def thread():
            for i in range(300):
                assert server.recv(10) == b"%d" % i

        reader = threading.Thread(target=thread)
        reader.start()
        echo = threading.Thread(target=lambda: [client.recv(10) for _ in range(300)])
        echo.start()
        for i in range(300):
            await server.asend(noise(1000))
            await asyncio.to_thread(client.send, b"%d" % i)
        reader.join(10)
        echo.join(10)
        assert not reader.is_alive()
        assert not echo.is_alive()

    run(shared, test)


def test_a_thread_that_waits_passes_events_on_to_the_loop(shared):
    async def test(server, client):
        while True:
            try:
                server.send(noise(1000), 0)
            except WouldBlock:
                break
        got = []
        reader = threading.Thread(target=lambda: got.append(server.recv(15)))
        reader.start()
        await asyncio.to_thread(until, lambda: server.stats["read_slept"])
        sender = asyncio.create_task(server.asend(noise(1000)))
        await asyncio.sleep(0.01)
        assert not sender.done()
        client.recv()  # the event goes to the thread, which is not concerned
        await asyncio.wait_for(sender, 5)
        assert reader.is_alive()
        client.send(b"for the thread")
        await asyncio.to_thread(reader.join, 10)
        assert got == [b"for the thread"]

    run(shared, test, mode="block")


def test_who_goes_to_sleep_consumes_no_news_of_others(shared):
    async def test(server, client):
        while True:
            try:
                server.send(noise(1000), 0)
            except WouldBlock:
                break
        reader = asyncio.create_task(server.arecv())
        for _ in range(3):
            await asyncio.sleep(0)
        client.send(b"for the reader")
        # No turn of the loop in between: going to sleep finds the reader's event.
        with pytest.raises(Timeout):
            await server.asend(noise(1000), 0.2)
        assert reader.done()
        assert await reader == b"for the reader"

    run(shared, test)


def test_another_loop_afterwards(shared):
    with shared.server() as server, shared.client() as client:
        for i in range(3):
            async def once(i=i):
                await client.asend(b"%d" % i)
                waiting = asyncio.create_task(client.arecv())
                await asyncio.sleep(0)
                await server.asend(await server.arecv())
                return await waiting

            assert asyncio.run(once()) == b"%d" % i


def test_two_loops_at_once_are_refused(shared):
    async def test(server, client):
        await server.asend(b"x")
        server._in_loop()

        def other():
            with pytest.raises(RuntimeError, match="another event loop"):
                asyncio.run(server.arecv())

        await asyncio.to_thread(other)

    run(shared, test)


def test_streams(shared):
    async def test(server, client):
        data = noise(1_000_000)

        async def write():
            await client.asendall(data)
            await client.adrain()
            client.close()

        writer = asyncio.create_task(write())
        got = await server.aread(10)
        got += await server.areadexactly(1000)
        got += await server.areadexactly(200_000)
        async for chunk in server.achunks(5000):
            assert len(chunk) <= 5000
            got += chunk
        assert got == data
        await writer
        with pytest.raises(PeerGone):
            await server.aread(1)

    run(shared, test, Stream)


def test_a_stream_keeps_what_a_cancelled_read_had(shared):
    async def test(server, client):
        await client.asendall(b"abc")
        with pytest.raises(Timeout):
            await server.areadexactly(5, 0.05)
        with pytest.raises(Timeout):
            await server.areadexactly(2 * RING, 0.05)
        await client.asendall(b"de")
        assert await server.areadexactly(5) == b"abcde"
        with pytest.raises(Timeout) as caught:
            await client.asendall(noise(RING + 5), 0.05)
        assert caught.value.sent == RING

    run(shared, test, Stream)
