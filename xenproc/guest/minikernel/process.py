"""A process: its memory, its files, its signals, its family, and a strand to run on.

Its code is a Python callable, each on a strand (strand.py), of which one at a time has the CPU. Python cannot copy a
stack: so fork takes what the child shall run, and the child begins there, with a copy of its parent's memory.
"""
# Tour G:190

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from xenproc.guest.cpu import Context
from xenproc.guest.minikernel.signals import Signals

if TYPE_CHECKING:
    from xenproc.guest.minikernel.files import File
    from xenproc.guest.minikernel.strand import Strand
    from xenproc.guest.minikernel.vm import Vm

MAX_FILES = 16
STACK, STACK_TOP = 0x3FFE_0000, 0x3FFF_0000


@dataclass(frozen=True)
class Program:
    """What exec starts: main(sys, *args), the bytes of its data at vm.DATA, and nr of zero bytes behind them."""

    main: Callable[..., Any]
    data: bytes = b""
    bss: int = 0


def start(sys: Any, main: Callable[..., Any]) -> Any:
    """What a program's code begins with: find the arguments that exec has put on the stack."""
    return main(sys, *sys.arguments())


class State(Enum):
    """Where it is."""

    READY = "ready"
    RUNNING = "running"
    SLEEPING = "sleeping"
    ZOMBIE = "zombie"


class Ended(BaseException):
    """Unwinds a process's Python stack: it has ended. Not an Exception, so that few programs catch it; none survives it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Replaced(BaseException):
    """Unwinds a process's Python stack: it runs something else now (exec)."""


class Process:
    """One row of the process table."""

    def __init__(self, pid: int, parent: "Process | None", vm: "Vm", stack_pfn: int, stack_top: int) -> None:
        self.pid = pid
        self.parent = parent
        self.children: list[Process] = []
        self.vm = vm
        self.stack_pfn = stack_pfn
        self.context = Context(stack_top, stack_top)
        self.files: dict[int, File] = {}
        self.signals = Signals()
        self.entry: tuple[Callable[..., Any], tuple] = (lambda sys: None, ())
        self.text: dict[int, Callable[..., Any]] = {}   # the addresses of its code that the kernel was told
        self.user_rsp = STACK_TOP           # where its stack begins
        self.user: Any = None               # its side of the system calls (user.py)
        self.strand: Strand | None = None
        self.state = State.READY
        self.channel: Any = None            # what it sleeps on
        self.wake_at: int | None = None     # system time, ns
        self.ended: int | None = None       # once it is to end: how
        self.status = 0

    def __repr__(self) -> str:
        return f"<process {self.pid} {self.state.value}>"

    def free_fd(self) -> int | None:
        """The lowest descriptor that is free."""
        return next((fd for fd in range(MAX_FILES) if fd not in self.files), None)
