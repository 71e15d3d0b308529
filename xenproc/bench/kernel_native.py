"""The rows of `xenproc bench kernel` as Linux processes, in Python as there: os.fork, os.pipe, mmap, signal. A process of its own.

    python -m xenproc.bench.kernel_native       # reads lines "ROW N CPU", prints microseconds an operation and seconds in all

One row cannot be Python's: it never returns to an instruction that faulted, so the protection fault's handler is C (native/benchfault.h).
What exec starts is /bin/true.
"""

import mmap as mapping
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

PAGES, PAGE = 64, 4096
MMAP_PAGES, MMAP_STRIDE = 64, 4
FAULTS = 256


def timed(n: int, operation: Callable[[], Any], warm: int = 8) -> float:
    """Return µs an operation."""
    for _ in range(min(n, warm)):
        operation()
    begin = time.perf_counter_ns()
    for _ in range(n):
        operation()
    return (time.perf_counter_ns() - begin) / n / 1000


def _handler(number: int, frame: Any) -> None:
    pass


def null_call(n: int) -> float:
    """getppid."""
    return timed(n, os.getppid)


def sig_inst(n: int) -> float:
    """Install a handler."""
    return timed(n, lambda: signal.signal(signal.SIGUSR1, _handler))


def sig_hndl(n: int) -> float:
    """Send oneself a signal, and handle it."""
    me = os.getpid()
    signal.signal(signal.SIGUSR1, _handler)
    return timed(n, lambda: os.kill(me, signal.SIGUSR1))


def _child(body: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    return pid


def _memory(nr: int) -> mapping.mmap:
    memory = mapping.mmap(-1, max(nr, 1) * PAGE, flags=mapping.MAP_PRIVATE | mapping.MAP_ANONYMOUS)
    memory.madvise(mapping.MADV_NOHUGEPAGE)
    return memory


def fork(n: int) -> float:
    """fork, the child exits, wait."""
    memory = _memory(PAGES)
    memory[:] = bytes(len(memory))
    return timed(n, lambda: os.waitpid(_child(lambda: None), 0))


def exec_(n: int) -> float:
    """fork, the child becomes another program, which exits, wait."""
    return timed(n, lambda: os.waitpid(_child(lambda: os.execv("/bin/true", ["true"])), 0))


def prot_fault(n: int) -> float:
    """A store to a page that is protected, in C."""
    from xenproc.native import check, lib

    begin = time.perf_counter_ns()
    check(lib.xp_bench_prot_faults(n), "protection faults")
    return (time.perf_counter_ns() - begin) / n / 1000


def page_fault(n: int) -> float:
    """Touch a page that is not there."""
    took = done = 0
    while done < n:
        memory = _memory(FAULTS)
        begin = time.perf_counter_ns()
        for page in range(FAULTS):
            memory[page * PAGE] = 1
        took += time.perf_counter_ns() - begin
        done += FAULTS
        memory.close()
    return took / done / 1000


def mmap(n: int) -> float:
    """Map 64 pages, touch every fourth, take them away."""
    def once() -> None:
        memory = mapping.mmap(-1, MMAP_PAGES * PAGE, flags=mapping.MAP_PRIVATE | mapping.MAP_ANONYMOUS)
        for page in range(0, MMAP_PAGES, MMAP_STRIDE):
            memory[page * PAGE] = 1
        memory.close()

    return timed(n, once, 2)


def pipe(n: int) -> float:
    """A byte to another process and back."""
    there, back = os.pipe(), os.pipe()

    def echo() -> None:
        os.close(there[1])
        os.close(back[0])
        while byte := os.read(there[0], 1):
            os.write(back[1], byte)

    pid = _child(echo)

    def once() -> None:
        os.write(there[1], b"x")
        os.read(back[0], 1)

    took = timed(n, once)
    os.close(there[1])
    os.waitpid(pid, 0)
    for fd in (there[0], *back):
        os.close(fd)
    return took


def switch(n: int, processes: int, kib: int) -> float:
    """A token round a ring of processes by pipes, as the guest's; without what pipes and touching cost."""
    size = kib * 1024
    memory = _memory(size // PAGE)

    def touch() -> None:
        if size:
            memory[:size]

    def member(source: int, sink: int, others: tuple[int, ...]) -> None:
        for fd in others:
            os.close(fd)
        memory[:size] = bytes(size)
        while byte := os.read(source, 1):
            touch()
            os.write(sink, byte)

    def hand_on(source: int, sink: int) -> None:
        os.write(sink, b"x")
        os.read(source, 1)
        touch()

    memory[:size] = bytes(size)
    source, first = os.pipe()
    alone = timed(n, lambda: hand_on(source, first))
    pids = []
    for _ in range(processes - 1):
        new, sink = os.pipe()
        begins = source, sink, (first, new)
        pids.append(_child(lambda begins=begins: member(*begins)))      # type: ignore[misc]
        os.close(source)
        os.close(sink)
        source = new
    rounds = max(2, n // processes)
    each = timed(rounds, lambda: hand_on(source, first)) / processes
    os.close(first)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(source)
    return each - alone


PROGRAMS: dict[str, Callable[..., float]] = {
    "null_call": null_call, "sig_inst": sig_inst, "sig_hndl": sig_hndl, "fork": fork, "exec": exec_, "mmap": mmap,
    "prot_fault": prot_fault, "page_fault": page_fault, "pipe": pipe,
}


def measure(row: str, n: int) -> float:
    """Return µs an operation of a row, by the names of kernel_guest.ROWS."""
    if row.startswith("switch_"):
        _, processes, kib = row.split("_")
        return switch(n, int(processes[:-1]), int(kib[:-1]))
    return PROGRAMS[row](n)


def main() -> None:
    """Answer lines until there are no more."""
    for line in sys.stdin:
        row, n, cpu = line.split()
        if cpu != "-":
            os.sched_setaffinity(0, {int(cpu)})
        begin = time.perf_counter()
        each = measure(row, int(n))
        print(each, time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
