"""Two domains find each other and share pages and an event channel: what every ring and channel stands on.

One side *offers* (allocates and grants the pages, makes a port), the other *accepts* (maps, binds); the board carries the
references. Sequence, each step with a deadline:
1. offerer: grant, alloc_unbound, publish `NAME` = port and references;
2. acceptor: lookup, map, bind_interdomain, publish `NAME/up`;
3. offerer: lookup `NAME/up`, make its port direct, set up what lies in the pages, publish `NAME/on`;
4. acceptor: make its end direct, too, map what the pages name, publish `NAME/ok`;
5. offerer: lookup `NAME/ok`: from here on both ends are direct, and either may close.
Invariant: whatever fails, each side gives back what it had taken.
"""
# Tour R:060

import struct
from typing import TYPE_CHECKING, Any

from xenproc.errors import ConfigError, PeerMisbehaved, XenprocError
from xenproc.guest.evtchn import EventChannel
from xenproc.guest.gnttab import Mapping
from xenproc.guest.memory import Pages
from xenproc.native import ffi, lib

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

_OFFER = struct.Struct("<IH")
MAX_REFS = 32


class Link:
    """Pages and an event channel shared with one other domain; `close` gives all of it back, twice is harmless."""

    def __init__(self, guest: "Guest", peer: int) -> None:
        self.guest = guest
        self.peer = peer
        self.pages: Pages | None = None     # the offerer's
        self.refs: list[int] = []
        self.mapping: Mapping | None = None  # the acceptor's
        self.port = 0
        self.event: EventChannel | None = None
        self._more: list[Mapping] = []
        self._kick: tuple[Any, int] | None = None

    @property
    def addresses(self) -> list[int]:
        """Addresses of the shared pages here, in the offerer's order."""
        if self.pages is not None:
            return [self.guest.memory.address_of(mfn) for mfn in self.pages.mfns]
        assert self.mapping is not None
        return self.mapping.addresses

    def map_more(self, refs: list[int]) -> list[int]:
        """[acceptor] Map further references of the peer; return their addresses. They go with this link."""
        if not refs:
            return []
        mapping = self.guest.grants.map(self.peer, refs)
        self._more.append(mapping)
        return mapping.addresses

    def kick(self) -> tuple[Any, Any]:
        """Return (function, argument) by which C code tells the peer through the hypervisor. Valid until close."""
        if self._kick is None:
            va = self.guest.hypercalls.args.take()
            ffi.cast("struct xen_evtchn_send *", va).port = self.port
            core = ffi.new("struct xp_kick *")
            core.calls, core.va = self.guest.hypercalls.core, va
            self._kick = (core, va)
        return ffi.addressof(lib, "xp_kick"), self._kick[0]

    def close(self) -> None:
        """Close the port, unmap, end the grants (the pages stay ours until the peer has unmapped them)."""
        if self.event is not None:
            self.event.close()
        elif self.port:
            self.guest.events.close(self.port)
        self.event, self.port = None, 0
        for mapping in [*self._more, *([self.mapping] if self.mapping else [])]:
            mapping.unmap()
        self._more, self.mapping = [], None
        if self.pages is not None:
            self.guest.grants.end_with(self.refs, self.pages)
        self.pages, self.refs = None, []
        if self._kick is not None:
            self.guest.hypercalls.args.give_back(self._kick[1])
            self._kick = None


def offer(guest: "Guest", peer: int | str, name: str, nr_pages: int, announce: int, timeout: float | None) -> Link:
    """Share `nr_pages` cleared pages with `peer` under `name`; publish the first `announce` references.

    Returns the link before the peer has come: call `await_peer`. Raises OutOfMemory, GrantError, HypercallError.
    """
    if not 1 <= announce <= MAX_REFS:
        raise ConfigError(f"pages: expected 1 to {MAX_REFS} references, got {announce}")
    link = Link(guest, guest.board.domid_of(peer, timeout))
    try:
        link.pages = guest.memory.alloc(nr_pages)
        ffi.memmove(ffi.cast("void *", link.pages.address), bytes(link.pages.nr * 4096), link.pages.nr * 4096)
        link.refs = guest.grants.grant(link.peer, link.pages)
        link.port = guest.events.alloc_unbound(link.peer)
        value = _OFFER.pack(link.port, announce) + struct.pack(f"<{announce}I", *link.refs[:announce])
        guest.board.publish(link.peer, name, value)
    except BaseException:
        link.close()
        raise
    return link


def await_peer(link: Link, name: str, timeout: float | None) -> EventChannel:
    """[offerer] Wait until the peer has accepted; return the direct event channel. Closes the link if it fails."""
    guest = link.guest
    try:
        guest.board.lookup(link.peer, f"{name}/up", timeout)
        link.event = guest.events.direct(link.port)
        return link.event
    except BaseException:
        link.close()
        raise


def confirm(link: Link, name: str, timeout: float | None) -> None:
    """[offerer] The pages are set up: let the acceptor look at them, wait until it has.

    Raises Timeout, HypercallError (the peer is gone). The caller then closes what it has made on the link, and the link.
    """
    link.guest.board.publish(link.peer, f"{name}/on", b"")
    link.guest.board.lookup(link.peer, f"{name}/ok", timeout)


def accept(guest: "Guest", peer: int | str, name: str, timeout: float | None) -> Link:
    """Map what `peer` offers under `name`, waiting for it; returns a link with pages and a direct event channel.

    The offerer waits for `ready`.

    Raises Timeout, GrantError, HypercallError, PeerMisbehaved (an offer that makes no sense).
    """
    link = Link(guest, guest.board.domid_of(peer, timeout))
    try:
        refs, remote_port = _parse(guest.board.lookup(link.peer, name, timeout), link.peer)
        link.mapping = guest.grants.map(link.peer, refs)
        link.port = guest.events.bind_interdomain(link.peer, remote_port)
        guest.board.publish(link.peer, f"{name}/up", b"")
        guest.board.lookup(link.peer, f"{name}/on", timeout)
        link.event = guest.events.direct(link.port)
    except BaseException:
        link.close()
        raise
    return link


def ready(link: Link, name: str) -> None:
    """[acceptor] All that it needs of the offerer is mapped: from now on the offerer may close. The caller closes the link if it fails."""
    link.guest.board.publish(link.peer, f"{name}/ok", b"")


def _parse(offered: bytes, peer: int) -> tuple[list[int], int]:
    try:
        port, nr = _OFFER.unpack_from(offered)
        refs = list(struct.unpack_from(f"<{nr}I", offered, _OFFER.size))
        if not 1 <= nr <= MAX_REFS or len(offered) != _OFFER.size + 4 * nr:
            raise XenprocError(f"{nr} references in {len(offered)} bytes")
    except (struct.error, XenprocError) as error:
        raise PeerMisbehaved(f"domain {peer} made an offer that makes no sense: {error}") from None
    return refs, port
