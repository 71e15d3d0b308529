"""The one door to the compiled core: `ffi`, `lib` and `check`.

Everything else in the package reaches C through here, so that a variant build (fault points) can stand in.
"""
# Tour A:070

import importlib
import os

from xenproc.errors import HypercallError, PeerGone, PeerMisbehaved, Timeout, WouldBlock

_module = importlib.import_module(os.environ.get("XENPROC_NATIVE", "xenproc._native"))
ffi = _module.ffi
lib = _module.lib

_EAGAIN, _EILSEQ, _ENOTCONN, _ETIMEDOUT = 11, 84, 107, 110


def check(ret: int, op: str = "call", domid: int | None = None) -> int:
    """Return `ret` if it is not negative, else raise the exception that stands for -ret.

    -ETIMEDOUT raises Timeout, -ENOTCONN PeerGone, -EILSEQ PeerMisbehaved, -EAGAIN WouldBlock, any other HypercallError.
    """
    if ret >= 0:
        return ret
    if ret == -_ETIMEDOUT:
        raise Timeout(f"{op}: time limit passed")
    if ret == -_ENOTCONN:
        raise PeerGone(f"{op}: the other end is gone")
    if ret == -_EILSEQ:
        raise PeerMisbehaved(f"{op}: the other end broke the protocol; the channel is closed")
    if ret == -_EAGAIN:
        raise WouldBlock(_EAGAIN, f"{op}: nothing to do without waiting")
    raise HypercallError(-ret, op, domid)
