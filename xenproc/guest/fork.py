"""How the warm server makes a domain's process: a child of the hypervisor, so that the server's own death kills nobody.

Called by xenproc/guest/server.py only. Invariant: the new process's parent is the server's parent (CLONE_PARENT), which
therefore is told of its end (SIGCHLD, pidfd) and takes it along when it dies (the death signal set by lockdown).
"""

from xenproc.fork import clone
from xenproc.native import lib


def fork_sibling() -> int:
    """Fork a child of this process's own parent; return its pid here, 0 in the child.

    Raises EnvironmentLacks where this process has more than one thread, OSError where the kernel refuses (EINVAL: this
    process is the first of its pid namespace, whose children cannot be anybody else's).
    """
    return clone(lib.XP_CLONE_PARENT)[0]


def fork_sibling_pidfd() -> tuple[int, int]:
    """As fork_sibling; return (pid, pidfd), where the pidfd (-1 in the child) is close-on-exec and the caller's to close."""
    return clone(lib.XP_CLONE_PARENT, want_pidfd=True)
