"""How processes come to be, change and end: fork, exec, exit, wait.

fork takes everything that it needs before it does anything: a page for the kernel's stack, a strand, all page tables. What fails is
given back exactly, and the caller gets -ENOMEM or -EAGAIN. Python cannot copy a stack: the child begins in a callable that fork is
told, with a copy of its parent's memory. Source: xv6's proc.c for the shape.
"""
# Tour G:240

import errno
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from xenproc.errors import HypercallError
from xenproc.guest.memory import OutOfMemory
from xenproc.guest.minikernel.process import Ended, Process, Program, Replaced, State, start
from xenproc.guest.minikernel.sched import Interrupted
from xenproc.guest.minikernel.signals import Signal
from xenproc.guest.minikernel.space import UserSpace
from xenproc.guest.minikernel.vm import Refused, Vm

if TYPE_CHECKING:
    from xenproc.guest.minikernel.kernel import Kernel

MAX_PROCESSES = 64
_TABLES = 8                     # what an empty process's page tables take, in any mode


def _fresh(kernel: "Kernel", program: Program, stack_pfn: int) -> Vm:
    """Make a program's memory. Raises OutOfMemory: nothing has happened then."""
    frames = kernel.frames
    frames.reserve(_TABLES)
    space = UserSpace(kernel.g, kernel.space.validated, beside=kernel.space)
    try:
        return Vm.fresh(frames, space, stack_pfn, program.data, program.bss, kernel.counters)
    except MemoryError:
        space.free()
        raise


def first(kernel: "Kernel", program: Program, args: tuple) -> Process:
    """Make process 1. Raises OutOfMemory."""
    stack = kernel.frames.alloc()
    process = Process(kernel.next_pid(), None, _fresh(kernel, program, stack), stack, kernel.stack_top(stack))
    process.strand = kernel.strands.take()
    _admit(kernel, process, program.main, args)
    return process


def _admit(kernel: "Kernel", process: Process, main: Callable[..., Any], args: tuple) -> None:
    assert process.strand is not None
    process.entry = main, args
    process.strand.body = partial(kernel.body, process)
    kernel.table[process.pid] = process


def fork(kernel: "Kernel", parent: Process, main: Callable[..., Any], args: tuple) -> int:
    """Return the pid of a new process that runs main(sys, *args) in a copy of the parent's memory, with the parent's files.

    Raises Refused: EAGAIN (too many processes), ENOMEM.
    """
    if len(kernel.table) >= MAX_PROCESSES:
        raise Refused(errno.EAGAIN)
    strand = kernel.strands.take()
    stack = -1
    try:
        stack = kernel.frames.alloc()
        vm = parent.vm.fork(stack)
    except (OutOfMemory, HypercallError) as error:
        kernel.strands.give_back(strand)
        if stack >= 0:
            kernel.frames.put(stack)
        if isinstance(error, HypercallError) and error.errno != errno.ENOMEM:
            raise
        raise Refused(errno.ENOMEM) from None
    child = Process(kernel.next_pid(), parent, vm, stack, kernel.stack_top(stack))
    child.strand = strand
    child.files = {fd: file.get() for fd, file in parent.files.items()}
    child.signals = parent.signals.forked()
    child.text, child.user_rsp = dict(parent.text), kernel.cpu.user_rsp
    parent.children.append(child)
    _admit(kernel, child, main, args)
    kernel.sched.make_ready(child)
    return child.pid


def exec_(kernel: "Kernel", process: Process, name: str, args: list[bytes]) -> int:
    """Make the process run another program, in memory of its own; does not return. Raises Refused: ENOENT, ENOMEM, E2BIG."""
    program = kernel.programs.get(name)
    if program is None:
        raise Refused(errno.ENOENT)
    try:
        vm = _fresh(kernel, program, process.stack_pfn)
    except OutOfMemory:
        raise Refused(errno.ENOMEM) from None
    try:
        end = vm.push(args)
    except (OutOfMemory, Refused) as error:
        vm.space.free()
        raise Refused(error.errno if isinstance(error, Refused) else errno.ENOMEM) from None
    old, process.vm = process.vm, vm
    old.destroy(vm.space)
    process.signals = process.signals.executed()
    process.entry, process.text, process.user_rsp = (start, (program.main,)), {}, end
    raise Replaced


def exit_(kernel: "Kernel", process: Process, status: int) -> None:
    """Take a process apart; what is left is a row of the table until its parent asks. Its children become the first one's."""
    process.ended = process.status = status
    if process.pid == 1:
        kernel.kill_all()
        while process.children or len(kernel.table) > 1:
            if not _reap(kernel, process):
                kernel.sched.sleep_on(process, deaf=True)
    for file in process.files.values():
        file.put()
    process.files.clear()
    process.vm.destroy(kernel.space)
    kernel.frames.put(process.stack_pfn)
    process.state = State.ZOMBIE
    if process.parent is None:
        del kernel.table[process.pid]
        return
    for child in process.children:
        child.parent = kernel.table[1]
        child.parent.children.append(child)
    process.children.clear()
    kernel.sched.wakeup(kernel.table[1])
    kernel.sched.wakeup(process.parent)
    kernel.sched.signal(process.parent, Signal.CHLD)


def _reap(kernel: "Kernel", parent: Process, pid: int = -1) -> tuple[int, int] | None:
    """Take a child that has ended (-1: any) off the table; return (pid, status)."""
    for child in parent.children:
        if child.state is State.ZOMBIE and pid in (-1, child.pid):
            parent.children.remove(child)
            del kernel.table[child.pid]
            return child.pid, child.status
    return None


def wait(kernel: "Kernel", parent: Process, pid: int = -1, block: bool = True) -> tuple[int, int]:
    """Wait for a child (-1: any) to end; return (pid, status: what it said, or minus the signal), (0, 0) if it shall not block.

    Raises Refused (ECHILD), Interrupted.
    """
    while (found := _reap(kernel, parent, pid)) is None:
        if not any(pid in (-1, child.pid) for child in parent.children):
            raise Refused(errno.ECHILD)
        if not block:
            return 0, 0
        try:
            kernel.sched.sleep_on(parent)
        except Interrupted:
            if not any(child.state is State.ZOMBIE and pid in (-1, child.pid) for child in parent.children):
                raise           # else it was SIGCHLD, and there is something to return
    return found


def end(process: Process, status: int) -> None:
    """Begin to end the current process. Raises Ended, now and at each further trap."""
    if process.ended is None:
        process.ended = status
    raise Ended(process.ended)
