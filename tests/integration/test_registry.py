"""The registry of running hypervisors: found while they live, gone with them, closed to other users."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

import xenproc
from xenproc import wire
from xenproc.dom0 import registry
from xenproc.errors import NoSuchHypervisor

NOBODY = 65534
MEMORY = "8M"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


@pytest.fixture
def machine():
    with xenproc.Hypervisor(MEMORY) as hv:
        yield hv


def pids():
    return {entry.pid for entry in registry.entries()}


def as_user(uid, code):
    """Run a function in a process of another user; return what it returns as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writing, str(code()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


def test_a_hypervisor_is_found_with_its_domain0(machine):
    found = {entry.pid: entry for entry in registry.entries()}
    assert found[machine.pid] == registry.Entry(machine.pid, os.geteuid(), os.getpid(), True)


def test_another_process_pauses_a_domain(machine):
    domain = machine.create(lambda g: g.board.lookup(0, "never", 60), name="sleeper")
    client = registry.connect(machine.pid)
    try:
        rows = client.call("list_domains")
        assert [row["name"] for row in rows] == ["Domain-0", "sleeper"]
        client.call("pause", domid=domain.domid, stop=True)
        assert domain.state == "paused"
    finally:
        client.close()
    domain.destroy()


def test_two_at_once_have_to_be_told_apart(machine):
    with xenproc.Hypervisor(MEMORY) as other:
        assert {machine.pid, other.pid} <= pids()
        for hv in (machine, other):
            client = registry.connect(hv.pid)
            assert client.call("ping") == {"pid": hv.pid}
            client.close()
        with pytest.raises(NoSuchHypervisor, match=f"say which one by its pid: .*{other.pid}"):
            registry.connect()
    assert other.pid not in pids()


def test_an_unknown_pid_is_refused_with_those_there_are(machine):
    with pytest.raises(NoSuchHypervisor, match=rf"there is no hypervisor 1 of yours; there are: .*{machine.pid}"):
        registry.connect(1)


def test_an_orderly_end_leaves_no_name():
    with xenproc.Hypervisor(MEMORY) as hv:
        pass
    assert hv.pid not in pids()


def test_kill_9_of_the_hypervisor_leaves_no_name():
    hv = xenproc.Hypervisor(MEMORY)
    os.kill(hv.pid, signal.SIGKILL)
    hv._process.wait(5)         # the kernel closes what a process had before it says that it is dead
    assert hv.pid not in {pid for _, pid in registry._names()}
    hv.close()


def test_kill_9_of_domain0_leaves_no_name():
    code = textwrap.dedent(f"""
        import sys, xenproc
        hv = xenproc.Hypervisor({MEMORY!r})
        print(hv.pid, flush=True)
        sys.stdin.read()
    """)
    domain0 = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(domain0.stdout.readline())
    watch = os.pidfd_open(pid)
    try:
        assert pid in pids()
        domain0.kill()
        assert select.select([watch], [], [], 10)[0], "the hypervisor has outlived its Domain0"
        assert pid not in {name for _, name in registry._names()}
    finally:
        os.close(watch)
        domain0.communicate()


def test_unregistered_is_not_found():
    with xenproc.Hypervisor(MEMORY, register=False) as hv:
        assert hv.pid not in pids()
        assert hv.info()["pid"] == hv.pid


def test_one_that_does_not_answer_is_listed_as_such(machine):
    os.kill(machine.pid, signal.SIGSTOP)
    try:
        entry, = (entry for entry in registry.entries() if entry.pid == machine.pid)
        assert not entry.answers
    finally:
        os.kill(machine.pid, signal.SIGCONT)
    entry, = (entry for entry in registry.entries() if entry.pid == machine.pid)
    assert entry.answers


def _ask(uid, pid):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        sock.connect(registry.address(uid, pid))
        try:
            wire.send(sock, {"id": 1, "op": "ping"})
            return wire.receive(sock)[0]["result"]
        except (EOFError, ConnectionError) as error:
            return type(error).__name__


def test_our_own_user_is_answered(machine):
    assert _ask(os.geteuid(), machine.pid) == {"pid": machine.pid}


@as_root
def test_another_user_is_refused_by_the_hypervisor(machine):
    assert as_user(NOBODY, lambda: _ask(0, machine.pid)) in ("EOFError", "BrokenPipeError", "ConnectionResetError")


@as_root
def test_another_user_sees_no_hypervisor_of_ours(machine):
    assert as_user(NOBODY, registry.entries) == "[]"


@as_root
def test_a_name_that_another_user_sits_on_does_not_count():
    """Root's name, but user nobody listens there: who believed it would send its commands to a stranger."""
    pid = os.getpid()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with sock:
        sock.bind(registry.address(0, pid))
        as_user(NOBODY, lambda: sock.listen(1))         # the kernel notes who listens, not who has bound
        assert (0, pid) in registry._names()
        assert pid not in pids()
        with pytest.raises(NoSuchHypervisor, match="held by a process of user 65534"):
            registry.connect(pid)


def test_a_name_taken_by_somebody_is_said():
    pid = os.getpid()
    with registry.listener(pid):
        with pytest.raises(xenproc.EnvironmentLacks, match=r"cannot be had: Address already in use; .*register=False"):
            registry.listener(pid)
