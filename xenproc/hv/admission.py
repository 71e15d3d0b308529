"""Admission: can a weight or a warp be honoured together with those already given? Pure; the answer is the reason why not.

All domains are taken as if they wanted a CPU all the time, as a promise must hold then, too. Domain0 is left out: it mostly sleeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MS = 1_000_000


@dataclass(frozen=True)
class Claim:
    """What a domain was given, or asks for: times in ns; limit_ns 0: it may always warp."""

    domid: int
    weight: int
    warp_ns: int = 0
    limit_ns: int = 0
    period_ns: int = 0


def share(claim: Claim, claims: Sequence[Claim], nr_cpus: int) -> float:
    """Return how many CPUs a domain's weight gives it if all want to run; nobody can use more than one."""
    return min(1.0, nr_cpus * claim.weight / sum(c.weight for c in claims))


def refusal(claims: Sequence[Claim], nr_cpus: int) -> str | None:
    """Return why these cannot all be honoured on so many CPUs, or None: they can."""
    return _weights(claims, nr_cpus) or _warps(claims, nr_cpus)


def _weights(claims: Sequence[Claim], nr_cpus: int) -> str | None:
    """Nobody can use two CPUs. With no more domains than CPUs each has its own, whatever it weighs."""
    if len(claims) <= nr_cpus:
        return None
    total = sum(claim.weight for claim in claims)
    heaviest = max(claims, key=lambda claim: claim.weight)
    if heaviest.weight * nr_cpus <= total:
        return None
    others = total - heaviest.weight
    return (
        f"a weight of {heaviest.weight} beside {others} of the others is {nr_cpus * heaviest.weight / total:.2f} of {nr_cpus} CPUs for "
        f"domain {heaviest.domid}, and nobody can use more than one: at most {others // (nr_cpus - 1)}"
    )


def _warps(claims: Sequence[Claim], nr_cpus: int) -> str | None:
    """Warp is for who is within its share, as it changes order only. All of them together then fit, too."""
    for claim in claims:
        if not claim.warp_ns or not claim.limit_ns:
            continue
        wanted, given = claim.limit_ns / claim.period_ns, share(claim, claims, nr_cpus)
        if wanted > given:
            return (
                f"domain {claim.domid} would warp for {claim.limit_ns / MS:g} ms in each {claim.period_ns / MS:g} ms, "
                f"{wanted:.1%} of a CPU; its weight of {claim.weight} gives it {given:.1%}, and warp changes no share"
            )
    return None
