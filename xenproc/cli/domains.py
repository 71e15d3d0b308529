"""The commands on domains: list, console, pause, unpause, shutdown, destroy."""

from typing import Any

import click

from xenproc.cli.common import find, hv_option, json_option, print_json
from xenproc.dom0 import registry

FOLLOW_S = 1.0


def format_row(row: dict[str, Any]) -> str:
    """Return a line of `xl list`: Name, ID, Mem (MiB), VCPUs, State, Time(s)."""
    return "{:<40} {:>5} {:>5} {:>5} {:>9} {:>10.1f}".format(
        row["name"], row["domid"], row["memory_kb"] // 1024, row["vcpus"], row["state"], row["cpu_time_s"])


@click.command("list")
@hv_option
@json_option
def list_domains(hv: int | None, as_json: bool) -> None:
    """List the domains of running hypervisors, as `xl list` does.

    State letters: r running, b blocked, p paused, s shut down, c crashed, d dying.
    """
    entries = [entry for entry in registry.entries() if hv in (None, entry.pid)]
    found: list[tuple[int, list[dict[str, Any]]]] = []
    for entry in entries:
        client = registry.connect(entry.pid)
        found.append((entry.pid, client.call("list_domains")))
        client.close()
    if as_json:
        print_json(hypervisors=[{"pid": pid, "domains": rows} for pid, rows in found])
        return
    if not found:
        registry.connect(hv)        # says that there is none, and what to do
    for pid, rows in found:
        if len(found) > 1:
            click.echo(f"hypervisor {pid}:")
        click.echo(f"{'Name':<40} {'ID':>5} {'Mem':>5} {'VCPUs':>5} {'State':>9} {'Time(s)':>10}")
        for row in rows:
            click.echo(format_row(row))


@click.command()
@hv_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the domain ends.")
@click.argument("domain")
def console(hv: int | None, follow: bool, domain: str) -> None:
    """Print what DOMAIN (name or number) has written to its console."""
    client, row = find(hv, domain)
    pos, ended = 0, False
    while True:
        reply = client.call("follow", domid=row["domid"], pos=pos, limit=FOLLOW_S if follow and pos else 0)
        pos, ended = reply["pos"], reply["ended"]
        click.echo(reply["text"].encode("latin-1").decode("utf-8", "replace"), nl=False)
        if ended or not follow:
            return


def _simple(name: str, op: str, doc: str, **fields: Any) -> click.Command:
    @click.command(name, help=doc)
    @hv_option
    @click.argument("domain")
    def command(hv: int | None, domain: str) -> None:
        client, row = find(hv, domain)
        client.call(op, domid=row["domid"], **fields)
        client.close()

    return command


pause = _simple("pause", "pause", "Stop DOMAIN (name or number) until unpause.", stop=True)
unpause = _simple("unpause", "pause", "Let a paused DOMAIN run again.", stop=False)
shutdown = _simple("shutdown", "shutdown", "Ask DOMAIN to end by itself; its guest sees it and decides.", reason="poweroff")
destroy = _simple("destroy", "destroy", "End DOMAIN at once.")
