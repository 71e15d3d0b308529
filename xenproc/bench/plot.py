"""A picture of latencies: each case's percentiles, on the scale of nines that HdrHistogram's users know.

matplotlib is imported only here, and only when a picture is asked for.
"""

from collections.abc import Mapping
from pathlib import Path

from xenproc.bench.hist import Hist
from xenproc.errors import EnvironmentLacks

_TICKS = (
    (0.0, "0"),
    (0.5, "50%"),
    (0.9, "90%"),
    (0.99, "99%"),
    (0.999, "99.9%"),
    (0.9999, "99.99%"),
    (0.99999, "99.999%"),
)


def curve(hist: Hist) -> tuple[list[float], list[float]]:
    """Return the points of a histogram's percentile curve: 1/(1 - share of values below), latency in µs.

    The last value would stand at infinity; it is drawn where one value in all of them stands.
    """
    xs, ys, below = [], [], 0
    total = len(hist)
    for _, high, count in hist.steps():
        latency = min(high, hist.max_ns) / 1000
        for share in (below / total, min(1.0, (below + count) / total)):
            xs.append(min(float(total), 1 / (1 - share)) if share < 1 else float(total))
            ys.append(latency)
        below += count
    return xs, ys


def write_png(path: str | Path, hists: Mapping[str, Hist], title: str) -> None:
    """Draw one line a case into a PNG file.

    Raises EnvironmentLacks without matplotlib, OSError if the file cannot be written.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        need = "a plot needs the package matplotlib (pip install 'xenproc[plot]')"
        raise EnvironmentLacks(f"{need}: {error}") from error
    # The legend stands beside the picture, a line a case.
    figure, axes = pyplot.subplots(figsize=(13, max(5.5, 0.5 + 0.21 * len(hists))), layout="constrained")
    most = 1.0
    for name, hist in hists.items():
        if len(hist):
            xs, ys = curve(hist)
            most = max(most, xs[-1])
            axes.plot(xs, ys, label=f"{name}  (n = {len(hist):,})", linewidth=1.4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    shown = [(share, text) for share, text in _TICKS if 1 / (1 - share) <= most]
    axes.set_xticks([1 / (1 - share) for share, _ in shown], [text for _, text in shown])
    axes.minorticks_off()
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency in µs")
    axes.set_title(title)
    axes.grid(True, which="both", alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.savefig(path, format="png", dpi=120)
    pyplot.close(figure)
