"""A domain's process from its fork to its guest's first line (the hypervisor's end: xenproc/hv/spawn.py).

Only our own code runs here until the process is locked down; the payload is unpickled after that, as whatever it does, it does
as the guest. Invariants: machine memory's descriptor is closed and the window sealed before "locked" is said; the boot
socket stays, as the hypervisor sends event descriptors over it.
"""
# Tour B:060

import json
import os
import socket
import sys
import traceback
from typing import Any

import dill

from xenproc import wire
from xenproc.abi import ShutdownReason
from xenproc.guest import lockdown
from xenproc.guest.kernel import Guest, rehearse
from xenproc.native import ffi, lib
from xenproc.units import PAGE_SIZE

WINDOW_BASE = 0x2000_0000_0000
_PR_SET_NAME = 15


def map_window(memory_fd: int, nr_frames: int, enforce: bool) -> tuple[int, list[int]]:
    """Map machine memory as the window; return (base, [userfaultfd] or []). Raises OSError."""
    base = ffi.new("uint64_t *")
    call = lib.xp_window_open if enforce else lib.xp_window_map
    ret = call(memory_fd, nr_frames, WINDOW_BASE, base)
    if ret < 0:
        raise OSError(-ret, f"userfaultfd window: {os.strerror(-ret)}")
    return base[0], [ret] if enforce else []


def set_up(sock: socket.socket, prepared: lockdown.Prepared) -> tuple[dict[str, Any], int, int, int]:
    """Steps 1 to 3 of the boot: return (plan, window base, doorbell, payload descriptor)."""
    sock.send(b"hello")
    plan, (memory_fd, payload_fd, doorbell) = wire.receive(sock)
    base, fds = map_window(memory_fd, plan["nr_frames"], plan["enforce"] and "window" not in plan["without"])
    if "descriptors" not in plan["without"]:
        os.close(memory_fd)
    wire.send(sock, {"window_base": base}, fds)
    wire.close_all(fds)
    wire.receive(sock)          # "attached": our pagemap is open on the other side
    enforced = confine(plan, base, prepared, [sock.fileno(), doorbell, payload_fd])
    wire.send(sock, {"enforced": enforced})
    go, _ = wire.receive(sock)
    return {**plan, **go}, base, doorbell, payload_fd


def confine(plan: dict[str, Any], base: int, prepared: lockdown.Prepared, keep: list[int]) -> dict[str, Any]:
    """Seal the window and give up everything else; return what was enforced and what the host refused."""
    size = plan["nr_frames"] * PAGE_SIZE
    without = frozenset(plan["without"])
    sealed = lib.xp_mseal(base, size) if plan["enforce"] and "seal" not in without else 0
    steps = without - {"window", "seal"}
    done = lockdown.lockdown(
        lockdown.Plan(base, base + size, [0, 1, 2, *keep], plan["uid"], plan["private_memory"], without=steps), prepared
    )
    if sealed < 0:
        done["refused"]["seal"] = os.strerror(-sealed)
    done["refused"].update({name: "left out on Domain0's word" for name in without & {"window", "seal"}})
    return done


def read_payload(fd: int) -> bytes:
    """Return the whole payload."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    os.close(fd)
    return data


def encode_result(value: Any) -> tuple[int, bytes]:
    """Return (kind, bytes) of what a guest returned: bytes as they are, the rest as JSON.

    Raises TypeError if it is neither.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return lib.XP_REPORT_result_bytes, bytes(value)
    return lib.XP_REPORT_result_json, json.dumps(value).encode()


def run(guest: Guest, payload: bytes) -> ShutdownReason:
    """Run the guest's callable; report its result or its traceback."""
    try:
        function, args, kwargs = dill.loads(payload)
        guest.report(lib.XP_REPORT_ready, b"")
        kind, data = encode_result(function(guest, *args, **kwargs))
        if len(data) > lib.XP_REPORT_MAX:
            raise ValueError(f"result of {len(data)} bytes; at most {lib.XP_REPORT_MAX} can be returned")
        guest.report(kind, data)
        return ShutdownReason.poweroff
    except SystemExit as leave:
        if leave.code in (None, 0):
            return ShutdownReason.poweroff
        guest.report(lib.XP_REPORT_traceback, f"SystemExit: {leave.code}".encode())
    except BaseException:
        text = traceback.format_exc().encode("utf-8", "replace")
        guest.report(lib.XP_REPORT_traceback, text[-lib.XP_REPORT_MAX:])
    return ShutdownReason.crash


def rename(name: str) -> None:
    """Set what ps and top show for this process (15 bytes)."""
    text = ffi.new("char[]", name.encode()[:15])
    lib.xp_prctl(_PR_SET_NAME, int(ffi.cast("uintptr_t", text)), 0, 0, 0)


def warm_up() -> None:
    """Touch what a domain's start will touch: after a fork the first touch of a page is a copy of it."""
    ours, theirs = wire.pair()
    wire.send(ours, {"warm": [1, {"a": "b"}], "up": True}, [ours.fileno()])
    _, fds = wire.receive(theirs)
    wire.close_all(fds)
    ours.close()
    theirs.close()
    dill.loads(dill.dumps((warm_up, (), {})))
    encode_result({"a": [1, 2.5, "c"]})
    page = ffi.new("uint64_t[]", 512)
    rehearse(int(ffi.cast("uintptr_t", page)))


def stand_by(server: socket.socket, prepared: lockdown.Prepared) -> None:
    """Wait to be told which domain to be; ends when the server does. Never returns."""
    rename("xenproc-spare")
    warm_up()
    try:
        _, (fd,) = wire.receive(server)
    except (EOFError, ConnectionError):
        os._exit(0)
    server.close()
    main(socket.socket(fileno=fd), prepared)


def main(sock: socket.socket, prepared: lockdown.Prepared) -> None:
    """Be the domain; never returns."""
    try:
        plan, base, doorbell, payload_fd = set_up(sock, prepared)
    except BaseException as error:
        try:
            wire.send(sock, {"error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(71)
    rename(f"dom{plan['domid']}:{plan['name']}")
    guest = Guest(plan, base, doorbell, sock)
    sys.stdout = sys.stderr = guest.console
    reason = run(guest, read_payload(payload_fd))
    guest.console.flush()
    guest.shutdown(reason)
    os._exit(0)
