"""The file system of the pen: a fresh root that holds Python's own files, read-only, at their usual paths, and nothing else.

Called once by the pen's architect (pen.py) in a mount namespace of its own. Invariants: what is not listed does not exist; no
mount here is writable, honours set-uid bits or device nodes of its own; parents of what is listed can be passed by any uid.
Source: mount_namespaces(7), open_tree(2), pivot_root(2).
"""

import os
import stat
import sys
import sysconfig
from collections.abc import Iterable

from xenproc.native import ffi, lib

SCAFFOLD = "/tmp"       # where the new root is put together; hidden by it, in this namespace only
_SYSTEM = (
    "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/lib", "/lib32", "/lib64", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom",
)


_QUIET = lib.XP_MOUNT_ATTR_RDONLY | lib.XP_MOUNT_ATTR_NOSUID
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14     # Landlock's rights


def python_paths() -> list[str]:
    """Return where this interpreter's own files lie: prefixes, executable, standard library, site packages, xenproc itself."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sysconfig.get_paths().values()]
    paths += [os.path.dirname(os.path.realpath(sys.executable)), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    return [path for path in paths if os.path.exists(path)]


def readable(sys_path: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return (every path that guests may read, what of sys.path they may not and why).

    A home directory, the root, or what contains one is left out: too much that is not code lies there.
    """
    home = os.path.realpath(os.path.expanduser("~"))
    refused = {}
    paths = [path for path in _SYSTEM if os.path.exists(path)] + python_paths()
    for path in sys_path:
        real = os.path.realpath(path)
        if home == real or home.startswith(real.rstrip("/") + "/"):
            refused[path] = "a home directory lies in it: guests do not see it"
        elif os.path.exists(path):
            paths.append(path)
    return _without_nested(paths), refused


def shut_to_others(paths: Iterable[str]) -> list[str]:
    """Return those of `paths` that a stranger may not read: in the jail their parents can be passed, they themselves cannot."""
    def is_open(path: str) -> bool:
        mode = os.stat(path).st_mode
        wanted = 0o5 if stat.S_ISDIR(mode) else 0o4
        return mode & wanted == wanted

    return [path for path in dict.fromkeys(paths) if os.path.exists(path) and not is_open(path)]


def _without_nested(paths: Iterable[str]) -> list[str]:
    """Return real paths in order, those below another left out."""
    kept: list[str] = []
    for path in sorted({os.path.realpath(path) for path in paths}):
        if not kept or not (path == kept[-1] or path.startswith(kept[-1].rstrip("/") + "/")):
            kept.append(path)
    return kept


def links(paths: Iterable[str]) -> dict[str, str]:
    """Return the symbolic links among `paths` and their parents that the jail needs: link -> where it leads."""
    found = {}
    for path in paths:
        for at in _with_parents(os.path.abspath(path)):
            if os.path.islink(at):
                found[at] = os.path.realpath(at)
    return found


def _with_parents(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[: i + 1]) for i in range(len(parts))]


def _check(ret: int, what: str) -> int:
    if ret < 0:
        raise OSError(-ret, f"{what}: {os.strerror(-ret)}")
    return ret


def _place(tree: int, path: str) -> None:
    """Attach a copy of what was mounted at `path` there in the new root."""
    target = SCAFFOLD + path
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    if os.path.isdir(f"/proc/self/fd/{tree}"):
        os.makedirs(target, mode=0o755, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    _check(lib.xp_move_mount(tree, -100, target.encode()), f"attaching {path}")
    os.close(tree)


def copy(paths: list[str]) -> list[tuple[int, str]]:
    """Return (detached read-only copy of what is mounted there, path) for each path. Raises OSError.

    For a process alone in a mount namespace of its own, with CAP_SYS_ADMIN over it, that can still reach the paths.
    """
    _check(lib.xp_mount(ffi.NULL, b"/", ffi.NULL, lib.XP_MS_REC_PRIVATE, ffi.NULL), "making mounts private")
    trees = []
    for path in paths:
        tree = _check(lib.xp_open_tree(path.encode()), f"copying the mount of {path}")
        attributes = _QUIET if path.startswith("/dev/") else _QUIET | lib.XP_MOUNT_ATTR_NODEV
        _check(lib.xp_mount_setattr(tree, b"", attributes, True), f"making {path} read-only")
        trees.append((tree, path))
    return trees


def enter(trees: list[tuple[int, str]], wanted_links: dict[str, str]) -> None:
    """Make the jail of what `copy` returned (closed here) and change into it. Raises OSError.

    For the same process, once its uid is one that the new root's files can have.
    """
    os.umask(0o022)
    _check(lib.xp_mount(b"xenproc", SCAFFOLD.encode(), b"tmpfs", 2 | 4, b"mode=755,size=1m"), "mounting the new root")
    for tree, path in trees:
        _place(tree, path)
    for link, target in wanted_links.items():
        where = SCAFFOLD + link
        if not os.path.lexists(where):
            os.makedirs(os.path.dirname(where), mode=0o755, exist_ok=True)
            os.symlink(target, where)
    os.chdir(SCAFFOLD)
    _check(lib.xp_pivot_root(b".", b"."), "changing into the new root")
    _check(lib.xp_umount2(b".", lib.XP_MNT_DETACH), "leaving the old root")
    os.chdir("/")
    _check(lib.xp_mount_setattr(-100, b"/", _QUIET | lib.XP_MOUNT_ATTR_NODEV, False), "making the new root read-only")


def landlock(paths: list[str]) -> None:
    """Restrict this process and all that come of it to reading and executing below `paths`. Raises OSError.

    The same limits once more by another mechanism, and the only one where mount namespaces cannot be had.
    """
    abi = lib.xp_landlock_abi()
    if abi <= 0:
        raise OSError(-abi, "the kernel has no Landlock, or it is not among its active LSMs (boot option lsm=)")
    reading = lib.XP_LANDLOCK_READ_FILE | lib.XP_LANDLOCK_READ_DIR | lib.XP_LANDLOCK_EXECUTE
    handled = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
    ruleset = _check(lib.xp_landlock_create(handled, 0, 0), "landlock")
    for path in paths:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = reading if os.path.isdir(path) else reading & ~lib.XP_LANDLOCK_READ_DIR
        if path == "/dev/null":
            allowed |= handled & (_WRITE_FILE | _TRUNCATE)      # libraries open it to write as they are imported
        _check(lib.xp_landlock_allow(ruleset, fd, allowed), f"landlock rule for {path}")
        os.close(fd)
    _check(lib.xp_prctl(38, 1, 0, 0, 0), "no_new_privs")        # PR_SET_NO_NEW_PRIVS
    _check(lib.xp_landlock_restrict(ruleset), "landlock")
    os.close(ruleset)
