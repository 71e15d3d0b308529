"""Rings between two guests: xenproc.ring's ends over a Link. The ring itself: xenproc/ring.py.

The front owns the pages and grants them, the back maps them. Closing an end gives everything back.
"""

from typing import TYPE_CHECKING, Any

from xenproc import ring
from xenproc.errors import ConfigError
from xenproc.guest import link as linking
from xenproc.guest.link import Link

if TYPE_CHECKING:
    from xenproc.guest.kernel import Guest


class _Linked:
    """What a guest's end adds: its link, closed with it."""

    _link: Link | None = None

    def close(self) -> None:
        """Close this end and give back its pages and its port. Again: no effect."""
        super().close()  # type: ignore[misc]
        link, self._link = self._link, None
        if link is not None:
            link.close()


class FrontRing(_Linked, ring.FrontRing):
    """The front end of a ring to another guest."""

    @classmethod
    def offer(
        cls, guest: "Guest", peer: int | str, layout: "ring.Layout", name: str, pages: int, timeout: float | None,
        **options: Any,
    ) -> "FrontRing":
        """Make the ring in `pages` pages of ours and wait for the back."""
        if not 1 <= pages <= 16:
            raise ConfigError(f"pages: a ring has 1 to 16, got {pages}")
        link = linking.offer(guest, peer, name, pages, pages, timeout)
        event = linking.await_peer(link, name, timeout)
        try:
            end = cls(layout, link.addresses, event, **options)
            linking.confirm(link, name, timeout)
        except BaseException:
            link.close()
            raise
        end._link = link
        return end


class BackRing(_Linked, ring.BackRing):
    """The back end of a ring to another guest."""

    @classmethod
    def accept(
        cls, guest: "Guest", peer: int | str, layout: "ring.Layout", name: str, timeout: float | None, **options: Any
    ) -> "BackRing":
        """Attach to the ring that `peer` offers."""
        link = linking.accept(guest, peer, name, timeout)
        try:
            end = cls(layout, link.addresses, link.event, **options)
            linking.ready(link, name)
        except BaseException:
            link.close()
            raise
        end._link = link
        return end
