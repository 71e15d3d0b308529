"""The pen: what is in it, what is not, who lives by whom, and that nothing is left of it."""

import contextlib
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import require, until

import xenproc
from xenproc.hv import jail
from xenproc.hv.pen import _FLAGS

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="looks into other users' processes")
NAMESPACES = {"mount": "mnt", "net": "net", "ipc": "ipc", "uts": "uts", "user": "user", "pid": "pid"}


def idle(g) -> None:
    """[guest] Live until told to end."""
    g.console.print("alive")
    while g.shutdown_request(1) is None:
        pass


def children(pid: int) -> list[int]:
    """The living children of a process."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def server_of(owner: int) -> int:
    """The warm server: of those that are neither keeper, spare nor domain the first (a spare has its name only a moment later)."""
    found = {}
    for pid in children(owner):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):       # a spare may end meanwhile
            status = read(pid, "status")
            if not re.match(r"Name:\t(xenproc-keeper|xenproc-spare|dom)", status) and "\nState:\tZ" not in status:
                found[int(status.split("NSpid:")[1].split()[1])] = pid
    return found[min(found)]


class Pen:
    """A hypervisor with one idle domain, and the processes of its pen."""

    def __init__(self, hv):
        self.hv = hv
        self.owner = hv.info()["pid"]
        self.dom = hv.create(idle, name="idle", memory="1M")
        until(lambda: "alive" in self.dom.console.read(), "the guest to be there")
        self.domain = hv.domains()[1]["pid"]
        mine = children(self.owner)
        self.keeper = next(pid for pid in mine if read(pid, "comm").strip() == "xenproc-keeper")
        self.server = server_of(self.owner)
        self.all = [self.keeper, self.server, self.domain]

    def end(self):
        """End the idle domain."""
        self.dom.shutdown()
        self.dom.wait(10)


@pytest.fixture
def pen(hv):
    it = Pen(hv)
    yield it
    it.end()


@pytest.fixture
def own_pen(fresh_hv):
    return Pen(fresh_hv)


def gone(pids: list[int], seconds: float = 10) -> bool:
    """Whether all of these processes end in time; zombies count as ended. Reaps those that fell to this process, as an init would:
    until the others are reaped the kernel does not let the first of a pid namespace go."""
    def over(pid: int) -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            return re.search(r"^State:\s+Z", read(pid, "status"), re.M) is not None
        except (FileNotFoundError, ProcessLookupError):
            return True

    deadline = time.monotonic() + seconds
    while not all([over(pid) for pid in pids]):      # each is asked: one may wait for another to be reaped
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.01)
    return True


# ---- namespaces ----


@root_only
def test_every_namespace_is_another_and_all_live_in_the_same(pen):
    made = set(pen.hv.info()["isolation"]["namespaces"])
    require(made == set(_FLAGS), f"namespaces: {set(_FLAGS) - made}")
    for name, link in NAMESPACES.items():
        ours = os.readlink(f"/proc/self/ns/{link}")
        inside = {os.readlink(f"/proc/{pid}/ns/{link}") for pid in pen.all}
        assert len(inside) == 1 and inside != {ours}, name
        assert os.readlink(f"/proc/{pen.owner}/ns/{link}") == ours, name


@root_only
def test_the_keeper_is_the_first_and_all_are_the_hypervisors_children(pen):
    for pid, inner in ((pen.keeper, 1), (pen.server, 2)):
        assert re.search(r"^NSpid:\s+(\d+)\s+(\d+)$", read(pid, "status"), re.M).groups() == (str(pid), str(inner))
    for pid in pen.all:
        assert f"\nPPid:\t{pen.owner}\n" in read(pid, "status")


@root_only
def test_uids_are_outside_of_everybody_elses(pen):
    def uids(pid):
        return set(re.search(r"^Uid:\s+(.*)$", read(pid, "status"), re.M)[1].split())

    (server,), (domain,) = uids(pen.server), uids(pen.domain)
    assert int(server) >= 0x7000_0000 and int(domain) == int(server) + 1 + pen.hv.domains()[1]["domid"]
    other = pen.hv.create(idle, name="other", memory="1M")
    try:
        assert uids(pen.hv.domains()[2]["pid"]) not in ({server}, {domain})
    finally:
        other.shutdown()
        other.wait(10)
    inside, outside, count = map(int, read(pen.server, "uid_map").split())
    assert (inside, outside) == (0, int(server)) and count > 4096
    assert read(pen.server, "gid_map") == read(pen.server, "uid_map")
    assert set(re.search(r"^CapEff:\s+(.*)$", read(pen.keeper, "status"), re.M)[1]) == {"0"}


@root_only
def test_the_network_is_none(pen):
    devices = [line.split(":")[0].strip() for line in read(pen.domain, "net/dev").splitlines()[2:]]
    assert devices == ["lo"]
    assert [line for line in read(pen.domain, "net/unix").splitlines()[1:] if len(line.split()) > 7] == []     # none has a name


def test_a_guest_sees_neither_the_hosts_name_nor_its_processes(hv):
    def guest(g):
        import os

        return [os.uname().nodename, os.getppid(), os.getpid()]

    domain = hv.create(guest, memory="1M")
    name, parent, pid = domain.wait(10)
    assert (name, parent) == ("xenproc", 0) and pid != domain.pid      # numbered in a namespace of its own


# ---- files ----


@root_only
def test_every_mount_is_read_only(pen):
    mounts = [line.split() for line in read(pen.domain, "mountinfo").splitlines()]
    assert len(mounts) > 4
    for mount in mounts:
        options = set(mount[5].split(","))
        assert {"ro", "nosuid"} <= options, mount
        assert "nodev" in options or mount[4] in ("/dev/null", "/dev/urandom"), mount
    assert not {mount[4] for mount in mounts} & {"/proc", "/sys", "/dev", "/dev/shm", "/run", "/home", "/etc", "/var"}


@root_only
def test_nothing_is_there_but_pythons_own_files(pen):
    """Seen from outside, as root: what does not exist needs no guard."""
    root = Path(f"/proc/{pen.domain}/root")
    assert sorted(os.listdir(root / "dev")) == ["null", "urandom"]
    assert set(os.listdir(root / "etc")) <= {"ld.so.cache", "localtime"}
    assert not {"proc", "sys", "run", "home", "var", "boot", "mnt", "srv"} & set(os.listdir(root))
    attached = {line.split()[4] for line in read(pen.domain, "mountinfo").splitlines()}
    for folder, folders, files in os.walk(root):
        inside = folder.removeprefix(str(root)) or "/"
        # Between the root and what is attached there are folders and links, nothing else.
        folders[:] = [name for name in folders if os.path.join(inside, name) not in attached]
        assert {os.path.join(inside, name) for name in files if not os.path.islink(os.path.join(folder, name))} <= attached, inside


def test_a_guest_finds_nothing_else(hv):
    def guest(g):
        import os

        seen = {}
        for path in ("/etc/passwd", "/proc/self/status", "/proc", "/sys", "/dev/shm", "/root/.ssh", "/home", "/var", "/boot"):
            try:
                os.stat(path)
                seen[path] = "there"
            except OSError as error:
                seen[path] = type(error).__name__
        try:
            os.listdir("/")
            seen["/"] = "listed"
        except OSError as error:
            seen["/"] = type(error).__name__
        return [seen, os.getcwd()]

    seen, where = hv.create(guest, memory="1M").wait(20)
    assert seen.pop("/") == "PermissionError" and where == "/"
    assert set(seen.values()) == {"FileNotFoundError"}, seen


@root_only
def test_the_parents_of_pythons_files_can_be_passed_by_anybody(pen):
    for path in jail.python_paths():
        at = Path(f"/proc/{pen.domain}/root{os.path.realpath(path)}")
        assert at.exists(), path
        while at != Path(f"/proc/{pen.domain}/root"):
            assert at.stat().st_mode & stat.S_IXOTH, at
            at = at.parent


def test_a_module_from_sys_path_is_found_and_nothing_beside_it(tmp_path):
    """Of a folder on sys.path guests may read everything; the folder above it can be passed, not read."""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.owner() == Path("/proc/self").owner() and str(parent) != "/tmp":
            parent.chmod(0o755)
    folder = tmp_path / "modules"
    folder.mkdir(mode=0o755)
    (folder / "of_mine.py").write_text("ANSWER = 42\n")
    (tmp_path / "secret").write_text("x")
    program = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import xenproc
def guest(g):
    import os
    import of_mine
    try:
        beside = os.listdir({str(tmp_path)!r})
    except PermissionError:
        beside = os.path.exists({str(tmp_path / "secret")!r})
    return [of_mine.ANSWER, beside]
with xenproc.Hypervisor("16M") as hv:
    print(hv.create(guest, memory="1M").wait(10))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[42, False]", done.stderr


def test_what_is_shut_to_strangers_is_named(tmp_path):
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o700)
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o640)
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    paths = [str(folder), str(file), str(tmp_path / "open"), str(tmp_path / "missing"), str(folder)]
    assert jail.shut_to_others(paths) == [str(folder), str(file)]


def test_a_home_directory_is_left_out(tmp_path, monkeypatch):
    home = tmp_path / "home" / "me"
    (home / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    paths, refused = jail.readable([str(home), str(home.parent), "/", str(home / "project")])
    assert set(refused) == {str(home), str(home.parent), "/"}
    assert str(home / "project") in paths and not {str(home), str(home.parent), "/"} & set(paths)


def test_paths_below_others_are_attached_once():
    paths, _ = jail.readable([])
    assert all(not (a != b and b.startswith(a.rstrip("/") + "/")) for a in paths for b in paths)


# ---- what the server has ----


@root_only
def test_the_server_has_its_sockets_and_no_secrets(pen):
    targets = [os.readlink(f"/proc/{pen.server}/fd/{fd}") for fd in os.listdir(f"/proc/{pen.server}/fd")]
    kinds = sorted(re.sub(r":?\[.*", "", target) for target in targets)
    assert [kind for kind in kinds if kind != "anon_inode"] in (["/dev/null"] * 3 + ["socket"] * nr for nr in (1, 2))     # and its spare's
    assert {target for target in targets if target.startswith("anon_inode")} <= {"anon_inode:[landlock-ruleset]"}
    names = {entry.split("=")[0] for entry in read(pen.server, "environ").split("\0") if entry}
    allowed = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "HOME", "PATH", "LANG", "LC_ALL", "TZ", "XENPROC_LANDLOCK", "XENPROC_NATIVE",
               "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE"}
    assert names <= allowed
    assert len(os.listdir(f"/proc/{pen.keeper}/fd")) == 1
    assert "memfd:" not in read(pen.keeper, "maps") and "/dev/shm" not in read(pen.keeper, "maps") + read(pen.server, "maps")


@root_only
def test_guests_are_the_first_to_go_when_memory_runs_out(pen):
    assert read(pen.domain, "oom_score_adj").strip() == "1000"
    assert read(pen.owner, "oom_score_adj").strip() != "1000"


# ---- who lives by whom ----


@root_only
def test_the_servers_death_kills_nobody_and_another_takes_its_place(own_pen):
    for _ in range(3):
        os.kill(own_pen.server, signal.SIGKILL)
        assert gone([own_pen.server])
        newer = own_pen.hv.create(idle, memory="1M")
        until(lambda newer=newer: "alive" in newer.console.read(), "a guest of the new server")
        pids = [row["pid"] for row in own_pen.hv.domains()[1:]]
        own_pen.server = server_of(own_pen.owner)
        for link in NAMESPACES.values():
            assert len({os.readlink(f"/proc/{pid}/ns/{link}") for pid in (own_pen.keeper, own_pen.server, *pids)}) == 1
        assert {read(pid, "oom_score_adj").strip() for pid in pids} == {"1000"}
        newer.shutdown()
        newer.wait(10)
    own_pen.end()
    begun = time.monotonic()
    own_pen.hv.close()
    assert time.monotonic() - begun < 5
    assert gone([own_pen.keeper, own_pen.server], 1)


@root_only
def test_killing_the_hypervisor_ends_everything(own_pen):
    everybody = children(own_pen.owner)
    assert len(everybody) >= 4
    os.kill(own_pen.owner, signal.SIGKILL)
    assert gone(everybody), "the pen outlived the hypervisor"


@root_only
def test_killing_the_keeper_ends_everything_in_the_pen(own_pen):
    os.kill(own_pen.keeper, signal.SIGKILL)
    assert gone([own_pen.server, own_pen.domain])
    end = own_pen.dom.join(10)
    assert end.crash.signal == "SIGKILL"


@root_only
def test_a_stopped_pen_ends_all_the_same(own_pen):
    everybody = children(own_pen.owner)
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    os.kill(own_pen.owner, signal.SIGKILL)
    assert gone(everybody)


def test_a_server_that_never_starts_is_not_waited_for(tmp_path):
    """A preload that hangs: an error in time, and nothing left."""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.owner() == Path("/proc/self").owner() and str(parent) != "/tmp":
            parent.chmod(0o755)
    (tmp_path / "never.py").write_text("import signal\nsignal.pause()\n")
    program = f"""
import os, sys, time
from xenproc.errors import EnvironmentLacks
from xenproc.hv import pen
pen.START_TIMEOUT = 2
begun = time.monotonic()
try:
    pen.Pen.build([{str(tmp_path)!r}, *sys.path[1:]], ["never"])
except EnvironmentLacks as error:
    print(error)
assert time.monotonic() - begun < 8
try:
    os.waitpid(-1, os.WNOHANG)
    print("a child is left")
except ChildProcessError:
    print("nobody left")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "the warm server did not start: timed out\nnobody left\n", (done.stdout, done.stderr)


@root_only
def test_no_name_is_left_while_it_runs(pen):
    """Nothing in the file system leads to the pen; its mounts are in nobody else's table."""
    assert "xenproc" not in read(os.getpid(), "mountinfo")
    assert "xenproc" not in read(pen.owner, "mountinfo")
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("xenproc.") and str(pen.owner) in name]


def test_isolation_is_what_info_says(hv):
    isolation = hv.info()["isolation"]
    assert isolation["mode"] == "enforced"
    require(isolation["refused"] == {}, f"all of the isolation: {isolation['refused']}")
    assert isinstance(hv, xenproc.Hypervisor)
