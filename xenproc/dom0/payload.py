"""What a guest runs, on its way to it: the callable and its arguments as bytes that only the guest itself opens.

dill takes lambdas, closures and what a script, a notebook or a REPL defined, by value; modules go by name, as the guest imports
them itself (dill alone would copy the state of every module outside site-packages).
"""
# Tour B:020

import fcntl
import importlib
import io
import os
import types
from collections.abc import Callable
from typing import Any

import dill

from xenproc.errors import ConfigError

MAX_PAYLOAD = 1 << 30
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class _Pickler(dill.Pickler):
    dispatch = dill.Pickler.dispatch.copy()


def _save_module(pickler: Any, module: types.ModuleType) -> None:
    if module.__name__ == "__main__":
        dill.Pickler.dispatch[types.ModuleType](pickler, module)
    else:
        pickler.save_reduce(importlib.import_module, (module.__name__,), obj=module)


_Pickler.dispatch[types.ModuleType] = _save_module


def pack(guest: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return a sealed memory descriptor of the pickled call; the caller's to close.

    Raises ConfigError if `guest` is no callable, cannot be pickled, or is larger than 1 GiB.
    """
    if not callable(guest):
        raise ConfigError(f"guest: expected a callable, got {type(guest).__name__}")
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, recurse=True).dump((guest, args, kwargs))
    except Exception as error:
        raise ConfigError(f"guest: {guest!r} or its arguments cannot be sent to a domain: {error}") from None
    data = buffer.getbuffer()
    if len(data) > MAX_PAYLOAD:
        raise ConfigError(f"guest: {len(data)} bytes when pickled; at most {MAX_PAYLOAD}")
    fd = os.memfd_create("xenproc-guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    while data:
        data = data[os.write(fd, data):]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
