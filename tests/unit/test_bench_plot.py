"""The picture of latencies and the curve it draws."""

from xenproc.bench import plot
from xenproc.bench.hist import Hist


def test_plot_is_a_picture(tmp_path):
    hist = Hist()
    for ns in (100, 110, 120, 5000):
        hist.record(ns)
    plot.write_png(tmp_path / "x.png", {"a": hist, "empty": Hist()}, "title")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_curve_rises_and_ends_at_the_maximum():
    hist = Hist()
    for ns in (100, 100, 200, 9_999_999):
        hist.record(ns)
    xs, ys = plot.curve(hist)
    assert xs == sorted(xs) and ys == sorted(ys)
    assert (xs[0], xs[1], ys[0]) == (1.0, 2.0, 0.1)
    assert (xs[-1], ys[-1]) == (4.0, 9999.999)
