"""Domain0's side: states, time limits, waiting, refusals that say what is wrong before anything is touched, many at once."""

import threading

import pytest
from guests import idle
from helpers import until

import xenproc


def test_states(hv):
    dom = hv.create(idle, name="idle")
    assert dom.state == "running"
    dom.pause()
    assert dom.state == "paused" and hv.domains()[-1]["state"] == "--p---"
    dom.unpause()
    assert dom.state == "running" and hv.domains()[-1]["state"] == "r-----"
    dom.shutdown("reboot")
    assert dom.wait() == "reboot"
    assert dom.state == "dead"
    assert repr(dom) == f"<Domain {dom.domid} 'idle' dead>"


def test_a_paused_domain_does_nothing_until_it_goes_on(hv):
    dom = hv.create(idle)
    dom.pause()
    dom.shutdown()
    with pytest.raises(xenproc.Timeout, match=r"still runs after 0\.2 s"):
        dom.join(0.2)
    dom.unpause()
    assert dom.wait() == "poweroff"


def test_destroy(hv):
    dom = hv.create(idle)
    end = dom.destroy()
    assert end.reason == "destroyed" and not end.crashed and dom.wait() is None
    assert dom.destroy() is end, "a second time is harmless"
    paused = hv.create(idle)
    paused.pause()
    assert paused.destroy().reason == "destroyed"


def test_destroying_what_has_crashed_tells_of_the_crash(hv):
    dom = hv.create(lambda g: 1 / 0)
    until(lambda: dom.state == "dead", "its end")
    assert dom.destroy().crash.detail == "ZeroDivisionError: division by zero"


def test_waiting_with_a_limit_of_nothing(hv):
    dom = hv.create(idle)
    with pytest.raises(xenproc.Timeout):
        dom.wait(0)
    dom.destroy()


def test_many_wait_for_one(hv):
    dom = hv.create(idle)
    results = []
    threads = [threading.Thread(target=lambda: results.append(dom.wait())) for _ in range(8)]
    for thread in threads:
        thread.start()
    dom.shutdown("halt")
    for thread in threads:
        thread.join(10)
    assert results == ["halt"] * 8


def test_a_second_handle_learns_the_same_end(hv):
    from xenproc.dom0.domain import Domain

    dom = hv.create(lambda g: 7, name="seven")
    other = Domain(hv._client, dom.domid, "seven", dom.pid, {})
    assert (dom.wait(), other.wait()) == (7, 7)


def test_console_of_a_dead_domain_before_and_after_it_was_waited_for(hv):
    dom = hv.create(lambda g: print("one\ntwo"))
    until(lambda: dom.state == "dead", "its end")
    assert dom.console.read() == "one\ntwo\n"
    assert dom.console.read() == ""
    dom.wait()
    assert dom.console.read() == ""
    fresh = hv.create(lambda g: print("three"))
    fresh.wait()
    assert fresh.console.read() == "three\n"


def test_console_in_pieces_while_it_runs(hv):
    def guest(g):
        g.console.print("first")
        g.shutdown_request(None)
        g.console.write("no line end")

    dom = hv.create(guest)
    text = until(dom.console.read, "the first line")
    dom.shutdown()
    dom.wait()
    assert text + dom.console.read() == "first\nno line end"


def test_console_overflow_keeps_the_newest(hv):
    def guest(g):
        for i in range(4000):
            g.console.print(f"line {i:06d}")
        g.shutdown_request(None)

    dom = hv.create(guest)
    until(lambda: hv.domains()[-1]["hypercalls"] > 4000, "4000 lines")
    text = dom.console.read()
    assert len(text) == 16384 and text.endswith("line 003999\n") and text.splitlines()[-2] == "line 003998"
    dom.destroy()
    assert dom.join().console.endswith("line 003999\n") and len(dom.join().console) == 4096


def test_console_takes_any_bytes(hv):
    from xenproc.abi import ConsoleIo, Hypercall

    data = bytes(range(256)) * 4

    def guest(g):
        with g.memory.alloc() as page:
            page.view[: len(data)] = data
            return g.hypercall(Hypercall.console_io, ConsoleIo.write, len(data), page.address)

    dom = hv.create(guest)
    assert dom.wait() == len(data)
    assert dom.console.read() == data.decode("utf-8", "replace")


# ---- refusals ----


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"memory": "zebra"}, "memory: expected a size like '256M', '1.5G' or '4096', got 'zebra'"),
        ({"memory": 0}, "memory: expected a positive size, got 0"),
        ({"memory": -4096}, "memory: expected a positive size, got -4096"),
        ({"memory": 4097}, "memory: 4097 bytes is not a multiple of the frame size 4096"),
        ({"memory": True}, "memory: expected a number of bytes or a string like '256M', got True"),
        ({"memory": 7 * 4096}, "memory: expected at least 8 frames (32 KiB), got 7"),
        ({"memory": "8M", "maxmem": "4M"}, "maxmem: expected at least the reservation of 2048 frames, got 1024"),
        ({"name": ""}, "name: expected 1 to 63 bytes without NUL and not Domain-0, got ''"),
        ({"name": "x" * 64}, f"name: expected 1 to 63 bytes without NUL and not Domain-0, got '{'x' * 64}'"),
        ({"name": "a\0b"}, r"name: expected 1 to 63 bytes without NUL and not Domain-0, got 'a\x00b'"),
        ({"name": "Domain-0"}, "name: expected 1 to 63 bytes without NUL and not Domain-0, got 'Domain-0'"),
        ({"name": 5}, "name: expected 1 to 63 bytes without NUL and not Domain-0, got 5"),
        ({"name": "there"}, "name: a domain called 'there' exists already"),
        ({"cmdline": "x" * 1024}, "cmdline: expected at most 1023 bytes without NUL, got 1024"),
        ({"cmdline": 3}, "cmdline: expected text, got 3"),
        ({"limits": {"max_gold": 1}}, "limits: unknown limit 'max_gold'"),
        ({"limits": {"max_evtchns": 4097}}, "limits: max_evtchns: expected 0 to 4096, got 4097"),
        ({"limits": {"max_board": -1}}, "limits: max_board: expected 0 to 4096, got -1"),
        ({"limits": {"max_board": "1"}}, "limits: max_board: expected 0 to 4096, got '1'"),
        ({"cpus": []}, "cpus: expected some of"),
        ({"cpus": [100000]}, "cpus: expected some of"),
        ({"without": ["gravity"]}, "without: expected some of"),
    ],
)
def test_bad_arguments(hv, kwargs, message):
    there = hv.create(idle, name="there")
    before = hv.info()["memory"], len(hv.domains())
    with pytest.raises(xenproc.ConfigError) as caught:
        hv.create(idle, **kwargs)
    assert message in str(caught.value)
    assert (hv.info()["memory"], len(hv.domains())) == before
    there.destroy()


def test_guests_that_cannot_be_sent(hv):
    with pytest.raises(xenproc.ConfigError, match="guest: expected a callable, got int"):
        hv.create(5)
    with pytest.raises(xenproc.ConfigError, match="cannot be sent to a domain"):
        hv.create(lambda g, lock: None, (i for i in range(3)))


def test_too_little_memory_in_the_machine(hv):
    free = hv.info()["memory"]["free"]         # all but the hypervisor's own
    with pytest.raises(xenproc.EnvironmentLacks, match=rf"asks for 16384 frames and 2 of overhead, {free} of 16384 are free"):
        hv.create(idle, name="big", memory="64M")
    half = hv.create(idle, memory="33M")
    with pytest.raises(xenproc.EnvironmentLacks, match="asks for 8448 frames"):
        hv.create(idle, memory="33M")
    half.destroy()


def test_memory_given_back_is_there_for_the_next_at_once(hv):
    for i in range(4):
        assert hv.create(lambda g, i=i: i, memory="40M").wait() == i


@pytest.mark.parametrize(
    "memory, error, message",
    [
        ("1000T", xenproc.ConfigError, "memory: expected less than 16 TiB"),
        ("15T", xenproc.EnvironmentLacks, "of machine memory asked for, but"),
        (4096, xenproc.ConfigError, "memory: expected at least 256 KiB, got 4 KiB"),
        ("lots", xenproc.ConfigError, "memory: expected a size"),
        (12345, xenproc.ConfigError, "not a multiple"),
    ],
)
def test_a_machine_that_cannot_be(own_machine, memory, error, message):
    with pytest.raises(error, match=message):
        own_machine(memory)


def test_a_machine_of_an_unknown_kind(own_machine):
    with pytest.raises(xenproc.ConfigError, match="isolation: expected one of auto, enforced, cooperative, got 'wishful'"):
        own_machine(isolation="wishful")


def test_unknown_domain(hv):
    from xenproc.dom0.domain import Domain

    for domid in (999, 0, -1, 70000, "x", None):
        nobody = Domain(hv._client, domid, "nobody", 0, {})
        for act in (lambda d: d.state, Domain.join, Domain.pause, Domain.unpause, Domain.shutdown, lambda d: d.console.read()):
            with pytest.raises(xenproc.NoSuchDomain, match=f"there is no domain {domid!r}"):
                act(nobody)
        assert "there is no domain" in repr(nobody)


def test_a_request_that_makes_no_sense(hv):
    for request in ({"op": "dance"}, {"op": None}, {"op": "state"}, {"op": "wait", "domid": 1}, {"op": "create"}):
        with pytest.raises(xenproc.XenprocError):
            hv._client.call(**request)
    assert hv.domains()


def test_after_close_everything_says_so(own_machine):
    hv = own_machine()
    dom = hv.create(idle)
    hv.close()
    hv.close()
    for act in (hv.info, hv.domains, lambda: hv.create(idle), lambda: dom.state, dom.join, dom.pause, dom.destroy):
        with pytest.raises(xenproc.HypervisorGone):
            act()
    assert "ended" in repr(dom)


def test_close_wakes_who_waits(own_machine):
    hv = own_machine()
    dom = hv.create(idle)
    caught = []

    def wait():
        try:
            dom.join(None)
        except xenproc.XenprocError as error:
            caught.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: hv._client._reader, "somebody waits")
    hv.close()
    thread.join(10)
    assert not thread.is_alive() and caught == [xenproc.HypervisorGone]
