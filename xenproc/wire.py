"""One message a datagram over a Unix SEQPACKET socket: a JSON object and descriptors beside it.

Used between Domain0 and the hypervisor, the hypervisor and the warm server, and at a domain's boot. JSON because nothing that
comes from a guest may ever be unpickled; descriptors travel as SCM_RIGHTS and are close-on-exec.
"""

import json
import socket
from typing import Any

MAX_MESSAGE = 128 * 1024
MAX_FDS = 8


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets for messages."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for sock in (a, b):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_MESSAGE)
    return a, b


def send(sock: socket.socket, message: dict[str, Any], fds: tuple[int, ...] | list[int] = ()) -> None:
    """Send one message. Raises ValueError if it is too long, OSError as sendmsg does (ConnectionError: nobody there)."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"message of {len(data)} bytes; at most {MAX_MESSAGE} fit")
    if fds:
        socket.send_fds(sock, [data], list(fds), socket.MSG_NOSIGNAL)
    else:
        sock.send(data, socket.MSG_NOSIGNAL)        # a domain that is locked down may not call sendmsg


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive one message and its descriptors (close-on-exec; the caller's to close).

    Raises EOFError when the other end is closed, ValueError if it is no JSON object, BlockingIOError and TimeoutError as
    the socket is set.
    """
    data, fds, flags, _ = socket.recv_fds(sock, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        raise EOFError("the other end of the socket is closed")
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("message longer than agreed")
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError(f"expected an object, got {type(message).__name__}")
    except ValueError:
        close_all(fds)
        raise
    return message, fds


def close_all(fds: list[int]) -> None:
    """Close descriptors that nobody wants."""
    import os

    for fd in fds:
        os.close(fd)
