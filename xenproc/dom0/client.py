"""Domain0's end of the control socket: requests out, replies matched by number, from any thread, without a thread of our own.

Whoever waits reads the socket for all who wait (leader and followers). Invariant: a reply nobody waits for any more is dropped.
"""

import contextlib
import itertools
import select
import socket
import threading
import time
from typing import Any

from xenproc import errors, wire
from xenproc.errors import HypervisorGone, Timeout, XenprocError

DEFAULT_TIMEOUT = 5.0
_KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, XenprocError)}


class Client:
    """A connection to a hypervisor."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._waiting: dict[int, dict[str, Any] | None] = {}
        self._reader = False
        self._gone = False

    def call(self, op: str, fds: list[int] | tuple[int, ...] = (), timeout: float | None = DEFAULT_TIMEOUT, **fields: Any) -> Any:
        """Send a request and return its result.

        Raises the error the hypervisor answered with (of xenproc.errors), Timeout, HypervisorGone.
        """
        number = next(self._ids)
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._waiting[number] = None
        try:
            self._send({"id": number, "op": op, **fields}, fds, end, op)
            return result_of(self._await(number, op, end))
        finally:
            with self._changed:
                self._waiting.pop(number, None)

    def _send(self, request: dict[str, Any], fds: list[int] | tuple[int, ...], end: float | None, op: str) -> None:
        while True:
            try:
                return wire.send(self.sock, request, fds)
            except BlockingIOError:
                if not self._ready(select.POLLOUT, None if end is None else end - time.monotonic()):
                    raise Timeout(f"{op}: the hypervisor did not take the request in time") from None
            except OSError:
                raise HypervisorGone("the hypervisor has ended") from None

    def _ready(self, events: int, left: float | None) -> bool:
        """Wait for the socket; it never blocks by itself, as threads with other time limits share it."""
        poll = select.poll()
        poll.register(self.sock, events)
        return bool(poll.poll(None if left is None else max(0.0, left) * 1000))

    def _await(self, number: int, op: str, end: float | None) -> dict[str, Any]:
        with self._changed:
            while True:
                reply = self._waiting[number]
                if reply is not None:
                    return reply
                if self._gone:
                    raise HypervisorGone("the hypervisor has ended")
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise Timeout(f"{op}: the hypervisor did not answer in time")
                if self._reader:
                    self._changed.wait(left)
                else:
                    self._read_one(left)

    def _read_one(self, left: float | None) -> None:
        """Read one reply for whoever it is; the lock is held at entry and exit, not while reading."""
        self._reader = True
        self._changed.release()
        reply = None
        gone = False
        try:
            if self._ready(select.POLLIN, left):
                reply, fds = wire.receive(self.sock)
                wire.close_all(fds)
        except BlockingIOError:
            pass        # nothing came after all; the caller looks at its own deadline
        except (EOFError, OSError, ValueError):
            gone = True
        finally:
            self._changed.acquire()
            self._reader = False
            self._gone |= gone
            if reply is not None and reply.get("id") in self._waiting:
                self._waiting[reply["id"]] = reply
            self._changed.notify_all()

    def close(self) -> None:
        """Close the connection; who waits for a reply learns that there will be none."""
        with contextlib.suppress(OSError):      # closed already, or the other end is
            self.sock.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._changed.wait_for(lambda: not self._reader, DEFAULT_TIMEOUT)
            self._gone = True
            self.sock.close()
            self._changed.notify_all()


def result_of(reply: dict[str, Any]) -> Any:
    """Return a reply's result or raise the error in it."""
    if reply["ok"]:
        return reply["result"]
    error = reply["error"]
    if error["kind"] == "HypercallError":
        raise errors.HypercallError(error["errno"], error["message"])
    raise _KINDS.get(error["kind"], XenprocError)(error["message"])
