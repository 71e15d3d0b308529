"""Both semaphores by the same test; then what only ours must bear: a peer that writes anything anywhere."""

import mmap
import multiprocessing
import os
import signal
import threading
import time

import posix_ipc
import pytest

from xenproc.errors import PeerMisbehaved, Timeout
from xenproc.native import ffi, lib
from xenproc.semaphore import FutexSemaphore, PosixSemaphore

CTX = multiprocessing.get_context("fork")


def futex_pair(mode):
    memory = mmap.mmap(-1, 4096)
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))
    return FutexSemaphore(address, mode, memory), FutexSemaphore(address + 64, mode, memory)


def posix_pair():
    pair = PosixSemaphore(), PosixSemaphore()
    for sem in pair:
        sem.unlink()
    return pair


KINDS = {
    "posix": posix_pair,
    "futex-poll": lambda: futex_pair("poll"),
    "futex-adaptive": lambda: futex_pair("adaptive"),
    "futex-block": lambda: futex_pair("block"),
}


@pytest.fixture(params=KINDS)
def pair(request):
    sems = KINDS[request.param]()
    yield sems
    for sem in sems:
        if isinstance(sem, PosixSemaphore):
            sem.close()


def test_counts(pair):
    sem = pair[0]
    for _ in range(5):
        sem.post()
    for _ in range(5):
        sem.wait(5)
    with pytest.raises(Timeout):
        sem.wait(0)


def test_time_limit(pair):
    begin = time.monotonic()
    with pytest.raises(Timeout):
        pair[0].wait(0.05)
    assert 0.045 <= time.monotonic() - begin < 2


def test_ping_pong_between_processes(pair):
    there, back = pair

    def server():
        for _ in range(2000):
            there.wait(20)
            back.post()

    child = CTX.Process(target=server)
    child.start()
    for _ in range(2000):
        there.post()
        back.wait(20)
    child.join(20)
    assert child.exitcode == 0


def test_handshake_by_name():
    sem = PosixSemaphore()
    other = PosixSemaphore(sem.name)
    sem.unlink()
    other.post()
    sem.wait(1)
    with pytest.raises(posix_ipc.ExistentialError):
        PosixSemaphore(sem.name)
    sem.close(), other.close()


def test_no_post_is_lost_among_many_posters():
    sem, _ = futex_pair("poll")
    n = 50_000

    def post():
        for _ in range(n):
            sem.post()

    children = [CTX.Process(target=post) for _ in range(2)]
    for child in children:
        child.start()
    for _ in range(2 * n):
        sem.wait(20)
    for child in children:
        child.join(20)
    with pytest.raises(Timeout):
        sem.wait(0)


@pytest.mark.parametrize("address", [0, -4, 4097, 4098])
def test_a_bad_address(address):
    with pytest.raises(ValueError, match="multiple of 4"):
        FutexSemaphore(address)


def test_signal_handlers_run_while_it_waits():
    sem, _ = futex_pair("block")
    hits = []
    before = signal.signal(signal.SIGALRM, lambda *_: (hits.append(1), sem.post()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        sem.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hits


# ---- a hostile peer ----


class Waiter(threading.Thread):
    """Waits on a semaphore in a thread; `asleep()` returns when the kernel has it."""

    def __init__(self, sem, timeout):
        super().__init__()
        self.sem, self.timeout, self.error, self.took = sem, timeout, None, None
        self.start()

    def run(self):
        begin = time.monotonic()
        try:
            self.sem.wait(self.timeout)
        except Exception as error:
            self.error = error
        self.took = time.monotonic() - begin

    def asleep(self):
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            if self.sem._sem.waiting and state(self.native_id) == "S":
                return
        raise AssertionError("it never slept")


def state(tid):
    with open(f"/proc/self/task/{tid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_stolen_wake_ends_at_the_deadline():
    sem, _ = futex_pair("block")
    waiter = Waiter(sem, 0.3)
    waiter.asleep()
    sem._sem.waiting = 0  # the peer scribbles: nobody wakes us for this post
    sem.post()
    waiter.join(10)
    assert 0.25 < waiter.took < 5
    assert waiter.error is None  # the count was there when the deadline came


def test_a_flood_of_wakes_is_borne_up_to_the_budget():
    sem, _ = futex_pair("block")
    waiter = Waiter(sem, 30)
    woken = 0
    while waiter.is_alive():
        woken += lib.xp_futex_wake(ffi.cast("void *", sem._sem), 1)
    assert isinstance(waiter.error, PeerMisbehaved)
    assert woken > lib.XP_SPURIOUS_BUDGET
    assert waiter.took < 25


def test_a_flood_with_the_time_limit_first():
    sem, _ = futex_pair("block")
    sem._waiter.budget = 2**32 - 1
    waiter = Waiter(sem, 0.3)
    while waiter.is_alive():
        lib.xp_futex_wake(ffi.cast("void *", sem._sem), 1)
    assert isinstance(waiter.error, Timeout)
    assert waiter.took < 5


@pytest.mark.parametrize("count", [1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_any_count_is_only_a_count(count):
    sem, _ = futex_pair("block")
    sem._sem.count = count
    sem.wait(1)
    assert sem._sem.count == count - 1
    sem.post()


def test_a_waiter_that_dies_leaves_a_semaphore_that_works():
    there, _ = futex_pair("block")
    child = CTX.Process(target=lambda: there.wait(60))
    child.start()
    limit = time.monotonic() + 10
    while not there._sem.waiting and time.monotonic() < limit:
        os.sched_yield()
    child.kill()
    child.join(10)
    there.post()
    there.wait(1)
    with pytest.raises(Timeout):
        there.wait(0.01)
