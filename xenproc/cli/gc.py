"""`xenproc gc`: what a power cut, or a kill in the wrong microsecond, may have left."""

import click

from xenproc.cli.common import json_option, print_json
from xenproc.dom0 import leftovers


@click.command()
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove names in /dev/shm that belonged to hypervisors which are dead."""
    found = leftovers.collect(remove=not dry_run)
    if as_json:
        print_json(removed=[] if dry_run else found, found=found)
        return
    verb = "would remove" if dry_run else "removed"
    for path in found:
        click.echo(f"{verb} {path}")
    if not found:
        click.echo("nothing was left behind")
