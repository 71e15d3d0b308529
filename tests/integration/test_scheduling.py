"""The CPU scheduler on real processes: who gets how much, who is touched and who is not, and what it survives.

On one CPU (cpus=1), so that the host keeps another for this process and whatever else runs there. Shares are of the kernel's own count.
"""

import os
import signal

import psutil
import pytest
from helpers import require, until
from scheduled import contended, hog, ping, policy, pong, shares, state, threads

import xenproc
from xenproc.bench import bvt_lag
from xenproc.dom0 import registry, schedule
from xenproc.dom0.trace import Recording


def may_schedule() -> bool:
    """Can this process put others into real-time classes?"""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, *before)
    return True


@pytest.fixture
def scheduled(own_machine):
    """A function that starts a machine with a scheduler on one CPU."""
    require(may_schedule(), "real-time scheduling classes")

    def start(scheduler="bvt", cpus=1, **more):
        return own_machine(scheduler=scheduler, cpus=cpus, **more)

    return start


@pytest.mark.parametrize("scheduler", ["bvt", "rr"])
def test_hogs_share_one_cpu(scheduled, scheduler):
    """Three on one CPU of the host's: a third each, within 4% of the CPU, and together no more than it."""
    hv = scheduled(scheduler)
    doms = [hv.create(hog) for _ in range(3)]
    until(lambda: contended(hv), "contention")
    got = shares(doms, 1.2)
    assert all(abs(share - 1 / 3) < 0.04 for share in got), got
    assert sum(got) < 1.01, got


def test_who_waits_does_not_run(scheduled):
    """Of three, nobody uses half a tick of the kernel's out of its turn, though the chosen one breathes; some tried."""
    hv = scheduled()
    for _ in range(3):
        hv.create(hog)
    until(lambda: contended(hv), "contention")
    client = registry.connect(hv.pid)
    try:
        with Recording(client, ("sched",)) as recording:
            until(lambda: (now := hv.info()["scheduler"])["leaks"] > 10 and now["switches"] > 60, "leaks and switches", 20)
            recording.collect()
    finally:
        client.close()
    assert recording.lost == 0
    steps = schedule.of_recording(recording).steps
    assert sum(what == "decide" for _, what, *_ in steps) > 20
    assert bvt_lag.out_of_turn(steps) < 2_000_000


def test_no_more_domains_than_cpus_are_left_alone(scheduled):
    """One on one CPU is in nobody's class; two are, and when one has gone the other is as it was found, on every CPU."""
    hv = scheduled()
    first = hv.create(hog)
    own_cpus = os.sched_getaffinity(first.pid)
    shares([first], 0.3)
    assert policy(first) == (os.SCHED_OTHER, 0) and not contended(hv)
    second = hv.create(hog)
    until(lambda: contended(hv), "contention")
    until(lambda: {policy(first)[0], policy(second)[0]} == {os.SCHED_RR, os.SCHED_IDLE}, "one that runs, one that waits")
    assert len(os.sched_getaffinity(first.pid)) == 1
    second.destroy()
    until(lambda: not contended(hv), "the end of contention")
    assert policy(first) == (os.SCHED_OTHER, 0) and os.sched_getaffinity(first.pid) == own_cpus


@pytest.mark.parametrize("scheduler", ["bvt", "rr"])
def test_many_threads_get_no_more_than_one(scheduled, scheduler):
    """Four threads beside one hog: half the CPU each, within 6%."""
    hv = scheduled(scheduler)
    doms = [hv.create(threads, 4), hv.create(hog)]
    until(lambda: contended(hv), "contention")
    got = shares(doms, 1.0)
    assert all(abs(share - 1 / 2) < 0.06 for share in got), got
    tasks = [int(tid) for tid in os.listdir(f"/proc/{doms[0].pid}/task")]
    assert len(tasks) == 4
    until(lambda: {os.sched_getscheduler(tid) for tid in tasks} == {os.SCHED_RR}, "all of them chosen together")


def test_killed_while_it_waits(scheduled):
    """It dies at once, though it is not its turn; the others share what it leaves."""
    hv = scheduled()
    doms = [hv.create(hog) for _ in range(4)]
    until(lambda: contended(hv), "contention")
    os.kill(doms[1].pid, signal.SIGKILL)
    assert doms[0].destroy(5).reason == "destroyed"
    with pytest.raises(xenproc.DomainCrashed):
        doms[1].wait(5)
    got = shares(doms[2:], 0.8)
    assert all(abs(share - 1 / 2) < 0.06 for share in got), got


def test_stopped_by_somebody_else(scheduled):
    """A stopped process counts as blocked, the others go on; continued, it gets its share again."""
    hv = scheduled()
    doms = [hv.create(hog) for _ in range(3)]
    until(lambda: contended(hv), "contention")
    os.kill(doms[0].pid, signal.SIGSTOP)
    until(lambda: state(doms[0]) == "T", "the stop")
    got = shares(doms, 0.8)
    assert got[0] < 0.01 and all(abs(share - 1 / 2) < 0.06 for share in got[1:]), got
    os.kill(doms[0].pid, signal.SIGCONT)
    got = shares(doms, 1.0)
    assert all(abs(share - 1 / 3) < 0.06 for share in got), got


def test_paused_by_domain0(scheduled):
    hv = scheduled()
    doms = [hv.create(hog) for _ in range(3)]
    until(lambda: contended(hv), "contention")
    doms[0].pause()
    until(lambda: state(doms[0]) == "T", "the stop")
    assert shares(doms[:1], 0.2)[0] < 0.01
    doms[0].unpause()
    assert shares(doms[:1], 1.0)[0] > 0.25


def test_whoever_sleeps_and_wakes_is_seen(scheduled):
    """A sleeper's wake-ups beside hogs, by the kernel's clock alone: they are told to the scheduler, blocks too.

    Not those of a breath or of the host's turn that are over before these are: a few in twenty.
    """

    def sleeper(g):
        import time
        for _ in range(20):
            time.sleep(0.005)
            end = time.monotonic() + 0.001      # long enough to be seen at it
            while time.monotonic() < end:
                pass

    hv = scheduled()
    hogs = [hv.create(hog) for _ in range(2)]
    until(lambda: contended(hv), "contention")
    before = hv.info()["scheduler"]
    require(before["watches"], "perf events on other processes")
    hv.create(sleeper).wait(20)
    after = hv.info()["scheduler"]
    assert after["wakes"] - before["wakes"] >= 12 and after["blocks"] - before["blocks"] >= 12
    assert all(share > 0.3 for share in shares(hogs, 0.5))


def test_domains_talk_beside_hogs(scheduled):
    """Events through the hypervisor wake and are waited for, whatever hogs there are."""

    hv = scheduled()
    _hogs = [hv.create(hog) for _ in range(2)]
    until(lambda: contended(hv), "contention")
    hv.create(ping, 20, name="ping")
    assert hv.create(pong, 20, name="pong").wait(20) == 20


def test_domains_are_made_beside_hogs(scheduled):
    """Who forks them is above the hogs while these contend, so that a new domain is not starved before it begins; not afterwards."""
    hv = scheduled()
    server = next(child.pid for child in psutil.Process(hv.pid).children() if any("server" in word for word in child.cmdline()))
    hogs = [hv.create(hog) for _ in range(2)]
    until(lambda: contended(hv), "contention")
    until(lambda: os.sched_getscheduler(server) == os.SCHED_RR, "its class")
    new = hv.create(hog)
    until(lambda: os.sched_getparam(new.pid).sched_priority < os.sched_getparam(server).sched_priority, "the new one's turn")
    for dom in (*hogs, new):
        dom.destroy()
    until(lambda: os.sched_getscheduler(server) == os.SCHED_OTHER, "its old class")
    assert hv.create(lambda g: 1).wait(10) == 1


def test_nobody_is_kept_from_running_for_long(scheduled):
    """Real-time hogs are stopped by the kernel for some 50 ms in each second; who breathes in between is not. And the host goes on."""

    def gaps(g, seconds):
        import time
        found, begin = [], time.monotonic()
        last = begin
        while last - begin < seconds:
            now = time.monotonic()
            found.append(now - last)
            last = now
        return sorted(found)[-20:]

    hv = scheduled("bvt")
    hogs = [hv.create(hog) for _ in range(2)]
    until(lambda: contended(hv), "contention")
    before = hv.info()["scheduler"]["ran_ns"]
    longest = hv.create(gaps, 3.0, weight=512).wait(30)
    # Its turns are over every 10 ms or so, and the others' take as long: a pause of the kernel's would come on top of that.
    assert longest[-3] < 0.035, longest
    assert before < hv.info()["scheduler"]["ran_ns"]
    assert all(0.15 < share < 0.6 for share in shares(hogs, 0.3))


def test_arguments_are_checked(own_machine):
    for wrong in ({"scheduler": "credit"}, {"scheduler": "rr", "cpus": 0}, {"scheduler": "rr", "cpus": [4096]}):
        with pytest.raises(xenproc.ConfigError):
            own_machine(**wrong)
