"""HdrHistogram interval logs (format 1.2, V2 compressed): what Java's, C's and JavaScript's viewers read.

One line a case, tagged with its name. Needs the package hdrhistogram, which is imported only here.
"""

from collections.abc import Mapping
from pathlib import Path

from xenproc.bench.hist import Hist
from xenproc.errors import EnvironmentLacks
from xenproc.native import lib


def to_hdr(hist: Hist):
    """Return the same counts as an `hdrh.histogram.HdrHistogram`.

    Raises EnvironmentLacks without the package.
    """
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as error:
        need = "an HdrHistogram file needs the package hdrhistogram (pip install 'xenproc[bench]')"
        raise EnvironmentLacks(f"{need}: {error}") from error
    made = HdrHistogram(1, lib.XP_HIST_HIGHEST, 3)
    for low, _, count in hist.steps():
        made.record_value(low, count)
    return made


def write_log(
    path: str | Path, hists: Mapping[str, Hist], start_s: float, end_s: float, comments: tuple[str, ...] = ()
) -> None:
    """Write one interval line for each case's histogram, each from start_s to end_s (epoch seconds).

    Raises EnvironmentLacks without the package, OSError if the file cannot be written.
    """
    made = {name: to_hdr(hist) for name, hist in hists.items()}
    from hdrh.log import HistogramLogWriter

    with open(path, "w", encoding="utf-8") as file:
        log = HistogramLogWriter(file)
        log.output_log_format_version()
        for comment in comments:
            log.output_comment(comment)
        # Its output_start_time() raises AttributeError (0.10.8), and so the line is written here.
        file.write(f"#[StartTime: {start_s:.6f} (seconds since epoch)]\n")
        log.output_base_time(start_s * 1000)
        log.output_legend()
        for name, hist in made.items():
            # A tag ends at the first comma, and blanks end it for some readers.
            file.write(f"Tag={name.replace(',', '+').replace(' ', '_')},")
            # 0 would mean "the histogram's own stamp"; the interval starts with the log.
            log.output_interval_histogram(hist, 1e-6, end_s - start_s)
