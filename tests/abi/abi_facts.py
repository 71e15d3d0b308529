"""The ABI's facts (xen-public.json) and the comparison of a layout or a constant with them.

A comparison returns a list of differences in words, so that a test can also demand that a wrong one is found.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field as measured; None: the measurement cannot tell."""

    offset: int
    size: int
    signed: bool | None = None
    elem: int | None = None
    ptr: bool | None = None


@dataclass
class Struct:
    """A struct as measured. align None: not to be compared."""

    size: int
    align: int | None
    fields: dict[str, Field] = field(default_factory=dict)


def load() -> Facts:
    """The facts, with the common header of all rings added as a struct of the name sring_header."""
    facts = json.loads((Path(__file__).parent / "xen-public.json").read_text())
    generic = facts["rings"]["generic_sring"]
    for structs in facts["structs"].values():
        ring = structs["netif_rx_sring"]["fields"]
        fields = {name: ring[name] for name in generic["offsets"] if name != "ring"}
        fields["pvt"] = ring["pvt.pvt_pad"]
        assert {n: f["offset"] for n, f in fields.items()} | {"ring": 64} == generic["offsets"]
        structs["sring_header"] = {"size": generic["header_size"], "align": 4, "fields": fields}
    return facts


def struct_differences(facts: Facts, arch: str, name: str, mine: Struct) -> list[str]:
    """What is wrong with our layout of `name`."""
    where = f"{name} ({arch})"
    want = facts["structs"][arch].get(name)
    if want is None:
        return [f"{where}: no such struct"]
    found = []
    if mine.size != want["size"]:
        found.append(f"{where}: size {mine.size}, expected {want['size']}")
    if mine.align not in (None, want["align"]):
        found.append(f"{where}: alignment {mine.align}, expected {want['align']}")
    for path in sorted(mine.fields.keys() ^ want["fields"].keys()):
        found.append(f"{where}: {path}: {'no such field' if path in mine.fields else 'missing'}")
    for path in mine.fields.keys() & want["fields"].keys():
        expected = want["fields"][path]
        inside = any(other.startswith(path + ".") for other in want["fields"])
        for what in ("offset", "size", "signed", "elem", "ptr"):
            got = getattr(mine.fields[path], what)
            default = False if what in ("signed", "ptr") else None
            known = got is not None and not (inside and what == "elem")
            if known and got != expected.get(what, default):
                found.append(f"{where}: {path}: {what} {got}, expected {expected.get(what, default)}")
    return found


def constant_differences(facts: Facts, arch: str, constants: Mapping[str, int]) -> list[str]:
    """What is wrong with our constants, of which those that differ by architecture are those of `arch`."""
    known = facts["constants"] | facts["constants_by_arch"][arch]
    found = []
    for name, value in constants.items():
        if name not in known:
            found.append(f"{name} ({arch}): no such constant")
        elif value != known[name]:
            found.append(f"{name} ({arch}): {value}, expected {known[name]}")
    return found


def missing_constants(facts: Facts, prefixes: set[str], mine: set[str]) -> list[str]:
    """Names that Xen has under one of our prefixes and we do not."""
    known = set(facts["constants"]) | set(facts["constants_by_arch"]["x86_64"])
    return sorted(name for name in known - mine if any(name.startswith(prefix) for prefix in prefixes))
