"""A guest's time: real, virtual and wall-clock, alarms, the run state; and Domain0 that sets the wall clock."""

import time

import pytest
from helpers import until

import xenproc

MS = 1_000_000


def test_alarms_by_every_door(hv):
    """set_timer, singleshot, periodic: never early, and late by less than a second."""

    def guest(g):
        late = []
        for arm in (g.clock.set_timer, g.clock.set_singleshot, lambda at: g.clock.set_singleshot(at, future=True)):
            _ = g.clock.port
            deadline = g.clock.system_time() + 10 * MS
            arm(deadline)
            g.clock.wait()
            late.append(g.clock.system_time() - deadline)
        begin = g.clock.system_time()
        g.clock.set_periodic(5 * MS)
        for _ in range(4):
            g.clock.wait()
        took = g.clock.system_time() - begin
        g.clock.stop_periodic()
        return [late, took]

    late, took = hv.create(guest).wait(20)
    assert all(-50_000 < ns < 1000 * MS for ns in late), late
    assert 19 * MS < took < 1000 * MS


def test_alarms_taken_back(hv):
    def guest(g):
        port = g.clock.port
        g.clock.set_singleshot(g.clock.system_time() + 5 * MS)
        g.clock.stop_singleshot()
        try:
            g.clock.wait(0.03)
        except xenproc.Timeout:
            pass        # as it should be
        else:
            return "went off"
        try:
            g.clock.set_singleshot(1, future=True)
        except xenproc.HypercallError as error:
            return [error.errno, g.events.pending(port)]

    assert hv.create(guest).wait(20) == [62, False]


def test_virtual_time_passes_only_while_it_runs(hv):
    """Its alarm, too, is one on virtual time, though the process has an own uid and pid namespace."""

    def guest(g):
        import time

        before = g.clock.virtual_time()
        time.sleep(0.2)
        asleep = g.clock.virtual_time() - before
        _ = g.clock.port
        deadline = g.clock.virtual_time() + 30 * MS
        g.clock.set_virtual_timer(deadline)
        while not g.events.pending(g.clock.port) and g.clock.virtual_time() < deadline + 5000 * MS:
            pass
        return [asleep, g.clock.virtual_time() - deadline]

    asleep, late = hv.create(guest).wait(30)
    assert asleep < 100 * MS
    assert 0 <= late < 1000 * MS


def test_a_stopped_domain_is_offline(hv):
    def guest(g):
        g.console.print("ready")
        g.shutdown_request(20)
        return [g.clock.virtual_time(), g.clock.runstate()]

    domain = hv.create(guest)
    until(lambda: "ready" in domain.console.read())
    domain.pause()
    time.sleep(0.3)
    domain.unpause()
    domain.shutdown()
    ran, state = domain.wait(20)
    assert state["offline"] >= 250 * MS
    assert state["running"] >= ran * 0.5


def test_the_run_state_is_true(hv):
    """Work counts as running, sleep as blocked, and all of it adds up."""

    def guest(g):
        import time

        def spend(what):
            before = g.clock.runstate()
            what()
            after = g.clock.runstate()
            passed = {k: after[k] - before[k] for k in after}
            assert passed["since"] == sum(v for k, v in passed.items() if k != "since")
            return passed

        def work():
            end = time.process_time() + 0.1
            while time.process_time() < end:
                pass

        _ = g.clock.port
        return [spend(work), spend(lambda: time.sleep(0.1)), spend(lambda: g.events._poll(g.clock.port, 100 * MS))]

    worked, slept, polled = hv.create(guest).wait(30)
    assert worked["running"] >= 100 * MS
    assert slept["blocked"] >= 80 * MS and slept["running"] < 50 * MS
    assert polled["blocked"] >= 80 * MS and polled["running"] < 50 * MS


def test_a_registered_run_state_and_time(hv):
    def guest(g):
        page = g.memory.alloc(1)
        state, clock = g.clock.register_runstate(page.address), g.clock.register_time(page.address + 128)
        first = state.state_entry_time
        _ = g.clock.port
        g.clock.set_timer(g.clock.system_time() + 20 * MS)
        g.clock.wait()
        moved = state.state_entry_time - first
        same = clock.system_time <= g.clock.system_time() and clock.version % 2 == 0
        g.clock.register_runstate(0)
        g.clock.register_time(0)
        try:
            g.clock.register_runstate(g.window_base + 4096 * 3 + 1)
        except xenproc.HypercallError as error:
            return [moved, same, error.errno]

    moved, same, errno = hv.create(guest).wait(20)
    assert moved >= 15 * MS and same and errno == 14


def test_the_wall_clock_is_domain0s(hv):
    """It starts as the host's; all guests see what Domain0 sets, and real time does not move."""

    def guest(g):
        g.console.print(f"{g.clock.wall_clock()}")
        real = g.clock.system_time()
        g.shutdown_request(20)
        return [g.clock.wall_clock(), g.clock.system_time() - real]

    domain = hv.create(guest)
    said: list[str] = []
    until(lambda: said.append(domain.console.read()) or said[-1].endswith("\n"))
    assert abs(int("".join(said)) - time.time_ns()) < 5 * 10**9
    hv.set_wall_clock(10**18)
    domain.shutdown()
    wall, passed = domain.wait(20)
    assert 10**18 <= wall < 10**18 + 30 * 10**9
    assert 0 <= passed < 30 * 10**9
    assert 10**18 <= hv.wall_clock() < 10**18 + 60 * 10**9
    with pytest.raises(xenproc.HypercallError) as refused:
        hv.set_wall_clock(0)
    assert refused.value.errno == 22
    hv.set_wall_clock(time.time_ns())


def test_reading_time_costs_no_call(hv):
    def guest(g):
        before = g.hypercalls.core.nr_calls
        times = [g.clock.system_time() for _ in range(1000)]
        return [g.hypercalls.core.nr_calls - before, times == sorted(times)]

    assert hv.create(guest).wait(20) == [0, True]
