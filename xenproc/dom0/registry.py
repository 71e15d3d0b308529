"""How other processes of the same user find running hypervisors: abstract Unix sockets, no files.

Each hypervisor listens on `\\0xenproc/UID/PID`. The name lives as long as the hypervisor's process holds the socket, so that a
kill -9 leaves nothing. Invariants:
1. abstract names have no owner: a name counts only if the kernel says that the uid in it (or root) listens there;
2. the hypervisor serves only its own uid and root (hv/control.py asks the kernel who connects);
3. every probe has a deadline.
"""

import os
import re
import socket
import struct
from dataclasses import dataclass

from xenproc import wire
from xenproc.dom0.client import Client
from xenproc.errors import EnvironmentLacks, NoSuchHypervisor, XenprocError

PROBE_DEADLINE = 1.0
BACKLOG = 64
_UCRED = struct.Struct("3i")
_NAME = re.compile(r"@xenproc/(\d+)/(\d+)$")
_SEQPACKET = "0005"
_ACCEPTS = 1 << 16          # __SO_ACCEPTCON in the flags of /proc/net/unix


@dataclass(frozen=True)
class Entry:
    """A hypervisor's name: its pid and user. owner: pid of its Domain0. answers: did it answer a ping in time?"""

    pid: int
    uid: int
    owner: int
    answers: bool


def address(uid: int, pid: int) -> str:
    """Return the abstract socket's name of a hypervisor."""
    return f"\0xenproc/{uid}/{pid}"


def listener(pid: int) -> socket.socket:
    """Return a listening socket by which hypervisor `pid` will be found; for Domain0 to hand to it.

    Raises EnvironmentLacks if somebody sits on the name.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.bind(address(os.geteuid(), pid))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise EnvironmentLacks(
            f"registry: the name xenproc/{os.geteuid()}/{pid} cannot be had: {error.strerror}; "
            "Hypervisor(register=False) does without"
        ) from None
    return sock


def entries() -> list[Entry]:
    """Return the hypervisors of this user (root: of everybody), by pid; each was asked whether it answers."""
    found = []
    for uid, pid in _names():
        if os.geteuid() not in (0, uid):
            continue
        try:
            client, owner = _open(uid, pid)
        except (TimeoutError, BlockingIOError):
            found.append(Entry(pid, uid, 0, False))
        except OSError:
            continue                # it ended meanwhile, or is not what its name says
        else:
            found.append(Entry(pid, uid, owner, _answers(client)))
            client.close()
    return found


def connect(pid: int | None = None) -> Client:
    """Return a connection to hypervisor `pid`, or to the only one there is.

    Raises NoSuchHypervisor (none, not that one, or more than one to choose from).
    """
    if pid is None:
        pid = _only_one()
    for uid, candidate in _names():
        if candidate == pid and os.geteuid() in (0, uid):
            try:
                return _open(uid, pid)[0]
            except (TimeoutError, BlockingIOError):
                raise NoSuchHypervisor(f"hypervisor {pid} does not accept connections") from None
            except OSError as error:
                raise NoSuchHypervisor(f"hypervisor {pid} cannot be reached: {error.strerror or error}") from None
    raise NoSuchHypervisor(f"there is no hypervisor {pid} of yours; there are: {_pids(entries()) or 'none'}")


def _only_one() -> int:
    there = entries()
    if not there:
        raise NoSuchHypervisor("no hypervisor of yours is running: start one with xenproc.Hypervisor() or `xenproc demo`")
    if len(there) > 1:
        raise NoSuchHypervisor(f"{len(there)} hypervisors are running, say which one by its pid: {_pids(there)}")
    return there[0].pid


def _pids(there: list[Entry]) -> str:
    return ", ".join(f"{entry.pid} (Domain0 is process {entry.owner})" for entry in there)


def _names() -> list[tuple[int, int]]:
    """Return (uid, pid) of every listening name, whoever made it, by pid."""
    found = set()
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        for line in table:
            fields = line.split(maxsplit=7)
            if len(fields) < 8 or fields[4] != _SEQPACKET or not int(fields[3], 16) & _ACCEPTS:
                continue
            match = _NAME.match(fields[7].rstrip("\n"))
            if match:
                found.add((int(match[1]), int(match[2])))
    return sorted(found, key=lambda name: name[1])


def _open(uid: int, pid: int) -> tuple[Client, int]:
    """Connect; return (connection, pid of the Domain0 that made the name). Raises OSError, TimeoutError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(PROBE_DEADLINE)
    try:
        sock.connect(address(uid, pid))
        owner, owner_uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if owner_uid not in (uid, 0):
            raise PermissionError(1, f"the name is held by a process of user {owner_uid}, not {uid}")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * wire.MAX_DATAGRAM)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return Client(sock), owner


def _answers(client: Client) -> bool:
    try:
        client.call("ping", timeout=PROBE_DEADLINE)
    except XenprocError:
        return False
    return True
