"""The board: one reader each, waiting with limits in order, ends that cancel."""

import pytest
from helpers import until

import xenproc


def test_a_value_is_for_its_reader_only(hv):
    def publisher(g):
        reader = g.board.resolve("reader")
        g.board.publish(reader, "secret", b"for you")
        g.board.publish(0, "done", b"")
        g.shutdown_request(None)

    def reads(g):
        who = g.board.resolve("publisher")
        if g.name == "reader":
            return g.board.lookup(who, "secret").decode()
        try:
            return g.board.lookup(who, "secret", 0.2).decode()
        except xenproc.Timeout:
            return "nothing"

    source = hv.create(publisher, name="publisher")
    reader = hv.create(reads, name="reader")
    assert reader.wait() == "for you"
    assert hv.create(reads, name="thief").wait() == "nothing"
    source.destroy()


def test_waits_end_in_the_order_of_their_limits(hv):
    def guest(g):
        import threading

        ends, lock = [], threading.Lock()

        def wait(ms):
            try:
                g.board.lookup(g.domid, f"never {ms}", ms / 1000)
            except xenproc.Timeout:
                with lock:
                    ends.append(ms)

        threads = [threading.Thread(target=wait, args=(ms,)) for ms in (240, 40, 160, 80, 200, 120)]
        begin = g.events.system_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [ends, (g.events.system_time() - begin) / 1e6]

    ends, took = hv.create(guest).wait()
    assert ends == [40, 80, 120, 160, 200, 240]
    assert 240 <= took < 1500


def test_who_waits_for_a_dead_publisher_is_told(hv):
    def waits(g):
        who = g.board.resolve("mortal")
        g.console.print("waiting")
        try:
            g.board.lookup(who, "last words", 20)
        except xenproc.HypercallError as error:
            return error.errno

    mortal = hv.create(lambda g: g.shutdown_request(None), name="mortal")
    dom = hv.create(waits)
    until(dom.console.read, "it waits")
    mortal.destroy()
    assert dom.wait() == 3


def test_resolving_waits_for_a_domain_to_exist(hv):
    dom = hv.create(lambda g: g.board.resolve("to come", 10))
    late = hv.create(lambda g: g.domid, name="to come")
    assert dom.wait() == late.domid


def test_resolving_what_is_not_there(hv):
    def guest(g):
        try:
            g.board.resolve("nobody", 0)
        except xenproc.NoSuchDomain as error:
            return str(error)

    assert hv.create(guest).wait() == "there is no domain 'nobody'"
    with pytest.raises(xenproc.DomainCrashed, match="Timeout"):
        hv.create(lambda g: g.board.resolve("nobody", 0.05)).wait()


def test_sizes(hv):
    def guest(g):
        g.board.publish(g.domid, "k" * 63, bytes(256))
        refused = []
        for key, value in (("k" * 64, b""), ("", b""), ("key", bytes(257)), ("é" * 32, b"")):
            try:
                g.board.publish(g.domid, key, value)
            except xenproc.ConfigError as error:
                refused.append(str(error).split(":")[0])
        return [len(g.board.lookup(g.domid, "k" * 63, 0)), refused]

    assert hv.create(guest).wait() == [256, ["key", "key", "value", "key"]]


def test_a_value_that_is_taken_is_gone(hv):
    """The next lookup waits for the next one; taking is the reader's choice."""

    def guest(g):
        g.board.publish(g.domid, "key", b"one")
        kept, taken = g.board.lookup(g.domid, "key", 0), g.board.lookup(g.domid, "key", 0, take=True)
        try:
            g.board.lookup(g.domid, "key", 0)
        except xenproc.HypercallError as error:
            g.board.publish(g.domid, "key", b"two")
            return [kept.decode(), taken.decode(), error.errno, g.board.lookup(g.domid, "key", 0, take=True).decode()]

    assert hv.create(guest, limits={"max_board": 1}).wait() == ["one", "one", 2, "two"]
