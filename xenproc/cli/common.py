"""What several commands share: how much to say and in colour or not, which hypervisor, which domain, JSON."""

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from xenproc.dom0 import registry
from xenproc.dom0.client import Client
from xenproc.errors import NoSuchDomain

SCHEMA_VERSION = 1


@dataclass
class Settings:
    """What the user wants to see: kept in the outermost context's `obj`."""

    quiet: bool = False
    verbose: int = 0


def settings() -> Settings:
    """Return the settings of the command that runs."""
    return click.get_current_context().ensure_object(Settings)


def say_more(ctx: click.Context, quiet: bool, verbose: int) -> None:
    """Note -q and -v, from before or behind the command's name."""
    wanted = ctx.ensure_object(Settings)
    wanted.quiet |= quiet
    wanted.verbose += verbose
    logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("xenproc").setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(wanted.verbose, 2)])
    if wanted.verbose:          # a hypervisor that we start says more, too; DEBUG would leave its guests our stderr
        os.environ.setdefault("XENPROC_LOG", "INFO")


def shared_options(command: click.Command) -> click.Command:
    """Add -q and -v, which may stand before or behind the command's name. Twice is harmless."""
    if not any(option.name == "quiet" for option in command.params):
        command.params += [
            click.Option(["-q", "--quiet"], is_flag=True, expose_value=False,
                         callback=lambda ctx, _, value: say_more(ctx, value, 0),
                         help="Print results and errors only."),
            click.Option(["-v", "--verbose"], count=True, expose_value=False,
                         callback=lambda ctx, _, value: say_more(ctx, False, value),
                         help="Say more; twice: tracebacks, too."),
        ]
    return command


def say(text: str = "", **style: Any) -> None:
    """Print a line for people, unless they asked for quiet."""
    if not settings().quiet:
        click.secho(text, **style)


def hv_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--hv PID`."""
    return click.option("--hv", type=int, metavar="PID", envvar="XENPROC_HV", show_envvar=True,
                        help="Which hypervisor, by its pid; needed if there are several.")(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(**fields: Any) -> None:
    """Print one JSON object with the schema's version."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **fields}, indent=2))


def find(hv: int | None, name: str, domain0: bool = False) -> tuple[Client, dict[str, Any]]:
    """Return (connection, row of `list_domains`) of a domain by number or name. Raises NoSuchDomain, NoSuchHypervisor."""
    client = registry.connect(hv)
    rows = client.call("list_domains")[not domain0:]
    for row in rows:
        if name in (str(row["domid"]), row["name"]):
            return client, row
    client.close()
    if name in ("0", "Domain-0"):
        raise NoSuchDomain("Domain-0 is the program that started the hypervisor: it ends, stops and prints by itself")
    known = ", ".join(f"{row['name']} ({row['domid']})" for row in rows) or "none"
    raise NoSuchDomain(f"there is no domain {name!r}; there are: {known}")
