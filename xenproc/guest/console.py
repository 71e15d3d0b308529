"""A domain's console: a text stream over CONSOLEIO_write; also its stdout and stderr."""
# Tour G:060

import io

from xenproc.abi import ConsoleIo, Hypercall
from xenproc.guest.hypercall import Hypercalls
from xenproc.native import ffi

_CHUNK = 1024


class Console(io.TextIOBase):
    """Line-buffered text to the hypervisor's ring for this domain."""

    encoding = "utf-8"

    def __init__(self, hypercalls: Hypercalls) -> None:
        self._calls = hypercalls
        self._pending = ""

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Write text; whole lines are sent at once, the rest with flush()."""
        self._pending += text
        if "\n" in text or len(self._pending) > _CHUNK:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Send what is pending."""
        data, self._pending = self._pending.encode("utf-8", "replace"), ""
        while data:
            data = data[self._send(data[:_CHUNK]):]

    def _send(self, data: bytes) -> int:
        address = self._calls.args.take()
        try:
            ffi.memmove(ffi.cast("void *", address), data, len(data))
            return self._calls.call(Hypercall.console_io, ConsoleIo.write, len(data), address, op="console write")
        finally:
            self._calls.args.give_back(address)

    def print(self, *values: object, sep: str = " ", end: str = "\n") -> None:
        """As the built-in print, to this console."""
        self.write(sep.join(map(str, values)) + end)
