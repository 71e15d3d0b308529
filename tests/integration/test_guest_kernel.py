"""The small guest kernel: processes, which way traps go, what a bad process gets. In every paging mode where it matters."""

import pytest
from guest_kernel import boot
from helpers import until

import xenproc

MODES = ["x86_64", "x86_32p", "x86_32"]
EINVAL, EFAULT, ENOSYS, ECHILD, ENOENT = 22, 14, 38, 10, 2


# ---- processes ----


@pytest.mark.parametrize("mode", MODES)
def test_fork_wait_exit(hv, mode):
    """A child begins in what fork was told, in a copy of the memory; its end is told to who waits; every page comes back."""

    def init(sys, out):
        heap = sys.sbrk(4096)
        sys.store(heap, b"parent")

        def child(sys, word):
            out.append([sys.getpid(), sys.getppid(), word, sys.load(heap, 6).decode()])
            sys.store(heap, b"child!")
            out.append(sys.load(heap, 6).decode())
            sys.exit(7)

        out.append([sys.getpid(), sys.getppid(), sys.fork(child, "word")])
        out.append([sys.wait(), sys.load(heap, 6).decode()])
        sys.fork(lambda sys: 300)
        out.append(sys.wait())
        try:
            sys.wait()
        except OSError as error:
            out.append(error.errno)
        return 5

    end = boot(hv, init, paging=mode)
    assert end["out"] == [[1, 0, 2], [2, 1, "word", "parent"], "child!", [[2, 7], "parent"], [3, 44], ECHILD]
    assert end["status"] == 5 and end["lost"] == 0


def test_waitpid(hv):
    """One child among several, in whatever order they end; WNOHANG; who is no child."""

    def init(sys, out):
        r, w = sys.pipe()
        slow = sys.fork(lambda sys: sys.read(r, 1)[0])
        quick = sys.fork(lambda sys: 5)
        out.append([sys.waitpid(slow, 1), sys.waitpid(quick) == (quick, 5), sys.waitpid(-1, 1)])
        other = sys.fork(lambda sys: 6)
        sys.write(w, b"x")
        out.append([sys.waitpid(slow) == (slow, ord("x")), sys.waitpid(other) == (other, 6)])
        out.append([sys.raw(7, slow, 0, 0), sys.raw(7, -1, 0, 1), sys.raw(7, 0, 0, 0), sys.raw(7, -2, 0, 0), sys.raw(7, -1, 0, 2)])
        before = sys.uptime()
        while sys.uptime() < before + 2:
            pass

    end = boot(hv, init)
    assert end["out"] == [[[0, 0], True, [0, 0]], [True, True], [-ECHILD, -ECHILD, -EINVAL, -EINVAL, -EINVAL]] and end["lost"] == 0


def test_exec(hv):
    """Another program, with its data and zeros behind it, in fresh memory; files stay, handlers do not."""
    from xenproc.guest.minikernel.process import Program
    from xenproc.guest.minikernel.vm import DATA

    def printer(sys, word):
        at = DATA
        sys.write(1, sys.load(at, 5) + word.encode() + sys.load(at + 4096 * 2, 3).hex().encode() + b"\n")
        sys.store(at, b"other")
        sys.kill(sys.getpid(), 10)

    def init(sys, out):
        heap = sys.sbrk(8192)
        sys.store(heap, b"gone")

        def child(sys):
            sys.signal(10, lambda sys, number: None)
            sys.signal(12, 1)
            try:
                sys.exec("nothing")
            except OSError as error:
                out.append([error.errno, sys.load(heap, 4).decode()])
            sys.exec("printer", " and ")
            out.append("never")

        for _ in range(2):
            sys.fork(child)
            out.append(sys.wait())

    end = boot(hv, init, programs={"printer": Program(printer, b"data.", bss=3 * 4096)})
    assert end["out"] == [[ENOENT, "gone"], [2, -10], [ENOENT, "gone"], [3, -10]]
    assert end["console"] == "data. and 000000\n" * 2 and end["lost"] == 0


def test_a_mistake_ends_its_process_only(hv):
    def init(sys, out):
        sys.fork(lambda sys: {}["missing"])
        out.append(sys.wait())

    end = boot(hv, init)
    assert end["out"] == [[2, 1]] and "process 2: Traceback" in end["console"] and "KeyError: 'missing'" in end["console"]


def test_what_the_first_process_leaves_is_killed(hv):
    def init(sys, out):
        def sleeper(sys):
            sys.fork(lambda sys: sys.sleep(1000))
            sys.read(sys.pipe()[0])

        def stubborn(sys):
            try:
                while True:
                    sys.yield_()
            except BaseException:
                out.append("tried to stay")
                while True:
                    sys.getpid()

        for body in (sleeper, sleeper, stubborn):
            sys.fork(body)
        sys.sleep(0.01)
        return 9

    end = boot(hv, init)
    assert (end["status"], end["lost"], end["out"]) == (9, 0, ["tried to stay"])


def test_sleep_and_yield(hv):
    """Sleepers wake in the order of their times, not before; those who yield take turns."""

    def init(sys, out, now):
        def sleeper(sys, ms):
            due = now() + ms * 1_000_000
            sys.sleep(ms / 1000)
            out.append([ms, now() >= due])

        def polite(sys, name):
            for _ in range(3):
                out.append(name)
                sys.yield_()

        for ms in (60, 0, 30):
            sys.fork(sleeper, ms)
        for _ in range(3):
            sys.wait()
        for name in "ab":
            sys.fork(polite, name)
        sys.wait(), sys.wait()

    end = boot(hv, init)
    assert end["out"] == [[0, True], [30, True], [60, True], *"ababab"]


def test_the_timer_preempts(hv):
    """Two who never yield but make system calls both get on: the tick comes as an event."""

    def init(sys, out):
        seen = [0, 0]

        def busy(sys, me):
            while not all(seen):
                sys.getpid()
                if seen[1 - me]:
                    seen[me] = 1
                if me == 0:
                    seen[0] = 1

        for me in (0, 1):
            sys.fork(busy, me)
        sys.wait(), sys.wait()

    end = boot(hv, init)
    assert end["ticks"] >= 1


def test_everybody_waits_for_ever(hv):
    def init(sys, out):
        sys.read(sys.pipe()[0])

    with pytest.raises(xenproc.DomainCrashed, match="kernel panic: nobody can run"):
        boot(hv, init)


# ---- traps ----


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_which_way_traps_go(hv, fast, mode):
    """Page faults by the hypervisor; system calls only where there is no fast handler. Both sides count the same."""

    def guest(g):
        from xenproc.guest.minikernel.kernel import Kernel

        def init(sys):
            heap = sys.sbrk(4096)
            sys.store(heap, b"x")
            for _ in range(10):
                sys.getpid()

        Kernel(g, fast=fast).run(init)
        g.console.print("done")
        g.shutdown_request(20)
        return {" ".join(key): nr for key, nr in g.cpu.counters.items()}

    domain = hv.create(guest, paging=mode)
    until(lambda: "done" in domain.console.read())
    traps = next(row for row in hv.domains() if row["domid"] == domain.domid)["traps"]
    domain.shutdown()
    counted = domain.wait(20)
    assert counted == {"hypervisor page_fault": 1, f"{'straight' if fast else 'hypervisor'} system_call": 11}
    assert (traps["page_faults"], traps["system_calls"], traps["irets"]) == (1, 0 if fast else 11, 2 if fast else 13)


BAD = [
    "kernel memory", "kernel memory written", "nowhere", "null", "behind its own", "not canonical", "privileged", "system call's pointer",
]


@pytest.mark.parametrize("mode", ["x86_64", "x86_32p"])
def test_a_bad_process_harms_nobody(hv, mode):
    """SIGSEGV for whatever it tries (EFAULT where the kernel would have done it), while a neighbour goes on."""

    def init(sys, out, bad):
        heap = sys.sbrk(4096)
        sys.store(heap, b"fine")
        tries = {
            "kernel memory": lambda sys: sys.load(0x3FFFF000, 1),
            "kernel memory written": lambda sys: sys.store(0x3FFFFFF8, b"12345678"),
            "nowhere": lambda sys: sys.load(0x20000000, 4),
            "null": lambda sys: sys.store(0, b"x"),
            "behind its own": lambda sys: sys.load(heap + 4094, 4),
            "not canonical": lambda sys: sys.load(1 << 60, 4),
            "privileged": lambda sys: sys._cpu.mov_to_cr(3, 0),
            "system call's pointer": lambda sys: sys.exit(-sys.raw(4, 1, 0x3FFFF000, 8)),
        }

        def neighbour(sys):
            for i in range(50):
                sys.store(heap, b"%4d" % i)
                sys.yield_()
                if sys.load(heap, 4) != b"%4d" % i:
                    sys.exit(1)

        sys.fork(neighbour)
        sys.yield_()
        for name in bad:
            pid = sys.fork(tries[name])
            ended = sys.wait()
            out.append(ended[1] if ended[0] == pid else ended)
        out.append([sys.wait()[1], sys.load(heap, 4).decode()])

    end = boot(hv, init, BAD, paging=mode)
    assert end["out"] == [-11] * 7 + [EFAULT] + [[0, "fine"]] and end["lost"] == 0


def test_calls_that_make_no_sense(hv):
    """Any number, any argument: an error number, as xv6 never crashes on what a process says."""

    def init(sys, out):
        out += [sys.raw(), sys.raw(999), sys.raw("read"), sys.raw(None), sys.raw(20, 1), sys.raw(3, 0), sys.raw(3, "a", 0, 0)]
        out += [sys.raw(2), sys.raw(2, 5), sys.raw(11, 5), sys.raw(90, 1 << 70, 3), sys.raw(48, 10, "x"), sys.raw(3, 1 << 63, 0, 1)]
        out += [sys.raw(162, -5), sys.raw(42, 1), sys.raw(7, -1, 1, 0)]

    end = boot(hv, init)
    assert end["out"] == [-ENOSYS] * 4 + [-EINVAL] * 8 + [-9, -EINVAL, -EFAULT, -ECHILD] and end["lost"] == 0
