"""What the domain of `xenproc bench kernel` runs: one row of the paper's Tables 3 to 5 in the small guest kernel.

Each row is a first process (ring 3) that does its operation n times after a warm-up and returns microseconds each, as lmbench's
programs do. kernel_native.py has the same programs for Linux; a change here wants one there.
"""

import statistics
from collections.abc import Callable
from typing import Any

from xenproc.bench.case import Sample
from xenproc.guest.minikernel.kernel import Kernel
from xenproc.guest.minikernel.process import Program
from xenproc.native import lib

PAGES = 64                      # what a process that forks has written to
MMAP_PAGES, MMAP_STRIDE = 64, 4
FAULTS = 256                    # fresh pages at a time
_USR1, _SEGV = 10, 11
PAGE = 4096


def timed(n: int, operation: Callable[[], Any], warm: int = 8) -> float:
    """Return µs an operation."""
    for _ in range(min(n, warm)):
        operation()
    begin = lib.xp_now_ns()
    for _ in range(n):
        operation()
    return (lib.xp_now_ns() - begin) / n / 1000


def null_call(sys: Any, n: int) -> float:
    """getppid."""
    return timed(n, sys.getppid)


def sig_inst(sys: Any, n: int) -> float:
    """Install a handler."""
    def handler(sys: Any, number: int) -> None:
        pass

    return timed(n, lambda: sys.signal(_USR1, handler))


def sig_hndl(sys: Any, n: int) -> float:
    """Send oneself a signal, and handle it."""
    def handler(sys: Any, number: int) -> None:
        pass

    me = sys.getpid()
    sys.signal(_USR1, handler)
    return timed(n, lambda: sys.kill(me, _USR1))


def _grow(sys: Any) -> None:
    heap = sys.sbrk(PAGES * PAGE)
    for page in range(PAGES):
        sys.store(heap + page * PAGE, b"x")


def fork(sys: Any, n: int) -> float:
    """fork, the child exits, wait."""
    _grow(sys)

    def once() -> None:
        sys.fork(sys_exit)
        sys.wait()

    return timed(n, once)


def sys_exit(sys: Any) -> None:
    """A child that ends at once."""
    sys.exit(0)


def exec_(sys: Any, n: int) -> float:
    """fork, the child becomes another program, which exits, wait."""
    _grow(sys)

    def once() -> None:
        sys.fork(lambda sys: sys.exec("true"))
        sys.wait()

    return timed(n, once)


def prot_fault(sys: Any, n: int) -> float:
    """A store to a page that is protected: SIGSEGV, its handler returns, the store is tried again; the last time it may."""
    at = sys.mmap(PAGE, 1)
    left = [n]

    def handler(sys: Any, number: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            sys.mprotect(at, PAGE, 3)

    sys.signal(_SEGV, handler)
    begin = lib.xp_now_ns()
    sys.store(at, b"x")
    return (lib.xp_now_ns() - begin) / n / 1000


def page_fault(sys: Any, n: int) -> float:
    """Touch a page that is not there."""
    took = done = 0
    while done < n:
        at = sys.mmap(FAULTS * PAGE)
        begin = lib.xp_now_ns()
        for page in range(FAULTS):
            sys.store(at + page * PAGE, b"x")
        took += lib.xp_now_ns() - begin
        done += FAULTS
        sys.munmap(at, FAULTS * PAGE)
    return took / done / 1000


def mmap(sys: Any, n: int) -> float:
    """Map 64 pages, touch every fourth, take them away."""
    def once() -> None:
        at = sys.mmap(MMAP_PAGES * PAGE)
        for page in range(0, MMAP_PAGES, MMAP_STRIDE):
            sys.store(at + page * PAGE, b"x")
        sys.munmap(at, MMAP_PAGES * PAGE)

    return timed(n, once, 2)


def pipe(sys: Any, n: int) -> float:
    """A byte to another process and back."""
    there, back = sys.pipe(), sys.pipe()

    def echo(sys: Any) -> None:
        sys.close(there[1])
        sys.close(back[0])
        while byte := sys.read(there[0], 1):
            sys.write(back[1], byte)

    sys.fork(echo)

    def once() -> None:
        sys.write(there[1], b"x")
        sys.read(back[0], 1)

    took = timed(n, once)
    sys.close(there[1])
    sys.wait()
    return took


def switch(sys: Any, n: int, processes: int, kib: int) -> float:
    """A token round a ring of processes by pipes, each touching its kib at each turn; without what pipes and touching cost."""
    size = kib * 1024
    at = sys.mmap(size) if size else 0

    def touch(sys: Any) -> None:
        if size:
            sys.load(at, size)

    def member(sys: Any, source: int, sink: int, others: tuple[int, ...]) -> None:
        for fd in others:
            sys.close(fd)
        if size:
            sys.store(at, bytes(size))
        while byte := sys.read(source, 1):
            touch(sys)
            sys.write(sink, byte)

    def hand_on(sys: Any, source: int, sink: int) -> None:
        sys.write(sink, b"x")
        sys.read(source, 1)
        touch(sys)

    if size:
        sys.store(at, bytes(size))
    source, first = sys.pipe()
    alone = timed(n, lambda: hand_on(sys, source, first))
    for _ in range(processes - 1):
        new, sink = sys.pipe()
        sys.fork(member, source, sink, (first, new))
        sys.close(source)
        sys.close(sink)
        source = new
    rounds = max(2, n // processes)
    each = timed(rounds, lambda: hand_on(sys, source, first)) / processes
    sys.close(first)
    for _ in range(processes - 1):
        sys.wait()
    return each - alone


SWITCHES = ((2, 0), (2, 16), (2, 64), (8, 16), (8, 64), (16, 16), (16, 64))
ROWS: dict[str, tuple[Callable[..., float], tuple[int, ...]]] = {
    "null_call": (null_call, ()), "sig_inst": (sig_inst, ()), "sig_hndl": (sig_hndl, ()), "fork": (fork, ()), "exec": (exec_, ()),
    **{f"switch_{processes}p_{kib}k": (switch, (processes, kib)) for processes, kib in SWITCHES},
    "mmap": (mmap, ()), "prot_fault": (prot_fault, ()), "page_fault": (page_fault, ()), "pipe": (pipe, ()),
}


def kernel_client(g: Any, n: int, row: str, fast: bool = True, validated: bool = True) -> bytes:
    """Boot the kernel and run one row of it; its µs an operation."""
    program, args = ROWS[row]
    took = []

    def init(sys: Any) -> None:
        begin = lib.xp_now_ns()
        took.append(program(sys, n, *args))
        took.append((lib.xp_now_ns() - begin) / 1e9)

    status = Kernel(g, {"true": Program(sys_exit)}, fast, validated).run(init)
    if status or len(took) != 2:
        raise RuntimeError(f"{row}: the first process ended with {status}")
    return Sample(n, value=took[0], took_s=took[1]).pack()


TURNS = 6                       # of each kind of tables


def fork_pair_client(g: Any, n: int) -> bytes:
    """fork, exit, wait with validated tables over the same with tables that nobody validates, in turns: the medians' ratio."""
    took: dict[bool, list[int]] = {True: [], False: []}

    def init(sys: Any, times: list[int]) -> None:
        _grow(sys)
        for i in range(2 + max(1, n // TURNS)):
            begin = lib.xp_now_ns()
            sys.fork(sys_exit)
            sys.wait()
            if i >= 2:          # the first make a thread, and make the pages shared
                times.append(lib.xp_now_ns() - begin)

    begin = lib.xp_now_ns()
    for turn in range(TURNS):
        for validated in (turn % 2 == 0, turn % 2 == 1):
            if Kernel(g, validated=validated).run(init, took[validated]):
                raise RuntimeError("fork: the first process did not end well")
    ratio = statistics.median(took[True]) / statistics.median(took[False])
    return Sample(n, value=ratio, took_s=(lib.xp_now_ns() - begin) / 1e9).pack()
