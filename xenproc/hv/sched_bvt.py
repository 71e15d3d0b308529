"""The control operation sched_bvt: a domain's weight and warp, in Xen's names too; admission before anything is changed.

Xen's names and units: mcu_adv, the inverse of a weight, 10 for 256; warpback, 1: it warps; warpvalue in tenths of an mcu, 10 us; warpl and
warpu in ms (docs/bvt.md).
"""

from collections.abc import Iterable
from typing import Any

from xenproc.errors import ConfigError
from xenproc.hv import admission, cpus
from xenproc.hv.admission import Claim
from xenproc.native import check, ffi, lib

WEIGHT = int(lib.XP_SCHED_WEIGHT)
MCU_ADV = 10 * WEIGHT                   # mcu_adv * weight
WARP_UNIT_NS = lib.XP_SCHED_MCU_NS // 10
MS = 1_000_000
GIVEN = ("weight", "warp_ns", "warp_limit_ns", "warp_period_ns")
SPENT = ("hypervisor_ns", "paid_ns", "handed_ns")       # for it by the hypervisor, by back ends; by it for others
XENS = ("mcu_adv", "warpback", "warpvalue", "warpl", "warpu")


def params_of(core: Any, domid: int) -> tuple[dict[str, int], Any]:
    """Return a domain's parameters and its state (struct xp_cpus_state). Raises HypercallError (ESRCH)."""
    params, state = ffi.new("struct xp_sched_params *"), ffi.new("struct xp_cpus_state *")
    check(lib.xp_cpus_params(core, domid, params, state), "sched_bvt", domid)
    found = {name: getattr(params, name) for name in GIVEN}
    found["weight"] = found["weight"] or WEIGHT
    return found, state


def _number(request: dict[str, Any], name: str, least: int, most: int) -> int | None:
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name}: expected {least} to {most}, got {value!r}")
    return value


def wanted(request: dict[str, Any], before: dict[str, int]) -> dict[str, int]:
    """Return the parameters that a request asks for: what it does not name stays. Raises ConfigError."""
    out = dict(before)
    longest = lib.XP_SCHED_WARP_MAX_NS
    adv = _number(request, "mcu_adv", 1, MCU_ADV)
    if adv is not None:
        if request.get("weight") is not None:
            raise ConfigError("mcu_adv: it is the inverse of weight, give one of them")
        out["weight"] = round(MCU_ADV / adv)
    xens = {"warpvalue": ("warp_ns", WARP_UNIT_NS), "warpl": ("warp_limit_ns", MS), "warpu": ("warp_period_ns", MS)}
    for name, (ours, unit) in xens.items():
        value = _number(request, name, 0, longest // unit)
        if value is not None:
            out[ours] = value * unit
    for name in GIVEN:
        value = _number(request, name, int(name == "weight"), lib.XP_SCHED_WEIGHT_MAX if name == "weight" else longest)
        if value is not None:
            out[name] = value
    if _number(request, "warpback", 0, 1) == 0:
        out |= {"warp_ns": 0, "warp_limit_ns": 0, "warp_period_ns": 0}
    if out["warp_limit_ns"] and out["warp_period_ns"] <= out["warp_limit_ns"]:
        raise ConfigError(
            f"warp: its limit of {out['warp_limit_ns'] / MS:g} ms is of CPU time in each period: expected a period longer than that, "
            f"got {out['warp_period_ns'] / MS:g} ms"
        )
    if not out["warp_limit_ns"]:
        out["warp_period_ns"] = 0
    return out


def _claim(domid: int, params: dict[str, int]) -> Claim:
    return Claim(domid, *(params[name] for name in GIVEN))


def _scheduler(core: Any) -> dict[str, Any]:
    info = cpus.info(core)
    if info is None:
        raise ConfigError("sched_bvt: this hypervisor has no scheduler: start it with scheduler='bvt'")
    return info


def admit(core: Any, domids: Iterable[int], domid: int, params: dict[str, int]) -> None:
    """Let these parameters pass for a domain beside the others. Raises ConfigError with the reason if they cannot be honoured."""
    info = _scheduler(core)
    claims = [_claim(other, params_of(core, other)[0]) for other in domids if other != domid]
    reason = admission.refusal([*claims, _claim(domid, params)], info["cpus"])
    if reason is not None:
        raise ConfigError(f"sched_bvt: {reason} (force overrides)")


def change(core: Any, domids: Iterable[int], domid: int, request: dict[str, Any]) -> None:
    """Give a domain what a request names. Raises ConfigError: a bad value, or it cannot be honoured and nobody forced it."""
    before, _ = params_of(core, domid)
    params = wanted(request, before)
    if params == before:
        return
    if not request.get("force"):
        admit(core, domids, domid, params)
    check(lib.xp_cpus_adjust(core, domid, ffi.new("struct xp_sched_params *", params)), "sched_bvt", domid)


def describe(core: Any, domid: int) -> dict[str, Any]:
    """Return a domain's weight and warp in our names and Xen's, and its virtual times."""
    params, state = params_of(core, domid)
    return {
        **_in_all_names(params),
        "avt": state.avt, "evt": state.evt, "svt": state.svt, "charged_ns": state.charged_ns, "warped": bool(state.warped),
    }


def columns(core: Any, domid: int) -> dict[str, int]:
    """Return what a list of domains says of it: 0 of one that is dead."""
    params, spent = ffi.new("struct xp_sched_params *"), ffi.new("struct xp_spent_info *")
    if lib.xp_cpus_params(core, domid, params, ffi.new("struct xp_cpus_state *")) != 0:
        return {"weight": 0, "warp_ns": 0, **dict.fromkeys(SPENT, 0)}
    lib.xp_domain_spent_info(core, domid, spent)
    return {"weight": params.weight or WEIGHT, "warp_ns": params.warp_ns, **{name: getattr(spent, name) for name in SPENT}}


def of_domain0(core: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Perform sched_bvt for Domain0: its weight is the host's ordinary class's on each scheduled CPU. Raises ConfigError."""
    info = _scheduler(core)
    before = {"weight": int(lib.xp_cpus_host_weight(core)), "warp_ns": 0, "warp_limit_ns": 0, "warp_period_ns": 0}
    params = wanted(request, before)
    if params["warp_ns"]:
        raise ConfigError("warp: Domain-0 runs in the host's ordinary class, which waits for its turn: it has a weight only")
    if params["weight"] != before["weight"]:
        check(lib.xp_cpus_set_host_weight(core, params["weight"]), "sched_bvt", 0)
    return {**_in_all_names(params), "avt": 0, "evt": 0, "svt": 0, "charged_ns": info["host_ns"], "warped": False}


def _in_all_names(params: dict[str, int]) -> dict[str, int]:
    return {
        **params,
        "mcu_adv": max(1, round(MCU_ADV / params["weight"])),
        "warpback": int(params["warp_ns"] > 0),
        "warpvalue": params["warp_ns"] // WARP_UNIT_NS,
        "warpl": params["warp_limit_ns"] // MS,
        "warpu": params["warp_period_ns"] // MS,
    }


def operation(hv: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Perform sched_bvt: change what is named, return what is then so. Raises NoSuchDomain, ConfigError, HypercallError."""
    if request["domid"] == 0:
        return of_domain0(hv.core, request)
    domid = hv.find(request["domid"]).domid
    if any(request.get(name) is not None for name in (*GIVEN, *XENS)):
        change(hv.core, live(hv), domid, request)
    return describe(hv.core, domid)


def live(hv: Any) -> list[int]:
    """Return the domains that claim CPUs."""
    return [record.domid for record in hv.domains.values() if not record.zombie and record.exit is None]
