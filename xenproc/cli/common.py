"""What several commands share: which hypervisor, which domain, JSON."""

import json
from collections.abc import Callable
from typing import Any

import click

from xenproc.dom0 import registry
from xenproc.dom0.client import Client
from xenproc.errors import NoSuchDomain

SCHEMA_VERSION = 1


def hv_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--hv PID`."""
    return click.option("--hv", type=int, metavar="PID", help="Which hypervisor, by its pid, if there are several.")(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(**fields: Any) -> None:
    """Print one JSON object with the schema's version."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **fields}, indent=2))


def find(hv: int | None, name: str) -> tuple[Client, dict[str, Any]]:
    """Return (connection, row of `list_domains`) of a domain by number or name. Raises NoSuchDomain, NoSuchHypervisor."""
    client = registry.connect(hv)
    rows = client.call("list_domains")
    for row in rows:
        if name in (row["name"], str(row["domid"])) and row["domid"] != 0:
            return client, row
    known = ", ".join(f"{row['name']} ({row['domid']})" for row in rows[1:]) or "none"
    client.close()
    raise NoSuchDomain(f"there is no domain {name!r}; there are: {known}")
