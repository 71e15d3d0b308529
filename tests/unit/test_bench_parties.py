"""Limits and peers with real processes: they answer, check, fail with a reason, and leave nothing."""

import os
import select
import signal
import struct
import sys
import time

import benched
import pytest

from xenproc.bench import limits, messages, peers
from xenproc.bench.case import BenchError
from xenproc.bench.hist import Hist
from xenproc.bench.party import Ends, PairCase
from xenproc.bench.placement import Placement, resolve, usable
from xenproc.native import lib

TWO = resolve("two") if len(usable()) > 1 else resolve("one")
ONE = resolve("one")


def measured(ends, placement, n, strides=False, limit_s=20.0):
    return benched.measured(PairCase(ends, strides=strides, limit_s=limit_s), n, placement)


@pytest.mark.parametrize("same", [False, True])
def test_cache_line(same):
    sample = measured(limits.CacheLine(same), TWO, 2000)
    assert len(sample.hist) == 2000 and sample.fast is None
    assert 10 < sample.middle() < 5_000_000


def test_more_spinners_than_cpus_are_slow_not_dead():
    sample = measured(limits.CacheLine(), ONE, 20)
    assert len(sample.hist) == 20
    assert sample.hist.quantile(50) < 50_000_000


@pytest.mark.parametrize("placement", [ONE, TWO], ids=["one", "two"])
def test_semaphore(placement):
    sample = measured(limits.Semaphore(), placement, 500)
    assert len(sample.hist) == 500 and sample.fast is None
    assert 500 < sample.middle() < 50_000_000


def test_the_limits_loops_refuse_a_stride_of_nothing():
    ends = limits.CacheLine()
    ends.open()
    hist = Hist()
    assert lib.xp_bench_lines_client(ends._lines, 1, 0, 0, 1, ends._tick, hist.c) == -22


def test_a_limits_server_without_a_client_ends_by_its_time_limit():
    ends = limits.CacheLine()
    ends.open()
    assert lib.xp_bench_lines_server(ends._lines, 1, 0, 1_000_000) == -110


@pytest.mark.parametrize("mode", ["poll", "block"])
@pytest.mark.parametrize("name", sorted(peers.PEERS))
def test_peer_round_trips(name, mode):
    sample = measured(peers.PEERS[name](mode, size=64), TWO, 100, strides=mode == "poll")
    assert len(sample.hist) == 100
    assert sample.hist.min_ns > 300, "a round trip between two Python processes cannot be this short"
    assert (sample.fast is not None) == (mode == "poll")


@pytest.mark.parametrize("size", [64, 4096, 1 << 20])
@pytest.mark.parametrize("name", ["pipe", "unix", "zmq"])
def test_peer_throughput(name, size):
    sample = measured(peers.PEERS[name]("block", size, pour=True), TWO, 8)
    assert sample.hist is None and 0.01 < sample.value < 1e6


@pytest.mark.parametrize("name", ["iceoryx2", "posix_ipc"])
def test_what_a_peer_cannot_do_it_says(name):
    with pytest.raises(BenchError, match=name):
        measured(peers.PEERS[name]("block", 64, pour=True), TWO, 8)


@pytest.mark.parametrize(
    "name, module", [("zmq", "zmq"), ("iceoryx2", "iceoryx2"), ("posix_ipc", "posix_ipc")]
)
def test_a_package_that_is_not_there_is_a_reason(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BenchError, match="not installed"):
        measured(peers.PEERS[name](), TWO, 8)


def test_what_a_killed_benchmark_left_is_swept(tmp_path):
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    stale, live = tmp_path / f"xenproc.{dead}.bench.x", tmp_path / f"xenproc.{os.getpid()}.bench.x"
    others = tmp_path / "xenproc.notes.bench.txt"
    for path in (stale, live, others):
        path.mkdir()
    (stale / "inside").touch()
    peers._sweep(tmp_path)
    assert (stale.exists(), live.exists(), others.exists()) == (False, True, True)


def test_a_message_smaller_than_its_number_is_refused():
    with pytest.raises(BenchError, match="at least 16 bytes"):
        measured(peers.Pipe(size=8), TWO, 8)


@pytest.mark.parametrize("lie", [(1, 0), (0, 1), (-1, 0)], ids=["number", "value", "stale"])
def test_a_wrong_answer_is_noticed(lie):
    asked = []

    def receive():
        number, value = struct.unpack("<QQ48x", asked[-1])
        wrong = (number + lie[0], value + 1 + lie[1])
        return struct.pack("<QQ48x", *(wrong if number == 3 else (number, value + 1)))

    loop = messages.asking(asked.append, receive, 64)
    hist = Hist()
    loop(3, 1, hist)
    assert len(hist) == 3
    with pytest.raises(BenchError, match="request 3 was answered"):
        loop(1, 1, hist)


def test_a_server_and_a_drain_notice_what_is_lost_doubled_or_torn():
    def message(i, tail=None):
        text = bytearray(struct.pack("<QQ48x", i, i ^ messages.KEY))
        struct.pack_into("<Q", text, 56, i if tail is None else tail)
        return text

    def answers(arrivals):
        feed = iter(arrivals)
        return messages.answering(lambda data: None, lambda: next(feed), 64)

    def drains(arrivals):
        feed = iter(arrivals)
        return messages.draining(lambda data: None, lambda: next(feed), 64)

    for make in (answers, drains):
        make([message(0), message(1)])(2)
        for bad in ([message(1)], [message(0), message(0)]):
            with pytest.raises(BenchError, match="arrived as"):
                make(bad)(len(bad))
    with pytest.raises(BenchError, match="torn"):
        drains([message(0, tail=9)])(1)
    with pytest.raises(BenchError, match="bytes of 64"):
        drains([message(0)[:60]])(1)


def test_strides_hold_means_and_the_short_last_one_does_not_count():
    now = iter(range(0, 10_000_000, 1000))

    def loop(n, stride):
        hist = Hist()
        answers = []
        client = messages.asking(
            lambda data: answers.append(struct.pack("<QQ48x", *_mirror(data))), lambda: answers.pop(), 64
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "perf_counter_ns", lambda: next(now))
            client(n, stride, hist)
        return hist

    assert [(low, count) for low, _, count in loop(10, 4).steps()] == [(250, 2)]
    assert [(low, count) for low, _, count in loop(3, 4).steps()] == [(333, 1)]
    assert len(loop(5, 1)) == 5


def _mirror(data):
    number, value = struct.unpack("<QQ48x", data)
    return number, value + 1


class Broken(Ends):
    """Ends whose server does something bad in its first round."""

    name = "broken"

    def __init__(self, deed, at_start=False):
        self.deed, self.at_start = deed, at_start

    def client(self):
        return lambda n, stride, hist: None

    def server(self):
        if self.at_start:
            self.deed()
        return lambda n: self.deed()


class Stuck(Ends):
    """Ends that never finish a round."""

    name = "stuck"

    def client(self):
        return lambda n, stride, hist: signal.pause()

    def server(self):
        return lambda n: signal.pause()


def raise_value_error():
    raise ValueError("of a kind")


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize(
    "deed, match",
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "server died"),
        (raise_value_error, "server failed: ValueError: of a kind"),
        (lambda: sys.exit(3), "server failed: SystemExit: 3"),
    ],
    ids=["killed", "raised", "exited"],
)
def test_a_party_that_ends_is_a_reason(deed, match, at_start):
    with pytest.raises(BenchError, match=match):
        measured(Broken(deed, at_start), ONE, 1)


def test_a_party_that_hangs_is_given_up_and_killed():
    with pytest.raises(BenchError, match=r"the server did not finish 1 operations within 0\.2 s"):
        measured(Broken(signal.pause), ONE, 1, limit_s=0.2)


def test_parties_are_where_the_placement_says():
    class Where(Ends):
        name = "where"

        def client(self):
            return lambda n, stride, hist: float(sum(1 << cpu for cpu in os.sched_getaffinity(0)))

        def server(self):
            return lambda n: None

    first, last = usable()[0], usable()[-1]
    assert measured(Where(), Placement("x", (last, first)), 1).value == 1 << last
    assert measured(Where(), Placement("free"), 1).value == sum(1 << cpu for cpu in usable())


def test_parties_die_with_their_parent():
    """kill -9 of whoever measures takes both parties with it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        case = PairCase(Stuck())
        case.start(ONE)
        # Busy, so that they do not see their sockets close.
        case._parties[0].tell({"n": 1, "server": True})
        case._parties[1].tell({"n": 1, "stride": 1})
        os.write(write, struct.pack("2i", *(party.pid for party in case._parties)))
        signal.pause()
    try:
        os.close(write)
        parties = struct.unpack("2i", os.read(read, 8))
        watches = [os.pidfd_open(party) for party in parties]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
    for watch in watches:
        assert select.select([watch], [], [], 5.0)[0], "a party outlived its parent"
        os.close(watch)
