"""Channels between two guests: vchan streams and messages, set up over a Link. The channel itself: xenproc/vchan.

One guest listens (it owns the pages, libxenvchan's server), the other connects. Closing an end gives everything back.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from xenproc.errors import ConfigError
from xenproc.guest import link as linking
from xenproc.units import PAGE_SIZE, parse_size
from xenproc.vchan import Channel, Stream, geometry

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest

Kind = TypeVar("Kind", Channel, Stream)


def _check_size(ring_size: int | str) -> int:
    size = parse_size(ring_size, "ring_size")
    if size & (size - 1) or not PAGE_SIZE <= size <= 1 << 20:
        raise ConfigError(f"ring_size: expected a power of two from 4 KiB to 1 MiB, got {size}")
    return size


def listen(
    kind: type[Kind], guest: "Guest", peer: int | str, name: str, ring_size: int | str, timeout: float | None, **options: Any
) -> Kind:
    """Be the server: offer pages to `peer` under `name`, wait for the client.

    ring_size: bytes of each direction, a power of two from 4 KiB to 1 MiB. Raises ConfigError, Timeout, OutOfMemory, GrantError.
    """
    nr = _check_size(ring_size) // PAGE_SIZE
    link = linking.offer(guest, peer, name, 1 + 2 * nr, 1, timeout)
    event = linking.await_peer(link, name, timeout)
    page, left, right = link.addresses[0], link.addresses[1 : 1 + nr], link.addresses[1 + nr :]
    try:
        end = kind.server(
            page, event, left_pages=left, right_pages=right, grants=link.refs[1:], kick=link.kick(), owner=link,
            on_close=link.close, **options,
        )
    except BaseException:
        link.close()
        raise
    try:
        linking.confirm(link, name, timeout)
    except BaseException:
        end.close()             # with the link: the end must not touch pages that are gone
        raise
    return end


def connect(kind: type[Kind], guest: "Guest", peer: int | str, name: str, timeout: float | None, **options: Any) -> Kind:
    """Be the client: take what `peer` offers under `name`. Raises Timeout, GrantError, PeerMisbehaved."""
    link = linking.accept(guest, peer, name, timeout)
    try:
        page = link.addresses[0]
        shape = geometry(page)
        left, right = link.map_more(shape.left_grants), link.map_more(shape.right_grants)
        end = kind.client(
            page, link.event, shape=shape, left_pages=left, right_pages=right, kick=link.kick(), owner=link,
            on_close=link.close, **options,
        )
    except BaseException:
        link.close()
        raise
    try:
        linking.ready(link, name)
    except BaseException:
        end.close()
        raise
    return end
