"""A process that has locked itself down: what must still work in it, what must not, and what the outside sees of it.

The stand-in for the warm server is a forked child of the test, and the test is the hypervisor's place: no pen, so that each
step is seen alone.
"""

import mmap
import os
import resource
import select
import signal
import socket
import threading
import time

import pytest
from confined import Confined, confined, fails_with
from helpers import require

from xenproc.guest import lockdown
from xenproc.guest.filter import FALL_BACK, RULES
from xenproc.guest.syscalls import NUMBER
from xenproc.native import lib

UID = 0x7000_0000 + 77
MIB = 1 << 20
ALL = {"groups", "no_new_privs", "threads", "limits", "memory", "uid", "capabilities", "no_dump", "death_signal", "landlock",
       "landlock_scope", "descriptors", "seccomp"}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="a uid of its own is root's to give")


# ---- what it reports ----


@root_only
def test_everything_is_enforced_here():
    report = Confined(lambda sock: None, {"uid": UID}).answer()["report"]
    require(set(report["enforced"]) >= ALL, f"everything of the lock-down: {report['refused']}")
    assert report["refused"] == {}


@pytest.mark.parametrize("step", [name for name in lockdown.STEPS if name != "threads"])
@root_only
def test_a_step_that_is_left_out_is_said(step):
    report = Confined(lambda sock: None, {"uid": UID, "without": frozenset({step})}).answer()["report"]
    if step != "no_new_privs":          # the server has set that already
        assert step not in report["enforced"]
    assert "Domain0" in report["refused"][step]


def test_without_a_uid_of_its_own_that_is_said():
    report = Confined(lambda sock: None).answer()["report"]
    assert "uid" not in report["enforced"] and "shares" in report["refused"]["uid"]
    assert "seccomp" in report["enforced"]


def test_a_second_thread_is_in_the_way():
    stop = threading.Event()
    answer = Confined(lambda sock: None, before=lambda: threading.Thread(target=stop.wait, daemon=True).start()).answer()
    assert answer["raised"] == "EnvironmentLacks: cannot confine this process: threads: Device or resource busy"


@pytest.mark.parametrize("wrong", [{"keep_fds": list(range(40))}, {"keep_fds": [-1]}, {"window_base": 8192, "window_end": 4096},
                                   {"window_end": 1 << 47}, {"without": frozenset({"everything"})}])
def test_a_plan_that_is_none_changes_nothing(wrong):
    ready = lockdown.Prepared(0, None, None)
    plan = lockdown.Plan(**{"window_base": 0, "window_end": 0, "keep_fds": [0], **wrong})
    if "without" in wrong:
        ready.steps = type("Steps", (), {"keep": [0] * 32})()
    with pytest.raises(ValueError):
        lockdown.lockdown(plan, ready)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


@root_only
def test_a_uid_that_cannot_be_had_is_fatal():
    """Its user namespace does not map that uid: nothing may go on."""
    def before():
        assert lib.xp_unshare(lib.XP_CLONE_NEWUSER) == 0

    answer = Confined(lambda sock: None, {"uid": UID}, before=before).answer()
    assert answer["raised"] == "EnvironmentLacks: cannot confine this process: uid: Invalid argument"


# ---- what works ----


def test_python_works(tmp_path):
    def work(sock):
        import decimal
        import hashlib
        import random
        import sqlite3  # noqa: F401  (an extension module and a library not loaded before)
        import tempfile  # noqa: F401

        random.seed(1)
        thread = threading.Thread(target=lambda: time.sleep(0.001), name="worker")
        thread.start()
        thread.join(10)
        with open(os.__file__, encoding="utf-8") as source:
            first = source.read(10)
        seen = []
        signal.signal(signal.SIGUSR1, lambda signo, frame: seen.append(signo))
        signal.raise_signal(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        return [str(decimal.Decimal(1) / 8), hashlib.sha256(b"x").hexdigest()[:4], len(os.urandom(8)), not thread.is_alive(), first,
                seen, os.cpu_count() > 0, len(os.listdir("/usr")) > 0, resource.getrlimit(resource.RLIMIT_NOFILE)]

    assert confined(work) == ["0.125", "2d71", 8, True, 'r"""OS rou', [10, 10], True, True, [256, 256]]


def test_a_guest_may_wait_for_signals():
    def work(sock):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        os.kill(os.getpid(), signal.SIGUSR2)
        pending = signal.SIGUSR2 in signal.sigpending()
        got = signal.sigwait([signal.SIGUSR2])
        signal.signal(signal.SIGUSR1, lambda signo, frame: None)
        stop = threading.Event()

        def again_and_again():
            while not stop.wait(0.01):
                os.kill(os.getpid(), signal.SIGUSR1)

        thread = threading.Thread(target=again_and_again)
        thread.start()
        signal.pause()
        stop.set()
        thread.join()
        return [pending, got]

    assert confined(work) == [True, 12]


def with_many_threads(_):
    import threading

    barrier = threading.Barrier(20)
    done = []
    threads = [threading.Thread(target=lambda: done.append(barrier.wait(10))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return sorted(done)


def test_many_threads_work():
    assert confined(with_many_threads) == list(range(20))


def with_asyncio(_):
    import asyncio
    import os
    import socket
    import threading

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=a)
        _, other = await asyncio.open_connection(sock=b)
        other.write(b"hello\n")
        line = await asyncio.wait_for(reader.readline(), 5)
        future = loop.create_future()
        threading.Thread(target=lambda: loop.call_soon_threadsafe(future.set_result, 42)).start()
        answer = await asyncio.wait_for(future, 5)
        in_thread = await asyncio.to_thread(os.getpid)
        for end in (writer, other):
            end.close()
        await asyncio.sleep(0.001)
        return [line.decode(), answer, in_thread == os.getpid()]

    return asyncio.run(main())


def test_asyncio_works():
    assert confined(with_asyncio) == ["hello\n", 42, True]


def with_ctypes(_):
    import ctypes

    libc = ctypes.CDLL(None)
    numbers = (ctypes.c_int * 5)(5, 3, 1, 4, 2)
    two = ctypes.POINTER(ctypes.c_int)
    libc.qsort(numbers, 5, 4, ctypes.CFUNCTYPE(ctypes.c_int, two, two)(lambda a, b: a[0] - b[0]))
    return list(numbers)


def test_ctypes_works():
    assert confined(with_ctypes) == [1, 2, 3, 4, 5]


def test_numpy_works_where_the_server_has_it():
    pytest.importorskip("numpy")            # imported here: the child finds it warm
    assert confined(with_numpy) == [1205.0, float(16 * MIB), True, 3]


def with_numpy(_):
    import numpy as np

    a = np.arange(160000, dtype=float).reshape(400, 400)
    big = np.ones(8 * MIB)
    big = np.concatenate([big, big])
    return [float((a @ np.eye(400))[3, 5]), float(big.sum()), float(np.linalg.norm(np.eye(3))) > 1, len(np.random.rand(3))]


@pytest.mark.parametrize("name", ["with_numpy", "with_asyncio", "with_ctypes", "with_many_threads"])
def test_it_works_in_a_real_domain(hv, name):
    """The same as above where nothing was imported before, the uid is the domain's own and the pen is around it."""
    wanted = {"with_numpy": [1205.0, float(16 * MIB), True, 3], "with_asyncio": ["hello\n", 42, True],
              "with_ctypes": [1, 2, 3, 4, 5], "with_many_threads": list(range(20))}
    if name == "with_numpy":
        pytest.importorskip("numpy")
    dom = hv.create(globals()[name], memory="1M")
    assert dom.wait(60) == wanted[name]


def test_faulthandler_and_a_crash_work():
    def work(sock):
        import faulthandler
        faulthandler.enable(sock.fileno())
        os.abort()

    confined_ = Confined(work)
    text = confined_.lines.read()
    assert text.startswith("Fatal Python error: Aborted")
    assert confined_.end() == 1


# ---- what does not ----


def test_every_call_that_is_not_in_the_table_is_refused():
    def work(sock):
        import ctypes

        syscall = ctypes.CDLL(None, use_errno=True).syscall
        got = {}
        for name, nr in NUMBER.items():
            if nr not in RULES and nr not in (335, 336):        # the kernel's own probes, which no filter sees
                ctypes.set_errno(0)
                got[name] = [syscall(nr, 0, 0, 0, 0, 0, 0), ctypes.get_errno()]
        return got

    got = confined(work)
    assert len(got) > 280
    absent = FALL_BACK.split()
    assert {name: it for name, it in got.items() if it != [-1, 38 if name in absent else 1]} == {}


def test_what_python_cannot_do():
    def work(sock):
        import subprocess

        return {
            "fork": fails_with(os.fork), "exec": fails_with(os.execv, "/usr/bin/true", ["true"]),
            "popen": fails_with(subprocess.run, ["/usr/bin/true"]), "socket": fails_with(socket.socket),
            "write": fails_with(open, "/tmp/xenproc-never", "w"), "kill": fails_with(os.kill, os.getppid(), 0),
            "kill all": fails_with(os.kill, -1, 9), "dup": fails_with(os.dup, 0), "pipe": fails_with(os.pipe),
            "setuid": fails_with(os.setuid, 0), "sendmsg": fails_with(sock.sendmsg, [b"x"]),
            "affinity": fails_with(os.sched_setaffinity, 0, [0]), "chdir": fails_with(os.chdir, "/"),
        }

    assert set(confined(work).values()) == {1}


def test_limits_cannot_be_raised():
    def work(sock):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        except (ValueError, PermissionError) as error:
            return type(error).__name__
        return "raised"

    assert confined(work) in ("ValueError", "PermissionError")


# ---- limits ----


def test_memory_is_limited():
    def work(sock):
        kept = []
        try:
            for _ in range(64):
                kept.append(mmap.mmap(-1, 4 * MIB))     # not malloc, which may have room of before the limit
        except OSError:
            return len(kept)
        return None

    assert 10 <= confined(work, private_bytes=64 * MIB) <= 16
    assert confined(work, private_bytes=512 * MIB) is None


def test_the_address_space_is_measured_without_proc():
    """As /proc says it, from any hint, and the limit in force is left as it was."""
    def exact():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * 4096

    pid = os.fork()         # a single thread
    if pid == 0:
        code = 1
        try:
            before = resource.getrlimit(resource.RLIMIT_AS)
            lib.xp_vm_bytes(0, 4096)
            for hint in (0, 1, 4096, exact() - 8192, exact(), exact() + 4096, 1 << 40, 1 << 47, (1 << 64) - 1):
                assert lib.xp_vm_bytes(hint, 4096) == exact(), hint
                assert 0 <= lib.xp_vm_bytes(hint, 65536) - exact() < 65536, hint
            assert resource.getrlimit(resource.RLIMIT_AS) == before
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@root_only
def test_threads_are_limited():
    def work(sock):
        stop = threading.Event()
        threading.stack_size(256 * 1024)
        started = []
        try:
            for _ in range(100):
                thread = threading.Thread(target=stop.wait)
                thread.start()
                started.append(thread)
        except RuntimeError:
            pass        # the limit: what is looked for
        stop.set()
        for thread in started:
            thread.join()
        return len(started)

    assert confined(work, uid=UID, max_threads=12) == 11        # and the first


def test_descriptors_are_limited_and_others_closed():
    def work(sock):
        left = [fd for fd in range(256) if fails_with(os.fstat, fd) == 0]
        pairs = []
        try:
            while len(pairs) < 100:
                pairs.append(socket.socketpair())
        except OSError as error:
            return [left == sorted({0, 1, 2, sock.fileno()}), len(pairs) < 32, error.errno]
        return None

    secret = os.open("/dev/null", os.O_RDONLY)
    try:
        assert confined(work, max_fds=64) == [True, True, 24]
    finally:
        os.close(secret)


# ---- seen from outside, and Landlock by itself ----


def status_of(pid):
    with open(f"/proc/{pid}/status") as lines:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@root_only
def test_the_kernel_says_so_too():
    child = Confined(lambda sock: (sock.send(b"1\n"), sock.recv(1))[0], {"uid": UID})
    assert child.lines.readline() == "1\n"
    status = status_of(child.pid)
    assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and status["Groups"] == ""
    assert status["Uid"].split() == status["Gid"].split() == [str(UID)] * 4
    assert os.stat(f"/proc/{child.pid}/mem").st_uid == 0            # not dumpable: its own uid does not own it
    with open(f"/proc/{child.pid}/limits") as limits:
        core = next(line for line in limits if line.startswith("Max core"))
    assert core.split()[4:6] == ["0", "0"]
    child.ours.send(b"x")
    assert child.answer()["result"] == 2


@root_only
def test_landlock_alone(tmp_path):
    """With the filter left out it is Landlock that refuses; with both left out nothing does."""
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()

    def work(sock):
        return [fails_with(open, tmp_path / "new", "w"), fails_with(os.mkdir, tmp_path / "dir"),
                fails_with(socket.create_connection, address, 5), fails_with(os.execv, "/usr/bin/nothing", ["x"]),
                fails_with(open, "/dev/null", "w"), fails_with(os.kill, os.getppid(), 0)]

    with server:
        assert confined(work, without=frozenset({"seccomp", "limits"})) == [13, 13, 13, 2, 13, 1]
        assert confined(work, without=frozenset({"seccomp", "limits", "landlock"})) == [0, 0, 0, 2, 0, 0]


def test_landlock_rights_follow_the_abi():
    assert lockdown.landlock_rights(1) == ((1 << 13) - 1, 0, 0)
    assert lockdown.landlock_rights(2)[0] == (1 << 14) - 1
    assert lockdown.landlock_rights(3)[0] == (1 << 15) - 1
    assert lockdown.landlock_rights(4) == ((1 << 15) - 1, 3, 0)
    assert lockdown.landlock_rights(6) == lockdown.landlock_rights(9) == ((1 << 16) - 1, 3, 3)


# ---- death ----


def test_it_dies_with_the_hypervisor():
    def work(sock):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        sock.send(b"1\n")
        select.select([], [], [])

    child = Confined(work)
    assert child.lines.readline() == "1\n"
    pidfd = os.pidfd_open(child.pid)
    try:
        os.kill(child.server, signal.SIGKILL)       # here in the hypervisor's place
        assert select.select([pidfd], [], [], 10)[0], "it outlived the hypervisor"
    finally:
        child.end()
        os.close(pidfd)


def test_it_does_not_start_without_a_hypervisor():
    """The hypervisor was somebody else's pid: it is dead already, and nothing runs."""
    ours, theirs = socket.socketpair()
    server = os.fork()
    if server == 0:
        try:
            ready = lockdown.prepare()
            ready.steps.parent = 1 << 30
            lockdown.lockdown(lockdown.Plan(0, 0, [theirs.fileno()]), ready)
            theirs.send(b"it runs")
        finally:
            os._exit(5)
    theirs.close()
    assert ours.recv(100) == b""
    assert os.waitstatus_to_exitcode(os.waitpid(server, 0)[1]) == 0
    ours.close()

