"""One message a datagram over a Unix SEQPACKET socket: a JSON object and descriptors beside it.

Used between Domain0 and the hypervisor, the hypervisor and the warm server, and at a domain's boot. JSON because nothing that
comes from a guest may ever be unpickled; descriptors travel as SCM_RIGHTS and are close-on-exec. What is too long for a
datagram (a list of a thousand domains, a long result) goes beside it in a memory descriptor, the first one.
"""

import json
import os
import socket
from typing import Any

MAX_DATAGRAM = 64 * 1024
MAX_MESSAGE = 64 << 20
MAX_FDS = 8
_BESIDE = b"@"                  # no JSON object begins with it: the length follows, the message is in the first descriptor


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets for messages."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for sock in (a, b):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_DATAGRAM)
    return a, b


def send(sock: socket.socket, message: dict[str, Any], fds: tuple[int, ...] | list[int] = ()) -> None:
    """Send one message. Raises ValueError if it is too long, OSError as sendmsg does (ConnectionError: nobody there)."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"message of {len(data)} bytes; at most {MAX_MESSAGE} fit")
    if len(data) > MAX_DATAGRAM:
        _send_beside(sock, data, list(fds))
    elif fds:
        socket.send_fds(sock, [data], list(fds), socket.MSG_NOSIGNAL)
    else:
        sock.send(data, socket.MSG_NOSIGNAL)        # a domain that is locked down may not call sendmsg


def _send_beside(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    fd = os.memfd_create("xenproc-message", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        socket.send_fds(sock, [_BESIDE + b"%d" % len(data)], [fd, *fds], socket.MSG_NOSIGNAL)
    finally:
        os.close(fd)


def _read_beside(head: bytes, fds: list[int]) -> bytes:
    length = int(head[1:])
    if not fds or not 0 <= length <= MAX_MESSAGE:
        raise ValueError(f"a message of {length} bytes and {len(fds)} descriptors")
    fd = fds.pop(0)
    try:
        parts, at = [], 0
        while at < length and (part := os.pread(fd, length - at, at)):
            parts.append(part)
            at += len(part)
    except OSError as error:
        raise ValueError(f"the message could not be read: {error.strerror}") from None
    finally:
        os.close(fd)
    return b"".join(parts)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive one message and its descriptors (close-on-exec; the caller's to close).

    Raises EOFError when the other end is closed, ValueError if it is no JSON object, BlockingIOError and TimeoutError as
    the socket is set.
    """
    data, fds, flags, _ = socket.recv_fds(sock, MAX_DATAGRAM, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        close_all(fds)
        raise EOFError("the other end of the socket is closed")
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("message longer than agreed")
        message = json.loads(_read_beside(data, fds) if data.startswith(_BESIDE) else data)
        if not isinstance(message, dict):
            raise ValueError(f"expected an object, got {type(message).__name__}")
    except (ValueError, RecursionError) as error:
        close_all(fds)
        raise ValueError(str(error)) from None
    return message, fds


def close_all(fds: list[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
