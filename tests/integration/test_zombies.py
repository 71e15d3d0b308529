"""A dead domain's frame that a peer still maps is a zombie: contents intact, not used again, freed when the peer lets go or dies."""

import pytest
from helpers import machine_is_free, until


def granter(g, peer_name):
    """Grant one page full of a pattern, then die without a word."""
    import os

    peer = g.board.resolve(peer_name, 10)
    page = g.memory.alloc()
    page.view[:] = b"Z" * 4096
    [ref] = g.grants.grant(peer, page)
    g.board.publish(peer, "ref", ref.to_bytes(4, "little"))
    g.board.lookup(peer, "mapped", 10)
    os._exit(1)


def holder(g, granter_name):
    """Map the page, hold it as long as Domain0 says, look at it again, let go of it, live on."""
    peer = g.board.resolve(granter_name, 10)
    ref = int.from_bytes(g.board.lookup(peer, "ref", 10), "little")
    mapping = g.grants.map(peer, [ref])
    g.board.publish(peer, "mapped", b"")
    g.console.print("holding")
    g.shutdown_request(None)
    intact = bytes(mapping.view) == b"Z" * 4096
    mapping.unmap()
    g.console.print(f"intact {intact}")
    g.board.lookup(0, "never", None)


@pytest.fixture
def pair(fresh_hv):
    """A holder and the dead domain whose page it maps."""
    hold = fresh_hv.create(holder, "granter", name="holder")
    dead = fresh_hv.create(granter, "holder", name="granter")
    assert dead.join(20).crash.detail == "its process ended with status 1 without a word"
    return fresh_hv, hold, dead


def zombies(hv) -> list[int]:
    return [row["zombie_frames"] for row in hv.domains()[1:] if row["name"] == "(null)"]


def test_freed_when_the_peer_lets_go(pair):
    hv, hold, _ = pair
    assert zombies(hv) == [1]

    # What is free is used, and written, by others meanwhile.
    def fill(g):
        for _ in range(1000):
            g.memory.alloc().view[:] = b"\xff" * 4096

    for _ in range(20):
        hv.create(fill, memory="8M").wait(20)
    hold.shutdown()
    text = ""

    def said():
        nonlocal text
        text += hold.console.read()
        return "intact" in text

    until(said, lambda: text)
    assert "intact True" in text
    until(lambda: zombies(hv) == [], "the zombie's end")
    hold.destroy()
    machine_is_free(hv)


def test_freed_when_the_peer_dies(pair):
    hv, hold, _ = pair
    assert zombies(hv) == [1]
    hold.destroy()
    assert zombies(hv) == []
    machine_is_free(hv)


def test_the_name_is_free_and_the_number_is_not(pair):
    hv, hold, dead = pair
    again = hv.create(lambda g: g.domid, name="granter")
    assert again.wait() != dead.domid
    hold.destroy()


def test_frames_are_cleared_before_others_get_them(hv):
    """Whole memory, written by one domain, is zero in the next."""

    def whole(g):
        """Every free frame but a few for its last words, in pieces, as memory that was used before is in pieces."""
        for _ in range(g.memory.nr_free - 4):
            yield g.memory.alloc().view

    def fill(g):
        for view in whole(g):
            view[:] = b"\xa5" * 4096

    def look(g):
        return [bytes(view) == bytes(4096) for view in whole(g)].count(False)

    for _ in range(2):
        hv.create(fill, memory="40M").wait(20)
        assert hv.create(look, memory="40M").wait(20) <= 4       # its own arguments and payload
