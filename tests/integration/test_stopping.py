"""The scheduler without privilege: who waits is stopped, who is chosen is continued (native/cpu_stop.h).

As test_scheduling: on one CPU, shares by the kernel's own count. Most run as whoever runs the suite, with dispatch="stop" asked
for; the last ones as processes that may do nothing else.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from helpers import require, until
from scheduled import contended, hog, parts, ping, policy, pong, shares, state, threads

import xenproc


@pytest.fixture
def stopping(own_machine):
    """A function that starts a machine whose scheduler stops and continues, on one CPU."""

    def start(scheduler="bvt", cpus=1, **more):
        return own_machine(scheduler=scheduler, cpus=cpus, dispatch="stop", **more)

    return start


def hogs(hv, *weights, guest=hog):
    """Domains of these weights that all want a CPU, once there is contention."""
    doms = [hv.create(guest, weight=weight) for weight in weights]
    until(lambda: contended(hv), "contention")
    return doms


def blocked_beside(g):
    """[guest] Wait until told to end."""
    g.shutdown_request(timeout=None)


def test_a_domain_may_have_all_of_the_schedulers_cpus_and_no_fewer(stopping):
    """Fewer would hold only until there is contention: refused, with nothing taken."""
    ours = sorted(os.sched_getaffinity(0))
    require(len(ours) > 1, "two CPUs")
    hv = stopping()
    before = hv.info()["memory"], len(hv.domains())
    with pytest.raises(xenproc.ConfigError, match=rf"cpus: expected at least \[{ours[0]}\], got \[{ours[1]}\]"):
        hv.create(blocked_beside, cpus=ours[1:2])
    assert (hv.info()["memory"], len(hv.domains())) == before
    dom = hv.create(blocked_beside, cpus=ours[:1])
    assert os.sched_getaffinity(dom.pid) == {ours[0]}


def test_shares_follow_weights(stopping):
    """1:2:4, within 2% of the CPU each; all are in the ordinary class, one runs, two are stopped."""
    hv = stopping()
    assert hv.info()["scheduler"]["dispatch"] == "stop"
    doms = hogs(hv, 1, 2, 4)
    got = shares(doms, 2.0)
    assert all(abs(share / sum(got) - weight / 7) < 0.02 for share, weight in zip(got, (1, 2, 4), strict=True)), got
    assert sum(got) < 1.01, got
    assert {policy(dom) for dom in doms} == {(os.SCHED_OTHER, 0)}
    until(lambda: sorted(state(dom) for dom in doms) == ["R", "T", "T"], "one that runs and two that are stopped")


def test_round_robin_stops_by_turns(stopping):
    """Its slices are of real time, so no shares are promised beside whatever else the host does: each has its turns."""
    hv = stopping("rr")
    doms = hogs(hv, 256, 256)
    assert all(part > 0.1 for part in parts(doms, 0.5))


def test_many_threads_get_no_more_than_one(stopping):
    """Four threads beside one hog: half the CPU each, within 6%: a stop is the whole process's."""
    hv = stopping()
    doms = [hv.create(threads, 4), hv.create(hog)]
    until(lambda: contended(hv), "contention")
    got = shares(doms, 1.2)
    assert all(abs(share / sum(got) - 1 / 2) < 0.06 for share in got), (got, hv.info()["scheduler"])


def test_nobody_is_stopped_without_need(stopping):
    """When the second has gone the first runs on, on every CPU, as it was found."""
    hv = stopping()
    first = hv.create(hog)
    own_cpus = os.sched_getaffinity(first.pid)
    second = hv.create(hog)
    until(lambda: contended(hv), "contention")
    assert len(os.sched_getaffinity(first.pid)) == 1
    second.destroy()
    until(lambda: not contended(hv), "the end of contention")
    assert state(first) == "R" and os.sched_getaffinity(first.pid) == own_cpus
    assert shares([first], 0.3)[0] > 0.1


def test_whoever_sleeps_and_wakes_is_seen(stopping):
    """A sleeper's wake-ups and blocks beside hogs are told to the scheduler; while it sleeps it is not stopped, so a peer can wake it."""

    def sleeper(g):
        import time
        for _ in range(20):
            time.sleep(0.005)
            end = time.monotonic() + 0.002
            while time.monotonic() < end:
                pass

    hv = stopping()
    require(hv.info()["scheduler"]["watches"], "perf events on other processes")
    doms = hogs(hv, 256, 256)
    idle = hv.create(blocked_beside)
    until(lambda: state(idle) == "S", "sleep")
    before = hv.info()["scheduler"]
    hv.create(sleeper).wait(20)
    after = hv.info()["scheduler"]
    # Stopped across its own wake-up, two of its turns are one.
    assert after["wakes"] - before["wakes"] >= 10 and after["blocks"] - before["blocks"] >= 10
    assert state(idle) == "S"
    assert all(part > 0.3 for part in parts(doms, 0.5))
    idle.shutdown()
    assert idle.join(5).reason == "poweroff", "a sleeper beside hogs is woken by the hypervisor"


def test_domains_talk_beside_hogs(stopping):
    """Events through the hypervisor wake and are waited for, though either end may be stopped at any moment."""

    hv = stopping()
    _hogs = hogs(hv, 256, 256)
    hv.create(ping, 100, name="ping")
    assert hv.create(pong, 100, name="pong").wait(20) == 100


def test_killed_while_it_is_stopped(stopping):
    """It dies at once, by Domain0 or by anybody; the others share what it leaves."""
    hv = stopping()
    doms = hogs(hv, 256, 256, 256, 256)
    victim = until(lambda: next((dom for dom in doms if state(dom) == "T"), None), "one that is stopped")
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(xenproc.DomainCrashed):
        victim.wait(5)
    left = [dom for dom in doms if dom is not victim]
    victim = until(lambda: next((dom for dom in left if state(dom) == "T"), None), "one that is stopped")
    assert victim.destroy(5).reason == "destroyed"
    got = parts([dom for dom in left if dom is not victim], 0.8)
    assert all(abs(share - 1 / 2) < 0.1 for share in got), got


def stopped_by_us(doms):
    return next((dom for dom in doms if state(dom) == "T"), None)


def stop_is_pending(dom):
    with open(f"/proc/{dom.pid}/status") as file:
        pending = next(line for line in file if line.startswith("ShdPnd"))
    return bool(int(pending.split()[1], 16) >> (signal.SIGSTOP - 1) & 1)


def test_somebody_elses_stop_is_not_undone(stopping):
    """One that waits, stopped already, is stopped by somebody else: its turn comes and goes, it stays so until they continue it."""
    hv = stopping()
    doms = hogs(hv, 256, 256, 256)

    def stopped_twice():
        # Ours may just be over when the signal is sent: then it is simply stopped, and counts as blocked. Try until ours was there first.
        dom = stopped_by_us(doms)
        if dom is None:
            return None
        os.kill(dom.pid, signal.SIGSTOP)
        if stop_is_pending(dom):
            return dom
        os.kill(dom.pid, signal.SIGCONT)
        return None

    victim = until(stopped_twice, "a process that is stopped twice")
    others = [dom for dom in doms if dom is not victim]
    got = parts([victim, *others], 0.8)
    assert got[0] < 0.01 and state(victim) == "T", got
    assert all(abs(share - 1 / 2) < 0.1 for share in got[1:]), got
    os.kill(victim.pid, signal.SIGCONT)
    got = shares(doms, 1.0)
    assert all(abs(share / sum(got) - 1 / 3) < 0.06 for share in got), got


def test_somebody_elses_continue_is_noticed(stopping):
    """Who is continued out of turn is stopped again, is counted, and gains nothing by it."""
    hv = stopping()
    doms = hogs(hv, 256, 256, 256)

    def strayed():
        for dom in doms:
            if state(dom) == "T":
                os.kill(dom.pid, signal.SIGCONT)
        return hv.info()["scheduler"]["strayed"]

    until(strayed, "one that strayed")
    got = shares(doms, 1.0)
    assert all(abs(share / sum(got) - 1 / 3) < 0.06 for share in got), got


def test_domain0_pauses_who_waits_and_who_runs(stopping):
    """A pause is Domain0's: no turn ends it; unpaused, each gets its share, and the dispatcher's stop outlives the pause."""
    hv = stopping()
    doms = hogs(hv, 256, 256, 256)
    for dom in doms[:2]:            # one of them waits at the moment, whichever it is
        dom.pause()
    got = shares(doms, 0.8)
    assert max(got[:2]) < 0.01 < got[2], got
    assert [row["state"][2] for row in hv.domains()[1:]] == ["p", "p", "-"]
    for dom in doms[:2]:
        dom.unpause()
        dom.pause()
        dom.unpause()
    got = shares(doms, 1.2)
    assert all(abs(share / sum(got) - 1 / 3) < 0.06 for share in got), got


def test_nothing_stays_stopped_when_the_hypervisor_dies(stopping):
    """Killed with domains stopped, it takes them with it."""
    hv = stopping()
    doms = hogs(hv, 256, 256, 256)
    until(lambda: stopped_by_us(doms), "one that is stopped")
    os.kill(hv.pid, signal.SIGKILL)
    until(lambda: not any(psutil.pid_exists(dom.pid) and state(dom) != "Z" for dom in doms), "the end of them all")


def test_arguments_are_checked(own_machine):
    for wrong in ({"scheduler": "bvt", "dispatch": "freeze"}, {"dispatch": "nice"}):
        with pytest.raises(xenproc.ConfigError):
            own_machine(**wrong)


# ---- as a process without the right to do more ----

PROGRAM = """
import json, sys, xenproc
sys.path[:0] = {path!r}
from helpers import until
from scheduled import contended, hog, shares
{before}
def sleeper(g):
    import time
    for _ in range(10):
        time.sleep(0.005)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
with xenproc.Hypervisor("32M", scheduler="bvt", cpus=1, dispatch={dispatch!r}) as hv:
    doms = [hv.create(hog, weight=weight) for weight in (1, 3)]
    until(lambda: contended(hv), "contention")
    got = shares(doms, 1.5)
    hv.create(sleeper, weight=4).wait(30)
    print(json.dumps({{"got": got, **hv.info()["scheduler"]}}))
"""
HOSTS = {
    "rootless": ["unshare", "--user", "--map-user=1000", "--map-group=1000"],
    "root without CAP_SYS_NICE": ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"],
    "no capability at all": ["unshare", "--user", "--map-root-user", "setpriv", "--bounding-set=-all", "--inh-caps=-all"],
}
NO_PERF = """
from test_host import refusing
from xenproc.native import ffi, lib
program = refusing(["perf_event_open"])
lib.xp_prctl(38, 1, 0, 0, 0)
assert lib.xp_seccomp_install(ffi.from_buffer(program), len(program) // 8) == 0
"""


def run(command, dispatch=None, before=""):
    """Run the program; return what it printed, or its error."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    text = PROGRAM.format(path=[here, f"{here}/unit"], dispatch=dispatch, before=before)
    done = subprocess.run([*command, sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("host", HOSTS)
def test_it_needs_no_privilege(host):
    """Where real-time classes are refused the scheduler stops and continues by itself: 1:3 within 4%, wake-ups are seen."""
    require(shutil.which("unshare") and shutil.which("setpriv"), "unshare and setpriv (Debian: util-linux)")
    answer = run(HOSTS[host])
    assert isinstance(answer, dict), answer
    assert answer["dispatch"] == "stop"
    assert abs(answer["got"][0] / sum(answer["got"]) - 1 / 4) < 0.04, answer
    assert answer["wakes"] >= 8 and answer["blocks"] >= 8, answer
    refused = run(HOSTS[host], "class")
    assert "real-time classes are refused here" in refused, refused


@pytest.mark.parametrize("dispatch", ["class", "stop"])
def test_without_perf_the_cpu_clock_tells(dispatch):
    """No perf events at all: shares as ever, and who wakes for longer than a tick is told to the scheduler."""
    answer = run([], dispatch, NO_PERF)
    if dispatch == "class" and isinstance(answer, str):
        require("real-time classes are refused" not in answer, "real-time scheduling classes")
    assert isinstance(answer, dict), answer
    assert answer["watches"] is False and answer["dispatch"] == dispatch
    assert abs(answer["got"][0] / sum(answer["got"]) - 1 / 4) < 0.04, answer
    assert answer["wakes"] >= 8 and answer["blocks"] >= 8, answer
