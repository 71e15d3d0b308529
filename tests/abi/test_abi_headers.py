"""native/abi*.h against Xen's public ABI: every struct, every field, every constant, both architectures."""

import re
import subprocess

import abi_cheaders as cheaders
import pytest
from abi_facts import constant_differences, missing_constants, struct_differences


def abi_name(facts, tag):
    """(Xen's name, is it the x86_32 layout) of "struct xen_x" or "struct xen32_x"."""
    c_name = tag.split()[1]
    narrow = c_name.startswith("xen32_")
    bare = re.sub("^xen(32)?_", "", c_name)
    candidates = {bare, f"xen_{bare}"} if bare != c_name else {c_name}
    known = {name for structs in facts["structs"].values() for name in structs}
    assert len(candidates & known) == 1, f"{tag}: {len(candidates & known)} structs of that name in the ABI"
    return (candidates & known).pop(), narrow


def header_differences(facts, structs):
    """All differences between measured structs and the facts."""
    found = []
    names = {tag: abi_name(facts, tag) for tag in structs}
    narrow = {name for name, is_narrow in names.values() if is_narrow}
    for tag, mine in structs.items():
        name, is_narrow = names[tag]
        if is_narrow:
            found += struct_differences(facts, "x86_32", name, mine)
            continue
        found += struct_differences(facts, "x86_64", name, mine)
        if name not in narrow and name in facts["structs"]["x86_32"]:
            align, mine.align = mine.align, None  # the one layout serves both, from a copy
            found += struct_differences(facts, "x86_32", name, mine)
            mine.align = align
    return found


def split_by_arch(constants):
    """Constants for 64-bit guests, and those for 32-bit guests (XEN32_ names, and all that both share)."""
    narrow = {name.removeprefix("XEN32_"): v for name, v in constants.items() if name.startswith("XEN32_")}
    wide = {name: v for name, v in constants.items() if not name.startswith("XEN32_")}
    return wide, narrow


def header_constant_differences(facts, constants):
    """All differences between measured constants and the facts."""
    wide, narrow = split_by_arch(constants)
    found = constant_differences(facts, "x86_64", wide) + constant_differences(facts, "x86_32", narrow)
    for name in wide.keys() & facts["constants_by_arch"]["x86_32"].keys() - narrow.keys():
        found.append(f"{name}: 32-bit guests have another value, and XEN32_{name} is missing")
    return found


def is_guard(name):
    return re.fullmatch(r"XEN_ABI_\w*H", name)


def test_structs(facts, measured):
    structs, _ = measured
    assert len(structs) > 100
    assert header_differences(facts, structs) == []


def test_every_struct_with_two_layouts_has_both(facts, measured):
    names = [abi_name(facts, tag) for tag in measured[0]]
    both = {name for name, narrow in names if not narrow} & {name for name, narrow in names if narrow}
    differing = set(facts["arch_differs"]["different_layout"])
    assert {name for name, narrow in names if not narrow and name in differing} <= both
    # The converse but for a struct that only lies in others, which must align to 4 with them.
    assert both - differing == {"vcpu_time_info"}


def test_constants(facts, measured):
    _, constants = measured
    assert len(constants) > 400
    assert header_constant_differences(facts, constants) == []


def test_no_constant_of_a_family_is_missing(facts, measured):
    from test_abi_names import PREFIXES

    assert missing_constants(facts, PREFIXES, set(measured[1])) == []


def test_nothing_of_ours_is_declared(abi_header):
    """Our own extensions are in ours.h, under xp_ and XP_ names."""
    names = [tag.split()[1] for tag in abi_header.structs] + abi_header.constants
    assert [name for name in names if name.lower().startswith("xp")] == []


@pytest.mark.parametrize("name", ["abi.h", *sorted(path.name for path in cheaders.NATIVE.glob("abi_*.h"))])
def test_header_stands_alone(name, tmp_path):
    text = (cheaders.NATIVE / name).read_text()
    allowed = r'<std(def|int)\.h>|"abi_\w+\.h"'
    assert all(re.fullmatch(allowed, what) for what in re.findall(r"^#include (.*)$", text, re.MULTILINE))
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{name}"\n#include "{name}"\nint main(void) {{ return 0; }}\n')
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"]
    subprocess.run([cheaders.compiler(), *flags, f"-I{cheaders.NATIVE}", source], check=True, timeout=60)


def test_python_sees_the_structs_of_the_header(facts):
    """native/cdef/abi.h: what cffi hands out has the layout of a 64-bit guest."""
    from xenproc.native import ffi

    tags = re.findall(
        r"^(?:struct|union) \w+(?= \{)", (cheaders.NATIVE / "cdef/abi.h").read_text(), re.MULTILINE
    )
    assert len(tags) > 40
    for tag in tags:
        name, _ = abi_name(facts, tag)
        want = facts["structs"]["x86_64"][name]
        assert ffi.sizeof(tag) == want["size"], tag
        top = {path: f for path, f in want["fields"].items() if "." not in path}
        fields = ffi.typeof(tag).fields
        assert {path: f.offset for path, f in fields} == {path: f["offset"] for path, f in top.items()}, tag
        for path, f in fields:
            if top[path]["size"]:
                assert ffi.sizeof(f.type) == top[path]["size"], (tag, path)
