"""A walk of a live domain's page tables, as JSON (native/pagetable.h)."""

from typing import TYPE_CHECKING, Any

from xenproc.errors import ConfigError
from xenproc.native import check, ffi, lib

if TYPE_CHECKING:
    from xenproc.hv.hypervisor import HypervisorProcess

TYPES = ("none", "l1", "l2", "l3", "l4", "segment", "writable", "l2", "shadowed", "shadow")
MODES = ("x86_32", "x86_32p", "x86_64")
PINNED, VALIDATED = 4, 8
NOBODY = 0x7FFF


def walk(hv: "HypervisorProcess", domid: int, address: int) -> dict[str, Any]:
    """Return {mode, address, steps: [{level, index, entry, hole, table}], page or None}; a frame is {mfn, type, counts...}.

    No base pointer loaded: no steps. Raises NoSuchDomain, ConfigError (not an address in the domain's mode).
    """
    hv.find(domid)
    view = ffi.new("struct xp_path_view *")
    ret = lib.xp_domain_walk(hv.core, domid, address & 0xFFFF_FFFF_FFFF_FFFF, view)
    if ret == -22 or not 0 <= address < 1 << 64:
        raise ConfigError(f"address: expected one that the domain's paging mode has, got {address:#x}")
    check(ret, "pagetable", domid)
    steps = [
        {"level": step.level, "index": step.index, "entry": step.entry, "hole": step.hole, "table": _frame(step.table)}
        for step in view.step[0 : view.nr_steps]
    ]
    return {"mode": MODES[view.mode], "address": address, "steps": steps, "page": _frame(view.page) if view.mapped else None}


def _frame(frame: Any) -> dict[str, Any]:
    return {
        "mfn": frame.mfn, "type": TYPES[frame.type], "type_count": frame.type_count, "ref_count": frame.ref_count,
        "owner": None if frame.owner == NOBODY else frame.owner, "pinned": bool(frame.flags & PINNED),
        "validated": bool(frame.flags & VALIDATED),
    }
