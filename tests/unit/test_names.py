"""Domains by name: whoever was added is found in few steps, whoever was removed is not, in any order and with equal names."""

import random

from xenproc.native import ffi, lib


def of(names, name):
    """Return the domids on a name's way."""
    found, at = [], lib.xp_names_first(names, name)
    while at != lib.XP_NAME_END:
        assert len(found) <= 4096, "a circle"
        found.append(at)
        at = names.next[at]
    return found


def test_everybody_is_found_and_nobody_else():
    draw, known = random.Random(4), {}
    names = ffi.new("struct xp_names *")
    lib.xp_names_init(names)
    for _ in range(20_000):
        domid = draw.randrange(4096)
        if domid in known:
            lib.xp_names_remove(names, domid, known.pop(domid))
        else:
            known[domid] = b"domain%d" % draw.choice((domid, domid, 7))      # a dead one may have the name of a live one
            lib.xp_names_add(names, domid, known[domid])
    assert len(known) > 1000
    every = {name: [domid for domid, other in known.items() if other == name] for name in known.values()}
    for name, domids in every.items():
        assert set(domids) <= set(of(names, name))
    steps = [len(of(names, name)) for name in every if name != b"domain7"]
    assert sum(steps) / len(steps) < 12, "some of 4096 names in 1024 buckets, and those that are all called the same"
    for domid, name in known.items():
        lib.xp_names_remove(names, domid, name)
    assert all(first == lib.XP_NAME_END for first in names.first)


def test_a_name_may_fill_its_64_bytes():
    names = ffi.new("struct xp_names *")
    lib.xp_names_init(names)
    long = b"x" * 64
    lib.xp_names_add(names, 5, long)
    assert of(names, long + b"beyond") == [5] and of(names, b"x" * 63) != [5]
