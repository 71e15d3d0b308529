"""Xen's error numbers, their names and what they mean here. Imports nothing of ours.

A hypercall returns 0 or more, or one of these negated. EINTR and ERESTART are missing: no guest sees them.
"""

from xenproc.abi.names import XenEnum


class Errno(XenEnum, prefix="XEN_"):
    """An error number; `message` says it in words."""

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    ENOEXEC = 8
    EBADF = 9
    ECHILD = 10
    EAGAIN = 11
    EWOULDBLOCK = 11
    ENOMEM = 12
    EACCES = 13
    EFAULT = 14
    EBUSY = 16
    EEXIST = 17
    EXDEV = 18
    ENODEV = 19
    ENOTDIR = 20
    EISDIR = 21
    EINVAL = 22
    ENFILE = 23
    EMFILE = 24
    ENOSPC = 28
    EROFS = 30
    EMLINK = 31
    EDOM = 33
    ERANGE = 34
    EDEADLK = 35
    EDEADLOCK = 35
    ENAMETOOLONG = 36
    ENOLCK = 37
    ENOSYS = 38
    ENOTEMPTY = 39
    ENODATA = 61
    ETIME = 62
    EBADMSG = 74
    EOVERFLOW = 75
    EILSEQ = 84
    ENOTSOCK = 88
    EMSGSIZE = 90
    EOPNOTSUPP = 95
    EADDRINUSE = 98
    EADDRNOTAVAIL = 99
    ENOBUFS = 105
    EISCONN = 106
    ENOTCONN = 107
    ETIMEDOUT = 110
    ECONNREFUSED = 111

    @property
    def message(self) -> str:
        """A few words for people."""
        return _MESSAGES[self]


_MESSAGES = {
    Errno.EPERM: "this domain may not do that",
    Errno.ENOENT: "no such thing",
    Errno.ESRCH: "no such domain",
    Errno.EIO: "input or output failed",
    Errno.ENXIO: "no such device or address",
    Errno.E2BIG: "too much at once",
    Errno.ENOEXEC: "not an image that can be started",
    Errno.EBADF: "not a valid handle",
    Errno.ECHILD: "no such child",
    Errno.EAGAIN: "not now, try again",
    Errno.ENOMEM: "out of memory",
    Errno.EACCES: "access refused",
    Errno.EFAULT: "bad address",
    Errno.EBUSY: "in use",
    Errno.EEXIST: "exists already",
    Errno.EXDEV: "across devices",
    Errno.ENODEV: "no such device",
    Errno.ENOTDIR: "not a directory",
    Errno.EISDIR: "is a directory",
    Errno.EINVAL: "invalid argument",
    Errno.ENFILE: "the system's table is full",
    Errno.EMFILE: "the domain's table is full",
    Errno.ENOSPC: "no space or port left",
    Errno.EROFS: "read-only",
    Errno.EMLINK: "too many links",
    Errno.EDOM: "argument out of domain",
    Errno.ERANGE: "result or number out of range",
    Errno.EDEADLK: "would deadlock",
    Errno.ENAMETOOLONG: "name too long",
    Errno.ENOLCK: "no lock to be had",
    Errno.ENOSYS: "no such hypercall or operation",
    Errno.ENOTEMPTY: "not empty",
    Errno.ENODATA: "no data",
    Errno.ETIME: "the time has passed already",
    Errno.EBADMSG: "not a valid message",
    Errno.EOVERFLOW: "the number does not fit",
    Errno.EILSEQ: "broken sequence",
    Errno.ENOTSOCK: "not a socket",
    Errno.EMSGSIZE: "message too long",
    Errno.EOPNOTSUPP: "not supported",
    Errno.EADDRINUSE: "address in use",
    Errno.EADDRNOTAVAIL: "address not to be had",
    Errno.ENOBUFS: "no room in the buffers",
    Errno.EISCONN: "connected already",
    Errno.ENOTCONN: "not connected",
    Errno.ETIMEDOUT: "time limit passed",
    Errno.ECONNREFUSED: "connection refused",
}


def describe(result: int) -> str:
    """Return the result of a hypercall in words: 3 is "3", -22 is "-EINVAL (invalid argument)".

    A number that is not one of Xen's is "-999 (not an error of Xen's)".
    """
    if result >= 0:
        return str(result)
    try:
        error = Errno(-result)
    except ValueError:
        return f"{result} (not an error of Xen's)"
    return f"-{error.name} ({error.message})"
