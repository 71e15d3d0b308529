"""xenproc: Xen's paravirtual machine as plain Linux processes.

    import xenproc

    def guest(g):                       # runs in a process of its own
        g.console.print(f"hello from domain {g.domid}")

    with xenproc.Hypervisor(memory="256M") as hv:
        dom = hv.create(guest, name="hello", memory="8M")
        print(dom.wait())

The names here are the public ones; they are imported when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Hypervisor": "xenproc.dom0.toolstack",
    "Domain": "xenproc.dom0.domain",
    "Exit": "xenproc.dom0.domain",
    "CrashReport": "xenproc.dom0.domain",
    "Guest": "xenproc.guest.kernel",
    **{
        name: "xenproc.errors"
        for name in (
            "ConfigError", "DomainCrashed", "EnvironmentLacks", "HypercallError", "HypervisorGone", "NoSuchDomain",
            "NoSuchHypervisor", "PeerGone", "PeerMisbehaved", "Timeout", "WouldBlock", "XenprocError",
        )
    },
}

__all__ = sorted([*_HOMES, "__version__"])

if TYPE_CHECKING:
    from xenproc.dom0.domain import CrashReport, Domain, Exit
    from xenproc.dom0.toolstack import Hypervisor
    from xenproc.errors import (
        ConfigError,
        DomainCrashed,
        EnvironmentLacks,
        HypercallError,
        HypervisorGone,
        NoSuchDomain,
        NoSuchHypervisor,
        PeerGone,
        PeerMisbehaved,
        Timeout,
        WouldBlock,
        XenprocError,
    )
    from xenproc.guest.kernel import Guest


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xenproc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
