"""Layouts given as C structs: sizes, numbers, NumPy types, and the errors for what is none; Xen's own rings by their ABI data."""

import json
import pickle
from pathlib import Path

import numpy
import pytest

from xenproc.errors import ConfigError
from xenproc.native import ffi, lib
from xenproc.ring import FrontRing, Layout

ABI = json.loads((Path(__file__).parent.parent / "abi" / "xen-public.json").read_text())
BLKIF = Layout(
    "struct { uint8_t operation; uint8_t nr_segments; uint16_t handle; uint64_t id; uint64_t sector_number;"
    " struct { uint32_t gref; uint8_t first_sect; uint8_t last_sect; } seg[11]; }",
    "struct { uint64_t id; uint8_t operation; int16_t status; }",
)
NETIF_TX = Layout("struct { uint32_t gref; uint16_t offset; uint16_t flags; uint16_t id; uint16_t size; }",
                  "struct { uint16_t id; int16_t status; }")


@pytest.mark.parametrize(("name", "layout"), [("blkif", BLKIF), ("netif_tx", NETIF_TX)])
def test_xens_rings_have_their_slots(name, layout):
    """Entry size and slots for each page order are the ABI's."""
    facts = ABI["rings"][name]["x86_64"]
    assert (layout.request_size, layout.response_size, layout.entry_size) == (
        facts["request_size"], facts["response_size"], facts["entry_size"])
    native = ffi.new("struct xp_ring_layout *", {"req_size": layout.request_size, "rsp_size": layout.response_size,
                                                  "entry_size": layout.entry_size})
    for order, entries in facts["entries_by_page_order"].items():
        assert lib.xp_ring_entries(native, 1 << int(order)) == entries


def test_the_number_is_found_where_both_structs_have_it():
    assert BLKIF.id_place == (8, 8, 0) and NETIF_TX.id_place == (2, 8, 0)
    assert Layout("struct { int a; }", "struct { int b; }").id_place == (0, 0, 0)
    assert Layout("struct { uint64_t id; }", "struct { uint64_t id; }", id=None).id_place == (0, 0, 0)
    with pytest.raises(ConfigError, match="8 bytes in a request and 4"):
        _ = Layout("struct { uint64_t id; }", "struct { uint32_t id; }").id_place


def test_numpy_types_lie_where_c_puts_them():
    dtype = BLKIF.dtype("request")
    assert dtype.itemsize == 112 and dtype.fields["sector_number"][1] == 16 and dtype.fields["seg"][1] == 24
    assert BLKIF.dtype("response").fields["status"][0] == numpy.dtype("<i2")


def test_a_layout_travels_as_its_texts():
    copy = pickle.loads(pickle.dumps(BLKIF))
    assert copy == BLKIF and hash(copy) == hash(BLKIF) and copy.entry_size == 112


@pytest.mark.parametrize("text", ["", "int", "struct { nonsense x; }", "struct { }", "struct { char a[5000]; }", "struct { int x }"])
def test_what_is_no_struct_is_refused(text):
    with pytest.raises(ConfigError, match="layout: request"):
        Layout(text, "struct { int a; }")


def test_a_ring_refuses_bad_arguments():
    with pytest.raises(ConfigError, match="mode: expected one of"):
        FrontRing(BLKIF, [4096], mode="sometimes")
    with pytest.raises(ConfigError, match="1 to 16 pages, got 17"):
        FrontRing(BLKIF, [4096] * 17)
