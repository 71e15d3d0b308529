"""`xenproc gc`: what a power cut, or a kill in the wrong microsecond, may have left."""

import click

from xenproc.cli.common import json_option, print_json, say
from xenproc.dom0 import leftovers


@click.command()
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove names in /dev/shm that belonged to hypervisors which are dead.

    What a living process made, or any process has open, stays.
    """
    found = leftovers.collect(remove=not dry_run)
    unused = [name.path for name in found if name.kept is None]
    kept = [{"path": name.path, "why": name.kept} for name in found if name.kept is not None]
    if as_json:
        print_json(removed=[] if dry_run else unused, found=unused, kept=kept)
        return
    for path in unused:
        say(f"{'would remove' if dry_run else 'removed'} {path}")
    for name in kept:
        say(f"kept {name['path']}: {name['why']}")
    if not found:
        say("nothing was left behind")
