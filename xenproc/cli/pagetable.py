"""`xenproc pagetable`: the way from a live domain's base pointer to an address, drawn."""

from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from xenproc.cli.common import find, hv_option, json_option, print_json

BITS = ((1, "present"), (2, "rw"), (4, "user"), (0x20, "accessed"), (0x40, "dirty"), (1 << 63, "nx"))
DOMID_XEN = 0x7FF2
WIDTH = 120             # what the deepest walk needs; a narrower terminal wraps


def frame_text(frame: dict[str, Any]) -> str:
    """Return a frame in a line: number, type, counts."""
    owner = frame["owner"]
    whose = "nobody's" if owner is None else "the hypervisor's" if owner == DOMID_XEN else f"domain {owner}'s"
    pinned = ", pinned" if frame["pinned"] else ""
    return f"frame {frame['mfn']:#x}: {whose}, type {frame['type']} x{frame['type_count']}, {frame['ref_count']} references{pinned}"


def entry_text(step: dict[str, Any]) -> str:
    """Return an entry in a line: slot, value, bits."""
    entry = step["entry"]
    names = " ".join(name for bit, name in BITS if entry & bit) or "not present"
    hole = " (the hypervisor's slot)" if step["hole"] else ""
    return f"[{step['index']}] {entry:#x}  {names if entry & 1 else 'not present'}{hole}"


def draw(walk: dict[str, Any]) -> Tree:
    """Return the picture: each table with the entry taken, and the page at the end."""
    root = Tree(Text(f"{walk['address']:#x} in {walk['mode']}"))
    if not walk["steps"]:
        root.add(Text("no base pointer is loaded: this domain has no page tables in use"))
    at = root
    for step in walk["steps"]:
        table = at.add(Text(f"level {step['level']}  {frame_text(step['table'])}"))
        at = table.add(Text(entry_text(step)))
    if walk["page"] is not None:
        offset = walk["address"] & 0xFFF
        page = at.add(Text(f"page  {frame_text(walk['page'])}"))
        page.add(Text(f"machine address {(walk['page']['mfn'] << 12) + offset:#x}"))
    return root


def number(text: str) -> int:
    """Return an address as people type it: 0x... or decimal."""
    try:
        return int(text, 0)
    except ValueError:
        raise click.BadParameter(f"expected an address like 0x400000, got {text!r}") from None


@click.command()
@hv_option
@json_option
@click.argument("domain")
@click.argument("address")
def pagetable(hv: int | None, as_json: bool, domain: str, address: str) -> None:
    """Draw the walk of DOMAIN's page tables to the virtual ADDRESS: each table, its frame's type and counts, the entry taken."""
    va = number(address)
    client, row = find(hv, domain)
    try:
        walk = client.call("pagetable", domid=row["domid"], address=va)
    finally:
        client.close()
    if as_json:
        print_json(**walk)
    else:
        Console(width=max(Console().width, WIDTH), highlight=False).print(draw(walk))
