"""What tests of the CPU scheduler on real processes share: guests that compute, and the kernel's own count of who got how much."""

import os
import time

from helpers import Deadline


def hog(g):
    """[guest] Never block, never yield, until told to end."""
    while True:
        for _ in range(20_000):
            pass


def threads(g, nr):
    """[guest] As hog, in `nr` threads that hold no lock of Python's."""
    import hashlib
    import threading

    data = bytes(1 << 20)

    def work():
        while True:
            hashlib.sha256(data).digest()

    for _ in range(nr - 1):
        threading.Thread(target=work, daemon=True).start()
    work()


def ping(g, rounds):
    """[guest] One of two who send each other events through the hypervisor, each waiting for the other's."""
    peer = g.board.resolve("pong", 10)
    port = g.events.alloc_unbound(peer)
    g.board.publish(peer, "port", str(port).encode())
    for _ in range(rounds):
        g.events.wait(port, 10)
        g.events.send(port)


def pong(g, rounds):
    """[guest] The other; returns how many rounds there were."""
    peer = g.board.resolve("ping", 10)
    port = g.events.bind_interdomain(peer, int(g.board.lookup(peer, "port", 10)))
    for _ in range(rounds):
        g.events.send(port)
        g.events.wait(port, 10)
    return rounds


def policy(dom):
    """Return (policy, priority) of a domain's first thread."""
    return os.sched_getscheduler(dom.pid), os.sched_getparam(dom.pid).sched_priority


def ran_ns(*doms):
    """Return how long each process has run, all its threads."""
    return [time.clock_gettime_ns((~dom.pid << 3) | 2) for dom in doms]


def contended(hv):
    return hv.info()["scheduler"]["contended"]


def shares(doms, seconds):
    """Return what part of one CPU each got in the next `seconds` s."""
    begin, before = time.monotonic_ns(), ran_ns(*doms)
    limit = Deadline(seconds)
    while limit.left() > 0:
        time.sleep(min(0.05, limit.left()))
    after = ran_ns(*doms)
    took = time.monotonic_ns() - begin      # never less than what lies between the two counts
    return [(last - first) / took for last, first in zip(after, before, strict=True)]


def parts(doms, seconds):
    """Return what part of what they got in all each got: other work of the host takes its own beside them."""
    got = shares(doms, seconds)
    return [share / sum(got) for share in got]


def state(dom):
    """Return the letter of its first thread: R, S, T (stopped), ..."""
    with open(f"/proc/{dom.pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]
