"""Event channels as a domain's code uses them: ports of its own, direct ends for rings, waiting with a time limit.

Two deliveries (native/direct.h, native/evtchn.h): *upcall*, bits in shared_info set by the hypervisor, and *direct*, a page that
only the two ends map. An EventChannel is interdomain and direct unless said otherwise.
"""
# Tour E:090

import contextlib
import os
import select
import socket
from types import TracebackType
from typing import Any

from xenproc.abi import EvtchnOp, Hypercall, SchedOp
from xenproc.errors import Timeout
from xenproc.guest.hypercall import MODES, Hypercalls
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT, timeout_ns

_POLL_MS = 60_000       # poll(2) takes no more than an int


class Events:
    """The domain's ports and its shared_info."""

    def __init__(
        self, hypercalls: Hypercalls, shared_info: int, window_base: int, boot: socket.socket, page: Any
    ) -> None:
        self.calls = hypercalls
        self.tracer = ffi.new("struct xp_gtracer *")
        lib.xp_gtracer_init(self.tracer, page, ffi.cast("void *", window_base))
        self.window_base = window_base
        self.boot = boot
        self._upcall_fd = -1
        self.shared_info = ffi.cast("struct xen_shared_info *", shared_info)

    # ---- event_channel_op ----

    def alloc_unbound(self, remote: int) -> int:
        """Return a new port that domain `remote` may bind to."""
        return self.calls.event_channel_op(
            EvtchnOp.alloc_unbound, "struct xen_evtchn_alloc_unbound", "port", dom=0x7FF0, remote_dom=remote)

    def bind_interdomain(self, remote: int, remote_port: int) -> int:
        """Return a local port connected to an unbound port of `remote`."""
        return self.calls.event_channel_op(
            EvtchnOp.bind_interdomain, "struct xen_evtchn_bind_interdomain", "local_port",
            remote_dom=remote, remote_port=remote_port)

    def bind_virq(self, virq: int) -> int:
        """Return a port that a virtual interrupt is delivered to."""
        return self.calls.event_channel_op(EvtchnOp.bind_virq, "struct xen_evtchn_bind_virq", "port", virq=virq)

    def bind_ipi(self) -> int:
        """Return a port by which this domain can wake itself."""
        return self.calls.event_channel_op(EvtchnOp.bind_ipi, "struct xen_evtchn_bind_ipi", "port")

    def close(self, port: int) -> None:
        """Close a port."""
        self.calls.event_channel_op(EvtchnOp.close, "struct xen_evtchn_close", port=port)

    def send(self, port: int) -> None:
        """Send through the hypervisor; raises what it answers."""
        self.calls.event_channel_op(EvtchnOp.send, "struct xen_evtchn_send", port=port)

    def status(self, port: int) -> Any:
        """Return a copy of struct xen_evtchn_status of a port."""
        with self.calls.struct("struct xen_evtchn_status", dom=0x7FF0, port=port) as (address, value):
            self.calls.call(Hypercall.event_channel_op, EvtchnOp.status, address, op="evtchn_status")
            copy = ffi.new("struct xen_evtchn_status *")
            copy[0] = value[0]
            return copy

    def unmask(self, port: int) -> None:
        """Unmask a port through the hypervisor, which delivers what was pending meanwhile."""
        self.calls.event_channel_op(EvtchnOp.unmask, "struct xen_evtchn_unmask", port=port)

    # ---- upcall delivery ----

    def pending(self, port: int) -> bool:
        """Is the port's bit set in shared_info?"""
        return bool(self.shared_info.evtchn_pending[port // 64] >> (port % 64) & 1)

    def take(self, port: int) -> bool:
        """Clear the port's bit; return whether it was set."""
        return bool(lib.xp_upcall_take(self.shared_info, port))

    def wait(self, port: int, timeout: float | None = 5.0) -> None:
        """Wait for an upcall event on a port and take it (SCHEDOP_poll). Raises Timeout."""
        limit = timeout_ns(timeout)
        while not self.take(port):
            left = self._poll(port, limit)
            if left <= 0 and not self.pending(port):
                raise Timeout(f"port {port}: no event in time")
            limit = left

    def _poll(self, port: int, limit: int) -> int:
        """One SCHEDOP_poll; return the ns left."""
        start = lib.xp_now_ns()
        with self.calls.struct("struct xen_sched_poll", nr_ports=1) as (address, value):
            where = address + 64
            ffi.cast("uint32_t *", where)[0] = port
            value.ports = where
            if limit < 1 << 62:
                value.timeout = self.system_time() + max(limit, 1)
            self.calls.call(Hypercall.sched_op, SchedOp.poll, address, op="sched_poll",
                            timeout_ns=min(limit + 5_000_000_000, (1 << 63) - 1))
        return limit - (lib.xp_now_ns() - start) if limit < 1 << 62 else limit

    def system_time(self) -> int:
        """Return Xen's system time in ns, from shared_info and the TSC (vcpu_time_info's version protocol)."""
        return lib.xp_system_time(self.shared_info)

    def fileno(self) -> int:
        """Return the descriptor that is readable when an upcall came. Made at the first call; read it empty (take_upcall)."""
        if self._upcall_fd < 0:
            self.calls.xenproc_op(lib.XP_OP_upcall_fd)
            self._upcall_fd = self._receive()
        return self._upcall_fd

    def take_upcall(self) -> list[int]:
        """Clear the upcall and return the ports that are pending and not masked; their bits are cleared, too."""
        if self._upcall_fd >= 0:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._upcall_fd)
        lib.xp_upcall_begin(self.shared_info)
        found = []
        for word in range(64):
            bits = self.shared_info.evtchn_pending[word] & ~self.shared_info.evtchn_mask[word]
            while bits:
                port = word * 64 + (bits & -bits).bit_length() - 1
                bits &= bits - 1
                if self.take(port):
                    found.append(port)
        return found

    def wait_upcall(self, timeout: float | None = 5.0) -> None:
        """Wait until an upcall is pending, whatever port it is of; nothing is cleared but the descriptor. Raises Timeout."""
        end, watch = lib.xp_now_ns() + timeout_ns(timeout), select.poll()
        watch.register(self.fileno(), select.POLLIN)
        while not self.shared_info.vcpu_info[0].evtchn_upcall_pending:
            left = end - lib.xp_now_ns()
            if left <= 0:
                raise Timeout("no event in time")
            watch.poll(min(left // 1_000_000 + 1, _POLL_MS))
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.fileno())

    # ---- direct delivery ----

    def direct(self, port: int, with_fds: bool = False) -> "EventChannel":
        """Return a direct end on an interdomain port; with_fds: it can be waited for with poll and asyncio too."""
        with self.calls.struct("struct xp_op_direct") as (address, op):
            self.calls.xenproc_op(lib.XP_OP_evtchn_direct, port, address)
            page, side = self.window_base + (op.mfn << PAGE_SHIFT), op.side
        return EventChannel(self, port, page, side, with_fds)

    def receive_fd(self, port: int) -> int:
        """Return the eventfd of a direct port, to wait on."""
        self.calls.xenproc_op(lib.XP_OP_direct_fd, port, 0)
        return self._receive()

    def _receive(self) -> int:
        _, fds, _, _ = socket.recv_fds(self.boot, 1, 1, socket.MSG_CMSG_CLOEXEC)
        return fds[0]


class EventChannel:
    """One end of a direct event channel. Not for use by several threads at once."""

    def __init__(self, events: Events, port: int, page: int, side: int, with_fds: bool) -> None:
        self.events = events
        self.port = port
        self.page = page
        self.wait_fd = events.receive_fd(port) if with_fds else -1
        self.core = ffi.new("struct xp_direct *")
        lib.xp_direct_init(self.core, ffi.cast("void *", page), side, self.wait_fd, -1)
        self.core.tracer, self.core.port = events.tracer, port

    def send(self) -> None:
        """Tell the other end. Raises PeerGone if the channel is closed."""
        ret = lib.xp_direct_send(self.core)
        if ret == -11:          # it sleeps on a descriptor
            self.kick()
        elif ret < 0:
            check(ret, f"event on port {self.port}")

    def kick(self) -> None:
        """Wake a peer that sleeps on its descriptor: through the hypervisor, the only one beside the peer who holds it."""
        lib.xp_fault(b"event.kick.before")
        self.events.send(self.port)
        lib.xp_fault(b"event.kick.done")

    def wait(self, timeout: float | None = 5.0, mode: str = "adaptive") -> None:
        """Wait for an event and take it. Raises Timeout, PeerGone, PeerMisbehaved."""
        check(lib.xp_direct_wait(self.core, MODES[mode], timeout_ns(timeout)), f"event on port {self.port}")

    def take(self) -> bool:
        """Take an event if there is one. Raises PeerGone if the channel is closed and nothing is pending."""
        return check(lib.xp_direct_take(self.core), f"event on port {self.port}") == 1

    def arm(self) -> bool:
        """Before poll or epoll on fileno(): True if an event is there already (do not sleep)."""
        return lib.xp_direct_arm(self.core) == 1

    def disarm(self) -> None:
        """After poll or epoll."""
        lib.xp_direct_disarm(self.core)

    def fileno(self) -> int:
        """Return the descriptor that is readable when an event came. Made at the first call."""
        if self.wait_fd < 0:
            self.wait_fd = self.core.wait_fd = self.events.receive_fd(self.port)
        return self.wait_fd

    def close(self) -> None:
        """Close the port; the other end is told. Twice is harmless."""
        if self.port:
            lib.xp_fault(b"event.close.before")
            lib.xp_page_leave(self.page)        # the hypervisor lets go of the page only once it is gone from here
            lib.xp_fault(b"event.close.left")
            self.events.close(self.port)
            lib.xp_fault(b"event.close.done")
            self.port = 0
            if self.wait_fd >= 0:
                os.close(self.wait_fd)
                self.wait_fd = -1

    def __enter__(self) -> "EventChannel":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
