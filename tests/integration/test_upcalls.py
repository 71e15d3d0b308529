"""Upcall delivery end to end: virtual interrupts from Domain0, IPIs, the descriptor, waiting with SCHEDOP_poll and SCHEDOP_block."""

import pytest
from helpers import until

import xenproc
from xenproc.abi import Virq


def test_a_virq_reaches_a_polling_guest(hv):
    """Domain0 raises VIRQ_DEBUG; the guest sleeps in SCHEDOP_poll until then."""

    def guest(g):
        port = g.events.bind_virq(1)
        g.console.print("bound")
        g.events.wait(port, 20)
        return g.events.pending(port)

    domain = hv.create(guest)
    until(lambda: "bound" in domain.console.read())
    domain.virq(Virq.DEBUG)
    assert domain.wait(10) is False


def test_a_virq_that_is_not_bound_does_nothing(hv):
    """And one that does not exist is refused."""

    def guest(g):
        return g.shutdown_request(20)

    domain = hv.create(guest)
    domain.virq(Virq.DEBUG)
    with pytest.raises(xenproc.HypercallError) as refused:
        domain.virq(24)
    assert refused.value.errno == 22
    domain.shutdown()
    assert domain.wait(10) == "poweroff"


def test_an_ipi_wakes_by_descriptor(hv):
    """The upcall descriptor is readable after an event and the port is told; asyncio can wait for it."""

    def guest(g):
        import asyncio
        import select

        port = g.events.bind_ipi()
        g.events.unmask(port)
        fd = g.events.fileno()
        quiet = select.select([fd], [], [], 0)[0]
        g.events.send(port)
        ready = select.select([fd], [], [], 5)[0]
        first = g.events.take_upcall()

        async def by_asyncio():
            woken = asyncio.Event()
            asyncio.get_running_loop().add_reader(fd, woken.set)
            g.events.send(port)
            await asyncio.wait_for(woken.wait(), 5)
            asyncio.get_running_loop().remove_reader(fd)
            return g.events.take_upcall()

        second = asyncio.run(by_asyncio())
        return [quiet == [], ready == [fd], first == [port], second == [port], g.events.take_upcall() == []]

    assert hv.create(guest).wait(20) == [True] * 5


def test_block_returns_with_an_event(hv):
    """SCHEDOP_block sleeps until an upcall; here a second thread sends one."""

    def guest(g):
        import threading
        import time

        port = g.events.bind_ipi()
        g.events.unmask(port)
        g.events.take_upcall()
        timer = threading.Timer(0.2, g.events.send, [port])
        start = time.monotonic()
        timer.start()
        result = g.hypercall(29, 1)
        slept = time.monotonic() - start
        return [result, slept > 0.1, g.events.take_upcall() == [port]]

    assert hv.create(guest).wait(20) == [0, True, True]


def test_no_event_is_a_timeout(hv):
    """A wait ends by its time limit."""

    def guest(g):
        port = g.events.bind_ipi()
        try:
            g.events.wait(port, 0.2)
        except xenproc.Timeout as error:
            return str(error)

    assert "no event in time" in hv.create(guest).wait(20)
