"""The descriptors that the hypervisor wakes a domain by: shared with it, so it may fill them and make them block.

A full eventfd without O_NONBLOCK makes a write wait for a reader. The flag lies in the open file, which both ends share; the
filter cannot see what FIONBIO is told, and asyncio needs it. So the hypervisor never writes them: it has the kernel signal
them (native/wakefd.c). With a plain write these guests stopped the whole machine.
"""

import os
import time

import pytest
from helpers import until

FULL = 0xFFFFFFFFFFFFFFFE


def fill_and_block(fd) -> None:
    """[guest] Make a plain write to the descriptor wait for ever."""
    import fcntl
    import struct
    import termios

    os.set_blocking(fd, False)
    try:
        os.read(fd, 8)
    except BlockingIOError:
        pass            # empty already
    os.write(fd, FULL.to_bytes(8, "little"))
    fcntl.ioctl(fd, termios.FIONBIO, struct.pack("i", 0))
    assert os.get_blocking(fd)


def sleepless(g) -> None:
    """[guest] Jam the descriptor of our upcalls, then have events sent to ourselves."""
    port = g.events.bind_ipi()
    g.events.unmask(port)
    fd = g.events.fileno()
    for _ in range(20):
        g.events.take_upcall()
        fill_and_block(fd)
        g.events.send(port)
    g.console.print("jammed")
    while g.shutdown_request(1) is None:
        pass


def jammed_listener(g) -> None:
    """[guest] Jam the descriptor of a direct port, and pretend to sleep on it."""
    port = g.events.alloc_unbound(g.board.resolve("sender"))
    g.board.publish(g.board.resolve("sender"), "port", port.to_bytes(4, "little"))
    g.events.wait(port, 10)
    with g.events.direct(port, with_fds=True) as channel:
        fill_and_block(channel.fileno())
        channel.arm()
        g.console.print("jammed")
        while g.shutdown_request(0) is None:
            channel.arm()


def sender(g) -> float:
    """[guest] Send to a jammed listener; return the longest time that a send took, in seconds."""
    listener = g.board.resolve("listener")
    port = g.events.bind_interdomain(listener, int.from_bytes(g.board.lookup(listener, "port"), "little"))
    channel = g.events.direct(port)
    g.events.send(port)
    longest = 0.0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        begun = time.monotonic()
        channel.kick()
        longest = max(longest, time.monotonic() - begun)
    return longest


def jammed_by_now(dom) -> None:
    text = []
    until(lambda: text.append(dom.console.read()) or "jammed" in "".join(text), lambda: f"it to be jammed: {text}")


def works(g) -> int:
    """[guest] A hypercall or two."""
    g.yield_()
    return g.hypercall(17, 0, 0)


def test_a_jammed_upcall_descriptor_stops_nobody(hv):
    jammed = hv.create(sleepless, name="jammed", memory="1M")
    jammed_by_now(jammed)
    assert hv.create(works, memory="1M").wait(10) > 0
    jammed.shutdown()
    jammed.wait(10)


def test_a_jammed_direct_descriptor_stops_neither_hypervisor_nor_peer(hv):
    listener = hv.create(jammed_listener, name="listener", memory="1M")
    other = hv.create(sender, name="sender", memory="1M")
    jammed_by_now(listener)
    assert other.wait(20) < 1
    assert hv.create(works, memory="1M").wait(10) > 0
    listener.shutdown()
    listener.wait(10)


@pytest.mark.parametrize("which", [1, 2])
def test_nobody_is_given_his_peers_descriptor(hv, which):
    """Whoever holds it could make the peer's own read of it wait for ever."""
    def guest(g):
        port = g.events.bind_ipi()
        return g.hypercall(62, 2, port, which)

    assert hv.create(guest, memory="1M").wait(10) == -22
