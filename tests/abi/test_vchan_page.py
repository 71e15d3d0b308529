"""The page that our vchan makes, byte for byte where libxenvchan's layout (xen-public.json) says."""

import mmap
import struct

import pytest

from xenproc.native import ffi, lib
from xenproc.vchan import Channel, Stream, geometry


class Page:
    """A shared page, rings behind it, an event page, and what lies where."""

    def __init__(self, facts):
        self.fields = facts["rings"]["vchan"]["fields"]
        self.memory = mmap.mmap(-1, 64 * 4096)
        self.base = int(ffi.cast("uintptr_t", ffi.from_buffer(self.memory)))
        self.memory[:4096] = b"\xaa" * 4096

    def event(self, side):
        event = ffi.new("struct xp_direct *")
        lib.xp_direct_init(event, ffi.cast("void *", self.base + 4096), side, -1, -1)
        return event

    def pages(self, first, count):
        return [self.base + (first + i) * 4096 for i in range(count)]

    def __getitem__(self, name):
        field = self.fields[name]
        return int.from_bytes(self.memory[field["offset"] : field["offset"] + field["size"]], "little")


@pytest.fixture
def page(facts):
    return Page(facts)


def test_what_a_server_writes(page, facts):
    refs = list(range(1000, 1006))
    left, right = page.pages(2, 2), page.pages(4, 4)
    server = Stream.server(page.base, page.event(0), left_pages=left, right_pages=right, grants=refs, owner=page)
    assert (page["left_order"], page["right_order"]) == (13, 14)
    assert (page["cli_live"], page["srv_live"]) == (2, 1)
    assert (page["cli_notify"], page["srv_notify"]) == (facts["constants"]["VCHAN_NOTIFY_WRITE"], 0)
    offset = page.fields["grants"]["offset"]
    assert list(struct.unpack_from("<6I", page.memory, offset)) == refs
    assert page.memory[offset + 24 : 4096] == bytes(4096 - offset - 24)
    shape = geometry(page.base)
    assert shape[:4] == (8192, 16384, refs[:2], refs[2:])
    client = Stream.client(page.base, page.event(1), shape=shape, left_pages=left, right_pages=right, owner=page)
    assert (page["cli_live"], page["srv_notify"]) == (1, facts["constants"]["VCHAN_NOTIFY_WRITE"])
    client.close()
    assert (page["cli_live"], page["srv_live"]) == (0, 1)
    server.close()
    assert page["srv_live"] == 0


@pytest.mark.parametrize("left,right", [(1024, 2048), (2048, 1024)])
def test_small_rings_lie_in_the_page(page, facts, left, right):
    """The client writes left, the server right; indices count bytes."""
    server = Channel.server(page.base, page.event(0), left_size=left, right_size=right, owner=page)
    client = Channel.client(page.base, page.event(1), owner=page)
    at = facts["rings"]["vchan"]["ring_offset_by_order"]
    client.send(b"from the client")
    server.send(b"hello from the server")
    assert (page["left.prod"], page["left.cons"]) == (19, 0)
    assert (page["right.prod"], page["right.cons"]) == (25, 0)
    start = {size: at[str(size.bit_length() - 1)] for size in (left, right)}
    assert page.memory[start[left] : start[left] + 19] == b"\x0f\0\0\0from the client"
    assert page.memory[start[right] : start[right] + 25] == b"\x15\0\0\0hello from the server"
    server.recv()
    client.recv()
    assert (page["left.cons"], page["right.cons"]) == (19, 25)


def test_who_asks_and_who_clears(page, facts):
    """A reader asks for writes in the writer's byte, and the other way round; telling clears the one bit."""
    write, read = facts["constants"]["VCHAN_NOTIFY_WRITE"], facts["constants"]["VCHAN_NOTIFY_READ"]
    server = Stream.server(page.base, page.event(0), left_size=1024, right_size=2048, owner=page)
    client = Stream.client(page.base, page.event(1), owner=page)
    client.write(b"x")
    assert page["cli_notify"] == 0
    server.arm(read=True, write=True)
    assert page["cli_notify"] == write | read
    client.write(b"x")
    assert page["cli_notify"] == read
    server.write(b"x")
    client.read(1)
    assert page["cli_notify"] == 0
    client.arm(read=True, write=True)
    assert page["srv_notify"] == write | read
    server.read(2)
    assert page["srv_notify"] == write


def test_orders_that_may_not_be_in_one_page():
    """Not both small rings alike, and no list of grants that reaches into a small ring."""
    page = ffi.new("char[]", 4096)
    event = ffi.new("struct xp_direct *")
    half = ffi.new("struct xp_event_half[2]")
    lib.xp_direct_init(event, half, 0, -1, -1)
    lists = ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", 4096 * i) for i in range(1, 257)])
    end = ffi.new("struct xp_vchan *")

    def make(left, right):
        return lib.xp_vchan_server(end, page, left, right, lists, lists, ffi.NULL, event, ffi.NULL, ffi.NULL)

    assert [make(20, 20), make(10, 11), make(11, 10), make(19, 10), make(20, 11)] == [0] * 5
    # 256 references from offset 24 on end at 1048.
    assert [make(*orders) for orders in ((20, 10), (10, 20), (10, 10), (11, 11), (9, 12), (12, 21), (0, 12))] == [-22] * 7
