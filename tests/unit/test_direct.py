"""Events straight between two ends: nothing is lost, sleeping costs no spinning, and a hostile page ends no one's day."""

import mmap
import multiprocessing
import os
import threading
import time

import pytest

from xenproc.native import ffi, lib

CTX = multiprocessing.get_context("fork")
POLL, ADAPTIVE, BLOCK = lib.XP_WAIT_POLL, lib.XP_WAIT_ADAPTIVE, lib.XP_WAIT_BLOCK
EAGAIN, EILSEQ, ENOTCONN, ETIMEDOUT = -11, -84, -107, -110
SECOND = 10**9


class Page:
    """An event page with its two ends; `half[n]` as the peer of end n may scribble on it."""

    def __init__(self, fds=((-1, -1), (-1, -1))):
        self.memory = mmap.mmap(-1, 4096)
        self.base = ffi.cast("char *", ffi.from_buffer(self.memory))
        self.half = [ffi.cast("struct xp_event_half *", self.base + 64 * n) for n in range(2)]
        self.ends = []
        for side in range(2):
            end = ffi.new("struct xp_direct *")
            lib.xp_direct_init(end, self.base, side, *fds[side])
            self.ends.append(end)


@pytest.fixture
def page():
    return Page()


class Waiter(threading.Thread):
    """Waits on an end in a thread; `asleep()` returns when the kernel has it."""

    def __init__(self, page, side, mode=BLOCK, timeout_ns=10 * SECOND):
        super().__init__()
        self.page, self.side, self.mode, self.timeout_ns = page, side, mode, timeout_ns
        self.ret = self.took = None
        self.start()

    def run(self):
        begin = time.monotonic()
        self.ret = lib.xp_direct_wait(self.page.ends[self.side], self.mode, self.timeout_ns)
        self.took = time.monotonic() - begin

    def asleep(self):
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            if self.page.half[self.side].sem.waiting and state(self.native_id) == "S":
                return self
        raise AssertionError("it never slept")

    def result(self):
        self.join(20)
        assert not self.is_alive()
        return self.ret


def state(tid):
    with open(f"/proc/self/task/{tid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("mode", [POLL, ADAPTIVE, BLOCK])
def test_ping_pong_between_processes(page, mode):
    def server():
        for _ in range(3000):
            if lib.xp_direct_wait(page.ends[1], mode, 20 * SECOND) or lib.xp_direct_send(page.ends[1]) < 0:
                os._exit(1)

    child = CTX.Process(target=server)
    child.start()
    for _ in range(3000):
        assert lib.xp_direct_send(page.ends[0]) >= 0
        assert lib.xp_direct_wait(page.ends[0], mode, 20 * SECOND) == 0
    child.join(20)
    assert child.exitcode == 0
    assert page.ends[0].sent == 3000
    assert page.ends[0].slept == 0 if mode == POLL else True


def test_events_merge_and_are_taken_once(page):
    front, back = page.ends
    assert lib.xp_direct_take(back) == 0
    for _ in range(3):
        assert lib.xp_direct_send(front) == 0
    assert lib.xp_direct_wait(back, BLOCK, 0) == 0
    assert lib.xp_direct_take(back) == 0
    assert lib.xp_direct_wait(back, BLOCK, 0) == ETIMEDOUT
    assert lib.xp_direct_wait(front, BLOCK, 0) == ETIMEDOUT


@pytest.mark.parametrize("mode", [POLL, ADAPTIVE, BLOCK])
def test_time_limit(page, mode):
    begin = time.monotonic()
    assert lib.xp_direct_wait(page.ends[0], mode, SECOND // 20) == ETIMEDOUT
    assert 0.045 <= time.monotonic() - begin < 2


def test_only_a_sleeper_costs_a_wake(page):
    waiter = Waiter(page, 1).asleep()
    assert lib.xp_direct_send(page.ends[0]) == 1
    assert waiter.result() == 0
    assert page.half[1].sleep == lib.XP_AWAKE
    assert lib.xp_direct_send(page.ends[0]) == 0
    assert (page.ends[0].sent, page.ends[0].woken, page.ends[1].slept) == (2, 1, 1)


def test_closing_wakes_both_and_what_was_sent_still_arrives(page):
    waiters = [Waiter(page, side).asleep() for side in range(2)]
    lib.xp_direct_close_page(page.base)
    assert [waiter.result() for waiter in waiters] == [ENOTCONN, ENOTCONN]
    assert lib.xp_direct_send(page.ends[0]) == ENOTCONN
    page.half[1].pending = 1
    assert lib.xp_direct_take(page.ends[1]) == 1
    assert lib.xp_direct_take(page.ends[1]) == ENOTCONN
    assert lib.xp_direct_wait(page.ends[1], POLL, SECOND) == ENOTCONN


def test_closing_wakes_one_whose_waiting_word_was_scribbled_on(page):
    waiter = Waiter(page, 1).asleep()
    page.half[1].sem.waiting = 0
    lib.xp_direct_close_page(page.base)
    assert waiter.result() == ENOTCONN
    assert waiter.took < 5


def test_waiting_on_a_descriptor():
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    page = Page(((-1, fd), (fd, -1)))
    front, back = page.ends
    assert lib.xp_direct_arm(back) == 0
    assert lib.xp_direct_send(front) == 1
    assert os.eventfd_read(fd) == 1
    os.eventfd_write(fd, 1)
    lib.xp_direct_disarm(back)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fd)
    assert lib.xp_direct_arm(back) == 1  # pending still: do not sleep
    assert page.half[1].sleep == lib.XP_AWAKE
    assert lib.xp_direct_take(back) == 1
    assert lib.xp_direct_arm(back) == 0
    lib.xp_direct_close_page(page.base)
    assert lib.xp_direct_arm(back) == 1
    os.close(fd)


def test_a_full_descriptor_does_not_hold_the_sender():
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    page = Page(((-1, fd), (fd, -1)))
    os.eventfd_write(fd, 2**64 - 2)
    lib.xp_direct_arm(page.ends[1])
    assert lib.xp_direct_send(page.ends[0]) == 1
    os.close(fd)


def test_a_descriptor_that_the_sender_does_not_hold(page):
    lib.xp_direct_arm(page.ends[1])
    assert lib.xp_direct_send(page.ends[0]) == EAGAIN
    assert page.half[1].pending == 1


# ---- a hostile peer ----


@pytest.mark.parametrize("value", [3, 7, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_bogus_sleep_value_is_the_owners_own_loss(page, value):
    page.half[1].sleep = value
    assert lib.xp_direct_send(page.ends[0]) == 0
    assert lib.xp_direct_take(page.ends[1]) == 1


@pytest.mark.parametrize("value", [2, 0x80000000, 0xFFFFFFFF])
def test_any_pending_value_is_an_event(page, value):
    page.half[1].pending = value
    assert lib.xp_direct_send(page.ends[0]) == 0
    assert lib.xp_direct_wait(page.ends[1], BLOCK, SECOND) == 0
    assert lib.xp_direct_take(page.ends[1]) == 0


@pytest.mark.parametrize("word", ["sleep", "waiting"])
def test_a_stolen_wake_ends_at_the_deadline(page, word):
    waiter = Waiter(page, 1, timeout_ns=3 * SECOND // 10).asleep()
    if word == "sleep":
        page.half[1].sleep = lib.XP_AWAKE
    else:
        page.half[1].sem.waiting = 0
    lib.xp_direct_send(page.ends[0])
    assert waiter.result() == 0  # the event is there when the deadline comes
    assert 0.25 < waiter.took < 5


def test_a_flood_of_wakes_is_borne_up_to_the_budget(page):
    waiter = Waiter(page, 1, timeout_ns=30 * SECOND)
    word = ffi.addressof(page.half[1].sem, "count")
    while waiter.is_alive():
        lib.xp_futex_wake(word, 1)
    assert waiter.result() == EILSEQ


def test_a_flood_of_posts_without_events_is_borne_up_to_the_budget(page):
    waiter = Waiter(page, 1, timeout_ns=30 * SECOND)
    while waiter.is_alive():
        lib.xp_sem_post(ffi.addressof(page.half[1].sem))
    assert waiter.result() == EILSEQ
    assert page.ends[1].slept > lib.XP_SPURIOUS_BUDGET
    # It starts afresh: the next honest event arrives.
    lib.xp_direct_send(page.ends[0])
    assert lib.xp_direct_wait(page.ends[1], BLOCK, SECOND) == 0


def test_lying_about_the_cpu_only_costs_time(page):
    for cpu in (*range(1, os.cpu_count() + 1), 0xFFFFFFFF):
        page.half[1].cpu = cpu
        assert lib.xp_direct_wait(page.ends[0], POLL, SECOND // 100) == ETIMEDOUT
        lib.xp_direct_send(page.ends[1])
        assert lib.xp_direct_wait(page.ends[0], POLL, SECOND) == 0


# ---- spinning ----


def pinned(cpu, call):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        return call()
    finally:
        os.sched_setaffinity(0, before)


def test_nobody_spins_against_a_peer_on_his_own_cpu(page):
    cpu = min(os.sched_getaffinity(0))
    page.half[1].cpu = cpu + 1
    end = page.ends[0]

    def spend():
        begin = time.thread_time()
        assert lib.xp_direct_wait(end, ADAPTIVE, SECOND // 5) == ETIMEDOUT
        return time.thread_time() - begin

    assert pinned(cpu, spend) < 0.01
    assert (end.slept, end.waiter.near) == (1, 1)
    page.half[1].cpu = 0        # unknown: it may be elsewhere
    end.waiter.backoff = 0
    pinned(cpu, spend)
    assert (end.slept, end.waiter.near) == (2, 0)
    assert page.half[0].cpu == cpu + 1


def test_spinning_backs_off_when_it_does_not_pay_and_comes_back_when_it_does(page):
    end = page.ends[0]
    page.half[1].cpu = 0  # nobody knows where the peer is
    waiter = end.waiter
    fails = []
    for _ in range(40):
        assert lib.xp_direct_wait(end, ADAPTIVE, 10**6) == ETIMEDOUT
        fails.append(waiter.fails)
    # Spins at waits 1, 4, 9, 18, 35: between them 2, 4, 8, 16 waits sleep at once.
    assert [fails.index(n) + 1 for n in range(1, 6)] == [1, 4, 9, 18, 35]
    waiter.backoff = 0

    def peer():
        for _ in range(200):
            lib.xp_direct_wait(page.ends[1], POLL, SECOND)
            lib.xp_direct_send(page.ends[1])

    thread = threading.Thread(target=peer)
    thread.start()
    for _ in range(200):
        lib.xp_direct_send(end)
        assert lib.xp_direct_wait(end, POLL, SECOND) == 0
    thread.join(10)
    assert waiter.fails == 0
