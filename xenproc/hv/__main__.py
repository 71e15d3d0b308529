"""`python -m xenproc.hv FD`: the hypervisor's process, started by Domain0 (xenproc/dom0/toolstack.py) with one socket.

It lives as long as that socket and the process at its other end do; whichever is seen to go first ends it, and the pen with it.
"""
# Tour H:080

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from typing import Any

from xenproc import machine, wire
from xenproc.errors import EnvironmentLacks, XenprocError
from xenproc.hv import cpus
from xenproc.hv.control import Control, accept
from xenproc.hv.hypervisor import HypervisorProcess
from xenproc.hv.pen import Pen
from xenproc.hv.spawn import Spawner
from xenproc.native import ffi, lib


def window_reason() -> str | None:
    """Return why windows cannot be enforced on this host, or None if they can: by opening one."""
    fd = os.memfd_create("xenproc-trial", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, 1 << 16)
        uffd = lib.xp_window_open(fd, 16, 0, ffi.new("uint64_t *"))
    finally:
        os.close(fd)
    if uffd < 0:
        return f"userfaultfd on shared memory: {os.strerror(-uffd)}"
    os.close(uffd)
    return None


def raise_limits() -> None:
    """Let this process hold as many descriptors as the host allows: a domain costs six."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def build(config: dict[str, Any]) -> tuple[HypervisorProcess, Spawner]:
    """Make the pen, then the machine; nothing is left if either fails."""
    machine.check_room(config["nr_frames"])
    reason = window_reason() if config["isolation"] != "cooperative" else "asked for"
    if reason is not None and config["isolation"] == "enforced":
        raise EnvironmentLacks(f"isolation: windows cannot be enforced here: {reason}")
    pen = Pen.build(config["sys_path"], preload=config["preload"])
    try:
        hv = HypervisorProcess(config["nr_frames"], config["may_spin"], config["isolation"])
        hv.scheduled = cpus.start(hv.core, config["scheduler"], config["cpus"], config["dispatch"])
    except BaseException:
        pen.close()
        raise
    reasons = {"window": reason, "swap": hv.swap_reason}
    return hv, Spawner(pen, reason is not None, {what: why for what, why in reasons.items() if why is not None})


async def live(hv: HypervisorProcess, spawner: Spawner, control: socket.socket, config: dict[str, Any]) -> None:
    """Serve Domain0 until it is gone."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()

    def owner_gone() -> None:
        if not gone.done():
            gone.set_result(None)

    hv.start(spawner)
    for signo in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signo, owner_gone)
    owner = config.get("owner_pidfd", -1)
    if owner >= 0:
        loop.add_reader(owner, owner_gone)
    if config.get("listener", -1) >= 0:
        listener = socket.socket(fileno=config["listener"])
        listener.setblocking(False)
        hv.background(accept(hv, listener))
    serving = loop.create_task(Control(hv, control).serve())
    await asyncio.wait([serving, gone], return_when=asyncio.FIRST_COMPLETED)
    await hv.close()


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=os.environ.get("XENPROC_LOG", "WARNING"), format="%(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl-C is for Domain0; it closes our socket
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    raise_limits()
    config, fds = wire.receive(control)
    config["owner_pidfd"], config["listener"] = (fds + [-1, -1])[:2]
    try:
        hv, spawner = build(config)
    except (XenprocError, OSError) as error:
        with contextlib.suppress(OSError):
            wire.send(control, {"ok": False, "error": {"kind": type(error).__name__, "errno": None, "message": str(error)}})
        sys.exit(1)
    wire.send(control, {"ok": True, "result": {"pid": os.getpid(), "isolation": spawner.isolation()}})
    asyncio.run(live(hv, spawner, control, config))
    os._exit(0)         # the dispatcher is stopped; nothing is worth an orderly interpreter's end


if __name__ == "__main__":
    main()
