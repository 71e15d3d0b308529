"""The ledger sees what a test leaves, each kind of it, and not what was there before."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import ledger
import posix_ipc
import pytest
from helpers import require, until


@pytest.fixture
def found():
    """A function: what is left since the fixture was made."""
    before = ledger.Ledger.now()
    return lambda: ledger.Ledger.now().left_since(before)


def only(found, word):
    lines = found()
    assert len(lines) == 1 and word in lines[0], lines


def test_nothing_is_nothing(found):
    assert found() == []


def test_name_in_shared_memory(found):
    memory = posix_ipc.SharedMemory(f"/xenproc.{os.getpid()}.test", posix_ipc.O_CREX, size=4096)
    memory.close_fd()
    only(found, "name /dev/shm/xenproc.")
    memory.unlink()
    assert found() == []


def test_semaphore(found):
    semaphore = posix_ipc.Semaphore(None, posix_ipc.O_CREX)
    assert any("name /dev/shm/sem." in line for line in found())
    semaphore.unlink()
    semaphore.close()
    assert found() == []


def test_descriptor_and_socket(found):
    a, b = socket.socketpair()
    assert len(found()) == 2 and all("socket:" in line for line in found())
    a.close()
    b.close()
    assert found() == []


def test_descriptor_that_changed_its_file(found):
    fd = os.open("/dev/null", os.O_RDONLY)
    before = ledger.Ledger.now()
    os.dup2(os.open("/dev/zero", os.O_RDONLY), fd)
    assert any(f"descriptor {fd} -> /dev/zero" in line for line in ledger.Ledger.now().left_since(before))
    for extra in set(ledger.Ledger.now().descriptors) - set(before.descriptors):
        os.close(extra)
    os.close(fd)
    assert found() == []


def test_mapping_of_machine_memory(found):
    import mmap

    fd = os.memfd_create("xenproc-test")
    os.ftruncate(fd, 4096)
    memory = mmap.mmap(fd, 4096)
    os.close(fd)
    assert any("mapping" in line and "xenproc-test" in line for line in found())
    memory.close()
    assert found() == []


def test_thread(found):
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="left-over")
    thread.start()
    only(found, "thread left-over")
    go.set()
    thread.join()
    assert found() == []


def test_process_then_zombie_then_nothing(found):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert any(line.startswith(f"process {child.pid} ") for line in found())
    child.stdin.close()
    until(lambda: any(line.startswith(f"zombie {child.pid} ") for line in found()), "a zombie")
    child.wait()
    assert found() == []


def test_a_forked_child_that_nobody_waits_for(found):
    child = os.fork()
    if child == 0:
        os._exit(0)
    until(lambda: any(line.startswith(f"zombie {child} ") for line in found()), "a zombie")
    os.waitpid(child, 0)
    assert found() == []


@pytest.mark.parametrize("session", ["", "os.setsid()"])
def test_an_orphan_is_seen_while_it_lives_and_reaped_when_dead(found, session):
    # The middle process ends at once; its child stays.
    known = {process.pid for process in ledger.descendants()}
    code = (
        "import os\n"
        f"{session}\n"
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.close(1); os.read(0, 1); os._exit(0)\n"
    )
    middle = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    middle.stdout.read()
    middle.wait()
    orphans = [process for process in ledger.descendants() if process.pid not in known]
    assert len(orphans) == 1 and orphans[0].parent == os.getpid()
    assert any(f"process {orphans[0].pid} " in line for line in found())
    middle.stdin.close()
    middle.stdout.close()
    until(lambda: found() == [], lambda: found())


def test_leftover_processes_are_cleared():
    before = ledger.Ledger.now()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ledger.clear_processes(before)
    assert not Path(f"/proc/{child.pid}").exists()
    child.returncode = -signal.SIGKILL      # reaped already
    assert ledger.Ledger.now().left_since(before) == []


def test_a_name_that_somebody_else_holds_is_not_ours(found, tmp_path):
    name = f"/dev/shm/xenproc.{os.getpid()}.foreign"
    # A process below us is ours, so a name it holds counts.
    code = f"f = open({name!r}, 'w'); print('open', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert any(name in line for line in found())
    child.communicate(b"\n")
    os.unlink(name)
    assert found() == []


def run_suite(tmp_path, body):
    """Run pytest on one file beside a copy of our conftest; return its output."""
    here = Path(__file__).resolve().parents[1]
    for name in ("conftest.py", "helpers.py", "ledger.py"):
        (tmp_path / name).write_text((here / name).read_text())
    (tmp_path / "test_it.py").write_text(body)
    env = {**os.environ, "PYTHONPATH": str(here.parent), "PYTHONDONTWRITEBYTECODE": "1", "XENPROC_SETTLE_S": "0.3"}
    env.pop("CI", None)
    return lambda **more: subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, env={**env, **more}, timeout=60,
    )


def test_a_test_that_leaves_something_fails_and_says_what(tmp_path):
    body = (
        "import os, posix_ipc\n"
        "def test_leaves():\n"
        "    posix_ipc.SharedMemory(f'/xenproc.{os.getpid()}.left', posix_ipc.O_CREX, size=4096).close_fd()\n"
        "    os.dup(0)\n"
        "def test_leaves_nothing():\n"
        "    pass\n"
    )
    done = run_suite(tmp_path, body)()
    for name in Path("/dev/shm").glob("xenproc.*.left"):
        name.unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "left behind:" in done.stdout and "/dev/shm/xenproc." in done.stdout and "descriptor" in done.stdout
    assert "2 passed, 1 error" in done.stdout         # the session does not say it again


def test_what_is_missing_skips_but_fails_in_ci(tmp_path):
    body = "from helpers import require\ndef test_needs():\n    require(False, 'a unicorn')\n"
    suite = run_suite(tmp_path, body)
    assert "1 skipped" in suite().stdout
    done = suite(CI="1")
    assert "1 failed" in done.stdout and "lacks a unicorn" in done.stdout


def test_require_lets_pass_what_is_there():
    require(True, "nothing")
