"""The control interface: what Domain0 may ask the hypervisor, one JSON object a datagram each way.

Request {"id", "op", ...}; reply {"id", "ok": true, "result"} or {"id", "ok": false, "error": {"kind", "errno", "message"}}. Only
Domain0 holds such a socket: the program that started the hypervisor, or the host's user through the registry's socket.
"""
# Tour H:110

import asyncio
import logging
import os
import socket
import struct
from typing import Any

from xenproc import wire
from xenproc.errors import ConfigError, Timeout, XenprocError
from xenproc.hv import console, pagetable, sched_bvt, trace, wallclock
from xenproc.hv.hypervisor import HypervisorProcess
from xenproc.hv.memory import set_memory
from xenproc.hv.objects import kernel_objects
from xenproc.hv.plan import MIN_FRAMES
from xenproc.hv.spawn import receive

log = logging.getLogger("xenproc.hv.control")
ACCEPT_PAUSE = 0.1
_UCRED = struct.Struct("3i")


class Control:
    """Serves one socket."""

    def __init__(self, hv: HypervisorProcess, sock: socket.socket) -> None:
        self.hv = hv
        self.sock = sock
        sock.setblocking(False)

    async def serve(self) -> None:
        """Answer until the other end closes; requests that wait do not hold up others."""
        while True:
            try:
                request, fds = await receive(self.sock)
            except ValueError as error:
                self._reply({"id": None, **_failure(ConfigError(f"request: {error}"))})
                continue
            except (EOFError, OSError):
                self.sock.close()
                self._stop_trace()
                return
            self.hv.background(self._answer(request, fds))

    def _stop_trace(self) -> int:
        """Stop recording if it is into this one's memory; return how many records of domains were lost since the last gathering."""
        if self.hv.tracing is not self:
            return 0
        self.hv.tracing = None
        return trace.stop(self.hv.core)

    async def _answer(self, request: dict[str, Any], fds: list[int]) -> None:
        try:
            reply = {"ok": True, "result": await self._perform(request, fds)}
        except (XenprocError, OSError, KeyError, TypeError, ValueError, TimeoutError) as error:
            reply = _failure(error)
        except Exception as error:      # ours: said loudly, and the caller does not wait in vain
            log.exception("operation %r", request.get("op"))
            reply = _failure(XenprocError(f"the hypervisor failed at {request.get('op')!r}: {error!r}"))
        finally:
            wire.close_all(fds)
        self._reply({"id": request.get("id"), **reply})

    def _reply(self, reply: dict[str, Any]) -> None:
        try:
            wire.send(self.sock, reply)
        except ValueError as error:
            wire.send(self.sock, {"id": reply["id"], **_failure(error)})
        except OSError as error:
            log.debug("reply not sent: %s", error)

    async def _perform(self, request: dict[str, Any], fds: list[int]) -> Any:
        hv, op = self.hv, request.get("op")
        if op == "create":
            payload, limit = fds.pop(0), request.get("limit")
            try:
                async with asyncio.timeout(limit):
                    return await hv.create(request["plan"], payload)
            except TimeoutError:
                raise Timeout(f"the domain was not there within {limit} s, and was taken back") from None
        if op == "wait":
            return await hv.wait(request["domid"], request["limit"])
        if op == "list_domains":
            return hv.list_domains()
        if op == "state":
            return hv.state_of(request["domid"])
        if op == "pause":
            return hv.pause(request["domid"], bool(request["stop"]))
        if op == "shutdown":
            return hv.shutdown(request["domid"], request["reason"])
        if op == "destroy":
            return hv.destroy(request["domid"])
        if op == "set_memory":
            return set_memory(hv, request["domid"], request["nr_pages"], MIN_FRAMES)
        if op == "pagetable":
            return pagetable.walk(hv, request["domid"], request["address"])
        if op == "virq":
            return hv.virq(request["domid"], request["virq"])
        if op == "console":
            pos, data = console.read(hv, request["domid"], request["pos"])
            return {"pos": pos, "text": data.decode("latin-1")}
        if op == "follow":
            pos, data, ended = await console.follow(hv, request["domid"], request["pos"], request["limit"])
            return {"pos": pos, "text": data.decode("latin-1"), "ended": ended}
        if op == "sched_bvt":
            return sched_bvt.operation(hv, request)
        if op == "wall_clock":
            return wallclock.wall_clock(hv.core)
        if op == "set_wall_clock":
            return wallclock.set_wall_clock(hv.core, request["wall_ns"])
        if op == "trace_start":
            started = trace.start(hv.core, fds[0], request["cpus"], request["records"], request["classes"])
            hv.tracing = self
            return started
        if op == "trace_gather":
            return trace.gather(hv.core) if hv.tracing is self else 0
        if op == "trace_stop":
            return self._stop_trace()
        if op == "info":
            return hv.info()
        if op == "audit":
            return hv.audit()
        if op == "kernel_objects":
            return kernel_objects(hv.domains.values())
        if op == "ping":
            return {"pid": os.getpid()}
        raise ConfigError(f"request: unknown operation {op!r}")


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, KeyError):
        error = ConfigError(f"request: {error} is missing")
    return {
        "ok": False,
        "error": {
            "kind": type(error).__name__,
            "errno": getattr(error, "errno", None),
            "message": str(error),
        },
    }


async def accept(hv: HypervisorProcess, listener: socket.socket) -> None:
    """Serve everybody of our own user, and root, who connects to the registry's socket (dom0/registry.py)."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, _ = await loop.sock_accept(listener)
        except OSError as error:            # it gave up before we came, or we are out of descriptors
            log.warning("registry: %s", error)
            await asyncio.sleep(ACCEPT_PAUSE)
            continue
        if may_control(sock):
            hv.background(Control(hv, sock).serve())
        else:
            sock.close()


def may_control(sock: socket.socket) -> bool:
    """Does the other end belong to our user or to root? The kernel says so; anybody can connect to an abstract name."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return uid in (0, os.geteuid())
