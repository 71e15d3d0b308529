"""The machine's wall clock, as Domain0 reads and sets it (native/clock.h)."""

from typing import Any

from xenproc.native import check, ffi, lib


def _info(core: Any) -> Any:
    info = ffi.new("struct xp_hv_info *")
    lib.xp_hv_info(core, info)
    return info


def wall_clock(core: Any) -> int:
    """Return ns since 1970."""
    info = _info(core)
    return info.wall_clock_ns + info.system_time_ns


def set_wall_clock(core: Any, wall_ns: int) -> None:
    """Set every domain's wall clock to `wall_ns` ns since 1970, as of now. Raises HypercallError (EINVAL)."""
    check(lib.xp_hv_set_wall_clock(core, wall_ns, _info(core).system_time_ns), "settime")
