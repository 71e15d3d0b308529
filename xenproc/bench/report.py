"""The one JSON object of a benchmark (DESIGN.md section 11), from a run and the ratios that are asked of it.

`ratios` holds plain numbers. Beside it, `intervals` has each ratio's 95% interval and `targets` what it
must reach and whether it does: with the interval's far end, not with its middle. What could not be measured
is under `missing`.
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from xenproc.bench import stats
from xenproc.bench.case import Sample
from xenproc.bench.hist import Hist
from xenproc.bench.placement import usable
from xenproc.bench.runner import Entry, Run

_US = 1e-3


@dataclass(frozen=True)
class Ratio:
    """A number asked of a run: over/under of two keys round by round, or one key's own number times `scale`.

    With several pairs (the same ratio under several placements) the worst stands for all.
    """

    name: str
    pairs: tuple[tuple[str, str | None], ...]
    at_most: float | None = None
    at_least: float | None = None
    scale: float = 1.0

    def target(self) -> dict | None:
        """Return the bound as it stands in the report, or None."""
        if self.at_most is not None:
            return {"at_most": self.at_most}
        return None if self.at_least is None else {"at_least": self.at_least}

    def met(self, value: float, interval: tuple[float, float] | None) -> bool:
        """Does the far end of the interval (the value itself where there is none) reach the bound?"""
        low, high = interval or (value, value)
        if self.at_most is not None:
            return high <= self.at_most
        return self.at_least is None or low >= self.at_least


def build(bench: str, run: Run, ratios: Sequence[Ratio] = (), missing: dict[str, str] | None = None) -> dict:
    """Return the report as plain JSON values."""
    report: dict = {
        "bench": bench,
        "machine": machine(),
        "results": [],
        "limits": {},
        "peers": {},
        "ratios": {},
        "intervals": {},
        "targets": {},
        "missing": {**(missing or {}), **run.missing},
    }
    for entry in run.entries:
        samples = run.samples.get(entry.key)
        if not samples:
            report["missing"].setdefault(entry.key, "no round was measured")
            continue
        line = row(entry, samples)
        if entry.kind == "own":
            report["results"].append(line)
        else:
            report["limits" if entry.kind == "limit" else "peers"][entry.key] = line
    for ratio in ratios:
        _add_ratio(report, run, ratio)
    return report


def row(entry: Entry, samples: Sequence[Sample]) -> dict:
    """Return one line of results: latencies in µs, or a rate in its unit."""
    line = {
        "case": entry.name,
        "mode": entry.mode,
        "unit": entry.unit,
        "n": sum(sample.n for sample in samples),
        "rounds": len(samples),
        "placement": entry.placement.name,
        "cpus": None if entry.placement.cpus is None else list(entry.placement.cpus),
        "isolation": entry.case.isolation,
    }
    middles = [sample.middle() for sample in samples]
    if samples[0].hist is None:
        middle, interval = stats.summary(middles)
        tail = {"p99": None, "p999": None, "max": _round(max(middles))}
        scale = 1.0
    else:
        each = merged(samples)
        middle, interval = stats.summary(middles)
        scale = _US if entry.unit == "us" else 1.0
        tail = {
            "p99": _round(each.percentile(99) * scale),
            "p999": _round(each.percentile(99.9) * scale),
            "max": _round(each.max_ns * scale),
        }
    ends = None if interval is None else [_round(end * scale) for end in interval]
    line |= {"p50": _round(middle * scale), **tail, "ci95": ends}
    if samples[0].stalled is not None:
        line["stalled"] = _round(stats.summary([sample.stalled or 0.0 for sample in samples])[0])
    return line


def beside_paper(report: dict, paper: dict[str, tuple[str, float, float]]) -> list[dict]:
    """Return a line for each row of the paper: ours and Linux' of this run (None: not measured), the paper's, and both quotients."""
    here = {line["case"]: line["p50"] for line in report["results"]}
    linux = {line["case"].removeprefix("linux_"): line["p50"] for line in report["peers"].values()}

    def line(row: str, table: str, native: float, xen: float) -> dict:
        mine, theirs = here.get(row), linux.get(row)
        times = _round(mine / theirs) if mine is not None and theirs else None
        return {"row": row, "table": table, "here": mine, "linux": theirs, "times": times,
                "paper_linux": native, "paper_xen": xen, "paper_times": _round(xen / native)}

    return [line(row, *numbers) for row, numbers in paper.items()]


def merged(samples: Sequence[Sample]) -> Hist:
    """Return all rounds' single operations in one histogram."""
    whole = Hist()
    for sample in samples:
        if sample.hist is not None:
            whole.merge(sample.hist)
    return whole


def machine() -> dict:
    """Return what a figure depends on: usable CPUs, kernel, CPU model, Python, and which source this is."""
    return {
        "cpus": len(usable()),
        "kernel": platform.release(),
        "model": _cpu_model(),
        "commit": commit(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the source's git commit (with + if it was changed since), or the installed version."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root)]
    try:
        if (root / ".git").exists():
            head = _output([*git, "rev-parse", "--short=12", "HEAD"])
            return head + ("+" if _output([*git, "status", "--porcelain", "-uno"]) else "")
    except (OSError, subprocess.SubprocessError):
        pass        # no git here: the version must do
    try:
        return f"v{metadata.version('xenproc')}"
    except metadata.PackageNotFoundError:
        return "unknown"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def _add_ratio(report: dict, run: Run, ratio: Ratio) -> None:
    """Compute one ratio into the report, or say under `missing` why not."""
    worst: tuple[float, tuple[float, float] | None] | None = None
    for over, under in ratio.pairs:
        for key in (over, under):
            if key is not None and not run.samples.get(key):
                why = report["missing"].get(key, "it is not part of this run")
                report["missing"][ratio.name] = f"{key} was not measured: {why}"
                return
        values = [sample.middle() * ratio.scale for sample in run.samples[over]]
        if under is not None:
            below = [sample.middle() for sample in run.samples[under]]
            common = min(len(values), len(below))
            values = stats.paired_ratios(values[:common], below[:common])
        value, interval = stats.summary(values)
        if worst is None or _worse(ratio, (value, interval), worst):
            worst = value, interval
    assert worst is not None, "a ratio has at least one pair"
    value, interval = worst
    report["ratios"][ratio.name] = _round(value)
    report["intervals"][ratio.name] = None if interval is None else [_round(end) for end in interval]
    if (bound := ratio.target()) is not None:
        report["targets"][ratio.name] = {**bound, "met": ratio.met(value, interval)}


def _worse(ratio: Ratio, new: tuple, old: tuple) -> bool:
    """Is the new (value, interval) further from the bound than the old one?"""
    sign = -1 if ratio.at_least is not None else 1
    end = 0 if ratio.at_least is not None else 1
    far_new, far_old = ((pair[1] or (pair[0], pair[0]))[end] for pair in (new, old))
    return sign * far_new > sign * far_old


def _round(number: float) -> float:
    """Six digits that mean something; a report is read by people too."""
    return float(f"{number:.6g}")


def _cpu_model() -> str:
    try:
        for text in Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    except OSError:
        pass        # no /proc here: the model is not known
    return os.uname().machine
