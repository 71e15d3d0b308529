"""The warm server: `python -m xenproc.guest.server FD`: forks a domain's process when the hypervisor asks. Lives in the pen.

It has one descriptor of ours, a private socket to the hypervisor: no machine memory, no other domain's socket, no tracker, no
fork server of multiprocessing. Children are forked as the hypervisor's own (CLONE_PARENT), so that this process's death
kills no domain. Everything a guest commonly needs is imported before the first fork and shared by all; one child is forked
in advance and has touched what a domain's start touches.
"""
# Tour B:050

import gc
import importlib
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable

tempfile.tempdir = "/"          # dill asks for one when it is imported, and the pen has none that can be written

import dill  # noqa: E402
import multiprocess.context  # noqa: E402, F401  (guests that use it find it warm)

from xenproc import wire  # noqa: E402
from xenproc.guest import boot, kernel, lockdown  # noqa: E402, F401
from xenproc.guest.fork import fork_sibling  # noqa: E402


def preload(names: list[str]) -> dict[str, str]:
    """Import modules that guests will want; return those that cannot be imported here, with the reason."""
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[f"preload {name}"] = f"{type(error).__name__}: {error}"
    return failed


class Spare:
    """A process forked in advance, warm and waiting for a domain to be: the fork is not on the way when one is created."""

    def __init__(self, control: socket.socket, prepared: lockdown.Prepared) -> None:
        self.sock, theirs = wire.pair()
        if fork_sibling() == 0:
            control.close()
            self.sock.close()
            _live(lambda: boot.stand_by(theirs, prepared))
        theirs.close()

    def become(self, fd: int) -> bool:
        """Hand it the boot socket of a domain; False if it has died meanwhile."""
        try:
            wire.send(self.sock, {"boot": True}, [fd])
        except OSError:
            return False
        finally:
            self.sock.close()
        return True


def _live(life: Callable[[], None]) -> None:
    """Be a child of the server: its life, then its end, whatever happens."""
    try:
        life()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)            # boot does not return; an error on the way must not come back into the server


def serve(control: socket.socket, prepared: lockdown.Prepared) -> None:
    """Give each domain a process until the hypervisor closes the socket; one is always forked in advance."""
    spare = Spare(control, prepared)
    while True:
        try:
            _request, fds = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        if not spare.become(fds[0]) and fork_sibling() == 0:
            control.close()
            _live(lambda fd=fds[0]: boot.main(socket.socket(fileno=fd), prepared))  # type: ignore[misc]
        wire.close_all(fds)
        spare = Spare(control, prepared)


def main() -> None:
    """Entry point."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    config, fds = wire.receive(control)
    wire.close_all(fds)
    sys.path[:] = config["sys_path"]
    dill.settings["recurse"] = True
    refused = preload(config["preload"])
    if os.environ.get("XENPROC_LANDLOCK"):
        refused["landlock of the server"] = os.environ.pop("XENPROC_LANDLOCK")
    prepared = lockdown.prepare()
    gc.collect()
    gc.freeze()         # what is shared now stays shared: no collector touches it in a child
    wire.send(control, {"ready": os.getpid(), "refused": refused})
    serve(control, prepared)


if __name__ == "__main__":
    main()
