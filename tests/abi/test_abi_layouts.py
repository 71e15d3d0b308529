"""xenproc.abi's layouts against Xen's public ABI: every struct, every field, both architectures."""

import importlib
import pkgutil

import pytest
from abi_facts import Field, Struct, struct_differences
from test_abi_headers import abi_name

import xenproc.abi
from xenproc.abi.io import ring_entries, xencons_interface, xenstore_domain_interface
from xenproc.abi.layout import X86_32, X86_64, Layout
from xenproc.abi.sched import sched_poll
from xenproc.abi.start import shared_info, start_info

MODULES = [
    importlib.import_module(f"xenproc.abi.{info.name}")
    for info in pkgutil.iter_modules(xenproc.abi.__path__)
    if info.name != "ours"
]
LAYOUTS = {
    name: value for module in MODULES for name, value in vars(module).items() if isinstance(value, Layout)
}


def as_struct(layout, arch):
    fields = layout.fields(arch)
    inside = {path.rpartition(".")[0] for path in fields}
    return Struct(
        layout.size(arch),
        layout.align(arch),
        {
            path: Field(f.offset, f.size, None if f.elem or path in inside else f.signed, f.elem, f.ptr)
            for path, f in fields.items()
        },
    )


def layout_differences(facts, layouts):
    """All differences between our layouts and the facts."""
    found = []
    for name, layout in layouts.items():
        if name != layout.name:
            found.append(f"{name}: calls itself {layout.name}")
        for arch in layout.archs:
            found += struct_differences(facts, arch.value, layout.name, as_struct(layout, arch))
        if {arch.value for arch in layout.archs} != {
            a for a, s in facts["structs"].items() if layout.name in s
        }:
            found.append(f"{name}: has {layout.archs}, which is not what Xen has")
    return found


def test_layouts(facts):
    assert len(LAYOUTS) > 70
    assert layout_differences(facts, LAYOUTS) == []


def test_python_and_c_have_the_same_structs(facts, measured):
    assert set(LAYOUTS) == {abi_name(facts, tag)[0] for tag in measured[0]}


def test_unions_are_unions(facts):
    for name, layout in LAYOUTS.items():
        if name in facts["structs"]["x86_64"]:
            assert layout.union == facts["structs"]["x86_64"][name].get("union", False), name


def test_bytes_are_where_a_guest_looks():
    """One value written through the layout and read from the raw bytes, on each architecture."""
    poll = bytes(sched_poll[X86_32](ports=0x11223344, nr_ports=2, timeout=0x0102030405060708))
    assert poll.hex(" ") == "44 33 22 11 02 00 00 00 08 07 06 05 04 03 02 01"
    poll = bytes(sched_poll[X86_64](ports=0x11223344, nr_ports=2, timeout=0x0102030405060708))
    assert poll.hex(" ", 8) == "4433221100000000 0200000000000000 0807060504030201"


@pytest.mark.parametrize("arch", [X86_64, X86_32])
def test_a_view_of_memory_writes_through(arch):
    memory = bytearray(4096)
    info = start_info[arch].from_buffer(memory)
    info.magic = b"xen-4.0-x86"
    info.console.domU.evtchn = 7
    at = start_info.offset(arch, "console.domU.evtchn")
    assert memory[at] == 7 and memory[:4] == b"xen-"
    shared = shared_info[arch].from_buffer(memory)
    shared.evtchn_mask[1] = 0xFF
    word = 8 if arch is X86_64 else 4
    assert memory[shared_info.offset(arch, "evtchn_mask") + word] == 0xFF


def test_unknown_field_and_architecture():
    with pytest.raises(KeyError):
        start_info.offset(X86_64, "console.domU.port")
    with pytest.raises(KeyError):
        LAYOUTS["iret_context"].size(X86_32)


def test_ring_sizes(facts):
    for kind in ("blkif", "netif_tx", "netif_rx", "netif_ctrl"):
        for arch in ("x86_64", "x86_32"):
            ring = facts["rings"][kind][arch]
            for order, entries in ring["entries_by_page_order"].items():
                assert ring_entries(4096 << int(order), ring["entry_size"]) == entries, (kind, arch, order)
    for entry_size in (4033, 0, -1):
        with pytest.raises(ValueError):
            ring_entries(4096, entry_size)
    assert ring_entries(4096, 4032) == 1


def test_byte_rings(facts):
    for layout, ring in ((xencons_interface, "console"), (xenstore_domain_interface, "xenstore")):
        for name, size in facts["rings"][ring]["ring_bytes"].items():
            assert layout.fields(X86_64)[name].size == size
