"""`xenproc sched-bvt`: weights and warps, shown and set."""

from typing import Any

import click

from xenproc.cli.common import find, hv_option, json_option, print_json
from xenproc.dom0 import registry, scheduling
from xenproc.errors import ConfigError

MS = 1_000_000


def line(name: str, domid: int, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    warp = "-"
    if found["warp_ns"]:
        warp = f"{found['warp_ns'] / MS:g} ms"
        if found["warp_limit_ns"]:
            warp += f", {found['warp_limit_ns'] / MS:g} ms in {found['warp_period_ns'] / MS:g} ms"
    return f"{name:<32} {domid:>5} {found['weight']:>7} {found['mcu_adv']:>8} {found['charged_ns'] / 1e9:>10.1f}  {warp}"


def header() -> str:
    """Return the table's head."""
    return f"{'Name':<32} {'ID':>5} {'Weight':>7} {'mcu_adv':>8} {'Time(s)':>10}  Warp"


@click.command("sched-bvt")
@hv_option
@json_option
@click.argument("domain", required=False)
@click.option("-w", "--weight", type=int, help="1 to 65535: CPU time is in proportion to it. Default of a domain: 256.")
@click.option("--mcu-adv", type=int, help="The same as Xen's tools say it: the inverse, 10 for 256.")
@click.option("--warp", metavar="TIME", help="How far back it borrows: 20ms, 500us; 0s: not at all.")
@click.option("--limit", metavar="TIME", help="With --warp: how much CPU time it may use warped in each period.")
@click.option("--period", metavar="TIME", help="With --limit: the period.")
@click.option("--force", is_flag=True, help="Even if it cannot be honoured together with what others were given.")
def sched_bvt(
    hv: int | None, as_json: bool, domain: str | None, weight: int | None, mcu_adv: int | None, warp: str | None, limit: str | None,
    period: str | None, force: bool,
) -> None:
    """Show the weight and warp of DOMAIN (name or number), or of all; with options set them.

    What cannot be honoured is refused with the reason.
    """
    if (limit is None) != (period is None) or (limit and not warp):
        raise ConfigError("warp: --limit and --period go together, and with --warp")
    borrowed: scheduling.Warp | None = (warp, limit, period) if warp and limit and period else warp
    asked = scheduling.request(weight, borrowed, force)
    if mcu_adv is not None:
        asked |= {"mcu_adv": mcu_adv, "force": force}
    if domain is None:
        if asked:
            raise ConfigError("sched-bvt: which domain? Name one to change it")
        client = registry.connect(hv)
        scheduled = client.call("info")["scheduler"] is not None
        rows = [row for row in client.call("list_domains") if (row["domid"] or scheduled) and row["name"] != "(null)"]
    else:
        client, row = find(hv, domain, domain0=True)
        rows = [row]
    try:
        found = [(row["name"], row["domid"], client.call("sched_bvt", domid=row["domid"], **asked)) for row in rows]
    finally:
        client.close()
    if as_json:
        print_json(domains=[{"name": name, "domid": domid, **one} for name, domid, one in found])
        return
    click.echo(header())
    for name, domid, one in found:
        click.echo(line(name, domid, one))
