"""Enumerations under Xen's names. Imports nothing of ours.

A member is called as in Xen's headers less the prefix, which the class knows: EvtchnOp.send is EVTCHNOP_send.
Where that is no name in Python it has an underscore before or after: VmAssist._4gb_segments, SchedOp.yield_.
"""

from enum import IntEnum, IntFlag


class XenEnum(IntEnum):
    """An enumeration of Xen's: op codes, states, reasons."""

    def __init_subclass__(cls, prefix: str = "", **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.prefix = prefix  # type: ignore[attr-defined]

    @property
    def xen_name(self) -> str:
        """The name in Xen's headers."""
        return type(self).prefix + self.name.strip("_")  # type: ignore[attr-defined,no-any-return]


class XenFlag(IntFlag):
    """A set of flags of Xen's. Names of combined or unnamed values are those of their parts."""

    def __init_subclass__(cls, prefix: str = "", **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.prefix = prefix  # type: ignore[attr-defined]

    @property
    def xen_name(self) -> str:
        """The names in Xen's headers, joined by |."""
        prefix = type(self).prefix  # type: ignore[attr-defined]
        return "|".join(prefix + part.strip("_") for part in (self.name or hex(self)).split("|"))
