"""`xenproc sched-plot`: a recorded schedule as a picture: turns on the CPUs, shares, virtual times.

matplotlib is imported only here, and only when a picture is asked for.
"""

import time
from bisect import bisect_right
from typing import IO, Any

import click

from xenproc.cli.common import hv_option
from xenproc.dom0 import registry, schedule
from xenproc.dom0.trace import Recording
from xenproc.errors import ConfigError, EnvironmentLacks

MS = 1_000_000
POINTS = 400
EVERY_S = 0.05


def shares(charges: dict[int, list[tuple[int, int]]], start: int, end: int, window_ns: int) -> tuple[list[int], dict[int, list[float]]]:
    """Return moments and, for each domain, its CPU time in the window before each, in CPUs."""
    moments = [start + window_ns + i * (end - start - window_ns) // POINTS for i in range(POINTS + 1)]
    found = {}
    for domid, steps in charges.items():
        at, total = [start], [0]
        for ns, ran in steps:       # used just before, as far as there is room since the last charge
            at += [max(at[-1], ns - ran), ns]
            total += [total[-1], total[-1] + ran]
        found[domid] = [(_until(at, total, m) - _until(at, total, m - window_ns)) / window_ns for m in moments]
    return moments, found


def _until(at: list[int], total: list[int], moment: int) -> float:
    """What was used until then."""
    i = bisect_right(at, moment)
    if i == len(at):
        return total[-1]
    return total[i - 1] + (total[i] - total[i - 1]) * (moment - at[i - 1]) / (at[i] - at[i - 1])


def draw(found: schedule.Schedule, weights: dict[int, int], path: str, window_ns: int) -> None:
    """Write the picture, PNG. weights: of the domains that have one. Raises ConfigError (nothing to draw), EnvironmentLacks."""
    charges = found.charges()
    if not charges:
        raise ConfigError("nothing was scheduled: is there a scheduler (Hypervisor(scheduler=)), and were CPUs contended?")
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise EnvironmentLacks(f"a plot needs the package matplotlib (pip install 'xenproc[plot]'): {error}") from error
    start, end = found.steps[0][0], found.steps[-1][0]
    window_ns = min(window_ns, max(1, (end - start) // 2))
    colours = dict(zip(sorted(charges), pyplot.rcParams["axes.prop_cycle"].by_key()["color"] * 100, strict=False))
    figure, (turns, share, virtual) = pyplot.subplots(3, 1, figsize=(13, 9), sharex=True, layout="constrained", height_ratios=(1, 2, 2))
    _turns(turns, found, colours, start)
    others = [(found.charges(("spent",)), "by the hypervisor"), (found.charges(("paid",)), "by back ends")]
    moments, lines = shares(charges, start, end, window_ns)
    for domid, line in sorted(lines.items()):
        label = found.title(domid) + (f", weight {weights[domid]}" if domid in weights else "")
        label += "".join(f", {sum(ran for _, ran in spent[domid]) / MS:.0f} ms {by}" for spent, by in others if domid in spent)
        share.plot([(m - start) / 1e9 for m in moments], line, color=colours[domid], label=label, linewidth=1.2)
        at, avt = [0.0], [0.0]
        for ns, ran in charges[domid]:
            at.append((ns - start) / 1e9)
            avt.append(avt[-1] + ran * 256 / weights.get(domid, 256) / MS)
        virtual.plot(at, avt, color=colours[domid], linewidth=1.2)
    share.set_ylabel(f"CPUs, of the last {window_ns / MS:g} ms")
    share.set_ylim(bottom=0)
    share.legend(loc="upper left", bbox_to_anchor=(1, 1))
    virtual.set_ylabel("virtual time, ms at weight 256")
    virtual.set_xlabel("s")
    for axes in (share, virtual):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, format="png")
    pyplot.close(figure)


def _turns(axes: Any, found: schedule.Schedule, colours: dict[int, str], start: int) -> None:
    """Who had which CPU."""
    turns = found.turns()
    for cpu in sorted({turn[0] for turn in turns}):
        mine = [turn for turn in turns if turn[0] == cpu]
        axes.broken_barh(
            [((begin - start) / 1e9, (end - begin) / 1e9) for _, _, begin, end in mine], (cpu - 0.4, 0.8),
            facecolors=[colours.get(domid, "grey") for _, domid, _, _ in mine],
        )
    axes.set_yticks(sorted({turn[0] for turn in turns}))
    axes.set_ylabel("CPU")


@click.command("sched-plot")
@hv_option
@click.argument("output", type=click.Path(dir_okay=False, writable=True))
@click.option("-t", "--trace", type=click.File(), help="What `xenproc trace` wrote, instead of recording now.")
@click.option("-s", "--seconds", type=click.FloatRange(0.01, 3600), default=2.0, show_default=True, help="For how long to record.")
@click.option("-w", "--window", type=click.FloatRange(1), default=100.0, show_default=True, help="Shares are of so many ms.")
def sched_plot(hv: int | None, output: str, trace: IO[str] | None, seconds: float, window: float) -> None:
    """Draw a schedule into the file OUTPUT (PNG): who ran where, CPU shares, virtual times."""
    weights: dict[int, int] = {}
    if trace is not None:
        found = schedule.of_chrome(trace)
        weights = {domid: number for _, what, domid, number, _ in found.steps if what == "add"}
    else:
        client = registry.connect(hv)
        try:
            with Recording(client, ("sched",)) as recording:
                end = time.monotonic() + seconds
                while (left := end - time.monotonic()) > 0:
                    time.sleep(min(left, EVERY_S))
                    recording.collect()
            weights = {row["domid"]: row["weight"] for row in client.call("list_domains") if row.get("weight")}
        finally:
            client.close()
        found = schedule.of_recording(recording)
    draw(found, weights, output, round(window * MS))
    click.echo(output)
