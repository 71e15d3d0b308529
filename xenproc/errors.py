"""Every exception that xenproc raises on purpose. Imports nothing of ours.

Whose fault decides the class: the caller's (ConfigError, HypercallError), a guest's (DomainCrashed), the peer's on a
ring (PeerGone, PeerMisbehaved), nobody's (WouldBlock, Timeout).
"""
# Tour A:050

import os


class XenprocError(Exception):
    """Base of all errors of this package."""


class ConfigError(XenprocError, ValueError):
    """An argument or a configuration file is wrong; says what, where, expected and got."""


class EnvironmentLacks(XenprocError, RuntimeError):
    """This host lacks something that was asked for; says what and how to get it."""


class HypercallError(XenprocError, OSError):
    """The hypervisor refused a call: `errno` is Xen's, `op` the operation, `domid` the caller."""

    def __init__(self, errno: int, op: str = "hypercall", domid: int | None = None, detail: str = "") -> None:
        who = "" if domid is None else f" by domain {domid}"
        super().__init__(errno, f"{op}{who}: {os.strerror(errno)}{': ' + detail if detail else ''}")
        self.op = op
        self.domid = domid


class DomainCrashed(XenprocError):
    """A domain ended by a crash; `report` holds the crash report."""

    def __init__(self, message: str, report: dict | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


class NoSuchDomain(XenprocError, LookupError):
    """No domain of that number or name."""


class NoSuchHypervisor(XenprocError, LookupError):
    """No hypervisor of this user is running, not that one, or more than one to choose from."""


class HypervisorGone(XenprocError, ConnectionError):
    """The hypervisor process has ended."""


class PeerGone(XenprocError, ConnectionError):
    """The other end of a channel or ring has closed it or died."""


class PeerMisbehaved(XenprocError, ConnectionError):
    """The other end broke the protocol (impossible index, unknown id, flood of wakes); the channel is closed."""


class WouldBlock(XenprocError, BlockingIOError):
    """Nothing to do without waiting."""


class Timeout(XenprocError, TimeoutError):
    """The time limit of a wait has passed."""
