"""`xenproc info`: one hypervisor, from outside."""

from typing import Any

import click

from xenproc.cli.common import hv_option, json_option, print_json
from xenproc.dom0 import registry
from xenproc.units import PAGE_SIZE, human


@click.command()
@hv_option
@json_option
@click.option("--audit", is_flag=True, help="Check every table, too: all domains wait meanwhile.")
def info(hv: int | None, as_json: bool, audit: bool) -> None:
    """Show a hypervisor: memory, isolation and why, counters, what the kernel holds for it and each domain."""
    client = registry.connect(hv)
    found = client.call("info")
    objects = client.call("kernel_objects")
    if audit:
        found["audit"] = client.call("audit")
    client.close()
    if as_json:
        print_json(**found, objects=objects)
        return
    memory, isolation = found["memory"], found["isolation"]
    lines = [
        ("hypervisor", f"process {found['pid']}, up {found['system_time_ns'] / 1e9:.1f} s"),
        ("machine memory", f"{human(memory['frames'] * PAGE_SIZE)} in {memory['frames']} frames, {memory['free']} free, "
                           f"{memory['dirty']} to be scrubbed, {memory['hypervisor']} the hypervisor's own"),
        ("domains", f"{found['domains']} with Domain-0"),
        ("isolation", isolation["mode"]),
        ("namespaces", ", ".join(isolation["namespaces"]) or "none"),
        ("hypercalls", f"{found['hypercalls']} answered; slept {found['sleeps']} times, spun {found['spins']}"),
        ("kernel objects", describe(objects["hypervisor"])),
        ("scheduler", scheduler(found.get("scheduler"))),
    ]
    if audit:
        lines.append(("audit", "clean" if found["audit"] == 0 else f"{found['audit']} broken invariants"))
    for name, value in lines:
        click.echo(f"{name:<16}: {value}")
    for what, why in isolation["refused"].items():
        click.echo(f"{'not enforced':<16}: {what}: {why}")
    for domid, held in objects["domains"].items():
        click.echo(f"{'domain ' + domid:<16}: {describe(held)}")


def scheduler(found: dict[str, Any] | None) -> str:
    """Return what the CPU scheduler did, in words."""
    if found is None:
        return "none: the host's kernel"
    now = f"contended, {found['waiting']} waiting" if found["contended"] else "not contended"
    return (
        f"{found['name']} by {found['dispatch']} on {found['cpus']} CPUs, {now}; {found['switches']} switches, {found['blocks']} blocks, "
        f"{found['wakes']} wakes"
    )


def describe(held: dict[str, Any]) -> str:
    """Return a process's kernel objects in words."""
    kinds = held["descriptors"]
    if kinds is None:
        return "not ours to look at"
    each = ", ".join(f"{nr} {kind}" for kind, nr in kinds.items())
    return f"{sum(kinds.values())} descriptors ({each}); threads: {held['threads']}"
