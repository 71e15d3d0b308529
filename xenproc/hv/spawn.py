"""From a request to a locked-down process: the hypervisor's end of a domain's boot (the other end: xenproc/guest/boot.py).

The order is what keeps it safe: the new process runs only our code until it is locked down; the payload is opaque bytes here.
1. server forks, the child says "hello" (its pid comes from the kernel: SO_PASSCRED);
2. we send the plan, machine memory and the doorbell; it maps its window and sends the userfaultfd back;
3. we open its pagemap, give frames, it locks itself down and closes machine memory; it says "locked" with what was enforced;
4. we say "go": only now does it look at its payload.
"""
# Tour B:040

import asyncio
import contextlib
import os
import signal
import socket
import struct
from typing import Any

import psutil

from xenproc import wire
from xenproc.errors import EnvironmentLacks
from xenproc.native import ffi

BOOT_DEADLINE = 10.0
_UCRED = struct.Struct("3i")


class BootingProcess:
    """A domain's process between fork and "go"; owns every descriptor until handed_over()."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock = sock
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.window_base = 0
        self.doorbell = self.uffd = self.pagemap_fd = -1
        self._core_owns = False

    async def message(self) -> tuple[dict[str, Any], list[int]]:
        """Return its next message. Raises EnvironmentLacks with what it says went wrong, or that it died."""
        try:
            async with asyncio.timeout(BOOT_DEADLINE):
                message, fds = await receive(self.sock)
        except TimeoutError:
            raise EnvironmentLacks(f"the new domain's process said nothing for {BOOT_DEADLINE} s") from None
        except (EOFError, ConnectionError):
            raise EnvironmentLacks("the new domain's process died while it was being set up") from None
        if "error" in message:
            wire.close_all(fds)
            raise EnvironmentLacks(f"the new domain's process could not be set up: {message['error']}")
        return message, fds

    async def map_window(self, plan: dict[str, Any], fds: list[int]) -> None:
        """Steps 2 and the pagemap of 3."""
        self.doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        wire.send(self.sock, plan, [*fds, self.doorbell])
        message, got = await self.message()
        self.window_base = message["window_base"]
        if got:
            self.uffd = got[0]
            with contextlib.suppress(OSError):
                self.pagemap_fd = os.open(f"/proc/{self.pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        wire.send(self.sock, {"attached": True})

    def for_core(self) -> Any:
        """Return the struct xp_domain_process that hands this process to the core."""
        process = ffi.new("struct xp_domain_process *")
        process.uffd, process.pagemap_fd, process.doorbell = self.uffd, self.pagemap_fd, self.doorbell
        process.pidfd, process.boot_sock = os.dup(self.pidfd), os.dup(self.sock.fileno())
        process.pid, process.window_base = self.pid, self.window_base
        os.set_inheritable(process.pidfd, False)
        return process

    def handed_over(self) -> None:
        """The core owns uffd, pagemap, doorbell and its own copies of pidfd and socket from here on."""
        self._core_owns = True

    async def locked(self) -> dict[str, Any]:
        """Wait for the end of its lock-down; return what was enforced and what was not."""
        message, fds = await self.message()
        wire.close_all(fds)
        return message["enforced"]

    def go(self, **frames: int) -> None:
        """Let the guest run; `frames` are where its call page and start_info lie."""
        wire.send(self.sock, {"go": True, **frames})

    def abandon(self) -> None:
        """Close what nobody has taken over."""
        self.sock.close()
        if not self._core_owns:
            wire.close_all([fd for fd in (self.uffd, self.pagemap_fd, self.doorbell) if fd >= 0])


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


async def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """wire.receive on a non-blocking socket, without holding the loop."""
    while True:
        try:
            return wire.receive(sock)
        except BlockingIOError:
            await readable(sock)


class Spawner:
    """Asks the warm server in the pen for processes and boots them."""

    def __init__(self, pen: Any, cooperative: bool, reasons: dict[str, str]) -> None:
        """`pen` has server_sock (SEQPACKET), uid_base and restart_server(); cooperative: no window is enforced."""
        self.pen = pen
        self.cooperative = cooperative
        self.reasons = reasons
        self._lost = 0                  # processes that were asked for and given up: children of ours that nobody waits for
        self._given: set[int] = set()   # pids that the hypervisor waits for itself

    def _reap_lost(self) -> None:
        """Reap what was given up and has died since."""
        self._given = {pid for pid in self._given if os.path.exists(f"/proc/{pid}")}
        ours = self._given | {self.pen.server_pid, self.pen.keeper_pid}
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error, ChildProcessError):
                if child.pid not in ours and child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)
                    self._lost -= 1

    def isolation(self) -> dict[str, Any]:
        """Return {"mode": "enforced" | "cooperative", "refused": {what: why}, "namespaces": {...}}."""
        return {
            "mode": "cooperative" if self.cooperative else "enforced",
            "refused": {**self.pen.refused, **self.reasons},
            "namespaces": sorted(self.pen.namespaces),
        }

    async def spawn(
        self, domid: int, plan: dict[str, Any], payload_fd: int, memory_fd: int, nr_frames: int
    ) -> BootingProcess:
        """Return a process that has mapped its window (steps 1 to 3). Raises EnvironmentLacks."""
        if self._lost > 0:
            self._reap_lost()
        ours, theirs = wire.pair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            self._ask_server({"fork": domid}, theirs)
            pid = await self._hello(ours)
        except BaseException:
            self._lost += 1
            ours.close()
            raise
        finally:
            theirs.close()
        process = BootingProcess(ours, pid)
        if plan.get("cpus") is not None:
            os.sched_setaffinity(pid, plan["cpus"])
        boot_plan = {
            "domid": domid,
            "name": plan["name"],
            "nr_frames": nr_frames,
            "enforce": not self.cooperative,
            "private_memory": plan.get("private_memory", 1 << 30),
            "uid": self.pen.uid_of(domid),
            "nr_pages": plan["nr_pages"],
            "without": sorted(set(plan.get("without", ())) - {"charging"}),
            "paging": plan.get("paging", "x86_64"),
            "shadow": bool(plan.get("shadow", False)),
        }
        try:
            await process.map_window(boot_plan, [memory_fd, payload_fd])
        except BaseException:
            self._lost += 1
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
            process.abandon()
            os.close(process.pidfd)
            raise
        self._given.add(pid)
        return process

    def _ask_server(self, request: dict[str, Any], sock: socket.socket) -> None:
        try:
            wire.send(self.pen.server_sock, request, [sock.fileno()])
        except ConnectionError:
            # It died; no domain did with it. A fresh one takes its place.
            self.pen.restart_server()
            wire.send(self.pen.server_sock, request, [sock.fileno()])

    async def _hello(self, sock: socket.socket) -> int:
        """Return the new process's pid as our pid namespace numbers it, from the kernel."""
        try:
            async with asyncio.timeout(BOOT_DEADLINE):
                await readable(sock)
        except TimeoutError:
            raise EnvironmentLacks("the warm server did not fork a process in time") from None
        data, ancillary, _, _ = sock.recvmsg(64, socket.CMSG_SPACE(_UCRED.size))
        if not data:
            raise EnvironmentLacks("the warm server could not fork a process")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
                return _UCRED.unpack(payload[: _UCRED.size])[0]
        raise EnvironmentLacks("the kernel did not say who the new process is")

    def close(self) -> None:
        """End the server and the pen, and with them every process in it."""
        self.pen.close()
