"""Pipes: bytes from one process to another, a page of them at most. Readers wait for bytes, writers for room.

No writer left: readers are at the end. No reader left: EPIPE, and SIGPIPE to the writer. A write that fits in a page is never torn by
another's.
"""
# Tour G:230

import errno
from typing import TYPE_CHECKING

from xenproc.guest.minikernel.files import File
from xenproc.guest.minikernel.sched import Interrupted
from xenproc.guest.minikernel.signals import Signal
from xenproc.guest.minikernel.vm import Refused
from xenproc.units import PAGE_SIZE

if TYPE_CHECKING:
    from xenproc.guest.minikernel.kernel import Kernel


class Pipe:
    """What both ends share; itself the channel that both sleep on."""

    def __init__(self, kernel: "Kernel") -> None:
        self.kernel = kernel
        self.bytes = bytearray()
        self.readers = self.writers = 1

    def ends(self) -> tuple["PipeReader", "PipeWriter"]:
        """Return both ends."""
        return PipeReader(self), PipeWriter(self)


class PipeReader(File):
    """The end that bytes come out of."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe = pipe

    def read(self, kernel: "Kernel", nr: int) -> bytes:
        pipe = self.pipe
        while not pipe.bytes and pipe.writers:
            kernel.sched.sleep_on(pipe)
        data = bytes(pipe.bytes[:nr])
        del pipe.bytes[:nr]
        kernel.sched.wakeup(pipe)
        return data

    def close(self) -> None:
        self.pipe.readers = 0
        self.pipe.kernel.sched.wakeup(self.pipe)


class PipeWriter(File):
    """The end that bytes go into."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe = pipe

    def write(self, kernel: "Kernel", data: bytes) -> int:
        pipe, done = self.pipe, 0
        atomic = len(data) <= PAGE_SIZE
        while done < len(data):
            room = PAGE_SIZE - len(pipe.bytes)
            if not pipe.readers:
                assert kernel.sched.current is not None
                kernel.sched.signal(kernel.sched.current, Signal.PIPE)
                raise Refused(errno.EPIPE)
            if room == 0 or (atomic and room < len(data)):
                try:
                    kernel.sched.sleep_on(pipe)
                except Interrupted:
                    if done:
                        return done
                    raise
                continue
            pipe.bytes += data[done : done + room]
            done += min(room, len(data) - done)
            kernel.sched.wakeup(pipe)
        return done

    def close(self) -> None:
        self.pipe.writers = 0
        self.pipe.kernel.sched.wakeup(self.pipe)
