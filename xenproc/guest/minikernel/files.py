"""What a file descriptor stands for: a File with a count of its descriptors. The console is one; pipes are the others (pipe.py)."""
# Tour G:220

import errno
from typing import TYPE_CHECKING

from xenproc.guest.minikernel.vm import Refused

if TYPE_CHECKING:
    from xenproc.guest.minikernel.kernel import Kernel


class File:
    """Base: neither readable nor writable."""

    def __init__(self) -> None:
        self.users = 1

    def get(self) -> "File":
        """One descriptor more."""
        self.users += 1
        return self

    def put(self) -> None:
        """One descriptor less; with the last one the file is closed."""
        self.users -= 1
        if self.users == 0:
            self.close()

    def close(self) -> None:
        """Nobody has it any more."""

    def read(self, kernel: "Kernel", nr: int) -> bytes:
        """Return up to nr bytes, none at the end; waits for the first. Raises Refused, Interrupted."""
        raise Refused(errno.EBADF)

    def write(self, kernel: "Kernel", data: bytes) -> int:
        """Take bytes, return how many; waits for room. Raises Refused, Interrupted."""
        raise Refused(errno.EBADF)


class ConsoleFile(File):
    """The domain's console: writes appear there, reads are at the end at once."""

    def read(self, kernel: "Kernel", nr: int) -> bytes:
        return b""

    def write(self, kernel: "Kernel", data: bytes) -> int:
        kernel.g.console.write(data.decode(errors="replace"))
        return len(data)
