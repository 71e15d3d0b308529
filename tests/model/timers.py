"""The queue of deadlines (native/timer.h) in plain Python: a dict, and the least of it."""

from __future__ import annotations

NEVER = (1 << 63) - 1


class Timers:
    """Timers by name."""

    def __init__(self) -> None:
        self.deadlines: dict[int, int] = {}

    def set(self, timer: int, deadline: int) -> None:
        """Due at deadline, wherever it was."""
        self.deadlines[timer] = deadline

    def cancel(self, timer: int) -> None:
        """Not due any more."""
        self.deadlines.pop(timer, None)

    def next(self) -> int:
        """The least deadline."""
        return min(self.deadlines.values(), default=NEVER)

    def may_be_taken(self, now: int) -> set[int]:
        """Those that may come next: of the least deadline, if it has passed."""
        least = self.next()
        return {t for t, deadline in self.deadlines.items() if deadline == least <= now}
