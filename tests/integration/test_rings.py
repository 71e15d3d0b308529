"""Rings between two guests, set up through the board: modes, sizes, batches, time limits, and how a peer's end is told."""

import pytest

import xenproc
from xenproc.ring import Layout

ECHO = Layout("struct { uint64_t id; uint64_t a; uint32_t b[5]; }", "struct { uint64_t id; uint64_t a; }")


def echo(g, peer, mode="adaptive"):
    """[guest] Answer with a + 1 until the front is gone."""
    with g.ring_back(peer, ECHO, mode=mode) as ring:
        def answer(request, response):
            response.a = request.a + 1

        return ring.serve(answer)


def pair(hv, front, *args, back=echo, back_args=(), **front_options):
    """Run a front against a back; return (front's result, back's Exit)."""
    other = hv.create(back, "front", *back_args, name="back")
    result = hv.create(front, *args, name="front", **front_options).wait(40)
    return result, other.join(20)


@pytest.mark.parametrize("mode", ["poll", "adaptive", "block"])
@pytest.mark.parametrize("pages", [1, 3, 16])
def test_every_mode_and_size(hv, mode, pages):
    """Single calls and whole rings full, each answer checked; pages that make slots straddle them."""

    def front(g):
        with g.ring_front("back", ECHO, mode=mode, pages=pages) as ring:
            for i in range(300):
                ring.request.a = i * 7
                assert ring.call().a == i * 7 + 1
            for k in range(5):
                for i in range(ring.nr_ents):
                    ring.requests[i].a = k * 1000 + i
                assert ring.exchange(ring.nr_ents) == ring.nr_ents
                answers = sorted(ring.responses[i].a for i in range(ring.nr_ents))
                assert answers == [k * 1000 + i + 1 for i in range(ring.nr_ents)]
            return 300 + 5 * ring.nr_ents

    made, end = pair(hv, front, back_args=(mode,))
    assert end.result == made


def test_numpy_over_requests(hv):
    """Requests are filled and responses read as NumPy arrays, without copying."""

    def front(g):
        import numpy

        with g.ring_front("back", ECHO) as ring:
            requests, responses = ring.array("requests"), ring.array("responses")
            requests["a"] = numpy.arange(ring.nr_ents)
            ring.exchange(ring.nr_ents)
            return bool((numpy.sort(responses["a"]) == numpy.arange(ring.nr_ents) + 1).all())

    assert pair(hv, front)[0] is True


def test_step_by_step_with_hold_off(hv):
    """put, push, wait, get: more requests than responses asked for at once; hold-off tells once for many."""

    def front(g):
        with g.ring_front("back", ECHO, mode="block") as ring:
            for i in range(20):
                ring.requests[i].a = i
            assert ring.put(20) == 20
            ring.push()
            got = []
            while len(got) < 20:
                n = ring.wait()
                got += [ring.responses[i].a for i in range(n)]
            return [sorted(got) == list(range(1, 21)), ring.get(), ring.final_check(3)]

    assert pair(hv, front)[0] == [True, 0, 0]


def test_a_time_limit_and_going_on_after_it(hv):
    """A back that is slow: Timeout first, then resume() takes the same answer."""

    def front(g):
        with g.ring_front("back", ECHO) as ring:
            ring.set_timeout(0.1)
            ring.request.a = 5
            try:
                ring.call()
                return "no time limit"
            except xenproc.Timeout:
                ring.set_timeout(10)
                return [ring.resume(), ring.response.a]

    def slow(g, peer):
        import time

        with g.ring_back(peer, ECHO) as ring:
            n = ring.wait()
            time.sleep(0.5)
            ring.responses[0].a = ring.requests[0].a + 1
            ring.reply(n)
            time.sleep(0.2)

    assert pair(hv, front, back=slow)[0] == [1, 6]


@pytest.mark.parametrize("how", ["close", "die"])
def test_the_back_learns_that_the_front_is_gone(hv, how):
    """serve() ends when the front closes, and when it dies without a word."""

    def front(g, how):
        import os

        ring = g.ring_front("back", ECHO)
        ring.call()
        if how == "die":
            os._exit(3)
        ring.close()
        return "closed"

    other = hv.create(echo, "front", name="back")
    end = hv.create(front, how, name="front").join(20)
    assert end.crashed == (how == "die")
    assert other.wait(10) == 1


def test_a_front_learns_that_its_back_died(hv):
    """In the middle of a call: PeerGone, at once."""

    def front(g):
        import time

        with g.ring_front("back", ECHO) as ring:
            start = time.monotonic()
            try:
                ring.call()
            except xenproc.PeerGone:
                return time.monotonic() - start

    def dies(g, peer):
        import os

        g.ring_back(peer, ECHO).wait()
        os.abort()

    took, _ = pair(hv, front, back=dies)
    assert took < 3


def test_many_rings_one_after_the_other_leave_nothing(hv):
    """Pages, grants and ports of a closed ring are there for the next one."""

    def front(g):
        free = g.memory.nr_free
        for i in range(30):
            with g.ring_front("back", ECHO, name=f"r{i}") as ring:
                ring.call()
        return [free - g.memory.nr_free <= 4, len([p for p in range(1, 100) if _open(g, p)])]

    def _open(g, port):
        try:
            return g.events.status(port).status != 0
        except xenproc.HypercallError:
            return False

    def back(g, peer):
        for i in range(30):
            with g.ring_back(peer, ECHO, name=f"r{i}") as ring:
                ring.serve(lambda request, response: None)
        return len([port for port in range(1, 100) if _open(g, port)])

    result, end = pair(hv, front, back=back)
    assert result == [True, 0] and end.result == 0
