"""The commands on running hypervisors and their domains, as a person types them, against a real hypervisor."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from helpers import until

import xenproc
from xenproc.cli import main as entry
from xenproc.dom0 import registry

MEMORY = "8M"


def patient(g):
    """Print a line, then wait for Domain0's word."""
    g.console.print("hällo")
    return g.shutdown_request(30)


@pytest.fixture
def xen(hv, capsys):
    """A function that runs a command on this test's hypervisor and returns (status, stdout, stderr)."""

    def run(*args, pid=hv.pid):
        with pytest.raises(SystemExit) as leave:
            entry.main([*args, *(["--hv", str(pid)] if pid else [])])
        return leave.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def domain(hv):
    """A domain that waits to be asked for its end, and has printed its line."""
    made = hv.create(patient, name="patient", memory="4M")
    until(lambda: "hällo" in made.console.read(), "its line")
    yield made
    made.destroy()


def states(xen):
    listed = json.loads(xen("list", "--json")[1])
    return {row["name"]: row["state"] for one in listed["hypervisors"] for row in one["domains"]}


# ---- list ----


def test_list_has_the_columns_of_xl(xen, domain):
    status, out, err = xen("list")
    assert (status, err) == (0, "")
    header, dom0, ours = out.splitlines()
    assert header.split() == ["Name", "ID", "Mem", "VCPUs", "State", "Time(s)"]
    assert re.fullmatch(r"Domain-0 +0 +0 +1 +r----- +\d+\.\d", dom0)
    assert re.fullmatch(rf"patient +{domain.domid} +4 +1 +[rb-]----- +\d+\.\d", ours)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("option", ["--json", "-l", "--long"])
def test_list_as_json(xen, hv, domain, option):
    found = json.loads(xen("list", option)[1])
    assert found["schema_version"] == 1
    one, = found["hypervisors"]
    assert (one["pid"], one["owner_pid"], one["answers"]) == (hv.pid, os.getpid(), True)
    assert [row["name"] for row in one["domains"]] == ["Domain-0", "patient"]
    assert one["domains"][1]["pid"] == domain.pid


def test_list_shows_every_hypervisor(xen, hv, domain):
    with xenproc.Hypervisor(MEMORY) as other:
        _, out, _ = xen("list", pid=None)
        found = json.loads(xen("list", "--json", pid=None)[1])["hypervisors"]
    assert {hv.pid, other.pid} <= {one["pid"] for one in found}
    for pid in (hv.pid, other.pid):
        assert f"hypervisor {pid} of process {os.getpid()}:\n" in out


def test_list_with_one_that_is_stopped_shows_the_others(xen, hv, domain):
    with xenproc.Hypervisor(MEMORY) as other:
        os.kill(other.pid, signal.SIGSTOP)
        try:
            status, out, err = xen("list", pid=None)
            one, = (one for one in json.loads(xen("list", "--json", pid=None)[1])["hypervisors"] if one["pid"] == other.pid)
        finally:
            os.kill(other.pid, signal.SIGCONT)
    assert status == 0 and "patient" in out
    assert f"xenproc: hypervisor {other.pid} does not answer\n" in err      # this host may have more of them
    assert (one["answers"], one["domains"]) == (False, [])


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["info"], ["pause", "patient"]])
def test_an_unknown_hypervisor_is_said(xen, command):
    status, out, err = xen(*command, pid=1)
    assert (status, out) == (1, "")
    assert err.startswith("xenproc: there is no hypervisor 1 of yours; there are: ")


def test_the_hypervisor_can_come_from_the_environment(xen, hv, domain, monkeypatch):
    monkeypatch.setenv("XENPROC_HV", str(hv.pid))
    assert xen("console", "patient", pid=None) == (0, "hällo\n", "")


def test_without_any_hypervisor_it_says_what_to_do(xen, monkeypatch):
    monkeypatch.setattr(registry, "entries", list)
    for command in (["list"], ["info"], ["pause", "patient"]):
        status, out, err = xen(*command, pid=None)
        assert (status, out) == (1, "")
        assert err == "xenproc: no hypervisor of yours is running: start one with xenproc.Hypervisor() or `xenproc demo`\n"
    assert json.loads(xen("list", "--json", pid=None)[1])["hypervisors"] == []


# ---- doing something to a domain ----


def test_pause_and_unpause(xen, domain):
    assert xen("pause", "patient") == (0, "", "")
    assert states(xen)["patient"] == "--p---" and domain.state == "paused"
    assert xen("unpause", str(domain.domid)) == (0, "", "")
    assert states(xen)["patient"][2] == "-" and domain.state == "running"


def test_shutdown_asks(xen, domain):
    assert xen("shutdown", "patient") == (0, "", "")
    end = domain.join()
    assert (end.reason, end.result) == ("poweroff", "poweroff")


def test_destroy_ends(xen, domain):
    assert xen("destroy", "patient") == (0, "", "")
    assert domain.join().reason == "destroyed"


@pytest.mark.parametrize("command", ["pause", "unpause", "shutdown", "destroy", "console"])
def test_an_unknown_domain_is_said_with_those_there_are(xen, domain, command):
    status, out, err = xen(command, "nobody")
    assert (status, out) == (1, "")
    assert err == f"xenproc: there is no domain 'nobody'; there are: patient ({domain.domid})\n"
    assert domain.state == "running"


@pytest.mark.parametrize("command", ["pause", "unpause", "shutdown", "destroy", "console"])
@pytest.mark.parametrize("name", ["0", "Domain-0"])
def test_domain0_is_not_for_these(xen, hv, command, name):
    status, out, err = xen(command, name)
    assert (status, out) == (1, "") and "Domain-0 is the program that started the hypervisor" in err
    assert hv.info()["pid"] == hv.pid


def test_a_number_comes_before_a_name(xen, hv, domain):
    """A domain whose name is another's number cannot be hit in its place."""
    liar = hv.create(patient, name=str(domain.domid), memory="1M")
    assert xen("pause", str(domain.domid))[0] == 0
    assert (domain.state, liar.state) == ("paused", "running")
    liar.destroy()


# ---- console ----


def test_console_prints_what_is_there(xen, domain):
    assert xen("console", "patient") == (0, "hällo\n", "")


def chatter(g):
    """Say something now, more when asked, in pieces that cut a character in two, and end with an error."""
    g.console.print("begin")
    g.shutdown_request(30)
    euro = "€".encode()
    for piece in (b"first ", euro[:1], euro[1:], b" last"):
        address = g.hypercalls.args.take()
        import ctypes

        ctypes.memmove(address, piece, len(piece))
        g.hypercalls.call(18, 0, len(piece), address)
        g.hypercalls.args.give_back(address)
    raise RuntimeError("over")


def followed(hv, name):
    return subprocess.Popen([sys.executable, "-m", "xenproc.cli.main", "console", "-f", name, "--hv", str(hv.pid)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sleeps(pid):
    """How often a process has gone to sleep: once a question that it waits for the answer of."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.MULTILINE)[1])


def test_console_follows_to_the_last_word_though_domain0_takes_the_exit_record(hv):
    made = hv.create(chatter, name="chatter")
    following = followed(hv, "chatter")
    try:
        assert following.stdout.readline() == "begin\n"
        made.shutdown()
        assert made.join().crash.traceback.endswith("RuntimeError: over\n")
        out, err = following.communicate(timeout=20)
    finally:
        following.kill()
        following.communicate()
    assert (following.returncode, err) == (0, "")
    assert out == "first € last"


def test_last_words_are_kept_for_who_comes_a_moment_late(hv):
    """A follower between two questions when the domain dies still gets the rest; twice, and from any position."""
    made = hv.create(lambda g: g.console.print("0123456789"), name="brief")
    made.join()
    client = registry.connect(hv.pid)
    try:
        for pos, rest in ((0, "0123456789\n"), (4, "456789\n"), (11, ""), (99, "")):
            reply = client.call("follow", domid=made.domid, pos=pos, limit=0)
            assert reply == {"pos": 11, "text": rest, "ended": True}
        with pytest.raises(xenproc.NoSuchDomain):
            client.call("follow", domid=4000, pos=0, limit=0)
    finally:
        client.close()


def test_following_a_silent_domain_costs_nothing(hv):
    """One that has not printed anything is waited for, not asked again and again."""
    silent = hv.create(lambda g: g.shutdown_request(30), name="silent")
    alone = hv.info()["kernel_objects"]["descriptors"]
    following = followed(hv, "silent")
    try:
        until(lambda: hv.info()["kernel_objects"]["descriptors"] > alone, "the follower's connection", 20)
        before = sleeps(following.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            following.wait(1.2)
        assert sleeps(following.pid) - before <= 20, "it asks again and again"
        silent.shutdown()
        silent.join()
        assert following.wait(20) == 0
    finally:
        following.kill()
        following.communicate()
        silent.destroy()


# ---- info ----


def test_info_says_how_well_isolated_it_is(xen, hv, domain):
    status, out, err = xen("info", "--audit")
    assert (status, err) == (0, "")
    said = dict(re.split(r" *: ", line, maxsplit=1) for line in out.splitlines())
    isolation = hv.info()["isolation"]
    assert said["isolation"] == isolation["mode"]
    assert said["namespaces"] == ", ".join(isolation["namespaces"])
    assert said["hypervisor"].startswith(f"process {hv.pid}, up ")
    assert said["audit"] == "clean"
    assert "1 userfaultfd" in said["kernel objects"]
    assert re.match(r"\d+ descriptors \(.*socket.*\); threads: 1$", said[f"domain {domain.domid}"])


def test_info_as_json(xen, hv, domain):
    found = json.loads(xen("info", "--json", "--audit")[1])
    assert (found["schema_version"], found["pid"], found["audit"]) == (1, hv.pid, 0)
    assert "audit" not in json.loads(xen("info", "--json")[1]), "nobody waits for one who did not ask"
    assert found["memory"]["frames"] - found["memory"]["free"] > 1024
    assert found["objects"]["hypervisor"]["descriptors"]["userfaultfd"] == 1
    assert list(found["objects"]["domains"]) == [str(domain.domid)]


def test_info_says_what_is_not_enforced(xen):
    with xenproc.Hypervisor(MEMORY, isolation="cooperative") as lax:
        out = xen("info", pid=lax.pid)[1]
    assert re.search(r"^isolation +: cooperative$", out, re.MULTILINE)
    assert re.search(r"^not enforced +: window: asked for$", out, re.MULTILINE)
