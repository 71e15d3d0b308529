"""`xenproc doctor`: what this host offers, what it lacks, what that costs and how to change it."""

import click

from xenproc.cli.common import json_option, print_json
from xenproc.dom0 import host


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this host offers and what it lacks. Exit status 3 if isolation cannot be enforced in full.

    What only scheduling lacks (Hypervisor(scheduler=)) does not count: it works without, less well.
    """
    rows = host.examine()
    lacking = [row for row in rows if not row["ok"] and row["of"] == "isolation"]
    weaker = [row for row in rows if not row["ok"] and row["of"] == "scheduling"]
    if as_json:
        print_json(host=rows)
    else:
        for row in rows:
            mark = click.style("ok", fg="green") if row["ok"] else click.style("--", fg="red")
            click.echo(f"[{mark}] {row['what']}: {row['detail']}")
            if not row["ok"]:
                click.echo(f"       without it: {row['cost']}\n       remedy: {row['remedy']}")
        click.echo("isolation: enforced" if not lacking else f"isolation: {len(lacking)} things are missing")
        click.echo("scheduling: as it is meant" if not weaker else f"scheduling: {len(weaker)} things are missing; it works without")
    if lacking:
        raise click.exceptions.Exit(3)
