"""kill -9 of each part of the house: Domain0, the hypervisor, the warm server, the keeper, everything at once. Nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import ledger
import pytest
from guests import idle
from helpers import machine_is_free, until

import xenproc

ROOT = Path(__file__).resolve().parents[2]


def about(pid: int) -> str:
    """What /proc says of it, for a failure's message."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text() if stat.exists() else "gone"


def below(hv) -> dict[str, list[int]]:
    """Return pids under a hypervisor by what they are."""
    found: dict[str, list[int]] = {"server": [], "spare": [], "keeper": [], "domain": []}
    domains = {row["pid"] for row in hv.domains()[1:]}
    for process in ledger.descendants(hv.pid):
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        if process.pid in domains:
            found["domain"].append(process.pid)
        elif process.name == "xenproc-spare":
            found["spare"].append(process.pid)
        elif b"xenproc.guest.server" in command:
            found["server"].append(process.pid)
        else:
            found["keeper"].append(process.pid)
    return found


def every(parts: dict[str, list[int]]) -> list[int]:
    """Return all pids of `below`."""
    return [pid for pids in parts.values() for pid in pids]


def gone(pid: int) -> bool:
    """Has it ended (a zombie that nobody has reaped yet counts)?"""
    ledger.reap_adopted()       # a pid namespace ends only when all of it is reaped, by init or by us
    return not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_who_is_who(fresh_hv):
    fresh_hv.create(idle)
    expected = {"server": 1, "spare": 1, "keeper": 1, "domain": 1}
    until(lambda: {name: len(pids) for name, pids in below(fresh_hv).items()} == expected, lambda: below(fresh_hv))


def test_hypervisor(fresh_hv):
    """Its domains die with it, and Domain0 is told."""
    doms = [fresh_hv.create(idle) for _ in range(3)]
    parts = below(fresh_hv)
    os.kill(fresh_hv.pid, signal.SIGKILL)
    for pid in every(parts):
        until(lambda pid=pid: gone(pid), lambda pid=pid: f"the end of {about(pid)}")
    for act in (doms[0].join, fresh_hv.info, lambda: fresh_hv.create(idle)):
        with pytest.raises(xenproc.HypervisorGone):
            act()


def test_hypervisor_while_domains_are_stopped_or_spinning(fresh_hv):
    def spins(g):
        while True:
            pass

    fresh_hv.create(idle).pause()
    fresh_hv.create(spins)
    parts = below(fresh_hv)
    os.kill(fresh_hv.pid, signal.SIGKILL)
    for pid in every(parts):
        until(lambda pid=pid: gone(pid), lambda pid=pid: f"the end of {about(pid)}")


def test_server(fresh_hv):
    """No domain dies with it; the next create finds a new one."""
    dom = fresh_hv.create(idle)
    for _ in range(2):
        [server] = below(fresh_hv)["server"]
        os.kill(server, signal.SIGKILL)
        until(lambda server=server: gone(server), "the server's end")
        assert dom.state == "running"
        assert fresh_hv.create(lambda g: 5).wait() == 5
    dom.shutdown()
    assert dom.wait() == "poweroff"
    assert [process for process in ledger.descendants(fresh_hv.pid) if process.state == "Z"] == []


def test_server_that_is_stopped(fresh_hv):
    """A create has a time limit; when the server goes on, so does everything."""
    [server] = below(fresh_hv)["server"]
    os.kill(server, signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(xenproc.Timeout, match=r"not there within 0\.2 s, and was taken back"):
            fresh_hv.create(idle, name="same", timeout=0.2)
        assert len(fresh_hv.domains()) == 1
    os.kill(server, signal.SIGCONT)
    assert fresh_hv.create(lambda g: 6, name="same").wait() == 6
    machine_is_free(fresh_hv)

    def reaped() -> bool:
        fresh_hv.create(lambda g: None).wait()
        return all(process.state != "Z" for process in ledger.descendants(fresh_hv.pid))

    until(reaped, "the given up to be reaped")


def test_keeper(fresh_hv):
    """The pen's first process takes everything in the pen with it; Domain0 gets clear words, and nothing hangs."""
    dom = fresh_hv.create(idle)
    [keeper] = below(fresh_hv)["keeper"]
    os.kill(keeper, signal.SIGKILL)
    assert dom.join().crash.signal == "SIGKILL"
    with pytest.raises(xenproc.EnvironmentLacks):
        fresh_hv.create(idle)
    assert [row["name"] for row in fresh_hv.domains()] == ["Domain-0"]


def test_everything_at_once(fresh_hv):
    fresh_hv.create(idle)
    fresh_hv.create(idle)
    parts = below(fresh_hv)
    for pid in [fresh_hv.pid, *every(parts)]:
        os.kill(pid, signal.SIGKILL)
    for pid in every(parts):
        until(lambda pid=pid: gone(pid), lambda pid=pid: f"the end of {about(pid)}")


def start_domain0(code: str) -> subprocess.Popen:
    """A program that is Domain0, and says when it is ready."""
    program = (
        "import xenproc, sys\n"
        f"hv = xenproc.Hypervisor('16M', register=False)\n{code}\n"
        "print('ready', hv.pid, flush=True)\nsys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    return process


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM])
def test_domain0(signo):
    """Its hypervisor and all domains end with it, however it ends."""
    with start_domain0("doms = [hv.create(lambda g: g.shutdown_request(None)) for _ in range(3)]") as process:
        hv_pid = int(process.stdout.readline().split()[1])
        pids = [hv_pid, *(each.pid for each in ledger.descendants(hv_pid))]
        assert len(pids) >= 6
        process.send_signal(signo)
        process.wait(10)
        for pid in pids:
            until(lambda pid=pid: gone(pid), lambda pid=pid: f"the end of {about(pid)}")


def test_domain0_that_forgets_to_close():
    """A program that just ends."""
    with start_domain0("hv.create(lambda g: g.shutdown_request(None))") as process:
        hv_pid = int(process.stdout.readline().split()[1])
        process.stdin.close()
        assert process.wait(10) == 0
        until(lambda: gone(hv_pid), "the hypervisor's end")


@pytest.mark.parametrize("moment", range(6))
def test_hypervisor_killed_while_it_creates(fresh_hv, moment):
    """At whatever point of a creation it is."""
    import threading

    def create():
        try:
            while True:
                fresh_hv.create(idle, memory="64K").destroy()
        except xenproc.XenprocError as error:
            errors.append(type(error))

    errors: list[type] = []
    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(fresh_hv.domains()) > 1, "a domain")
    for _ in range(moment * 3):
        fresh_hv.info()
    os.kill(fresh_hv.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(10)
    assert errors == [xenproc.HypervisorGone] * 2
