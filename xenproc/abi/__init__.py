"""Xen's public ABI: layouts, numbers, error codes. Imports nothing else of ours.

A file for each noun, with Xen's own names, as native/abi_*.h. What is most used is here, the rest in its
file: `from xenproc.abi import EvtchnOp`, `from xenproc.abi.event import evtchn_send`. What is not Xen's is in
ours.py. tests/abi holds all of it against tests/abi/xen-public.json, for both architectures.
"""
# Tour A:040

from xenproc.abi.errno import Errno, describe
from xenproc.abi.event import EvtchnOp, EvtchnStat, Virq
from xenproc.abi.grant import GnttabOp, GrantCopy, GrantFlag, GrantMap, GrantStatus
from xenproc.abi.hypercall import ConsoleIo, DomId, Hypercall, XenFeature, XenVer
from xenproc.abi.io import VchanNotify, XenbusState, XsMsg
from xenproc.abi.layout import X86_32, X86_64, Arch, Layout
from xenproc.abi.memory import MmuExt, MmuUpdate, XenMem
from xenproc.abi.sched import RunState, SchedOp, ShutdownReason, VcpuOp
from xenproc.abi.start import StartFlag

__all__ = [
    "X86_32",
    "X86_64",
    "Arch",
    "ConsoleIo",
    "DomId",
    "Errno",
    "EvtchnOp",
    "EvtchnStat",
    "GnttabOp",
    "GrantCopy",
    "GrantFlag",
    "GrantMap",
    "GrantStatus",
    "Hypercall",
    "Layout",
    "MmuExt",
    "MmuUpdate",
    "RunState",
    "SchedOp",
    "ShutdownReason",
    "StartFlag",
    "VchanNotify",
    "VcpuOp",
    "Virq",
    "XenFeature",
    "XenMem",
    "XenVer",
    "XenbusState",
    "XsMsg",
    "describe",
]
