"""The arithmetic of vcpu_time_info against exact fractions: within what 32 bits of slope can hold, and never backwards."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from model.timescale import Scale

from xenproc.native import ffi, lib

HZ = st.one_of(st.sampled_from([10**6, 10**9, 2_500_000_000, 2**32, 10**11]), st.integers(10**6, 10**11))
SPAN_NS = st.integers(10**7, 10**12)
TSC = st.integers(0, 2**62)


def scale_of(hz, span_ns, tsc=0, ns=0):
    ticks = max(1, hz * span_ns // 10**9)
    scale = ffi.new("struct xp_timescale *", {"tsc": tsc, "ns": ns})
    lib.xp_timescale_slope(scale, ticks, span_ns)
    return scale, ticks


@given(HZ, SPAN_NS)
def test_a_slope_has_all_its_bits(hz, span_ns):
    scale, ticks = scale_of(hz, span_ns)
    held = Fraction(scale.mul, 2**32) * Fraction(2) ** scale.shift
    assert 2**31 <= scale.mul < 2**32
    assert 0 <= Fraction(span_ns, ticks) / held - 1 < Fraction(1, 2**30)


@given(HZ, SPAN_NS, TSC, st.integers(0, 2**60), st.integers(0, 3600))
def test_reading_agrees_with_the_model(hz, span_ns, tsc, ns, seconds):
    scale, ticks = scale_of(hz, span_ns, tsc, ns)
    later = tsc + hz * seconds
    exact = Scale(tsc, Fraction(ns), Fraction(span_ns, ticks)).read(later)
    # a tick may be lost by a shift to the right, and a ns by rounding down
    assert 0 <= exact - lib.xp_timescale_read(scale, later) <= 2 + Fraction(10**9, hz) * 2 ** max(0, -scale.shift) + (exact - ns) / 2**30


@given(HZ, SPAN_NS, st.integers(0, 2**62))
def test_before_the_beginning_it_stands_still(hz, span_ns, back):
    scale, _ = scale_of(hz, span_ns, 2**62, 12345)
    assert lib.xp_timescale_read(scale, 2**62 - back) == 12345


@settings(max_examples=300)
@given(HZ, st.lists(st.tuples(st.integers(1, 20 * 10**9), st.integers(-(10**7), 10**7), st.integers(-500, 500)), max_size=12))
def test_following_never_goes_back_and_comes_right(hz, steps):
    """True time is told again and again, each time off by some ns and some ppm: the reader's time only goes forward."""
    scale, ticks = scale_of(hz, 10**9)
    model, tsc = Scale(0, Fraction(0), Fraction(10**9, ticks)), 0
    for gap_ns, off_ns, ppm in steps:
        tsc += max(1, hz * gap_ns // 10**9)
        true = max(0, tsc * 10**9 // hz + off_ns)
        before = lib.xp_timescale_read(scale, tsc)
        span = 10**9 + 10**9 * ppm // 10**6
        lib.xp_timescale_follow(scale, tsc, true, ticks, span)
        model = model.follow(tsc, true, Fraction(span, ticks))
        assert lib.xp_timescale_read(scale, tsc) == max(before, true)
        assert lib.xp_timescale_read(scale, tsc + hz // 10) >= before
        for seconds in (0, 1, 3):
            at = tsc + hz * seconds
            # rounding adds up over the steps: each may lose some ns, and shift the slope by 2^-30
            assert abs(model.read(at) - lib.xp_timescale_read(scale, at)) <= 2000 + 100 * seconds


@given(HZ, st.integers(1, 10**8))
def test_ahead_it_is_right_after_a_second(hz, ahead):
    """Slowed down just so much that a second later it meets true time."""
    scale, ticks = scale_of(hz, 10**9, 0, 10**10 + ahead)
    lib.xp_timescale_follow(scale, 0, 10**10, ticks, 10**9)
    assert abs(lib.xp_timescale_read(scale, hz) - 11 * 10**9) <= 2000 + 10**9 // hz * 4
