"""The small guest kernel: descriptors, pipes and signals."""

import pytest
from guest_kernel import boot

EBADF, EFAULT, EINTR, EINVAL, EMFILE, EPIPE, ESRCH = 9, 14, 4, 22, 24, 32, 3


# ---- files ----


def test_descriptors(hv):
    """0 to 2 are the console; the lowest free one is taken; sixteen are all; a child has its parent's."""

    def init(sys, out):
        sys.print("line", 1)
        sys.write(2, b"and another\n")
        out.append([sys.read(0).decode(), sys.dup(1), sys.dup(3), sys.close(3), sys.dup(1)])

        def child(sys):
            sys.write(4, b"from a child\n")
            sys.close(4)

        sys.fork(child)
        sys.wait()
        sys.write(4, b"still open\n")
        for _ in range(11):
            sys.dup(1)
        out.append([sys.raw(41, 1), sys.raw(42, sys.sbrk(0)), sys.raw(6, 99), sys.raw(3, -1, 0, 1), sys.raw(4, 99, 0, 1), sys.raw(41, 50)])
        sys.close(15)
        out.append([sys.raw(42, sys.sbrk(4096)), sys.raw(3, 0, 0, -1), sys.raw(4, 1, 0, 8)])

    end = boot(hv, init)
    assert end["out"] == [["", 3, 4, None, 3], [-EMFILE, -EMFILE, -EBADF, -EBADF, -EBADF, -EBADF], [-EMFILE, -EINVAL, -EFAULT]]
    assert end["console"] == "line 1\nand another\nfrom a child\nstill open\n" and end["lost"] == 0


def test_dup2(hv):
    """A shell's way: what was open there is closed, a pipe's end too; the same descriptor is left alone."""

    def init(sys, out):
        r, w = sys.pipe()

        def child(sys):
            sys.dup2(w, 1)
            sys.close(w)
            sys.print("by way of 1")

        sys.fork(child)
        sys.dup2(r, 9)
        sys.close(r)
        out.append([sys.dup2(w, w), sys.dup2(2, w)])            # closes the last end for writing but the child's
        out.append([sys.read(9).decode(), sys.read(9).decode(), sys.wait()[1]])
        out.append([sys.raw(63, 8, 1), sys.raw(63, 1, 16), sys.raw(63, 1, -1), sys.raw(63, 8, 8)])

    end = boot(hv, init)
    assert end["out"] == [[4, 4], ["by way of 1\n", "", 0], [-EBADF] * 4] and end["lost"] == 0


# ---- pipes ----


@pytest.mark.parametrize("mode", ["x86_64", "x86_32p", "x86_32"])
def test_a_pipe_carries_more_than_it_holds(hv, mode):
    """The writer waits for room, the reader for bytes; all arrive, in order; then the end."""

    def init(sys, out):
        data = bytes(range(256)) * 80           # five pages
        r, w = sys.pipe()

        def writer(sys):
            sys.close(r)
            at = sys.mmap(len(data))
            sys.store(at, data)
            sys.exit(sys.write_at(w, at, len(data)) // 256)

        sys.fork(writer)
        sys.close(w)
        got = b""
        while piece := sys.read(r, 1000):
            got += piece
        out.append([got == data, sys.wait()[1], sys.read(r).decode()])

    end = boot(hv, init, paging=mode)
    assert end["out"] == [[True, 80, ""]] and end["lost"] == 0


def test_what_fits_in_a_page_is_not_torn(hv):
    """Three writers of records of three lengths, one reader that takes odd numbers of bytes: records stay whole."""

    def init(sys, out):
        from itertools import groupby

        lengths = {b"a": 700, b"b": 1500, b"c": 900}
        r, w = sys.pipe()

        def writer(sys, letter, later):
            for _ in range(later):
                sys.yield_()
            for _ in range(20):
                sys.write(w, letter * lengths[letter])

        for later, letter in zip((2, 1, 0), lengths, strict=True):     # who is woken first has not begun first
            sys.fork(writer, letter, later)
        sys.close(w)
        got = b""
        while piece := sys.read(r, 333):
            got += piece
        out.append([len(got), all(len(list(run)) % lengths[bytes([letter])] == 0 for letter, run in groupby(got))])

    assert boot(hv, init)["out"] == [[20 * 3100, True]]


def test_nobody_reads(hv):
    """SIGPIPE ends the writer; one that ignores it gets EPIPE."""

    def init(sys, out):
        r, w = sys.pipe()
        sys.close(r)
        sys.fork(lambda sys: sys.write(w, b"x"))
        out.append(sys.wait()[1])
        sys.signal(13, 1)
        out.append([sys.raw(4, w, sys.sbrk(4096), 1), sys.raw(3, w, 0, 1)])
        sys.close(w)

        # Also where the reader goes while the writer waits.
        r, w = sys.pipe()

        def full(sys):
            sys.close(r)
            sys.write(w, b"y" * 4096)
            sys.exit(-sys.raw(4, w, sys.sbrk(0) - 4096, 1))

        sys.fork(full)
        sys.yield_()
        sys.close(r)
        out.append(sys.wait()[1])

    assert boot(hv, init)["out"] == [-13, [-EPIPE, -EBADF], EPIPE]


def test_a_descriptor_more_keeps_the_pipe_open(hv):
    def init(sys, out):
        r, w = sys.pipe()
        spare = sys.dup(w)
        sys.close(w)
        sys.write(spare, b"abc")
        sys.close(spare)
        out.append([sys.read(r, 2).decode(), sys.read(r).decode(), sys.read(r).decode()])

    assert boot(hv, init)["out"] == [["ab", "c", ""]]


def test_a_pipe_that_cannot_be_told_is_not_made(hv):
    def init(sys, out):
        out.append(sys.raw(42, 0x20))
        out.append(list(sys.pipe()))

    assert boot(hv, init)["out"] == [-EFAULT, [3, 4]]


# ---- signals ----


def test_handlers(hv):
    """A handler runs before the system call returns to its process, is not interrupted by its own signal, and stays installed."""

    def init(sys, out):
        me = sys.getpid()

        def handler(sys, number):
            out.append(["begin", number])
            if len(out) < 3:
                sys.kill(me, 10)
                sys.kill(me, 12)
            out.append(["end", number])

        out.append([sys.signal(10, handler), sys.signal(10, handler) == handler, sys.signal(12, handler)])
        sys.kill(me, 10)
        out.append("back")
        out.append([sys.signal(10, 0) == handler, sys.signal(10, 1), sys.signal(10, 0)])

    assert boot(hv, init)["out"] == [
        [0, True, 0], ["begin", 10], ["begin", 12], ["end", 12], ["end", 10], ["begin", 10], ["end", 10], "back", [True, 0, 1],
    ]


def test_what_signals_do_by_default(hv):
    """They end a process wherever it waits; SIGCHLD does nothing; what is ignored does nothing; SIGKILL cannot be."""

    def init(sys, out):
        r, _ = sys.pipe()

        def reads(sys):
            sys.read(r)

        def sleeps(sys):
            sys.sleep(1000)

        def waits(sys):
            sys.fork(sleeps)
            sys.wait()

        def spins(sys):
            while True:
                sys.yield_()

        for body in (reads, sleeps, waits, spins):
            pid = sys.fork(body)
            sys.yield_()
            sys.kill(pid, 15)
            out.append(sys.wait() == (pid, -15))

        def deaf(sys):
            sys.signal(15, 1)
            sys.kill(sys.getpid(), 15)
            sys.kill(sys.getpid(), 17)
            sys.exit(-sys.raw(48, 9, 1))

        sys.fork(deaf)
        out.append(sys.wait()[1])
        out.append([sys.raw(37, 999, 15), sys.raw(37, 1, 99), sys.raw(37, 1, 0), sys.raw(48, 99, 1)])

    assert boot(hv, init)["out"] == [True] * 4 + [EINVAL, [-ESRCH, -EINVAL, 0, -EINVAL]]


def test_a_handler_interrupts_what_waits(hv):
    """EINTR, after the handler has run; a child's end is SIGCHLD."""

    def init(sys, out):
        def child(sys):
            sys.sleep(0.01)
            sys.exit(3)

        sys.signal(17, lambda sys, number: out.append(number))
        sys.fork(child)
        out.append(sys.raw(162, 60_000_000_000))
        out.append(sys.wait()[1])

        def other(sys):
            sys.signal(10, lambda sys, number: None)
            try:
                sys.read(sys.pipe()[0])
            except OSError as error:
                sys.exit(error.errno)

        pid = sys.fork(other)
        sys.yield_()
        sys.kill(pid, 10)
        out.append(sys.wait())

    end = boot(hv, init)
    assert end["out"] == [17, -EINTR, 3, 17, [3, EINTR]]


@pytest.mark.parametrize("mode", ["x86_64", "x86_32p"])
def test_a_fault_can_be_handled(hv, mode):
    """The handler of SIGSEGV repairs what was wrong and the access is done again; or leaves it by an exception, as by longjmp."""

    def init(sys, out):
        at = sys.mmap(4096, 1)

        class Jump(Exception):
            pass

        def repair(sys, number):
            out.append(number)
            sys.mprotect(at, 4096, 3)

        def jump(sys, number):
            raise Jump

        sys.signal(11, repair)
        sys.store(at, b"repaired")
        out.append(sys.load(at, 8).decode())
        sys.signal(11, jump)
        for _ in range(3):
            try:
                sys.load(0x20000000, 1)
            except Jump:
                out.append("jumped")

        # A fault in the handler of faults ends it: its own signal waits.
        def again(sys, number):
            sys.load(0x20000000, 1)

        def child(sys):
            sys.signal(11, again)
            sys.load(0x20000000, 1)

        sys.fork(child)
        out.append(sys.wait()[1])

    assert boot(hv, init, paging=mode)["out"] == [11, "repaired", "jumped", "jumped", "jumped", -11]


def test_handlers_are_inherited(hv):
    def init(sys, out):
        sys.signal(10, lambda sys, number: sys.exit(77))
        pid = sys.fork(lambda sys: sys.sleep(1000))
        sys.yield_()
        sys.kill(pid, 10)
        out.append(sys.wait()[1])

    assert boot(hv, init)["out"] == [77]
