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


class PageFault(XenprocError):
    """A virtual address cannot be accessed so: `address`, x86 `error_code` (bits P, W, U, R, I) and `vector` (13, 14, 18)."""

    def __init__(self, address: int, error_code: int, vector: int, access: str) -> None:
        super().__init__(address, error_code, vector, access)
        self.address, self.error_code, self.vector, self.access = address, error_code, vector, access

    def __str__(self) -> str:
        what = {13: "the address is not canonical", 18: "the frame is not this domain's to touch"}.get(self.vector)
        if what is None:
            what = "a reserved bit is set" if self.error_code & 8 else "it forbids that" if self.error_code & 1 else "it is not present"
        who = "user" if self.error_code & 4 else "kernel"
        return f"{who} {self.access} at {self.address:#x}: {what} (vector {self.vector}, error code {self.error_code:#x})"


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
