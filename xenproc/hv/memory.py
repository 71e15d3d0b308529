"""Domain0's word on how much memory a domain has: the target, and the limit that goes with it.

The domain's own balloon (xenproc/guest/balloon.py) moves the pages; the hypervisor only keeps it from growing beyond. The target goes
over the board until there is a xenstore, under xenstore's name and in its unit.
"""

from typing import TYPE_CHECKING

from xenproc.errors import ConfigError
from xenproc.native import check, lib

if TYPE_CHECKING:
    from xenproc.hv.hypervisor import HypervisorProcess


def set_memory(hv: "HypervisorProcess", domid: int, nr_pages: int, least: int) -> None:
    """Set a domain's target, and the limit of its reservation to it: memory/target on the board, in KiB.

    Without a balloon at work in its guest nothing changes but the limit. Raises NoSuchDomain, ConfigError (below `least`, which
    a domain needs, or above its maxmem).
    """
    record = hv.find(domid)
    if nr_pages < least:
        raise ConfigError(f"memory: expected at least {least} frames ({least * 4} KiB), got {nr_pages}")
    if nr_pages > record.max_pages:
        raise ConfigError(f"memory: domain {record.name!r} may have {record.max_pages} frames (its maxmem), got {nr_pages}")
    value = str(nr_pages * 4).encode()
    check(lib.xp_domain_set_max(hv.core, domid, nr_pages), "set_memory", domid)
    check(lib.xp_domain0_publish(hv.core, domid, b"memory/target", value, len(value)), "set_memory", domid)
