"""A weight and a warp as people ask for them, as the control operation sched_bvt takes them (docs/bvt.md)."""

from typing import Any

from xenproc.errors import ConfigError
from xenproc.units import duration_ns

Time = float | str      # seconds, or "20ms"
Warp = Time | tuple[Time, Time, Time]


def request(weight: int | None = None, warp: Warp | None = None, force: bool = False) -> dict[str, Any]:
    """Return what to ask for; empty: nothing.

    warp: how far back it borrows, as CPU time at the default weight, 0: not at all; or (that, limit, period): it warps for no more
    than `limit` of CPU time in each period. Times in seconds, or "20ms". Raises ConfigError.
    """
    asked: dict[str, Any] = {}
    if weight is not None:
        asked["weight"] = weight
    if warp is not None:
        parts = warp if isinstance(warp, tuple) else (warp, 0, 0)
        if len(parts) != 3:
            raise ConfigError(f"warp: expected a time, or (warp, limit, period), got {warp!r}")
        for name, value in zip(("warp_ns", "warp_limit_ns", "warp_period_ns"), parts, strict=True):
            asked[name] = duration_ns(value, "warp")
        if not asked["warp_ns"]:
            asked |= {"warp_limit_ns": 0, "warp_period_ns": 0}
    if asked and force:
        asked["force"] = True
    return asked
