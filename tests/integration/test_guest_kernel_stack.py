"""The small guest kernel: what it puts on a process's stack, frames of signals and arguments of programs; what bad processes make of it."""

import pytest
from guest_kernel import boot

MODES = ["x86_64", "x86_32p", "x86_32"]
E2BIG, EFAULT, ENAMETOOLONG, ENOENT, ENOMEM = 7, 14, 36, 2, 12


@pytest.mark.parametrize("mode", MODES)
def test_a_signals_frame(hv, mode):
    """It lies below the stack pointer, says what was to come, and is gone afterwards; the call's result comes through."""

    def init(sys, out):
        cpu, me = sys._cpu, sys.getpid()

        def words(at, *sizes):
            return [int.from_bytes(sys.load(at + offset, nr), "little") for offset, nr in sizes]

        def handler(sys, number):
            at = cpu.user_rsp
            placed = [before - 64 < at <= before - 28, at % 16]
            out.append([number, *placed, words(at, (0, 4), (4, 4), (12, 8), (20, 8)), words(at, (8, 4)) == [before]])
            sys.getppid()
            if number == 10:
                sys.kill(me, 12)

        for number in (10, 12):
            sys.signal(number, handler)
        before = cpu.user_rsp
        sys.kill(me, 10)
        out.append([cpu.user_rsp == before, cpu.user_rip])
        r, _ = sys.pipe()

        def child(sys):
            sys.sleep(0.005)
            sys.kill(me, 12)

        sys.fork(child)
        out.append(sys.raw(3, r, sys.sbrk(4096), 1))
        sys.wait()

    end = boot(hv, init, paging=mode)
    first, second, after, third, interrupted = end["out"]
    assert first == [10, True, 0, [10, 0, 0, 0], True]
    assert second == [12, False, 0, [12, 0, 1 << 10, 0], False], "on top of the first"
    assert after == [True, 0] and third == [12, True, 0, [12, 0, 0, (1 << 64) - 4], True] and interrupted == -4
    assert end["lost"] == 0


def test_a_handler_has_a_stack_of_its_own_to_use(hv):
    """Calls that need memory for their results, interrupted by handlers that make the same calls."""

    def init(sys, out):
        def handler(sys, number):
            fds = sys.pipe()
            sys.fork(lambda sys: 77)
            out.append([list(fds), sys.wait()[1]])

        sys.signal(10, handler)
        before = sys._process.signals.pending
        before.append(10)                       # comes with the next system call
        out.append(list(sys.pipe()))
        sys.fork(lambda sys: 5)
        sys.sleep(0.005)
        before.append(10)
        out.append(sys.wait()[1])

    assert boot(hv, init)["out"] == [[[5, 6], 77], [3, 4], [[7, 8], 77], 5]


BAD = ["no stack", "kernel's stack", "no code", "memory without code", "no frame", "forged"]


def test_bad_stacks_and_bad_code(hv):
    """Whoever has no stack, no code or no frame is ended, and nobody else; a forged frame leads where the process could go anyway."""

    def init(sys, out, bad):
        heap = sys.sbrk(4096)
        sys.store(heap, b"fine")

        def set_stack(sys, value):
            sys.signal(10, lambda sys, number: out.append("never"))
            sys._cpu.user_rsp = value
            sys.kill(sys.getpid(), 10)

        def set_code(sys, value):
            sys.raw(48, 10, value)
            sys.kill(sys.getpid(), 10)

        def forge(sys):
            def handler(sys, number):
                at = sys._cpu.user_rsp
                sys.store(at + 4, (0x1234).to_bytes(4, "little"))
                sys.store(at + 12, b"\xff" * 8)

            sys.signal(10, handler)
            sys.kill(sys.getpid(), 10)

        tries = {
            "no stack": lambda sys: set_stack(sys, 0),
            "kernel's stack": lambda sys: set_stack(sys, 0x4000_0000),
            "no code": lambda sys: set_code(sys, 0x5000),
            "memory without code": lambda sys: set_code(sys, heap),
            "no frame": lambda sys: sys.raw(119),
            "forged": forge,
        }
        for name in bad:
            sys.fork(tries[name])
            out.append(sys.wait()[1])
        out.append(sys.load(heap, 4).decode())

    end = boot(hv, init, BAD)
    assert end["out"] == [-11, -11, -11, -4, -11, -11, "fine"] and end["lost"] == 0


def test_nobody_ends_the_first_process(hv):
    def init(sys, out):
        sys.fork(lambda sys: [sys.kill(1, number) for number in (9, 10, 15)] and None)
        out.append(sys.wait()[1])
        return 3

    end = boot(hv, init)
    assert end["out"] == [0] and end["status"] == 3


# ---- arguments of programs ----


@pytest.mark.parametrize("mode", MODES)
def test_arguments_are_bytes_on_the_new_stack(hv, mode):
    from xenproc.guest.minikernel.process import STACK_TOP, Program

    def echo(sys, *args):
        at = sys._cpu.user_rsp
        words = [int.from_bytes(sys.load(at + 4 * i, 4), "little") for i in range(len(args) + 3)]
        good = words[0] == len(args) + 1 and words[-1] == 0 and all(at < word < STACK_TOP for word in words[1:-1]) and at % 16 == 0
        sys.print(*args, good, sys.load(words[1], 5).decode().rstrip("\0"))
        sys.write(1, sys.load(STACK_TOP - 2, 2).hex().encode() + b"\n")

    def init(sys, out):
        for args in ((), ("one", "", "zwölf"), ("x" * 255,) * 15):
            sys.fork(lambda sys, args=args: sys.exec("echo", *args))
            out.append(sys.wait()[1])

    end = boot(hv, init, paging=mode, programs={"echo": Program(echo)})
    lines = end["console"].splitlines()
    assert end["out"] == [0, 0, 0] and end["lost"] == 0
    assert lines[0] == "True echo" and lines[2] == "one  zwölf True echo" and lines[3] == "6600"
    assert lines[4] == " ".join(["x" * 255] * 15) + " True echo"


def test_arguments_that_cannot_be(hv):
    """The program that asked goes on, with everything that it had."""
    from xenproc.guest.minikernel.process import Program

    def init(sys, out, kernel):
        heap = sys.sbrk(8192)
        sys.store(heap, b"true\0")
        sys.store(heap + 64, heap.to_bytes(4, "little") + bytes(4))
        sys.store(heap + 128, (0x20).to_bytes(4, "little"))
        sys.store(heap + 8188, heap.to_bytes(4, "little"))              # no end, and then no memory
        for i in range(20):
            sys.store(heap + 256 + 4 * i, heap.to_bytes(4, "little"))
        with sys._on_stack(8192) as at:
            sys.store(at, bytes(8192))              # the stack's pages are there
        before = [kernel.g.memory.nr_free, kernel.frames.nr_used]
        for name, args in (
            (0x20, heap + 64), (heap, 0x20), (heap, heap + 128), (heap, heap + 8188), (heap, heap + 256), (heap + 4, heap + 64),
            (0x3FFF_F000, heap + 64), (-1, -1), (1 << 63, heap),
        ):
            out.append(sys.raw(11, name, args))
        for strings in (("x" * 300,), ("x" * 250,) * 16, ("x",) * 16):
            try:
                sys.exec("true", *strings)
            except OSError as error:
                out.append(error.errno)
        out.append([kernel.g.memory.nr_free, kernel.frames.nr_used] == before)
        sys.fork(lambda sys: sys.exec("true", *("x",) * 15))
        out.append(sys.wait()[1])

    end = boot(hv, init, programs={"true": Program(lambda sys, *args: len(args))})
    assert end["out"] == [-EFAULT] * 4 + [-E2BIG, -ENOENT] + [-EFAULT] * 3 + [ENAMETOOLONG, E2BIG, E2BIG, True, 15] and end["lost"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_out_of_memory_in_the_middle_of_exec(hv, mode):
    """Whatever page is the one too many: ENOMEM, nothing lost, the old program goes on; with one more it works."""
    from xenproc.guest.minikernel.process import Program

    def init(sys, out, kernel):
        memory, held = kernel.g.memory, []

        def child(sys):
            sys.store(sys.sbrk(4096), b"mine")
            with sys._on_stack(4096) as at:
                sys.store(at, b"x")                     # the stack's pages are there
            while memory.nr_free:
                held.append(memory.alloc(1))
            for left in range(20):
                while memory.nr_free < left:
                    held.pop().free()
                before = [memory.nr_free, sorted(kernel.frames._users.items())]
                try:
                    sys.exec("true", "argument")
                except OSError as error:
                    out.append([error.errno, [memory.nr_free, sorted(kernel.frames._users.items())] == before])
            sys.exit(99)

        sys.fork(child)
        out.append(sys.wait()[1])
        for pages in held:
            pages.free()

    end = boot(hv, init, paging=mode, programs={"true": Program(lambda sys, word: len(word))})
    *failed, status = end["out"]
    assert len(failed) >= 3 and all(each == [ENOMEM, True] for each in failed) and status == 8 and end["lost"] == 0
