"""Hosts that offer less: what can be enforced is, the rest is said. Made from this host with unshare and setpriv."""

import json
import shutil
import subprocess
import sys

import pytest
from helpers import require

PROGRAM = """
import json, xenproc
def guest(g):
    import ctypes, os, socket
    try:
        socket.socket()
        opened = True
    except OSError:
        opened = False
    try:
        passwd = bool(open("/etc/passwd").read())
    except OSError:
        passwd = False
    return {"uid": os.getuid(), "passwd": passwd, "socket": opened}
def wild(g):
    import ctypes
    ctypes.memset(g.memory.address_of(1), 1, 1)
with xenproc.Hypervisor("16M") as hv:
    try:
        seen = hv.create(guest).join(20)
        print(json.dumps({"seen": seen.result, "crash": str(seen.crash), "wild": hv.create(wild).join(20).crash.signal,
                          "isolation": hv.info()["isolation"]}))
    except xenproc.XenprocError as error:
        print(json.dumps({"error": str(error)}))
"""
NO_USERNS = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\""
HOSTS = {
    "rootless": ["unshare", "--user", "--map-user=1000", "--map-group=1000"],
    "root without CAP_SYS_ADMIN": ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
    "plain container": ["unshare", "--user", "--map-root-user", "sh", "-c", NO_USERNS, "sh", "setpriv",
                        "--bounding-set=-sys_admin", "--inh-caps=-all"],
    "plain container, no capability": ["unshare", "--user", "--map-root-user", "sh", "-c", NO_USERNS, "sh", "setpriv",
                                       "--bounding-set=-all", "--inh-caps=-all"],
}
EVERY = {"ipc", "mount", "net", "pid", "user", "uts"}


def run_on(host: str) -> dict:
    """Run the program on a poorer host; return what it printed."""
    require(shutil.which("unshare") and shutil.which("setpriv"), "unshare and setpriv (Debian: util-linux)")
    done = subprocess.run([*HOSTS[host], sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("host", HOSTS)
def test_windows_and_filter_are_enforced_everywhere(host):
    """They need no privilege: another's frame is SIGBUS, a socket is refused, on each of these hosts."""
    answer = run_on(host)
    assert "error" not in answer, answer
    assert answer["wild"] == "SIGBUS" and answer["seen"]["socket"] is False, answer
    assert answer["isolation"]["mode"] == "enforced"


def test_rootless_has_every_namespace_and_says_that_the_uid_is_shared():
    """A user without rights gets all six namespaces; a uid for each domain is what cannot be had."""
    answer = run_on("rootless")
    assert set(answer["isolation"]["namespaces"]) == EVERY
    assert list(answer["isolation"]["refused"]) == ["a uid for each domain"]
    assert answer["seen"]["passwd"] is False


def test_a_root_without_sys_admin_gets_them_from_a_user_namespace():
    """Nothing is refused in the end."""
    answer = run_on("root without CAP_SYS_ADMIN")
    assert set(answer["isolation"]["namespaces"]) == EVERY and answer["isolation"]["refused"] == {}


def test_a_container_without_namespaces_says_what_is_missing():
    """No namespace at all: each is named with the kernel's reason; Landlock still keeps the host's files shut."""
    answer = run_on("plain container")
    assert answer["isolation"]["namespaces"] == []
    for name in EVERY:
        assert f"{name} namespace" in answer["isolation"]["refused"], answer
    assert answer["seen"]["passwd"] is False
