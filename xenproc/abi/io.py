"""What two domains share: rings, the console and xenstore pages, xenbus states, vchan."""

from xenproc.abi.errno import Errno
from xenproc.abi.layout import U8, U16, U32, struct
from xenproc.abi.names import XenEnum, XenFlag


class XenbusState(XenEnum, prefix="XenbusState"):
    """States of a device's two ends in xenstore."""

    Unknown = 0
    Initialising = 1
    InitWait = 2
    Initialised = 3
    Connected = 4
    Closing = 5
    Closed = 6
    Reconfiguring = 7
    Reconfigured = 8


class XsMsg(XenEnum, prefix="XS_"):
    """Types of xenstore messages."""

    CONTROL = 0
    DEBUG = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22
    GET_FEATURE = 23
    SET_FEATURE = 24
    GET_QUOTA = 25
    SET_QUOTA = 26
    INVALID = 0xFFFF


class XenstoreError(XenEnum, prefix="XENSTORE_ERROR_"):
    """Why xenstored has given up on a domain's ring."""

    NONE = 0
    COMM = 1
    RINGIDX = 2
    PROTO = 3


class XenstoreFeature(XenFlag, prefix="XENSTORE_SERVER_FEATURE_"):
    """What xenstored can do, as it says in a domain's page."""

    RECONNECTION = 1
    ERROR = 2
    WATCHDEPTH = 4
    DOMID_ANY = 8


class VchanNotify(XenFlag, prefix="VCHAN_NOTIFY_"):
    """What an end of a vchan wants to be told of: that the other has written, or has read."""

    WRITE = 1
    READ = 2


XS_TYPE_COUNT = 27
XS_WATCH_PATH = 0
XS_WATCH_TOKEN = 1
XENSTORE_RING_SIZE = 1024
XENSTORE_PAYLOAD_MAX = 4096
XENSTORE_ABS_PATH_MAX = 3072
XENSTORE_REL_PATH_MAX = 2048
XENSTORE_CONNECTED = 0
XENSTORE_RECONNECT = 1
XENCONSOLE_CONNECTED = 0
XENCONSOLE_DISCONNECTED = 1

# The errors that xenstore says by name, in the text of an XS_ERROR.
XENSTORE_ERRORS = (
    Errno.EINVAL,
    Errno.EACCES,
    Errno.EEXIST,
    Errno.EISDIR,
    Errno.ENOENT,
    Errno.ENOMEM,
    Errno.ENOSPC,
    Errno.EIO,
    Errno.ENOTEMPTY,
    Errno.ENOSYS,
    Errno.EROFS,
    Errno.EBUSY,
    Errno.EAGAIN,
    Errno.EISCONN,
    Errno.E2BIG,
    Errno.EPERM,
)

XEN_IO_PROTO_ABI_X86_32 = "x86_32-abi"
XEN_IO_PROTO_ABI_X86_64 = "x86_64-abi"

# Before the slots of an I/O ring. Not a struct of Xen's by name: the part that all its rings have in common.
sring_header = struct(
    "sring_header", req_prod=U32, req_event=U32, rsp_prod=U32, rsp_event=U32, pvt=U8 * 4, **{"__pad": U8 * 44}
)
SRING_HEADER_SIZE = 64

xencons_interface = struct(
    "xencons_interface",
    **{"in": U8 * 1024},
    out=U8 * 2048,
    in_cons=U32,
    in_prod=U32,
    out_cons=U32,
    out_prod=U32,
    connection=U8,
)
xenstore_domain_interface = struct(
    "xenstore_domain_interface",
    req=U8 * XENSTORE_RING_SIZE,
    rsp=U8 * XENSTORE_RING_SIZE,
    req_cons=U32,
    req_prod=U32,
    rsp_cons=U32,
    rsp_prod=U32,
    server_features=U32,
    connection=U32,
    error=U32,
    evtchn_port=U32,
)
xsd_sockmsg = struct("xsd_sockmsg", type=U32, req_id=U32, tx_id=U32, len=U32)
ring_shared = struct("ring_shared", cons=U32, prod=U32)
vchan_interface = struct(
    "vchan_interface",
    left=ring_shared,
    right=ring_shared,
    left_order=U16,
    right_order=U16,
    cli_live=U8,
    srv_live=U8,
    cli_notify=U8,
    srv_notify=U8,
    grants=U32 * 0,
)


def ring_entries(ring_bytes: int, entry_size: int) -> int:
    """Return how many slots an I/O ring of `ring_bytes` has.

    `entry_size` is the larger of request and response, in bytes. The result is the largest power of two that
    fits behind the header. Raises ValueError if none does.
    """
    fits = (ring_bytes - SRING_HEADER_SIZE) // entry_size if entry_size > 0 else 0
    if fits < 1:
        raise ValueError(f"a ring of {ring_bytes} bytes has no room for an entry of {entry_size}")
    return 1 << (fits.bit_length() - 1)
