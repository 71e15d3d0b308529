"""How domains ended, kept until Domain0 has asked: by domid, in order, a bounded number of them.

Owned by hypervisor.py. Invariants:
1. Who asks twice, or two who ask at once, get the same answer: what was told stays for a while (TOLD of them).
2. A number that a new domain takes loses the old one's exit.
"""

from typing import Any

KEPT = 4096
TOLD = 64


class Exits:
    """Exit records (xenproc/hv/domain.py: exit_report) of domains that are gone."""

    def __init__(self) -> None:
        self._new: dict[int, dict[str, Any]] = {}
        self._told: dict[int, dict[str, Any]] = {}

    def __contains__(self, domid: int) -> bool:
        return domid in self._new or domid in self._told

    def __len__(self) -> int:
        return len(self._new) + len(self._told)

    def add(self, domid: int, record: dict[str, Any]) -> None:
        """Keep how a domain ended; the oldest that nobody asked for goes when there are too many."""
        self.forget(domid)
        self._new[domid] = record
        if len(self._new) > KEPT:
            self._new.pop(next(iter(self._new)))

    def peek(self, domid: int) -> dict[str, Any] | None:
        """Return how a domain ended, or None if that is not known (any more)."""
        return self._new.get(domid) or self._told.get(domid)

    def tell(self, domid: int) -> dict[str, Any] | None:
        """As peek; from now on it may be forgotten after TOLD others."""
        record = self._new.pop(domid, None)
        if record is None:
            return self._told.get(domid)
        self._told[domid] = record
        if len(self._told) > TOLD:
            self._told.pop(next(iter(self._told)))
        return record

    def forget(self, domid: int) -> None:
        """The number is somebody else's now."""
        self._new.pop(domid, None)
        self._told.pop(domid, None)
