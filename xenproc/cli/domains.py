"""The commands on domains: list, console, mem-set, pause, unpause, shutdown, destroy."""

import codecs
from typing import Any

import click

from xenproc.cli.common import find, hv_option, json_option, print_json
from xenproc.dom0 import registry
from xenproc.errors import HypervisorGone, NoSuchHypervisor, Timeout
from xenproc.units import pages

FOLLOW_S = 1.0


def format_row(row: dict[str, Any]) -> str:
    """Return a line of `xl list`: Name, ID, Mem (MiB), VCPUs, State, Time(s)."""
    return "{:<40} {:>5} {:>5} {:>5} {:>9} {:>10.1f}".format(
        row["name"], row["domid"], row["memory_kb"] // 1024, row["vcpus"], row["state"], row["cpu_time_s"])


@click.command("list")
@hv_option
@json_option
@click.option("-l", "--long", "as_json", is_flag=True, help="The same as --json.")
def list_domains(hv: int | None, as_json: bool) -> None:
    """List the domains of running hypervisors, as `xl list` does.

    State letters: r running, b blocked, p paused, s shut down, c crashed, d dying.
    """
    if hv is not None:
        registry.connect(hv).close()        # says so if there is no such one
    found = [ask(entry) for entry in registry.entries() if hv in (None, entry.pid)]
    if as_json:
        print_json(hypervisors=found)
        return
    if not found:
        registry.connect()          # says that there is none, and what to do
    for one in found:
        if len(found) > 1:
            click.echo(f"hypervisor {one['pid']} of process {one['owner_pid']}:")
        if not one["answers"]:
            click.echo(f"xenproc: hypervisor {one['pid']} does not answer", err=True)
            continue
        click.echo(f"{'Name':<40} {'ID':>5} {'Mem':>5} {'VCPUs':>5} {'State':>9} {'Time(s)':>10}")
        for row in one["domains"]:
            click.echo(format_row(row))


def ask(entry: registry.Entry) -> dict[str, Any]:
    """Return what `list --json` says of a hypervisor: pid, owner_pid, answers, domains (empty if it does not answer)."""
    rows: list[dict[str, Any]] = []
    answers = entry.answers
    if answers:
        try:
            client = registry.connect(entry.pid)
            rows = client.call("list_domains")
            client.close()
        except (NoSuchHypervisor, HypervisorGone, Timeout):
            answers = False         # it has just ended, or been stopped
    return {"pid": entry.pid, "owner_pid": entry.owner, "answers": answers, "domains": rows}


@click.command()
@hv_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the domain ends.")
@click.argument("domain")
def console(hv: int | None, follow: bool, domain: str) -> None:
    """Print what DOMAIN (name or number) has written to its console; the last 16 KiB of it are kept."""
    client, row = find(hv, domain)
    text = codecs.getincrementaldecoder("utf-8")("replace")     # a character may be cut in two
    pos, limit = 0, 0.0         # first what is there already
    while True:
        reply = client.call("follow", domid=row["domid"], pos=pos, limit=limit)
        pos, limit = reply["pos"], FOLLOW_S
        click.echo(text.decode(reply["text"].encode("latin-1"), final=reply["ended"]), nl=False)
        if reply["ended"] or not follow:
            return


@click.command("mem-set")
@hv_option
@click.argument("domain")
@click.argument("memory")
def mem_set(hv: int | None, domain: str, memory: str) -> None:
    """Set the memory target of DOMAIN (name or number), as `xl mem-set`: 64 and 64M are MiB, 1G, 512K.

    DOMAIN cannot grow beyond it from now on; it shrinks or grows to it if its guest has a balloon at work.
    """
    nr_pages = pages(memory + "M" if memory.isdigit() else memory, "memory")
    client, row = find(hv, domain)
    client.call("set_memory", domid=row["domid"], nr_pages=nr_pages)
    client.close()


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
