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


def state(dom):
    """Return the letter of its first thread: R, S, T (stopped), ..."""
    with open(f"/proc/{dom.pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]
