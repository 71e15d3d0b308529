"""The fork that makes siblings: whose child it is, and that libc and Python in it are as after any fork."""

import os
import select
import signal
import threading
import time

import pytest

from xenproc.errors import EnvironmentLacks
from xenproc.fork import clone
from xenproc.guest.fork import fork_sibling, fork_sibling_pidfd
from xenproc.native import ffi, lib


def server(work) -> str:
    """Run work(write) in a forked child, which stands for the warm server; return what all that came of it wrote."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            work(lambda text: os.write(writer, f"{text}\n".encode()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        text = lines.read()             # up to the last writer's end
    assert os.waitpid(pid, 0)[1] == 0
    return text


def in_sibling(work, write) -> None:
    pid = fork_sibling()
    if pid == 0:
        try:
            write(work())
        except BaseException as error:
            write(repr(error))
        finally:
            os._exit(7)


def reap(nr: int) -> list[int]:
    return [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(nr)]


def test_a_sibling_is_a_child_of_ours():
    text = server(lambda write: in_sibling(os.getppid, write))
    assert int(text) == os.getpid()
    assert reap(1) == [7]


def test_the_parent_is_told_the_pid():
    def work(write):
        pid = fork_sibling()
        if pid == 0:
            write(f"child {os.getpid()}")
            os._exit(7)
        write(f"pid {pid}")

    said = dict(line.split() for line in server(work).splitlines())
    assert said["child"] == said["pid"]
    assert reap(1) == [7]


def test_a_pidfd_is_of_the_child():
    def work(write):
        pid, pidfd = fork_sibling_pidfd()
        if pid == 0:
            signal.pause()
        assert not os.get_inheritable(pidfd)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        readable, _, _ = select.select([pidfd], [], [], 10)
        write("dead" if readable else "alive")

    assert server(work) == "dead\n"
    assert reap(1) == [-9]


def libc_knows_itself() -> str:
    """raise() signals the thread id that libc has cached; a thread's end is waited for on another such word."""
    seen = []
    signal.signal(signal.SIGUSR1, lambda signo, frame: seen.append(signo))
    signal.raise_signal(signal.SIGUSR1)
    native = []
    thread = threading.Thread(target=lambda: native.append(threading.get_native_id()))
    thread.start()
    thread.join(10)
    end = time.monotonic() + 10             # join returns a moment before the kernel has taken the thread off its list
    while lib.xp_single_threaded() != 1 and time.monotonic() < end:
        os.sched_yield()
    main = threading.get_native_id() == os.getpid()
    return f"{seen == [signal.SIGUSR1]} {main} {native != [os.getpid()]} {lib.xp_single_threaded()}"


def test_libc_and_python_are_right_in_the_child():
    assert server(lambda write: in_sibling(libc_knows_itself, write)) == "True True True 1\n"
    assert reap(1) == [7]


def test_siblings_of_siblings():
    """A child of the call can make another: its own idea of its thread is right."""
    def work(write):
        in_sibling(lambda: in_sibling(libc_knows_itself, write) or "one", write)

    text = server(work)
    assert sorted(text.split("\n")) == ["", "True True True 1", "one"]
    assert reap(2) == [7, 7]


def test_at_fork_handlers_run():
    def work(write):
        os.register_at_fork(before=lambda: write("before"), after_in_parent=lambda: write("parent"),
                            after_in_child=lambda: write("child"))
        in_sibling(lambda: "run", write)

    lines = server(work).split()
    assert lines[0] == "before" and sorted(lines[1:]) == ["child", "parent", "run"]
    assert reap(1) == [7]


def test_a_second_thread_is_in_the_way():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert lib.xp_single_threaded() == 0
        with pytest.raises(EnvironmentLacks, match="more than one thread"):
            fork_sibling()
    finally:
        stop.set()
        thread.join()


def test_a_refusal_of_the_kernel_is_an_oserror():
    with pytest.raises(OSError, match="clone") as caught:
        clone(lib.XP_CLONE_NEWPID | lib.XP_CLONE_PARENT | 0x00010000)       # CLONE_THREAD without what it needs
    assert caught.value.errno == 22


@pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace without a user namespace is for root")
def test_the_first_of_a_namespace_makes_no_siblings():
    """Its children can be nobody else's: the kernel says so, we hand it on."""
    pid, _ = clone(lib.XP_CLONE_NEWPID)
    if pid == 0:
        code = 1
        try:
            fork_sibling()
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 22


def name_of(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as name:
        return name.read().strip()


def test_the_keeper_ends_with_its_lifeline():
    reader, writer = os.pipe()
    extra = os.open("/dev/null", os.O_RDONLY)
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        lib.xp_keeper(reader)
    os.close(reader)
    os.close(extra)
    deadline = time.monotonic() + 10
    while name_of(pid) != "xenproc-keeper" and time.monotonic() < deadline:
        os.sched_yield()
    assert name_of(pid) == "xenproc-keeper"
    while len(left := os.listdir(f"/proc/{pid}/fd")) != 1 and time.monotonic() < deadline:
        os.sched_yield()
    assert left == [str(reader)]
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_keeper_dies_with_its_parent():
    reader, writer = os.pipe()
    alive, life = os.pipe()             # held by the keeper's parent only in name: both ends stay open here
    pid = os.fork()
    if pid == 0:
        keeper = os.fork()
        if keeper == 0:
            lib.xp_keeper(alive)
        os.write(writer, str(keeper).encode())
        signal.pause()
    keeper = int(os.read(reader, 16))
    pidfd = os.pidfd_open(keeper)
    deadline = time.monotonic() + 10
    while name_of(keeper) != "xenproc-keeper" and time.monotonic() < deadline:
        os.sched_yield()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert select.select([pidfd], [], [], 10)[0], "the keeper outlived its parent"
    try:
        os.waitpid(keeper, 0)           # ours, where this process adopts orphans
    except ChildProcessError:
        pass                            # init's
    for fd in (reader, writer, alive, life, pidfd):
        os.close(fd)


def test_descriptors_are_closed_around_those_kept():
    def work(write):
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
        keep = sorted([0, 1, 2, fds[1], fds[3]])
        kept_pipe = os.dup(1)
        write_fd = fds[4] + 40
        os.dup2(int(os.environ["OUT"]), write_fd)
        assert lib.xp_close_others(ffi.new("int[]", [*keep, write_fd]), 6) == 0
        left = [fd for fd in range(200) if os.path.exists(f"/proc/self/fd/{fd}")]
        os.write(write_fd, repr([fd in left for fd in (*fds, kept_pipe)]).encode())
        assert lib.xp_close_others(ffi.new("int[]", [3, 2]), 2) == -22

    reader, writer = os.pipe()
    os.environ["OUT"] = str(writer)
    try:
        server(work)
    finally:
        del os.environ["OUT"]
        os.close(writer)
    assert os.read(reader, 200) == b"[False, True, False, True, False, False]"
    os.close(reader)
