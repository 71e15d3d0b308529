"""Having others work: the hypervisor by calls that cost it much, a friend by handing its own time over. Nobody gets more than its share.

On one CPU, which the hypervisor's threads are held to, too: what they do is taken from the domains'. Each attack succeeds where its
defence is off.
"""

import os

import pytest
from helpers import require, until
from scheduled import contended, hog, shares

import xenproc

S = 1_000_000_000


@pytest.fixture
def one_cpu(own_machine):
    """A machine whose domains and hypervisor share one CPU."""
    try:
        hv = own_machine(scheduler="bvt", cpus=1)
    except xenproc.EnvironmentLacks as error:
        require("real-time" not in str(error), "real-time scheduling classes")
        raise
    for tid in os.listdir(f"/proc/{hv.pid}/task"):
        os.sched_setaffinity(int(tid), sorted(os.sched_getaffinity(0))[:1])
    return hv


def caller(g, nr_pages=256):
    """[guest] Keep the hypervisor busy: multicalls of thousands of entries, in every slot, for ever."""
    from xenproc.abi import Hypercall
    from xenproc.native import ffi, lib

    size = ffi.sizeof("struct xen_multicall_entry")
    pages = g.memory.alloc(nr_pages)
    nr = len(pages.view) // size
    entries = ffi.cast("struct xen_multicall_entry *", pages.address)
    for i in range(nr):
        entries[i].op = Hypercall.xen_version
    g.hypercalls.mode = lib.XP_WAIT_BLOCK
    while True:
        for _ in range(8):
            g.hypercalls.post(Hypercall.multicall, pages.address, nr)
        g.hypercalls.raw(Hypercall.multicall, pages.address, nr, timeout_ns=60 * S)


def row(hv, dom):
    return next(row for row in hv.domains() if row["domid"] == dom.domid)


def beside_a_caller(hv, **options):
    """Return the share of two honest ones together, beside one that has the hypervisor work; and what that one's row says."""
    hogs = [hv.create(hog) for _ in range(2)]
    until(lambda: contended(hv), "contention")
    attacker = hv.create(caller, memory="8M", **options)
    shares(hogs, 0.3)
    honest = sum(shares(hogs, 1.5))
    return honest, row(hv, attacker)


def test_the_hypervisors_work_is_in_the_callers_share(one_cpu):
    """Equal weights: two thirds of the CPU are the honest ones', whatever the third has others do."""
    honest, seen = beside_a_caller(one_cpu)
    assert honest > 0.58, (honest, seen)
    assert seen["hypervisor_ns"] > S / 10


def test_without_charging_it_takes_the_honest_ones_share(one_cpu):
    honest, seen = beside_a_caller(one_cpu, without=["charging"])
    assert honest < 0.45, (honest, seen)
    assert seen["hypervisor_ns"] == 0


# ---- back ends ----


def works_for(g, peer):
    """[guest] A back end that bills all it uses, honest or not."""
    while True:
        for _ in range(20_000):
            pass
        try:
            g.account.hand_over(peer, 10**9)
        except OSError:
            pass                # it has not said yet that it pays


def asks(g, peer):
    """[guest] Try to hand over, first without having worked for anybody who pays; return what each try gave."""
    found = []
    for ns in (1, 10**9, 2**62):
        try:
            found.append(g.account.hand_over(peer, ns))
        except OSError as error:
            found.append(-error.errno)
    return found


def pays(g, peer, part, works):
    """[guest] Allow `peer`; then compute (works), or sleep, for ever."""
    while True:
        try:
            g.account.pay(peer, part)
            break
        except OSError:
            pass                # it is not there yet
    while works:
        for _ in range(20_000):
            pass
    while g.shutdown_request(1) is None:
        pass


def test_nobody_pays_who_did_not_say_so(one_cpu):
    hv = one_cpu
    victim, other = hv.create(hog), hv.create(hog)
    until(lambda: contended(hv), "contention")
    assert hv.create(asks, victim.domid).wait(20) == [-1, -1, -1]
    assert hv.create(asks, 999).wait(20) == [-3, -3, -3]
    assert row(hv, victim)["paid_ns"] == row(hv, other)["paid_ns"] == 0


def bills(hv, part, works):
    """An honest domain, one that pays up to `part` of its CPU time, and its back end, which hands over all that it can: once it does."""
    honest = hv.create(hog)
    payer = hv.create(pays, honest.domid + 2, part, works)
    cheat = hv.create(works_for, payer.domid)
    until(lambda: contended(hv) and row(hv, cheat)["handed_ns"] > S / 20, "bills")
    return honest, payer, cheat


@pytest.mark.parametrize("works", [True, False])
def test_a_back_end_gets_no_more_than_what_its_payer_gives_up(one_cpu, works):
    """A third honest domain keeps its third, whether the payer of the other's bills runs itself or sleeps all the time."""
    hv = one_cpu
    honest, payer, cheat = bills(hv, 1.0, works)
    got = shares([honest, payer, cheat], 1.5)
    assert got[0] > 0.28, got
    assert got[2] > 0.38, got                   # but it does get what the payer pays for
    seen = row(hv, payer), row(hv, cheat)
    assert seen[0]["paid_ns"] > S / 10 and seen[1]["handed_ns"] > S / 10


def test_a_payer_keeps_what_it_did_not_give(one_cpu):
    """A tenth of the CPU at most: the payer loses no more than that, its back end gains no more."""
    hv = one_cpu
    honest, payer, cheat = bills(hv, 0.1, True)
    got = shares([honest, payer, cheat], 1.5)
    assert got[0] > 0.28 and got[1] > 1 / 3 - 0.14 and got[2] < 1 / 3 + 0.14, got


def test_what_cannot_be_paid_is_refused(hv):
    """Without a scheduler nobody is charged; who pays whom is checked all the same."""

    def payer(g, back):
        found = []
        for domid, part in ((g.domid, 0.5), (999, 0.5), (back, 0.5), (back, 0), (back, 1.0)):
            try:
                found.append(g.account.pay(domid, part))
            except OSError as error:
                found.append(error.errno)
        try:
            g.account.pay(back, 1.5)
        except ValueError as error:
            found.append(str(error))
        g.board.publish(back, "told", b"")
        while g.shutdown_request(1) is None:
            pass
        return found

    def back(g):
        front = g.board.resolve("front", 10)
        g.board.lookup(front, "told", 10)
        with g.account.serving(front):
            sum(range(100_000))
        try:
            g.account.hand_over(g.domid, 1)
        except OSError as error:
            return g.account.hand_over(front, 10**9), error.errno

    served = hv.create(back)
    front = hv.create(payer, served.domid, name="front")
    assert served.wait(20) == [0, 22]
    assert row(hv, front)["paid_ns"] == 0
    front.shutdown()
    assert front.wait(20) == [22, 3, None, None, None, "part: expected 0 to 1 of a CPU, got 1.5"]
