"""The runner and the report with cases that only pretend."""

import pytest

from xenproc.bench import report
from xenproc.bench.case import BenchError, Sample
from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement, resolve
from xenproc.bench.report import Ratio
from xenproc.bench.runner import Entry, run

ONE = Placement("one", (0, 0))


class Fake:
    """A case whose rounds take `ns`, and that fails in round `fails` (0: at start)."""

    isolation = None

    def __init__(self, ns=1000.0, fails=None, rate=False, log=None, name="", fast_ns=None):
        self.ns, self.fails, self.rate, self.fast_ns = ns, fails, rate, fast_ns
        self.log = [] if log is None else log
        self.name = name
        self.calls = 0

    def start(self, placement):
        self.log.append(("start", self.name))
        if self.fails == 0:
            raise BenchError("no such thing here")

    def round(self, n):
        self.calls += 1
        self.log.append(("round", self.name))
        if self.fails == self.calls:
            raise BenchError("broke in the middle")
        if self.rate:
            return Sample(n, value=self.ns)
        hist, fast = Hist(), None
        hist.record(int(self.ns))
        hist.record(int(self.ns))
        if self.fast_ns:
            fast = Hist()
            fast.record(int(self.fast_ns))
        return Sample(n, hist=hist, fast=fast)

    def stop(self):
        self.log.append(("stop", self.name))


def entry(name, case, kind="own", **more):
    return Entry(name, kind, case, ONE, n=10, **more)


def test_rounds_are_interleaved_and_everyone_is_stopped():
    log = []
    entries = [entry(name, Fake(log=log, name=name)) for name in "abc"]
    result = run(entries, rounds=4)
    assert {key: len(samples) for key, samples in result.samples.items()} == {
        f"{name}/block/one": 4 for name in "abc"
    }
    rounds = [name for what, name in log if what == "round"][3:]
    assert [sorted(rounds[i : i + 3]) for i in range(0, 12, 3)] == [list("abc")] * 4
    assert len({tuple(rounds[i : i + 3]) for i in range(0, 12, 3)}) > 1, "the order never changes"
    assert sorted(name for what, name in log if what == "stop") == list("abc")


def test_a_failing_case_is_missing_with_its_reason_and_the_others_go_on():
    entries = [
        entry("absent", Fake(fails=0), kind="peer"),
        entry("breaks", Fake(fails=3), kind="limit"),
        entry("works", Fake()),
    ]
    result = run(entries, rounds=5)
    built = report.build("x", result, [Ratio("r", (("works/block/one", "breaks/block/one"),), at_most=1)])
    assert built["missing"]["absent/block/one"] == "no such thing here"
    assert built["missing"]["breaks/block/one"] == "broke in the middle"
    assert "broke in the middle" in built["missing"]["r"]
    assert (built["limits"], built["peers"], built["ratios"], built["targets"]) == ({}, {}, {}, {})
    assert [row["case"] for row in built["results"]] == ["works"]
    assert all(e.case.log[-1][0] == "stop" for e in entries)


def test_an_unexpected_error_stops_everything_and_is_not_hidden():
    log = []
    bad = Fake(log=log, name="bad")
    bad.round = lambda n: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run([entry("good", Fake(log=log, name="good")), entry("bad", bad)], rounds=2)
    assert [what for what in log if what[0] == "stop"] == [("stop", "bad"), ("stop", "good")]


def test_more_spinners_than_cpus_only_on_purpose():
    case = Fake()
    refused = Entry("spin", "own", case, ONE, mode="poll", spinners=2, n=1)
    crowd = Entry("crowd", "own", Fake(), ONE, mode="poll", spinners=2, crowded=True, n=1)
    result = run([refused, crowd], rounds=1)
    assert "need as many CPUs" in result.missing["spin/poll/one"]
    assert ("start", "") not in case.log
    assert len(result.samples["crowd/poll/one"]) == 1


def test_two_entries_cannot_share_a_key():
    with pytest.raises(ValueError, match="share a key"):
        run([entry("a", Fake()), entry("a", Fake())], rounds=1)


def test_the_length_of_a_round_is_found_by_itself():
    class Slow(Fake):
        def round(self, n):
            self.n = n
            return super().round(n)

    case = Slow()
    run([Entry("s", "own", case, ONE)], rounds=1)
    assert 64 < case.n <= 1_000_000, "a round that takes no time should have grown"


def test_a_row_has_every_field_and_microseconds():
    case = Fake(ns=120_000, fast_ns=100_000)
    case.isolation = "enforced"
    built = report.build("ring", run([entry("ring_py", case)], rounds=6))
    (row,) = built["results"]
    wanted = {"case", "unit", "n", "placement", "isolation", "p50", "p99", "p999", "max", "ci95"}
    assert wanted <= set(row)
    assert (row["unit"], row["n"], row["placement"], row["isolation"]) == ("us", 60, "one", "enforced")
    assert row["p50"] == 100.0, "medians come from the strides"
    assert row["p99"] == row["max"] == 120.0, "tails from single operations"
    assert row["ci95"] == [100.0, 100.0]
    assert set(built) >= {"bench", "machine", "results", "limits", "peers", "ratios", "missing"}
    assert set(built["machine"]) >= {"cpus", "kernel", "model", "commit"}
    assert built["machine"]["commit"] != ""


def test_too_few_rounds_have_no_interval():
    built = report.build("x", run([entry("a", Fake())], rounds=5))
    assert built["results"][0]["ci95"] is None


def test_a_rate_has_no_percentiles_of_latency():
    built = report.build("x", run([entry("a", Fake(ns=7.5, rate=True), unit="MB/s")], rounds=6))
    (row,) = built["results"]
    assert (row["p50"], row["p99"], row["p999"], row["max"]) == (7.5, None, None, 7.5)


class Wandering(Fake):
    """Rounds of 1, 2, ... times ns."""

    def round(self, n):
        self.calls += 1
        return Sample(n, value=self.ns * self.calls)


def test_a_target_is_met_by_the_far_end_of_the_interval():
    entries = [entry("own", Wandering(ns=1), unit="x"), entry("limit", Fake(ns=10, rate=True), kind="limit")]
    result = run(entries, rounds=20)
    values = sorted(s.value / 10 for s in result.samples["own/block/one"])
    pair = (("own/block/one", "limit/block/one"),)
    top, low = values[-6], values[5]
    built = report.build(
        "x",
        result,
        [
            Ratio("reached", pair, at_most=top),
            Ratio("missed", pair, at_most=top - 0.01),
            Ratio("reached_up", pair, at_least=low),
            Ratio("missed_up", pair, at_least=low + 0.01),
            Ratio("plain", (("own/block/one", None),), scale=2),
        ],
    )
    met = {name: target["met"] for name, target in built["targets"].items()}
    assert met == {"reached": True, "missed": False, "reached_up": True, "missed_up": False}
    assert built["intervals"]["reached"] == [low, top]
    assert low < built["ratios"]["missed"] < top - 0.01, "the middle alone would have passed"
    assert built["ratios"]["plain"] == pytest.approx(20 * built["ratios"]["reached"])


@pytest.mark.parametrize("bound, worst", [({"at_most": 2}, 3.0), ({"at_least": 2}, 1.0)])
def test_the_worst_placement_stands_for_all(bound, worst):
    entries = [
        entry("a", Fake(ns=1, rate=True)),
        entry("b", Fake(ns=3, rate=True)),
        entry("u", Fake(1, rate=True)),
    ]
    pairs = (("a/block/one", "u/block/one"), ("b/block/one", "u/block/one"))
    for order in (pairs, pairs[::-1]):
        built = report.build("x", run(entries, rounds=6), [Ratio("r", order, **bound)])
        assert built["ratios"]["r"] == worst
        assert built["targets"]["r"]["met"] is False


def test_a_ratio_of_something_that_is_not_in_the_run_is_missing():
    built = report.build("x", run([], rounds=1), [Ratio("r", (("gone/poll/two", None),))])
    assert built["missing"]["r"].startswith("gone/poll/two was not measured")
    assert "r" not in built["ratios"]


def test_resolve_names_what_reports_show():
    assert resolve("one").name == "one"
