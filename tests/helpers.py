"""Helpers that tests import: what a host must have, and waiting with a deadline (tests never just sleep)."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

import xenproc


def require(has: object, what: str) -> None:
    """Skip the test where this host lacks something; in CI that is a failure, as a machine for CI has everything."""
    if has:
        return
    if os.environ.get("CI"):
        pytest.fail(f"this host lacks {what}, and CI is set", pytrace=False)
    pytest.skip(f"this host lacks {what}")


class Deadline:
    """A moment by which something must have happened."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, never negative."""
        return max(0.0, self.end - time.monotonic())

    def check(self, what: object = "it") -> None:
        """Fail the test if the moment has passed."""
        if time.monotonic() >= self.end:
            pytest.fail(f"{what() if callable(what) else what}: not within {self.seconds} s")


def until(predicate: Callable[[], Any], what: object = "the condition", seconds: float = 10.0) -> Any:
    """Return the first true value of `predicate`; fail if none comes in time. For what sends no event."""
    limit = Deadline(seconds)
    pause = 0.0005
    while not (value := predicate()):
        limit.check(what)
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    return value


def machine_is_free(hv: xenproc.Hypervisor, objects: dict[str, int] | None = None, seconds: float = 10.0) -> dict[str, Any]:
    """Wait until nothing is left in a hypervisor but itself: no domain, every frame free and clean, no descriptor more.

    Fails with what is left; the audit must be 0 all the time.
    """
    seen: dict[str, Any] = {}

    def free() -> bool:
        seen["domains"] = hv.domains()[1:]
        seen["info"] = info = hv.info()
        broken = hv.audit()
        assert broken == 0, f"the audit found {broken} broken invariants"
        memory = info["memory"]
        return (
            not seen["domains"] and memory["dirty"] == 0 and memory["free"] == memory["frames"] - memory["hypervisor"]
            and (objects is None or info["kernel_objects"]["descriptors"] <= objects["descriptors"])
        )

    until(free, lambda: f"a free machine: {seen}", seconds)
    return seen["info"]
