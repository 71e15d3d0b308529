"""`xenproc wallclock`: what the domains take for the time of day, and setting it."""

import datetime

import click

from xenproc.cli.common import hv_option, json_option, print_json
from xenproc.dom0 import registry

NS = 1_000_000_000


def parse(text: str, now_ns: int) -> int:
    """Return ns since 1970 of "now", "+SECONDS", "-SECONDS" (from `now_ns` on), "@SECONDS" or an ISO date (UTC unless it says)."""
    try:
        if text.startswith(("+", "-")):
            return now_ns + round(float(text) * NS)
        if text.startswith("@"):
            return round(float(text[1:]) * NS)
        if text == "now":
            return round(datetime.datetime.now(datetime.UTC).timestamp() * NS)
        moment = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"expected now, +SECONDS, -SECONDS, @SECONDS or a date like 2003-10-19T12:00, got {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * NS)


def show(wall_ns: int) -> str:
    """Return a wall clock as people read it, in UTC."""
    whole, ns = divmod(wall_ns, NS)
    return f"{datetime.datetime.fromtimestamp(whole, datetime.UTC):%Y-%m-%d %H:%M:%S}.{ns // 1_000_000:03} UTC"


@click.command()
@hv_option
@json_option
@click.option("--set", "to", metavar="TIME", help="now, +SECONDS, -SECONDS, @SECONDS or a date like 2003-10-19T12:00 (UTC).")
def wallclock(hv: int | None, as_json: bool, to: str | None) -> None:
    """Show the wall clock of a hypervisor's domains, or set it. Their real time goes on as before."""
    client = registry.connect(hv)
    try:
        if to is not None:
            client.call("set_wall_clock", wall_ns=parse(to, client.call("wall_clock")))
        wall_ns = client.call("wall_clock")
    finally:
        client.close()
    if as_json:
        print_json(wall_clock_ns=wall_ns)
    else:
        click.echo(show(wall_ns))
