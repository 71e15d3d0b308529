"""`xenproc bench NAME`: runs one benchmark, prints its report, and writes histograms and a picture on request.

The command line finds this module by its name (xenproc/cli/main.py): nothing there imports measurements.
"""

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from xenproc.errors import ConfigError

# name -> (module with suite(plan), one line of help)
SUITES = {
    "ring": ("xenproc.bench.ring", "Request and response over a ring, in C and from Python; throughput; channels."),
    "event": ("xenproc.bench.event", "An event there and back."),
    "hypercall": ("xenproc.bench.hypercall", "The smallest hypercall, blocking and spinning."),
    "time": ("xenproc.bench.clock", "Reading a domain's clock; a record of a trace."),
    "create": ("xenproc.bench.create", "From create until the guest's first line, locked down."),
    "idle": ("xenproc.bench.idle", "What hundreds of idle domains cost the others, the hypervisor, and in memory."),
    "memory": ("xenproc.bench.memory", "Grants mapped and unmapped; pages moved by transfer against copied."),
    "mmu": ("xenproc.bench.mmu", "Validated page-table writes, batched and single; pinning; frames given and protected."),
    "kernel": ("xenproc.bench.kernel", "The small guest kernel: the paper's Tables 3 to 5, beside Linux; fork, validated and not."),
    "tlb": ("xenproc.bench.tlb", "Translation by the MMU: hits, walks, loads; what flushes its TLB."),
    "bvt": ("xenproc.bench.bvt", "Shares, lag and wake-ups under Borrowed Virtual Time; what the scheduler costs."),
    "vchan": ("xenproc.bench.channel", "Messages through a channel, against Pipe and a Unix socket."),
}

OPTIONS = (
    click.option("--mode", type=click.Choice(["poll", "adaptive", "block"]), help="Only this way of waiting; default: all."),
    click.option("--rounds", type=click.IntRange(1, 10_000), default=20, show_default=True,
                 help="Interleaved rounds; an interval needs 6 or more."),
    click.option("--trips", type=click.IntRange(1, 10_000_000), help="Operations a round; default: what 20 ms hold."),
    click.option("--size", type=click.IntRange(16, 1024), default=16, show_default=True,
                 help="Bytes of a request and of a response, in eights."),
    click.option("--batch", type=click.IntRange(1, 64), default=32, show_default=True, help="Requests a batch."),
    click.option("--rate", type=click.IntRange(1, 200_000), default=10_000, show_default=True,
                 help="Requests a second of the case at a fixed rate (ring)."),
    click.option("--domains", type=click.IntRange(2, 4000), default=500, show_default=True, help="Idle domains (idle)."),
    click.option("--sets", type=click.IntRange(1, 4096), default=64, show_default=True, help="Sets of the MMU's TLB (tlb)."),
    click.option("--ways", type=click.IntRange(1, 16), default=4, show_default=True, help="Ways of each (tlb)."),
    click.option("--placement", default="auto", show_default=True, metavar="one|two|free|A,B|auto",
                 help="CPUs of the two parties; auto: polling on two, blocking on one and on two."),
    click.option("--isolation", type=click.Choice(["auto", "enforced", "cooperative"]), default="auto", show_default=True),
    click.option("--cooperative", is_flag=True, help="Measure without enforcement beside, as an extra column."),
    click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object."),
    click.option("--hdr", type=click.Path(dir_okay=False), metavar="FILE", help="Write the histograms as an HdrHistogram log."),
    click.option("--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Write a picture (PNG) of the latencies."),
    click.option("-q", "--quiet", is_flag=True, help="No progress."),
)


@click.group()
def bench() -> None:
    """Measure, beside the limits and peers of the same run (docs/measuring.md)."""


def _command(name: str, module: str, text: str) -> click.Command:
    def run(as_json: bool, hdr: str | None, plot: str | None, quiet: bool, **asked: Any) -> None:
        measure(name, module, asked, as_json, hdr, plot, quiet)

    for option in reversed(OPTIONS):
        run = option(run)
    return click.command(name, help=text)(run)


for _name, (_module, _text) in SUITES.items():
    bench.add_command(_command(_name, _module, _text))


def measure(
    name: str, module: str, asked: dict[str, Any], as_json: bool, hdr: str | None, plot: str | None, quiet: bool
) -> None:
    """Run one benchmark as asked. Raises ConfigError, EnvironmentLacks, and OSError for a file that cannot be written."""
    from xenproc.bench import report, suite
    from xenproc.bench.case import BenchError
    from xenproc.bench.runner import run

    for path in (hdr, plot):
        _writable(path)
    try:
        plan = suite.Plan(**asked)
        suite.check(plan)
        made = importlib.import_module(module).suite(plan)
    except BenchError as error:
        raise ConfigError(f"bench {name}: {error}") from None
    with _progress(f"bench {name}", quiet) as tell:
        result = run(made.entries, plan.rounds, tell)
    built = report.build(name, result, made.ratios, made.missing)
    if made.paper:
        built["paper"] = report.beside_paper(built, made.paper)
    click.echo(json.dumps(built, indent=2, ensure_ascii=False) if as_json else text_of(built))
    hists = {
        entry.key: whole
        for entry in result.entries
        if len(whole := report.merged(result.samples.get(entry.key, [])))
    }
    if hdr:
        from xenproc.bench.hdr import write_log

        comments = tuple(f"{key}: {value}" for key, value in built["machine"].items())
        write_log(hdr, hists, result.started_s, result.ended_s, (f"xenproc bench {name}, ns", *comments))
    if plot:
        from xenproc.bench.plot import write_png

        write_png(plot, hists, f"xenproc bench {name}")


def _writable(path: str | None) -> None:
    """Find out before an hour of measuring, not after it."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise ConfigError(f"{path}: cannot be written")


@contextlib.contextmanager
def _progress(what: str, quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar on a terminal's standard error, else nothing."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    parts = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}")
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, text="")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)


# ---- the report as text ----

HEAD = ("case", "wait", "place", "isolation", "p50", "95% of p50", "p99", "p99.9", "max", "unit", "n", "stalled")


PAPER_HEAD = ("", "paper's", "here", "Linux", "times", "paper: Linux", "Xen", "times")


def text_of(report: dict[str, Any]) -> str:
    """Return a report for people: tables of results, limits, peers; ratios with their targets; what is missing."""
    machine = report["machine"]
    where = f"{machine['cpus']} CPUs, {machine['model']}, Linux {machine['kernel']}, xenproc {machine['commit']}"
    parts = [f"bench {report['bench']}: {where}"]
    for title, rows in (
        ("results", report["results"]),
        ("limits", list(report["limits"].values())),
        ("peers", list(report["peers"].values())),
    ):
        if rows:
            parts.append(f"{title}\n{_table(HEAD, [_row(row) for row in rows], left=4)}")
    if "paper" in report:
        parts.append(f"beside the paper, us\n{_table(PAPER_HEAD, [_beside(row) for row in report['paper']], left=2)}")
    if report["ratios"]:
        parts.append(f"ratios\n{_table(('', 'value', '95%', 'target', ''), [_ratio(report, k) for k in report['ratios']])}")
    if report["missing"]:
        lines = [f"  {name}: {reason}" for name, reason in report["missing"].items()]
        parts.append("missing\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _beside(row: dict[str, Any]) -> tuple[str, ...]:
    keys = ("here", "linux", "times", "paper_linux", "paper_xen", "paper_times")
    return row["row"], row["table"], *(_number(row[key]) for key in keys)


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = [_number(row[key]) for key in ("p99", "p999", "max")]
    stalled = f"{row['stalled']:.1%}" if "stalled" in row else ""
    start = row["case"], row["mode"], row["placement"], row["isolation"] or "", _number(row["p50"])
    return (*start, _interval(row["ci95"]), *numbers, row["unit"], f"{row['n']:,}", stalled)


def _ratio(report: dict[str, Any], name: str) -> tuple[str, ...]:
    target = report["targets"].get(name)
    bound, met = "", ""
    if target is not None:
        bound = f"<= {target['at_most']:g}" if "at_most" in target else f">= {target['at_least']:g}"
        met = "met" if target["met"] else "missed"
    return name, _number(report["ratios"][name]), _interval(report["intervals"][name]), bound, met


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{_number(ends[0])} .. {_number(ends[1])}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], left: int = 1) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)
