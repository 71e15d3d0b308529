"""The small guest kernel: processes that neither call nor fault are interrupted all the same; kernels come and go."""

import pytest
from guest_kernel import boot


def test_a_process_that_only_loops_stops_nobody(hv):
    """Others run meanwhile, it can be killed, and nothing of it is left."""

    def init(sys, out, kernel):
        def loop(sys):
            while True:
                pass

        pids = [sys.fork(loop) for _ in range(2)]
        sys.sleep(0.03)
        out.append("woke")
        for pid in pids:
            sys.kill(pid, 9)
        out.append(sorted(sys.wait() for _ in pids))

    end = boot(hv, init)
    assert end["out"] == ["woke", [[2, -9], [3, -9]]] and end["lost"] == 0 and end["traps"]["straight upcall"] >= 1


def test_two_loops_take_turns(hv):
    """Each counts in a variable of Python's; both get on, though neither ever enters the kernel."""

    def init(sys, out):
        turns = [0, 0]

        def loop(sys, me):
            while min(turns) < 5:
                mine = turns[me]
                while turns[me] == mine and min(turns) < 5:
                    if turns[1 - me] >= turns[me]:
                        turns[me] += 1

        for me in (0, 1):
            sys.fork(loop, me)
        sys.wait(), sys.wait()
        out.append(min(turns))

    assert boot(hv, init)["out"] == [5]


def test_an_access_is_one_instruction(hv):
    """Processes with memory of their own at the same addresses, interrupted at any time but within: each reads what it wrote."""

    def init(sys, out, kernel):
        from sys import _getframe

        within = []

        def spy(cpu, frame, handler=kernel.interrupts._handler):
            at = _getframe()
            while at and at.f_code.co_name != "run_user":
                within.append(at.f_code.co_name)
                at = at.f_back
            handler(cpu, frame)

        kernel.interrupts._handler = spy
        at = sys.sbrk(4096) + 4096 - 512
        sys.sbrk(4096)

        def loop(sys, letter):
            sys.store(at, letter * 1024)
            turns, told = kernel.interrupts.nr_taken, 0
            while kernel.interrupts.nr_taken < turns + 8:
                sys.store(at, letter * 1024)
                told += sys.load(at, 1024) != letter * 1024
            sys.exit(told)

        for letter in (b"a", b"b", b"c"):
            sys.fork(loop, letter)
        out.append([sys.wait()[1] for _ in range(3)])
        out.append([name in within for name in ("spy", "take", "loop", "read", "write", "flush", "_done")])

    end = boot(hv, init)
    assert end["out"] == [[0, 0, 0], [True] * 3 + [False] * 4] and end["lost"] == 0


def test_a_handler_runs_in_a_loop(hv):
    """A signal comes to a process that only loops: its handler runs between two bytecodes, and may leave the loop by raising."""

    def init(sys, out):
        def child(sys):
            seen = []
            sys.signal(10, lambda sys, number: seen.append(number))
            sys.signal(12, lambda sys, number: {}["leave"])
            out.append("ready")
            while not seen:
                pass
            try:
                while True:
                    pass
            except KeyError:
                sys.exit(seen[0])

        pid = sys.fork(child)
        while "ready" not in out:
            sys.yield_()
        sys.kill(pid, 10)
        sys.sleep(0.02)
        sys.kill(pid, 12)
        out.append(sys.wait()[1])

    assert boot(hv, init)["out"] == ["ready", 10]


@pytest.mark.parametrize("validated", [True, False])
def test_kernels_one_after_the_other(hv, validated):
    """A kernel that was closed has left nothing but the page tables that a CPU always has: the first one's, until the next one's."""

    def guest(g):
        from xenproc.guest.minikernel.kernel import Kernel

        free, statuses = [], []
        for nr in range(4):
            with Kernel(g, validated=validated) as kernel:
                statuses.append(kernel.run(lambda sys, nr=nr: sys.exit(nr)))
            free.append(g.memory.nr_free)
        return [free[0] == free[1] == free[2] == free[3], statuses]

    assert hv.create(guest, memory="1M").wait(20) == [True, [0, 1, 2, 3]]


def test_a_kernel_that_panics_is_not_closed(hv):
    """Its processes are in the middle of something; the domain ends with the reason."""

    def guest(g):
        from xenproc.errors import XenprocError
        from xenproc.guest.minikernel.kernel import Kernel

        try:
            with Kernel(g) as kernel:
                kernel.run(lambda sys: sys.read(sys.pipe()[0]))
        except XenprocError as error:
            return [str(error)[:28], g.cpu.boot_space is None]

    assert hv.create(guest, memory="1M").wait(20) == ["kernel panic: nobody can run", True]
