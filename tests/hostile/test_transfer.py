"""Pages that change hands (GNTTABOP_transfer): contents and all, only when the giver's process has let go, by Xen's flag protocol.

With the window in force a giver that keeps the page is refused, and one that looks again dies; with it off it reads what the
receiver writes later.
"""

import ctypes

import pytest

from xenproc.abi import GnttabOp, Hypercall
from xenproc.guest.gnttab import GrantError
from xenproc.guest.memory import INVALID

SECRET = b"the receiver's own"
GENERAL_ERROR, BAD_DOMAIN, BAD_PAGE, EAGAIN = -1, -2, -9, -12


def refs_of(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def receiver(g, nr=1, writes=b"") -> list:
    """[guest] Accept pages, say what is in them, write into them; tell the giver; wait to be told to end."""
    giver = g.board.resolve("giver")
    refs = [g.grants.accept(giver) for _ in range(nr)]
    before = [g.balloon.current, g.grants.accepted(refs[0]), g.memory.nr_free]
    g.board.publish(giver, "refs", b"".join(ref.to_bytes(4, "little") for ref in refs))
    g.board.lookup(giver, "given", 10)
    pages = [g.grants.accepted(ref) for ref in refs]
    told = [bytes(page.view[:8]).decode() for page in pages if page]
    for page in pages:
        if page:
            page.view[: len(writes)] = writes
            assert g.memory.p2m[g.memory.number_of(page.mfn)] == page.mfn
    open_ = [g.grants.withdraw(ref) for ref, page in zip(refs, pages, strict=True) if not page]
    after = [g.balloon.current, INVALID in g.memory.p2m, open_]
    g.board.publish(giver, "seen", b"")
    while g.shutdown_request(1) is None:
        pass
    for page in pages:
        if page:
            page.free()
    return [before, told, after, g.memory.nr_free]


def give(g, nr=1) -> int:
    """[guest] Give pages as one should; how many pages there are then."""
    peer = g.board.resolve("receiver")
    refs = refs_of(g.board.lookup(peer, "refs", 10))
    pages = g.memory.alloc(nr)
    for i in range(nr):
        pages.view[i * 4096 : i * 4096 + 8] = b"page %03d" % i
    g.grants.transfer(peer, refs, pages)
    g.board.publish(peer, "given", b"")
    g.board.lookup(peer, "seen", 10)
    return [g.balloon.current, sum(mfn == INVALID for mfn in g.memory.p2m)]


def run(hv, attack, *args, nr=1, without=(), writes=SECRET, maxmem="2M"):
    """Return (how the giver ended, what the receiver returned)."""
    holder = hv.create(receiver, nr, writes, name="receiver", memory="1M", maxmem=maxmem)
    end = hv.create(attack, *args, name="giver", memory="1M", without=without).join(20)
    holder.shutdown()
    return end, holder.wait(20)


@pytest.mark.parametrize("nr", [1, 40])
def test_pages_change_hands(hv, nr):
    """More than go into one call, too; the receiver's P2M grows, the giver's has holes."""
    end, (before, told, after, free) = run(hv, give, nr, nr=nr)
    assert end.result == [256 - nr, nr]
    assert before[:2] == [256, None] and told == [f"page {i:03}" for i in range(nr)]
    assert after == [256 + nr, False, []] and free == before[2] + nr


def test_what_was_given_can_be_given_back_to_the_hypervisor(hv):
    """And had again: the balloon knows a page that came from elsewhere."""

    def guest(g):
        ref = g.grants.accept(g.domid)
        page = g.memory.alloc(1)
        g.grants.transfer(g.domid, [ref], page)
        g.grants.accepted(ref).free()
        g.balloon.set_target(g.balloon.current)
        free = g.memory.nr_free - 16
        return [g.balloon.inflate(10**6) == free, g.balloon.deflate(free) == free, sorted(set(g.memory.p2m)) == sorted(g.memory.p2m)]

    assert hv.create(guest, maxmem="5M").wait(10) == [True, True, True]


def looks_again(g) -> None:
    """[guest] Give a page, then look at it."""
    peer = g.board.resolve("receiver")
    refs = refs_of(g.board.lookup(peer, "refs", 10))
    page = g.memory.alloc(1)
    address = page.address
    g.grants.transfer(peer, refs, page)
    g.board.publish(peer, "given", b"")
    g.board.lookup(peer, "seen", 10)
    return ctypes.string_at(address, len(SECRET)).decode()


def keeps_it(g) -> list:
    """[guest] Say that a page is given, without letting go of it; look at it later."""
    peer = g.board.resolve("receiver")
    (ref,) = refs_of(g.board.lookup(peer, "refs", 10))
    page = g.memory.alloc(1)
    page.view[: len(SECRET)] = b"m" * len(SECRET)
    with g.hypercalls.array("struct xen_gnttab_transfer", 1) as (address, ops):
        ops[0].mfn, ops[0].domid, ops[0].ref = page.mfn, peer, ref
        g.hypercalls.call(Hypercall.grant_table_op, GnttabOp.transfer, address, 1)
        status = ops[0].status
    g.board.publish(peer, "given", b"")
    g.board.lookup(peer, "seen", 10)
    return [status, ctypes.string_at(page.address, len(SECRET)).decode()]


def test_who_looks_again_dies(hv):
    end, told = run(hv, looks_again)
    assert end.crash is not None and end.crash.signal == "SIGBUS", end
    assert told[2][2] == []


def test_who_keeps_it_is_refused(hv):
    """The receiver has nothing and can take its offer back."""
    end, (_, told, after, _) = run(hv, keeps_it)
    assert end.result == [EAGAIN, "m" * len(SECRET)]
    assert told == [] and after == [256, False, [True]]


@pytest.mark.parametrize(("attack", "seen"), [(looks_again, SECRET.decode()), (keeps_it, [0, SECRET.decode()])])
def test_both_read_the_receivers_secret_where_the_window_is_off(own_machine, attack, seen):
    end, _ = run(own_machine(), attack, without=["window"])
    assert end.result == seen


def refused(g, what) -> list:
    """[guest] A transfer that cannot be; its status, and that the page is not lost for the domain."""
    peer = g.board.resolve("receiver")
    (ref,) = refs_of(g.board.lookup(peer, "refs", 10))
    page, whom = g.memory.alloc(1), peer
    mfn = page.mfn
    if what == "granted":
        refs = g.grants.grant(g.domid, page)
        g.grants.map(g.domid, refs)
    elif what == "no such domain":
        whom = 4000
    elif what == "another reference":
        ref += 1
    elif what == "a reference beyond":
        ref = 1 << 20
    elif what == "domain 0":
        whom = 0
    try:
        g.grants.transfer(whom, [ref], page)
        status = 0
    except GrantError as error:
        status = error.status
    there = [g.memory.absent == [mfn], g.balloon.current]
    g.board.publish(peer, "given", b"")
    g.board.lookup(peer, "seen", 10)
    if what != "granted":
        there += [g.balloon.inflate(1), g.balloon.deflate(1), g.memory.absent]
    return [status, *there]


@pytest.mark.parametrize(
    ("what", "status"),
    [("granted", BAD_PAGE), ("no such domain", BAD_DOMAIN), ("another reference", GENERAL_ERROR), ("a reference beyond", GENERAL_ERROR),
     ("domain 0", GENERAL_ERROR)],
)
def test_refusals(hv, what, status):
    end, (_, told, after, _) = run(hv, refused, what)
    assert end.result == [status, True, 256, *([1, 1, []] if what != "granted" else [])]
    assert told == [] and after[2] == [True]


def test_a_receiver_that_is_full(hv):
    end, (_, told, after, _) = run(hv, refused, "full", maxmem="1M")
    assert end.result[0] == GENERAL_ERROR and told == [] and after == [256, False, [True]]


def test_an_offer_is_good_once(hv):
    def guest(g):
        ref = g.grants.accept(g.domid)
        g.grants.transfer(g.domid, [ref], g.memory.alloc(1))
        try:
            g.grants.transfer(g.domid, [ref], g.memory.alloc(1))
        except GrantError as error:
            return [error.status, g.grants.withdraw(ref), g.grants.accepted(ref) is not None, g.grants.accepted(ref)]

    assert hv.create(guest, maxmem="5M").wait(10) == [GENERAL_ERROR, False, True, None]


def test_pages_leave_by_runs(hv):
    """The library lets go of several pages at once."""

    def guest(g):
        from xenproc.native import lib

        pages = g.memory.alloc(3)
        return [lib.xp_pages_leave(pages.address, 3), lib.xp_pages_leave(g.window_base + 1, 1)]

    assert hv.create(guest).wait(10) == [0, -22]
