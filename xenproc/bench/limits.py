"""The limits: a cache line's round trip, and bare sem_post and sem_wait, between two processes."""

import mmap

from xenproc.bench.hist import Hist
from xenproc.bench.party import ClientLoop, Ends, ServerLoop
from xenproc.native import check, ffi, lib

_LIMIT_NS = 20_000_000_000


def tick():
    """Return a calibrated `struct xp_tick *` (native/tick.h): 20 ms."""
    made = ffi.new("struct xp_tick *")
    check(lib.xp_tick_calibrate(made, 20_000_000), op="calibrating the time stamp counter")
    return made


class CacheLine(Ends):
    """Request and response through shared memory by polling: two words on two lines, or on one (`same`)."""

    def __init__(self, same: bool = False) -> None:
        self.name = "cacheline_same" if same else "cacheline"
        self._same = same

    def open(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._lines = ffi.from_buffer("struct xp_bench_lines *", self._memory)
        self._tick = tick()

    def client(self) -> ClientLoop:
        def loop(n: int, stride: int, hist: Hist) -> None:
            ret = lib.xp_bench_lines_client(self._lines, n, stride, self._same, _LIMIT_NS, self._tick, hist.c)
            check(ret, op=self.name)

        return loop

    def server(self) -> ServerLoop:
        def loop(n: int) -> None:
            check(lib.xp_bench_lines_server(self._lines, n, self._same, _LIMIT_NS), op=self.name)

        return loop


class Semaphore(Ends):
    """glibc's process-shared semaphores, one each way."""

    name = "semaphore"

    def open(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._sems = ffi.from_buffer("struct xp_bench_sems *", self._memory)
        check(lib.xp_bench_sems_init(self._sems), op=self.name)
        self._tick = tick()

    def client(self) -> ClientLoop:
        def loop(n: int, stride: int, hist: Hist) -> None:
            check(lib.xp_bench_sems_client(self._sems, n, stride, self._tick, hist.c), op=self.name)

        return loop

    def server(self) -> ServerLoop:
        def loop(n: int) -> None:
            check(lib.xp_bench_sems_server(self._sems, n), op=self.name)

        return loop
