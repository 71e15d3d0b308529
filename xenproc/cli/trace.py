"""`xenproc trace`: record what a hypervisor and its domains do, for a browser to show."""

import time
from typing import TextIO

import click

from xenproc.cli.common import hv_option, say
from xenproc.dom0 import chrome, registry
from xenproc.dom0.trace import CLASSES, RECORDS, Recording

EVERY_S = 0.05


@click.command()
@hv_option
@click.option("-o", "--output", type=click.File("w", lazy=True), default="trace.json", show_default=True,
              help="Where to; - for standard output.")
@click.option("-s", "--seconds", type=click.FloatRange(0, 3600), default=1.0, show_default=True, help="For how long; Ctrl-C ends it, too.")
@click.option("-c", "--class", "classes", multiple=True, type=click.Choice(list(CLASSES)), help="What; may be given again. Default: all.")
@click.option("--records", type=int, default=RECORDS, show_default=True, help="What each CPU's ring holds: a power of two.")
def trace(hv: int | None, output: TextIO, seconds: float, classes: tuple[str, ...], records: int) -> None:
    """Record hypercalls, events, traps, scheduling and rings, and write Chrome's trace JSON: one track a domain.

    Open it in chrome://tracing or ui.perfetto.dev. Records that were overwritten before they could be read are counted.
    """
    client = registry.connect(hv)
    try:
        with Recording(client, classes or tuple(CLASSES), records) as recording:
            end = time.monotonic() + seconds
            try:
                while (left := end - time.monotonic()) > 0:
                    time.sleep(min(left, EVERY_S))
                    recording.collect()
            except KeyboardInterrupt:
                say("stopped")
    finally:
        client.close()
    nr = chrome.write(recording, output)
    lost = f", {recording.lost} records lost" if recording.lost else ""
    click.echo(f"{nr} events{lost}: {output.name}", err=output.name == "-")
