"""The histogram in C against the HdrHistogram package and against sorting."""

import array
import math
import os
import struct

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from xenproc.bench import hdr
from xenproc.bench.hist import Hist
from xenproc.native import ffi, lib

EDGES = [2047, 2048, 4095, 4096, 10_000_000_000]
NS = st.one_of(st.integers(0, 5000), st.integers(0, 10_000_000_000), st.sampled_from(EDGES))
PERCENTS = (0, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100)


def filled(values):
    hist = Hist()
    hist.record_many(array.array("q", values))
    return hist


def test_length_and_every_index_agree_with_the_package():
    theirs = HdrHistogram(1, 10_000_000_000, 3)
    assert theirs.counts_len == lib.XP_HIST_LEN
    for index in range(lib.XP_HIST_LEN):
        low = theirs.get_value_from_index(index)
        assert lib.xp_hist_lowest(index) == low
        assert lib.xp_hist_highest(index) == theirs.get_highest_equivalent_value(low)


@given(st.lists(NS, min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_counts_and_percentiles_are_hdrhistograms(values):
    theirs = HdrHistogram(1, 10_000_000_000, 3)
    for value in values:
        assert theirs.record_value(value)
    ours = filled(values)
    assert list(ours.c.count) == list(theirs.counts)
    for percent in PERCENTS:
        assert ours.percentile(percent) == min(theirs.get_value_at_percentile(percent), max(values))


@given(st.lists(NS, min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_quantile_is_within_a_step_of_the_sorted_value(values):
    hist, ordered = filled(values), sorted(values)
    for percent in PERCENTS:
        rank = min(max(int(percent * len(values) / 100 + 0.5), 1), len(values))
        exact = ordered[rank - 1]
        assert abs(hist.quantile(percent) - exact) <= max(0.5, exact / 1024)
    assert math.isclose(hist.mean(), sum(values) / len(values), rel_tol=1 / 1024, abs_tol=0.5)


def test_quantile_tells_medians_apart_that_share_a_nanosecond():
    low, high = filled([119] * 90 + [120] * 110), filled([119] * 50 + [120] * 150)
    assert low.percentile(50) == high.percentile(50) == 120
    assert 119.5 <= low.quantile(50) < high.quantile(50) <= 120.5


def test_what_is_too_long_is_counted_not_dropped():
    hist = filled([10_000_000_001, 1 << 60, -5])
    assert (len(hist), hist.over, hist.max_ns, hist.min_ns) == (3, 2, 1 << 60, 0)
    assert sum(hist.c.count) == 3
    assert hist.percentile(50) >= 10_000_000_000


def test_empty():
    hist = Hist()
    assert (len(hist), hist.max_ns, hist.min_ns) == (0, 0, 0)
    assert hist.percentile(50) == hist.quantile(50) == hist.mean() == 0
    assert list(hist.steps()) == []


@given(st.lists(NS, max_size=50), st.lists(NS, max_size=50))
@settings(max_examples=30, deadline=None)
def test_merge_and_pack_keep_everything(left, right):
    merged, whole = filled(left), filled(left + right)
    merged.merge(filled(right))
    for other in (merged, Hist.unpack(whole.pack())[0], whole.copy()):
        assert ffi.buffer(other.c)[:] == ffi.buffer(whole.c)[:]


LIES = {
    "empty": b"",
    "cut": filled([1, 2]).pack()[:-1],
    "steps": struct.pack("<QQQI", 0, 0, 0, 25601),
    "index": struct.pack("<QQQIHI", 0, 0, 0, 1, 25600, 1),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_packed_histogram_is_not_believed(lie):
    with pytest.raises(ValueError):
        Hist.unpack(LIES[lie])


def test_what_follows_a_packed_histogram_is_handed_back():
    hist, rest = Hist.unpack(filled([5]).pack() + b"more")
    assert (len(hist), rest) == (1, b"more")


def test_forked_party_records_into_the_same_memory():
    hist = Hist()
    pid = os.fork()
    if pid == 0:
        hist.record(1234)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (len(hist), hist.max_ns) == (1, 1234)


def test_log_is_read_back_by_the_package(tmp_path):
    hists = {"ring c, poll": filled([100, 120, 120, 5_000_000]), "pipe": filled([57_000])}
    hdr.write_log(tmp_path / "x.hlog", hists, 1_700_000_000.0, 1_700_000_002.5, ("xenproc bench",))
    reader = HistogramLogReader(str(tmp_path / "x.hlog"), HdrHistogram(1, 10_000_000_000, 3))
    first, second = reader.get_next_interval_histogram(), reader.get_next_interval_histogram()
    assert reader.get_next_interval_histogram() is None
    assert reader.get_start_time_sec() == 1_700_000_000.0
    assert (first.get_tag(), second.get_tag()) == ("ring_c+_poll", "pipe")
    assert first.get_total_count() == 4 and first.get_count_at_value(120) == 2
    assert second.get_value_at_percentile(50) // 100 == 570


def test_the_counter_keeps_time():
    tick = ffi.new("struct xp_tick *")
    assert lib.xp_tick_calibrate(tick, 5_000_000) == 0
    mhz = (1 << 32) / tick.mult * 1000
    assert 100 < mhz < 20_000
    again = ffi.new("struct xp_tick *")
    assert lib.xp_tick_calibrate(again, 5_000_000) == 0
    assert math.isclose(tick.mult, again.mult, rel_tol=0.01)
