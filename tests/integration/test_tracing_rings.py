"""What domains record of themselves while somebody traces: ring pushes and takes, direct events, sleeps; and what a liar achieves."""

from collections import Counter

from xenproc.dom0.trace import Recording, slices, type_name
from xenproc.ring import Layout

ECHO = Layout("struct { uint64_t id; uint64_t a; }", "struct { uint64_t id; uint64_t a; }")
CALLS = 200


def echo(g):
    """Answer until the front is gone."""
    with g.ring_back("front", ECHO, mode="block") as ring:
        return ring.serve(lambda request, response: None)


def front(g):
    """Make so many blocking calls."""
    with g.ring_front("back", ECHO, mode="block") as ring:
        for _ in range(CALLS):
            ring.call()
        return ring.event.port


def recorded(recording, domid):
    return [r for r in recording.collected if r.domid == domid]


def test_a_ring_s_life_is_seen_from_both_ends(hv, client):
    """Every push and take with its index, and the sleeps between, of a domain that was there before and one that came later."""
    back = hv.create(echo, name="back")
    with Recording(client, ("rings",)) as recording:
        domain = hv.create(front, name="front")
        port = domain.wait(20)
        back.join(20)
    assert recording.lost == 0
    for domid in (domain.domid, back.domid):
        records = recorded(recording, domid)
        count = Counter(type_name(r.type) for r in records)
        assert count["push"] == count["take"] == CALLS and count["wait"] == count["woken"] <= CALLS + 2
        pushed = [r.value & 0xFFFFFFFF for r in records if type_name(r.type) == "push"]
        assert pushed == list(range(1, CALLS + 1))
        assert all(r.number >> 16 == 1 for r in records if type_name(r.type) in ("push", "take"))
    # Who sleeps is told by the other; on two CPUs one of them may never come to sleep.
    count = Counter(type_name(r.type) for r in recording.collected)
    assert count["wait"] > CALLS // 4 and count["send"] > CALLS // 4
    mine = recorded(recording, domain.domid)
    assert {r.number & 0xFFFF for r in mine} == {port}
    # An order that no clock error explains away: each response is taken after its request was pushed.
    ends = [r for r in mine if type_name(r.type) in ("push", "take")]
    assert [type_name(r.type) for r in ends] == ["push", "take"] * CALLS
    waits = [piece for piece in slices(recording.collected) if piece["name"] == "waits for an event"]
    assert len(waits) == count["wait"] and {piece["domid"] for piece in waits} <= {domain.domid, back.domid}
    assert all(0 < piece["dur"] < 5_000_000_000 for piece in waits)


def test_not_recorded_unless_asked_for(hv, client):
    back = hv.create(echo, name="back")
    before = hv.info()["memory"]["free"]
    with Recording(client, ("events",)) as recording:
        assert hv.info()["memory"]["free"] == before
        hv.create(front, name="front").wait(20)
        back.join(20)
    assert not {type_name(r.type) for r in recording.collected} & {"push", "take", "wait", "woken", "send"}


def test_what_is_overwritten_is_counted_and_the_rest_is_whole(hv, client):
    """A ring of records that nobody fetches for long keeps the newest."""
    calls = 5000

    def busy(g):
        with g.ring_front("back", ECHO, mode="block") as ring:
            for _ in range(calls):
                ring.call()

    back = hv.create(echo, name="back")
    with Recording(client, ("rings",)) as recording:
        domain = hv.create(busy, name="front")
        domain.wait(30)
        back.join(20)
    assert recording.lost > 2 * calls
    last = [r.value for r in recorded(recording, domain.domid) if type_name(r.type) == "take"]
    assert last[-1] & 0xFFFFFFFF == calls and len(last) > 100


def test_a_liar_speaks_for_itself_only(hv, client):
    """Records of another type, of a moment before the recording or after now, and torn ones are dropped and counted."""
    def liar(g):
        from xenproc.native import ffi, lib

        page = ffi.cast("uint64_t *", int(ffi.cast("uintptr_t", g._page)))
        classes, mfn = ffi.cast("uint32_t *", page) + 3, page + 2
        while not classes[0]:
            g.hypercall(29, 0, 0)
        lib.xp_gtrace_put(g.events.tracer, lib.XP_TT_call, 1, 1)                # a type that is the hypervisor's
        lib.xp_gtrace_put(g.events.tracer, lib.XP_TT_send, 4242, 1)             # as it should be
        ring = ffi.cast("uint64_t *", g.window_base + (mfn[0] << 12))
        ring[8 + 3 * 4 + 1] = 1                                                 # the fourth: an old moment, and no check
        ring[0] += 2
        for _ in range(300):                                                    # the hole is given up once the ring has gone on
            lib.xp_gtrace_put(g.events.tracer, lib.XP_TT_wait, 4243, 1)
        while classes[0]:
            g.hypercall(29, 0, 0)
        return mfn[0]

    domain = hv.create(liar, name="liar")
    other = hv.create(lambda g: g.board.lookup(0, "end", 20) and None, name="other")
    with Recording(client, ("rings",)) as recording:
        for _ in range(200):
            recording.collect()
            if any(r.number == 4243 for r in recording.collected):
                break
    assert domain.wait(20)
    other.destroy()
    assert {(r.domid, type_name(r.type), r.number) for r in recording.collected} == {
        (domain.domid, "send", 4242), (domain.domid, "wait", 4243)}
    assert recording.lost == 3


def test_a_head_that_runs_wild_holds_up_nobody(hv, client):
    """A domain that scribbles over the whole of its ring of records all the time: the hypervisor answers others as ever."""
    def wild(g):
        from xenproc.native import ffi

        page = ffi.cast("uint64_t *", int(ffi.cast("uintptr_t", g._page)))
        classes, mfn = ffi.cast("uint32_t *", page) + 3, page + 2
        while not classes[0]:
            g.hypercall(29, 0, 0)
        words = ffi.cast("uint64_t *", g.window_base + (mfn[0] << 12))
        step = 0
        while classes[0]:
            step += 1
            words[0] = (step * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)
            words[8 + step * 7 % 8192] = step
        mfn[0] = (1 << 64) - 1
        return step

    domain = hv.create(wild, name="wild")
    with Recording(client, ("rings",)) as recording:
        for _ in range(100):
            recording.collect()
        assert hv.create(lambda g: 7).wait(20) == 7
    assert domain.wait(20) > 0
    assert not recorded(recording, domain.domid) or all(r.domid == domain.domid for r in recording.collected)
    assert hv.audit() == 0


def test_the_frames_go_with_the_domain(hv, client):
    back = hv.create(echo, name="back")
    before = hv.info()["memory"]
    for _ in range(3):
        with Recording(client, ("rings",)):
            assert before["free"] - hv.info()["memory"]["free"] == 17        # once, however often
    back.destroy()
    back.join(20)
    memory = hv.info()["memory"]
    assert memory["free"] + memory["dirty"] > before["free"] + 17
    assert hv.audit() == 0
