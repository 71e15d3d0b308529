"""`xenproc gc` and what it stands on, with left-overs made for the purpose."""

import fcntl
import json
import mmap
import os
import secrets
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from xenproc.cli import main as entry
from xenproc.dom0 import leftovers
from xenproc.errors import EnvironmentLacks, Timeout
from xenproc.machine import SHM_DIR

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


@pytest.fixture
def directory():
    """A directory of this test's own in the file system where left-overs lie."""
    path = Path(SHM_DIR, f"xenproc-test.{secrets.token_hex(6)}")
    path.mkdir()
    yield path
    for name in path.iterdir():
        name.rmdir() if name.is_dir() and not name.is_symlink() else name.unlink()
    path.rmdir()


@pytest.fixture(scope="module")
def dead():
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def make(directory, name):
    path = directory / name
    path.write_bytes(bytes(4096))
    return path


def names(found):
    return [Path(name.path).name for name in found]


def test_what_the_dead_left_goes_and_the_rest_stays(directory, dead):
    left = [make(directory, name) for name in (f"sem.xenproc.{dead}.1f", f"xenproc.{dead}.00ff", f"xenproc.{dead}.x")]
    alive = os.getpid()
    rest = [make(directory, name) for name in (
        "other", "sem.other", f"xenproc.{alive}.0a", f"sem.xenproc.{alive}.0a", "xenproc.", f"xenproc.{dead}", f"xenproc.{dead}.",
        "xenproc.word.1", "xenproc.0.1", "xenproc.-1.1", "xenproc.99999999999999999999.1", f"my.xenproc.{dead}.1",
        f"xenproc.{dead}.1\n",
    )]
    found = leftovers.collect(directory=str(directory))
    assert [Path(name.path) for name in found] == left
    assert [name.kept for name in found] == [None] * 3
    assert sorted(directory.iterdir()) == sorted(rest)
    assert leftovers.collect(directory=str(directory)) == []


def test_only_files_are_ours(directory, dead):
    (directory / f"xenproc.{dead}.dir").mkdir()
    (directory / f"xenproc.{dead}.link").symlink_to("/etc/passwd")
    os.mkfifo(directory / f"xenproc.{dead}.fifo")
    assert leftovers.collect(directory=str(directory)) == []
    assert len(list(directory.iterdir())) == 3


def test_a_dry_run_removes_nothing(directory, dead):
    path = make(directory, f"xenproc.{dead}.1")
    assert names(leftovers.collect(remove=False, directory=str(directory))) == [path.name]
    assert path.exists()


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("mapped", [False, True])
def test_what_is_open_or_mapped_stays(directory, dead, mode, mapped):
    path = make(directory, f"xenproc.{dead}.1")
    holder = path.open(mode)
    if mapped:
        access = mmap.ACCESS_READ if mode == "r" else mmap.ACCESS_WRITE
        file, holder = holder, mmap.mmap(holder.fileno(), 4096, access=access)
        file.close()
    with holder:
        assert leftovers.collect(directory=str(directory)) == [leftovers.Name(str(path), "a process has it open")]
        assert path.exists()
    assert leftovers.collect(directory=str(directory)) == [leftovers.Name(str(path), None)]
    assert not path.exists()


def test_what_another_process_has_open_stays(directory, dead):
    """The kernel's word on who has it open, not a look around /proc, which would miss a container with our /dev/shm."""
    path = make(directory, f"xenproc.{dead}.1")
    with path.open("rb") as held:
        child = subprocess.Popen(["sleep", "60"], stdin=held)
    assert leftovers.collect(directory=str(directory))[0].kept == "a process has it open"
    child.kill()
    child.wait()
    assert leftovers.collect(directory=str(directory))[0].kept is None


def test_a_number_used_again_is_no_owner():
    born = psutil.Process().create_time()
    assert leftovers._owner_lives(os.getpid(), born + 10)
    assert not leftovers._owner_lives(os.getpid(), born - 10), "made before this process was born"


def test_a_locked_directory_is_said_not_waited_for(directory, dead, monkeypatch):
    path = make(directory, f"xenproc.{dead}.1")
    monkeypatch.setattr(leftovers, "LOCK_DEADLINE_S", 0.05)
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Timeout, match=r"is locked by another process for more than 0\.05 s"):
            leftovers.collect(directory=str(directory))
        assert path.exists()
    finally:
        os.close(lock)
    assert names(leftovers.collect(directory=str(directory))) == [path.name]


def test_collections_at_once_share_the_work(directory, dead):
    made = {make(directory, f"xenproc.{dead}.{i}").name for i in range(60)}
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: names(leftovers.collect(directory=str(directory))), range(4)))
    assert sorted(name for result in results for name in result) == sorted(made), "each once, by one of them"


def test_no_directory_is_said():
    with pytest.raises(EnvironmentLacks, match="/nowhere cannot be read: No such file"):
        leftovers.collect(directory="/nowhere")


@as_root
def test_another_users_name_is_left_alone(directory, dead):
    path = make(directory, f"xenproc.{dead}.1")
    path.chmod(0o600)
    directory.chmod(0o777)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, repr(leftovers.collect(directory=str(directory))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        assert "kept='it belongs to another user'" in pipe.read()
    os.waitpid(child, 0)
    assert path.exists()


def test_a_semaphore_of_ours_is_found_once_its_maker_is_dead():
    code = "import os; from xenproc.semaphore import PosixSemaphore; print(PosixSemaphore().name, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    path = Path(SHM_DIR, "sem." + done.stdout.strip().removeprefix("/"))
    assert path.exists()
    assert str(path) in [name.path for name in leftovers.collect() if name.kept is None]
    assert not path.exists()


# ---- the command ----


@pytest.fixture
def gc(directory, monkeypatch, capsys):
    """A function that runs `xenproc gc` on this test's directory; returns (status, stdout, stderr)."""
    monkeypatch.setattr(leftovers, "collect", partial(leftovers.collect, directory=str(directory)))

    def run(*args):
        with pytest.raises(SystemExit) as leave:
            entry.main(["gc", *args])
        return leave.value.code, *capsys.readouterr()

    return run


def test_the_command_says_what_it_does(gc, directory, dead):
    path = make(directory, f"xenproc.{dead}.1")
    used = make(directory, f"xenproc.{dead}.2")
    with used.open():
        assert gc("--dry-run") == (0, f"would remove {path}\nkept {used}: a process has it open\n", "")
        assert gc() == (0, f"removed {path}\nkept {used}: a process has it open\n", "")
    assert gc("-q") == (0, "", "")
    assert gc() == (0, "nothing was left behind\n", "")


def test_the_command_in_json(gc, directory, dead):
    path = make(directory, f"xenproc.{dead}.1")
    used = make(directory, f"xenproc.{dead}.2")
    kept = [{"path": str(used), "why": "a process has it open"}]
    with used.open():
        status, out, err = gc("--json", "--dry-run")
        assert (status, err) == (0, "")
        assert json.loads(out) == {"schema_version": 1, "removed": [], "found": [str(path)], "kept": kept}
        assert json.loads(gc("--json")[1]) == {"schema_version": 1, "removed": [str(path)], "found": [str(path)], "kept": kept}
    assert not path.exists()
