"""The peers: what people move messages between two Python processes with today.

Each peer makes an end in each of two processes: a send(bytes) and a receive() that polls or blocks. The
loops around them are the same for all (messages.py). A package that is not installed is a BenchError with
the reason.
"""

import itertools
import mmap
import os
import shutil
import socket
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any

from xenproc.bench import messages
from xenproc.bench.case import BenchError
from xenproc.bench.party import ClientLoop, Ends, ServerLoop

_serial = itertools.count()


class Peer(Ends):
    """Base: a round trip of `size` bytes or, with `pour`, a one-way stream of messages of that size."""

    def __init__(self, mode: str = "block", size: int = 64, pour: bool = False) -> None:
        if mode not in ("poll", "block"):
            raise BenchError(f"{self.name}: expected mode poll or block, got {mode!r}")
        self.mode = mode
        self.size = size
        self.pour = pour

    @property
    def polls(self) -> bool:
        """Is the receiver to poll?"""
        return self.mode == "poll"

    @abstractmethod
    def end(self, side: int) -> tuple[messages.Send, messages.Receive]:
        """Return (send, receive) of side 0 (client) or 1 (server), in that side's process."""

    def client(self) -> ClientLoop:
        make = messages.pouring if self.pour else messages.asking
        return make(*self.end(0), self.size)

    def server(self) -> ServerLoop:
        make = messages.draining if self.pour else messages.answering
        return make(*self.end(1), self.size)


class Pipe(Peer):
    """multiprocessing.Pipe, send_bytes and recv_bytes; polls with poll(0)."""

    name = "pipe"

    def open(self) -> None:
        import multiprocessing

        self._ends = multiprocessing.Pipe()

    def end(self, side: int) -> tuple[messages.Send, messages.Receive]:
        mine = self._ends[side]
        if not self.polls:
            return mine.send_bytes, mine.recv_bytes
        ready = messages.polled(lambda: mine.poll(0) or None)

        def receive() -> bytes:
            ready()
            return mine.recv_bytes()

        return mine.send_bytes, receive

    def close(self) -> None:
        for end in self._ends:
            end.close()


class Unix(Peer):
    """A Unix socket pair, stream or seqpacket; polls with MSG_DONTWAIT."""

    name = "unix"
    kind = socket.SOCK_STREAM

    def open(self) -> None:
        self._ends = socket.socketpair(socket.AF_UNIX, self.kind)
        for end in self._ends:
            # As large as it gets without privilege; a datagram must fit.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)

    def end(self, side: int) -> tuple[messages.Send, messages.Receive]:
        mine, size = self._ends[side], self.size
        buffer = bytearray(size)
        view = memoryview(buffer)

        def rest(got: int) -> bytearray:
            while got < size:
                more = mine.recv_into(view[got:], size - got, socket.MSG_WAITALL)
                if not more:
                    raise BenchError("the other end closed the socket")
                got += more
            return buffer

        def wait() -> bytearray:
            return rest(mine.recv_into(buffer, size, socket.MSG_WAITALL))

        def attempt() -> bytearray | None:
            try:
                return rest(mine.recv_into(buffer, size, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return None

        return mine.sendall, messages.polled(attempt) if self.polls else wait

    def close(self) -> None:
        for end in self._ends:
            end.close()


class UnixSeqpacket(Unix):
    """The same with one datagram a message."""

    name = "unix_seqpacket"
    kind = socket.SOCK_SEQPACKET


class ZeroMQ(Peer):
    """pyzmq, PAIR over ipc:// (an abstract socket: nothing is left in a file system); polls with NOBLOCK."""

    name = "zmq"

    def open(self) -> None:
        try:
            import zmq
        except ImportError as error:
            raise BenchError(f"pyzmq is not installed: {error}") from error
        self._zmq = zmq
        self._address = f"ipc://@xenproc.bench.{os.getpid()}.{next(_serial)}"

    def end(self, side: int) -> tuple[messages.Send, messages.Receive]:
        zmq = self._zmq
        self._context = zmq.Context()
        mine = self._context.socket(zmq.PAIR)
        (mine.bind if side else mine.connect)(self._address)
        if not self.polls:
            return mine.send, mine.recv
        receive, again, noblock = mine.recv, zmq.Again, zmq.NOBLOCK

        def attempt() -> bytes | None:
            try:
                return receive(noblock)
            except again:
                return None

        # Its I/O thread needs the CPU that we spin on: yielding every time is what serves it best (tried).
        return mine.send, messages.polled(attempt, spins=1)


class Iceoryx2(Peer):
    """iceoryx2 request and response; blocks on its event service, since only that can wait."""

    name = "iceoryx2"

    def open(self) -> None:
        try:
            import iceoryx2
        except ImportError as error:
            raise BenchError(f"iceoryx2 is not installed: {error}") from error
        if self.pour:
            raise BenchError("iceoryx2: its queue overwrites, a stream of messages is not measured")
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self._iox = iceoryx2
        _sweep(Path(tempfile.gettempdir()))
        self._root = tempfile.mkdtemp(prefix=f"xenproc.{os.getpid()}.bench.")
        self._prefix = f"xenproc.{os.getpid()}.iox2.{next(_serial)}_"

    def end(self, side: int) -> tuple[messages.Send, messages.Receive]:
        import ctypes

        iox, size = self._iox, self.size

        class Message(ctypes.Structure):
            _fields_ = [("bytes", ctypes.c_uint8 * size)]

            @staticmethod
            def type_name() -> str:
                return "XenprocBenchMessage"

        config = iox.config.default()
        config.global_cfg.root_path = iox.Path.new(self._root + "/")
        config.global_cfg.prefix = iox.FileName.new(self._prefix)
        builder = iox.NodeBuilder.new().config(config).signal_handling_mode(iox.SignalHandlingMode.Disabled)
        self._node = node = builder.create(iox.ServiceType.Ipc)
        name = iox.ServiceName.new
        calls = node.service_builder(name("calls")).request_response(Message, Message).open_or_create()
        port = (calls.server_builder() if side else calls.client_builder()).create()
        message = Message()
        buffer = memoryview(message).cast("B")
        string_at = ctypes.string_at
        pending: Any = None

        def send(data: bytes) -> None:
            nonlocal pending
            buffer[:] = data
            if side:
                pending.send_copy(message)
            else:
                pending = port.send_copy(message)

        def attempt() -> bytes | None:
            nonlocal pending
            got = (port if side else pending).receive()
            if got is None:
                return None
            data = string_at(got.payload_ptr, size)
            if side:
                pending = got
            return data

        if self.polls:
            return send, messages.polled(attempt)
        events = [node.service_builder(name(way)).event().open_or_create() for way in ("there", "back")]
        notify = events[side].notifier_builder().create().notify
        wait = events[1 - side].listener_builder().create().blocking_wait

        def send_and_notify(data: bytes) -> None:
            send(data)
            notify()

        def receive() -> bytes:
            while (data := attempt()) is None:
                wait()
            return data

        return send_and_notify, receive

    def close(self) -> None:
        if root := getattr(self, "_root", None):
            shutil.rmtree(root, ignore_errors=True)
            for left in Path("/dev/shm").glob(f"{self._prefix}*"):
                left.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a benchmark that was killed has left: directories named after a process that is dead."""
    for path in folder.glob("xenproc.*.bench.*"):
        pid = path.name.split(".")[1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)


class PosixSemaphore(Peer):
    """posix_ipc semaphores around a shared page; polls with acquire(0)."""

    name = "posix_ipc"

    def open(self) -> None:
        try:
            import posix_ipc
        except ImportError as error:
            raise BenchError(f"posix_ipc is not installed: {error}") from error
        if self.pour:
            raise BenchError("posix_ipc: semaphores carry no messages")
        self._busy = posix_ipc.BusyError
        self._sems = []
        for way in ("there", "back"):
            name = f"/xenproc.{os.getpid()}.bench.{next(_serial)}.{way}"
            self._sems.append(posix_ipc.Semaphore(name, posix_ipc.O_CREX))
            # Inherited by fork; the name is not needed for a moment longer.
            self._sems[-1].unlink()
        self._memory = mmap.mmap(-1, 2 * self.size)

    def end(self, side: int) -> tuple[messages.Send, messages.Receive]:
        size, busy, memory = self.size, self._busy, self._memory
        post, wait = self._sems[side].release, self._sems[1 - side].acquire
        out, into = side * size, (1 - side) * size

        def send(data: bytes) -> None:
            memory[out : out + size] = data
            post()

        def receive() -> bytes:
            wait()
            return memory[into : into + size]

        def attempt() -> bytes | None:
            try:
                wait(0)
            except busy:
                return None
            return memory[into : into + size]

        return send, messages.polled(attempt) if self.polls else receive

    def close(self) -> None:
        for sem in getattr(self, "_sems", []):
            sem.close()


PEERS = {peer.name: peer for peer in (Pipe, Unix, UnixSeqpacket, ZeroMQ, Iceoryx2, PosixSemaphore)}
