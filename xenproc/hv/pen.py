"""The pen: the namespaces that all domains live in, and the warm server that forks them.

Built once, before the hypervisor's process has a second thread or any machine memory:

    hypervisor ── architect (builds the pen, then ends)
        ├── keeper   pid 1 of the pen's pid namespace; its death ends everything in it (native/os.c)
        ├── server   xenproc/guest/server.py, forks domains
        └── domains  the server's siblings (CLONE_PARENT), so that its death kills none of them

Invariants:
1. No name is left: namespaces live by their processes, and the keeper dies with the hypervisor (death signal and lifeline).
2. What the host refuses is recorded with its reason and the rest is done all the same.
3. The server inherits one socket, /dev/null and a small environment; nothing else of the hypervisor's.
Source: namespaces(7), user_namespaces(7), pid_namespaces(7).
"""
# Tour B:030

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from xenproc import wire
from xenproc.errors import EnvironmentLacks
from xenproc.fork import clone
from xenproc.hv import jail
from xenproc.native import lib

UIDS = 65536
UID_BASE = 0x7000_0000          # the first of 4096 ranges of UIDS ids; a hypervisor takes one by its pid
START_TIMEOUT = 30.0
CLOSE_TIMEOUT = 5.0
_ENVIRONMENT = ("LANG", "LC_ALL", "TZ", "XENPROC_NATIVE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE")
_FLAGS = {
    "mount": lib.XP_CLONE_NEWNS, "net": lib.XP_CLONE_NEWNET, "ipc": lib.XP_CLONE_NEWIPC, "uts": lib.XP_CLONE_NEWUTS,
    "user": lib.XP_CLONE_NEWUSER, "pid": lib.XP_CLONE_NEWPID,
}


def id_range() -> tuple[int, int] | None:
    """Return (first, number) of ids of ours to give to domains, or None where this user namespace has none to spare."""
    first = UID_BASE + os.getpid() % 4096 * UIDS
    with open("/proc/self/uid_map") as map_file:
        extents = [tuple(map(int, line.split())) for line in map_file]
    for inside, _, count in extents:
        if inside <= first and first + UIDS <= inside + count:
            return first, UIDS
    inside, _, count = max(extents, key=lambda extent: extent[2])
    return (inside + count - 8192, 8192) if count >= 20000 else None


class Pen:
    """What was built, and the way to the server."""

    def __init__(self, sys_path: list[str], preload: list[str]) -> None:
        self.sys_path = sys_path
        self.preload = preload
        self.paths, left_out = jail.readable(sys_path)
        self.links = jail.links([*sys_path, *jail.python_paths(), "/lib", "/lib64", "/bin", sys.executable])
        self.namespaces: set[str] = set()
        self.refused: dict[str, str] = {f"sys.path {path}": why for path, why in left_out.items()}
        self.ids: tuple[int, int] | None = id_range() if os.geteuid() == 0 else None
        shut = jail.shut_to_others(jail.python_paths())
        if self.ids is not None and shut:
            self.ids = None
            self.refused["a uid for each domain"] = f"{shut[0]} is shut to other users: domains share one"
        if self.ids is not None:
            for path in jail.shut_to_others(self.sys_path):
                self.refused[f"sys.path {path}"] = "it is shut to other users, and a guest has a uid of its own"
        elif "a uid for each domain" not in self.refused:
            self.refused["a uid for each domain"] = "there is no range of uids to give away (not root): domains share one"
        self.keeper_pid = self.server_pid = 0
        self.keeper_pidfd = -1
        self.lifeline: socket.socket | None = None
        self.server_sock: socket.socket | None = None

    @classmethod
    def build(cls, sys_path: list[str], preload: list[str] | tuple[str, ...] = ()) -> "Pen":
        """Build a pen and start its server. For a process with a single thread. Raises EnvironmentLacks."""
        pen = cls(list(sys_path), list(preload))
        try:
            pen._build()
        except BaseException:
            pen.close()
            raise
        return pen

    def uid_of(self, domid: int) -> int | None:
        """Return the uid for a domain, as the server numbers it, or None if all share one."""
        if self.ids is None:
            return None
        return 1 + domid if "user" in self.namespaces else self.ids[0] + 1 + domid

    # ---- building, in the hypervisor's process ----

    def _build(self) -> None:
        ours, theirs = wire.pair()
        self.lifeline, keeper_end = socket.socketpair()
        self.server_sock, server_end = wire.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self.lifeline.close()
            self.server_sock.close()
            _run(theirs, lambda: Architect(self, theirs).work(keeper_end, server_end))
        for end in (theirs, keeper_end, server_end):
            end.close()
        try:
            self._listen(ours, pid)
        finally:
            ours.close()
            os.waitpid(pid, 0)
        self.keeper_pidfd = os.pidfd_open(self.keeper_pid)
        self._greet_server()

    def _listen(self, sock: socket.socket, architect: int) -> None:
        sock.settimeout(START_TIMEOUT)
        while True:
            try:
                message, _ = wire.receive(sock)
            except (EOFError, OSError) as error:
                raise EnvironmentLacks(f"the pen could not be built: {error}") from None
            if "map" in message:
                wire.send(sock, {"mapped": self._map_ids(architect)})
            elif "error" in message:
                raise EnvironmentLacks(f"the pen could not be built: {message['error']}")
            else:
                self.namespaces = set(message["namespaces"])
                self.refused.update(message["refused"])
                self.keeper_pid, self.server_pid = message["keeper"], message["server"]
                return

    def _map_ids(self, pid: int) -> str | None:
        """Give the architect's new user namespace its ids; return what went wrong, or None."""
        assert self.ids is not None
        try:
            for name in ("gid_map", "uid_map"):
                with open(f"/proc/{pid}/{name}", "w") as map_file:
                    map_file.write(f"0 {self.ids[0]} {self.ids[1]}")
        except OSError as error:
            return str(error)
        return None

    def _greet_server(self) -> None:
        assert self.server_sock is not None
        self.server_sock.settimeout(START_TIMEOUT)
        try:
            wire.send(self.server_sock, {"sys_path": self.sys_path, "preload": self.preload})
            ready, _ = wire.receive(self.server_sock)
        except (EOFError, OSError) as error:
            raise EnvironmentLacks(f"the warm server did not start: {error}") from None
        self.refused.update(ready.get("refused", {}))

    # ---- later ----

    def restart_server(self) -> None:
        """Start a server in place of one that died. Raises EnvironmentLacks."""
        assert self.server_sock is not None
        _end(self.server_pid)           # its socket closes before it is dead: unreaped it would keep the keeper from ending
        self.server_pid = 0
        self.server_sock.close()
        _reap_spares()
        ours, theirs = wire.pair()
        self.server_sock, server_end = wire.pair()
        pid = os.fork()
        if pid == 0:
            _run(theirs, lambda: Architect(self, theirs).enter_again(server_end))
        theirs.close()
        server_end.close()
        try:
            ours.settimeout(START_TIMEOUT)
            try:
                message, _ = wire.receive(ours)
            except (EOFError, OSError) as error:
                raise EnvironmentLacks(f"the warm server could not be started again: {error}") from None
            if "error" in message:
                raise EnvironmentLacks(f"the warm server could not be started again: {message['error']}")
            self.server_pid = message["server"]
        finally:
            ours.close()
            os.waitpid(pid, 0)
        self._greet_server()

    def close(self) -> None:
        """End the server, the keeper and with it every process in the pen. Twice is harmless."""
        for end in (self.server_sock, self.lifeline):
            if end is not None:
                end.close()
        _end(self.server_pid)           # killed, not asked: it may be in an import that never ends
        # Whoever is reaped: the keeper cannot end while one of its namespace is not, and they are all our children.
        deadline = time.monotonic() + CLOSE_TIMEOUT
        with contextlib.suppress(ChildProcessError):
            while self.keeper_pid and time.monotonic() < deadline:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == self.keeper_pid:
                    self.keeper_pid = 0
                elif pid == 0:
                    time.sleep(0.001)
        self.keeper_pid = self.server_pid = 0
        if self.keeper_pidfd >= 0:
            os.close(self.keeper_pidfd)
            self.keeper_pidfd = -1


def _end(pid: int) -> None:
    """Kill a child of ours and reap it; nothing if there is none."""
    if pid:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)        # not reaped yet, so the number is still its own
            os.waitpid(pid, 0)


def _reap_spares() -> None:
    """Reap what dead servers had forked in advance: our children by CLONE_PARENT, of which nobody else knows."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if child.name() == "xenproc-spare":
                os.waitpid(child.pid, os.WNOHANG)


def _run(sock: socket.socket, work: Callable[[], dict[str, Any]]) -> None:
    """Do the architect's work, report, and end this process whatever happens."""
    try:
        wire.send(sock, work())
    except BaseException as error:
        with contextlib.suppress(OSError):
            wire.send(sock, {"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


class Architect:
    """The short-lived child that unshares, builds and forks; each refusal is noted, not fatal."""

    def __init__(self, pen: Pen, sock: socket.socket) -> None:
        self.pen = pen
        self.sock = sock
        self.made: list[str] = []
        self.refused: dict[str, str] = {}
        self.trees: list[tuple[int, str]] = []

    def work(self, keeper_end: socket.socket, server_end: socket.socket) -> dict[str, Any]:
        """Build everything; return the report."""
        oom = self._open_oom()
        rootless = os.geteuid() != 0
        if rootless:
            self._own_user_namespace()
        self._outer_namespaces()
        self._jail()
        if not rootless and self._mapped_user_namespace():
            # What a root without CAP_SYS_ADMIN was refused may be had in there, copied while we are still that root.
            self._outer_namespaces()
            self._become_inner_root()
            self._jail()
        self._unshare("pid")
        keeper, _ = clone(lib.XP_CLONE_PARENT)
        if keeper == 0:
            lib.xp_keeper(keeper_end.fileno())
        self._first_to_go(oom)
        return {"server": self._start_server(server_end), "keeper": keeper, "namespaces": self.made, "refused": self.refused}

    def enter_again(self, server_end: socket.socket) -> dict[str, Any]:
        """Join the pen's namespaces by its keeper and start a server there."""
        self._first_to_go(self._open_oom())
        flags = sum(_FLAGS[name] for name in self.pen.namespaces)
        if flags:
            ret = lib.xp_setns(self.pen.keeper_pidfd, flags)
            if ret < 0:
                raise OSError(-ret, f"setns: {os.strerror(-ret)}")
        if "user" in self.pen.namespaces and self.pen.ids is not None:
            self._become_inner_root()
        return {"server": self._start_server(server_end)}

    def _open_oom(self) -> int:
        return os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)     # while there is a /proc

    def _first_to_go(self, oom: int) -> None:
        """Have a guest killed before the hypervisor, or anybody else, when memory runs out: they inherit it."""
        try:
            os.write(oom, b"1000")
        except OSError as error:
            self.refused["oom"] = f"guests are not the first to go when memory runs out: {error.strerror}"

    def _outer_namespaces(self) -> None:
        """Make those that are not made yet; with the mount namespace, copy what the jail will hold."""
        for name in ("mount", "net", "ipc", "uts"):
            if name in self.made or not self._unshare(name):
                continue
            if name == "mount":
                self.trees = jail.copy(self.pen.paths)
            elif name == "uts":
                socket.sethostname("xenproc")       # the host's name is nobody's business in there

    def _unshare(self, name: str) -> bool:
        ret = lib.xp_unshare(_FLAGS[name])
        if ret < 0:
            self.refused[f"{name} namespace"] = os.strerror(-ret)
            return False
        self.refused.pop(f"{name} namespace", None)
        self.made.append(name)
        return True

    def _own_user_namespace(self) -> None:
        """Rootless: a user namespace that maps this user alone."""
        uid, gid = os.geteuid(), os.getegid()
        if not self._unshare("user"):
            return
        for name, text in (("setgroups", "deny"), ("gid_map", f"0 {gid} 1"), ("uid_map", f"0 {uid} 1")):
            with open(f"/proc/self/{name}", "w") as map_file:
                map_file.write(text)

    def _mapped_user_namespace(self) -> bool:
        """Root: a user namespace with a range of ids, which the hypervisor writes from outside. Returns whether it is there."""
        if self.pen.ids is None:
            self.refused["user namespace"] = "this user namespace has no range of ids to give away"
            return False
        if not self._unshare("user"):
            return False
        wire.send(self.sock, {"map": True})
        answer, _ = wire.receive(self.sock)
        if answer["mapped"] is not None:
            raise OSError(f"user namespace: ids could not be mapped: {answer['mapped']}")
        return True

    def _become_inner_root(self) -> None:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        os.setgroups([])

    def _jail(self) -> None:
        """Enter the jail if there is one to enter and it was not entered. Half a jail is none, so a refusal is fatal."""
        trees, self.trees = self.trees, []
        if trees:
            jail.enter(trees, self.pen.links)

    def _start_server(self, sock: socket.socket) -> int:
        pid, _ = clone(lib.XP_CLONE_PARENT)
        if pid:
            return pid
        try:
            self._exec_server(sock.fileno())
        except BaseException as error:
            os.write(2, f"xenproc: starting the warm server: {error}\n".encode())
        finally:
            os._exit(72)

    def _exec_server(self, fd: int) -> None:
        null = os.open("/dev/null", os.O_RDWR)
        # To find out why a server does not start, its stderr can be kept (a guest then has it, too).
        for standard in (0, 1) if os.environ.get("XENPROC_LOG") == "DEBUG" else (0, 1, 2):
            os.dup2(null, standard)
        refused = ""
        try:
            jail.landlock([path for path in self.pen.paths if os.path.exists(path)])
        except OSError as error:
            refused = error.strerror or str(error)
        lib.xp_close_others([0, 1, 2, fd], 4)
        os.set_inheritable(fd, True)
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        environment.update({
            "PYTHONPATH": os.pathsep.join(self.pen.sys_path), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/", "PATH": "/usr/bin",
            "XENPROC_LANDLOCK": refused,
        })
        os.execve(sys.executable, [sys.executable, "-m", "xenproc.guest.server", str(fd)], environment)
