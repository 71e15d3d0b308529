"""What a guest's callable gets as its first argument: the domain it is.

    def guest(g):
        g.console.print(f"hello from domain {g.domid}")

Everything hangs off `Guest`: console, memory, hypercalls, events, time, grants, the board, who pays whom, rings and channels to others.
"""
# Tour G:010

import os
import socket
from typing import TYPE_CHECKING, Any

from xenproc.abi import Hypercall, SchedOp, ShutdownReason
from xenproc.errors import HypercallError, Timeout
from xenproc.guest.account import Account
from xenproc.guest.board import Board
from xenproc.guest.clock import Clock
from xenproc.guest.console import Console
from xenproc.guest.evtchn import Events
from xenproc.guest.gnttab import Grants
from xenproc.guest.hypercall import ArgPool, Hypercalls
from xenproc.guest.memory import Memory
from xenproc.native import check, ffi, lib
from xenproc.units import PAGE_SHIFT

if TYPE_CHECKING:
    from xenproc.guest.balloon import Balloon
    from xenproc.guest.cpu import Cpu

ARG_PAGES = 2


class Guest:
    """A domain, seen from inside."""

    def __init__(self, plan: dict[str, Any], window_base: int, doorbell: int, boot: socket.socket) -> None:
        self.domid: int = plan["domid"]
        self.name: str = plan["name"]
        self.window_base = window_base
        self.doorbell = doorbell
        self._boot = boot

        def at(mfn: int) -> int:
            return window_base + (mfn << PAGE_SHIFT)

        page = ffi.cast("struct xp_call_page *", at(plan["call_mfn"]))
        self.start_info = ffi.cast("struct xen_start_info *", at(plan["start_info_mfn"]))
        p2m = ffi.cast("uint64_t *", self.start_info.mfn_list)
        used = self.start_info.first_p2m_pfn + self.start_info.nr_p2m_frames
        mfns = ffi.unpack(p2m, self.start_info.nr_pages)
        self.memory = Memory(window_base, mfns[used:])
        args = self.memory.alloc(ARG_PAGES)
        self.hypercalls = Hypercalls(at(plan["call_mfn"]), doorbell, ArgPool(args.address, args.nr), self.domid)
        check(lib.xp_faults_install(page, self.hypercalls.core, window_base), "handlers of faults")
        self.memory.attach(self.hypercalls, self.start_info.mfn_list, self.start_info.nr_pages)
        self.console = Console(self.hypercalls)
        shared_info = self.start_info.shared_info + window_base
        self.events = Events(self.hypercalls, shared_info, window_base, boot, page)
        self.clock = Clock(self.hypercalls, self.events)
        self.grants = Grants(self.hypercalls, window_base, self.memory)
        self.board = Board(self.hypercalls)
        self.account = Account(self.hypercalls)
        self._balloon: Balloon | None = None
        self._cpu: Cpu | None = None
        self._page = page
        self.paging: str = plan.get("paging", "x86_64")
        self.shadow: bool = plan.get("shadow", False)

    def __repr__(self) -> str:
        return f"<domain {self.domid} {self.name!r}>"

    @property
    def balloon(self) -> "Balloon":
        """The balloon: pages back to the hypervisor and from it. Made at its first use. Raises OutOfMemory."""
        if self._balloon is None:
            from xenproc.guest.balloon import Balloon

            self._balloon = Balloon(self.memory, self.hypercalls, self.board)
        return self._balloon

    @property
    def cpu(self) -> "Cpu":
        """The virtual CPU, for a guest that is a kernel of its own (xenproc.guest.cpu). Takes four pages at its first use."""
        if self._cpu is None:
            from xenproc.guest.cpu import Cpu

            self._cpu = Cpu(self.hypercalls, self.memory, self.events, self._page, self.paging)
        return self._cpu

    def hypercall(self, nr: int, *args: int) -> int:
        """Make a hypercall by number and return its result (negative: Xen's error)."""
        return self.hypercalls.raw(nr, *args)

    # ---- to other guests ----

    def ring_front(
        self, peer: int | str, layout: Any, name: str = "ring", pages: int = 1, timeout: float | None = 5.0, **options: Any
    ) -> Any:
        """Return the front end of a ring to guest `peer` (number or name), made in `pages` (1 to 16) pages of ours.

        layout: xenproc.ring.Layout. Waits up to `timeout` seconds for the other guest's ring_back of the same name.
        Raises Timeout, ConfigError, OutOfMemory, GrantError.
        """
        from xenproc.guest.rings import FrontRing

        return FrontRing.offer(self, peer, layout, name, pages, timeout, **options)

    def ring_back(
        self, peer: int | str, layout: Any, name: str = "ring", timeout: float | None = 5.0, **options: Any
    ) -> Any:
        """Return the back end of the ring that guest `peer` makes with ring_front. Raises as ring_front."""
        from xenproc.guest.rings import BackRing

        return BackRing.accept(self, peer, layout, name, timeout, **options)

    def channel_listen(
        self, peer: int | str, name: str = "channel", ring_size: int | str = "64K", timeout: float | None = 5.0, **options: Any
    ) -> Any:
        """Return the server's end of a message channel (xenproc.vchan.Channel) to guest `peer`; waits for its connect."""
        from xenproc.guest.channels import Channel, listen

        return listen(Channel, self, peer, name, ring_size, timeout, **options)

    def channel_connect(self, peer: int | str, name: str = "channel", timeout: float | None = 5.0, **options: Any) -> Any:
        """Return the client's end of the message channel that guest `peer` listens on."""
        from xenproc.guest.channels import Channel, connect

        return connect(Channel, self, peer, name, timeout, **options)

    def stream_listen(
        self, peer: int | str, name: str = "stream", ring_size: int | str = "64K", timeout: float | None = 5.0, **options: Any
    ) -> Any:
        """Return the server's end of a byte stream (xenproc.vchan.Stream) to guest `peer`; waits for its connect."""
        from xenproc.guest.channels import Stream, listen

        return listen(Stream, self, peer, name, ring_size, timeout, **options)

    def stream_connect(self, peer: int | str, name: str = "stream", timeout: float | None = 5.0, **options: Any) -> Any:
        """Return the client's end of the byte stream that guest `peer` listens on."""
        from xenproc.guest.channels import Stream, connect

        return connect(Stream, self, peer, name, timeout, **options)

    def report(self, kind: int, data: bytes) -> None:
        """Tell Domain0: the result, a traceback, or that the guest has begun to run."""
        if not data:
            self.hypercalls.xenproc_op(lib.XP_OP_report, kind, 0, 0)
            return
        with self.memory.alloc((len(data) + 4095) >> PAGE_SHIFT) as pages:
            pages.view[: len(data)] = data
            self.hypercalls.xenproc_op(lib.XP_OP_report, kind, pages.address, len(data))

    def shutdown(self, reason: ShutdownReason = ShutdownReason.poweroff) -> None:
        """End this domain (SCHEDOP_shutdown). Does not return."""
        self.console.flush()
        with self.hypercalls.struct("struct xen_sched_shutdown", reason=int(reason)) as (address, _):
            self.hypercalls.raw(Hypercall.sched_op, SchedOp.shutdown, address, timeout_ns=60_000_000_000)
        os._exit(0)

    def yield_(self) -> None:
        """Give up the CPU for now (SCHEDOP_yield)."""
        os.sched_yield()
        self.hypercalls.call(Hypercall.sched_op, SchedOp.yield_, op="sched_yield")

    def shutdown_request(self, timeout: float | None = 0) -> str | None:
        """Return what Domain0 asked for ("poweroff", "reboot", ...), waiting up to `timeout` seconds, or None."""
        try:
            return self.board.lookup(0, "control/shutdown", timeout).decode()
        except Timeout:
            return None
        except HypercallError as error:
            if error.errno == 2:
                return None
            raise


def rehearse(page: int) -> None:
    """Make what a Guest is made of, over a page of private memory at address `page`: for a process that stands by."""
    memory = Memory(page, list(range(8)))
    memory.alloc(1).free()
    calls = Hypercalls(page, -1, ArgPool(page, 1), 0)
    with calls.struct("struct xen_sched_shutdown", reason=0):
        Console(calls)
    Clock(calls, Events(calls, page, page, None, ffi.cast("struct xp_call_page *", page)))  # type: ignore[arg-type]
    Grants(calls, page, memory)
    Board(calls)


__all__ = ["Guest", "rehearse"]
