"""Recording what happens into memory that Domain0 made and will read (native/trace.h)."""

from typing import Any

from xenproc.native import check, ffi, lib


def start(core: Any, fd: int, cpus: int, records: int, classes: int) -> dict[str, int]:
    """Record into the memory behind `fd`; return what turns a TSC into system time. Raises HypercallError (EINVAL)."""
    check(lib.xp_hv_trace_start(core, fd, cpus, records, classes), "trace")
    info = ffi.new("struct xp_hv_info *")
    lib.xp_hv_info(core, info)
    return {"tsc_hz": info.tsc_hz, "tsc": info.compared_tsc, "ns": info.compared_ns}


def gather(core: Any) -> int:
    """Fetch what the domains recorded of themselves; return how many records were overwritten before."""
    return lib.xp_hv_trace_gather(core)


def stop(core: Any) -> int:
    """Record no more. Twice is harmless. Return as gather."""
    lost = gather(core)
    lib.xp_hv_trace_stop(core)
    return lost
