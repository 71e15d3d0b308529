"""Two forked processes that do one thing with each other, round by round, asleep in between.

Owns the parties of limits and peers. A party is a fork of this process: what was opened before is
inherited, nothing needs a name. 1. It dies with its parent. 2. Every wait for it has a limit. 3. Its errors
come back as text.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from xenproc.bench.case import BenchError, Sample
from xenproc.bench.hist import Hist
from xenproc.bench.placement import Placement, pin
from xenproc.native import lib

LIMIT_S = 30.0
WARM = 64

ClientLoop = Callable[[int, int, Hist], float | None]
ServerLoop = Callable[[int], None]


class Ends:
    """What two parties do: made in the parent by open(), then one end in each process.

    The loops that client() and server() return are called with the same n: client(n, stride, hist) records
    the mean of each `stride` operations and may return a number instead (a rate's elapsed ns); server(n)
    answers n.
    """

    name = "?"
    # How many operations are timed at once where a time stamp in Python would be a good part of one.
    stride = 32

    def open(self) -> None:
        """Make what both inherit."""

    def client(self) -> ClientLoop:
        """Return the client's loop; called in the client's process."""
        raise BenchError(f"{self.name}: has no client")

    def server(self) -> ServerLoop:
        """Return the server's loop; called in the server's process."""
        raise BenchError(f"{self.name}: has no server")

    def close(self) -> None:
        """Undo open(), after the parties have ended."""


class Party:
    """One forked process that obeys {"n", "stride"} messages until its socket closes."""

    def __init__(self, side: str, make: Callable[[], Callable], cpu: int | None, hist: Hist) -> None:
        self.side = side
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self._sock.close()
                status = _obey(theirs, make, cpu, hist, parent)
            finally:
                os._exit(status)
        theirs.close()

    def tell(self, message: dict) -> None:
        """Send a command. A party that is gone says so at the next hear()."""
        try:
            self._sock.send(json.dumps(message).encode())
        except OSError:
            pass        # hear() will say so

    def hear(self, until: float) -> dict:
        """Return its answer. Raises BenchError if it failed, died, or is silent until then (monotonic)."""
        left = max(0.0, until - time.monotonic())
        if not select.select([self._sock], [], [], left)[0]:
            raise BenchError(f"the {self.side} did not answer in time")
        try:
            data = self._sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            raise BenchError(f"the {self.side} died")
        answer = json.loads(data)
        if "error" in answer:
            raise BenchError(f"the {self.side} failed: {answer['error']}")
        return answer

    def end(self) -> None:
        """Close its socket, which ends it; kill it if that does not."""
        if not self.pid:
            return
        self._sock.close()
        pid, self.pid = self.pid, 0
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            fd = -1
        if fd >= 0:
            if not select.select([fd], [], [], 2.0)[0]:
                os.kill(pid, signal.SIGKILL)
            os.close(fd)
        os.waitpid(pid, 0)


def _obey(sock: socket.socket, make: Callable[[], Callable], cpu: int | None, hist: Hist, parent: int) -> int:
    """A party's life. Returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if lib.xp_bench_die_with_parent(parent) != 0:
        return 1
    try:
        pin(cpu)
        loop = make()
        # A collection within a loop would be measured; what was inherited is never collected here.
        gc.collect()
        gc.freeze()
        gc.disable()
        sock.send(b'{"ready": true}')
        while data := sock.recv(1 << 16):
            order = json.loads(data)
            if order.get("server"):
                loop(order["n"])
                value = None
            else:
                value = loop(order["n"], order["stride"], hist)
            sock.send(json.dumps({"value": value}).encode())
            gc.collect()
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        try:
            sock.send(json.dumps({"error": text[:4000]}).encode())
        except OSError:
            pass        # nobody is left to be told
        return 1
    return 0


class PairCase:
    """A case of two forked parties. With `strides` each round also measures many operations at once (Sample.fast)."""

    isolation: str | None = None

    def __init__(self, ends: Ends, strides: bool = False, limit_s: float = LIMIT_S) -> None:
        self.ends = ends
        self.strides = strides
        self.limit_s = limit_s
        self._hist = Hist()
        self._parties: list[Party] = []
        self._opened = False

    def start(self, placement: Placement) -> None:
        """Fork the server, then the client, and wait until both are connected."""
        self._opened = True
        self.ends.open()
        self._parties.append(Party("server", self.ends.server, placement.cpu(1), self._hist))
        self._parties.append(Party("client", self.ends.client, placement.cpu(0), self._hist))
        until = time.monotonic() + LIMIT_S
        for party in self._parties:
            party.hear(until)

    def round(self, n: int) -> Sample:
        """Do n operations (and some before that are not counted)."""
        self._go(min(n, WARM), 1)
        fast = None
        if self.strides:
            self._go(n, self.ends.stride)
            fast = self._hist.copy()
        value = self._go(n, 1)
        if value is not None:
            return Sample(n, value=value)
        return Sample(n, hist=self._hist.copy(), fast=fast)

    def _go(self, n: int, stride: int) -> float | None:
        server, client = self._parties
        self._hist.clear()
        until = time.monotonic() + self.limit_s
        server.tell({"n": n, "server": True})
        client.tell({"n": n, "stride": stride})
        # The one that fails first leaves the other waiting: listen to both.
        waiting = {party._sock: party for party in (server, client)}
        value = None
        while waiting:
            ready = select.select(list(waiting), [], [], max(0.0, until - time.monotonic()))[0]
            if not ready:
                sides = " and the ".join(party.side for party in waiting.values())
                raise BenchError(f"the {sides} did not finish {n} operations within {self.limit_s:g} s")
            for sock in ready:
                party = waiting.pop(sock)
                answer = party.hear(until)
                if party is client:
                    value = answer["value"]
        return value

    def stop(self) -> None:
        """Kill and reap both parties, then let go of what they shared."""
        parties, self._parties = self._parties, []
        for party in reversed(parties):
            party.end()
        if self._opened:
            self._opened = False
            self.ends.close()
