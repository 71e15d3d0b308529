"""The two rings of a network interface, its extra slots, and its control ring."""

from xenproc.abi.layout import I16, U8, U16, U32, struct, union
from xenproc.abi.names import XenEnum, XenFlag


class NetTxFlag(XenFlag, prefix="NETTXF_"):
    """Flags of a transmit request."""

    csum_blank = 1
    data_validated = 2
    more_data = 4
    extra_info = 8


class NetRxFlag(XenFlag, prefix="NETRXF_"):
    """Flags of a receive response."""

    data_validated = 1
    csum_blank = 2
    more_data = 4
    extra_info = 8
    gso_prefix = 16


class NetifRsp(XenEnum, prefix="NETIF_RSP_"):
    """Status of a response; a receive response has a number of bytes instead of OKAY."""

    DROPPED = -2
    ERROR = -1
    OKAY = 0
    NULL = 1


class NetifExtra(XenEnum, prefix="XEN_NETIF_EXTRA_TYPE_"):
    """What an extra slot holds."""

    NONE = 0
    GSO = 1
    MCAST_ADD = 2
    MCAST_DEL = 3
    HASH = 4
    MAX = 5


class NetifGso(XenEnum, prefix="XEN_NETIF_GSO_TYPE_"):
    """Kind of segmentation."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 2


class NetifCtrl(XenEnum, prefix="XEN_NETIF_CTRL_TYPE_"):
    """What a control request asks for."""

    INVALID = 0
    GET_HASH_FLAGS = 1
    SET_HASH_FLAGS = 2
    SET_HASH_KEY = 3
    GET_HASH_MAPPING_SIZE = 4
    SET_HASH_MAPPING_SIZE = 5
    SET_HASH_MAPPING = 6
    SET_HASH_ALGORITHM = 7
    GET_GREF_MAPPING_SIZE = 8
    ADD_GREF_MAPPING = 9
    DEL_GREF_MAPPING = 10


class NetifCtrlStatus(XenEnum, prefix="XEN_NETIF_CTRL_STATUS_"):
    """Status of a control response."""

    SUCCESS = 0
    NOT_SUPPORTED = 1
    INVALID_PARAMETER = 2
    BUFFER_OVERFLOW = 3


class NetifHashAlgorithm(XenEnum, prefix="XEN_NETIF_CTRL_HASH_ALGORITHM_"):
    """How a packet's queue is found."""

    NONE = 0
    TOEPLITZ = 1


class NetifHashType(XenFlag, prefix="XEN_NETIF_CTRL_HASH_TYPE_"):
    """What of a packet is hashed."""

    IPV4 = 1
    IPV4_TCP = 2
    IPV6 = 4
    IPV6_TCP = 8


XEN_NETIF_EXTRA_FLAG_MORE = 1
XEN_NETIF_CTRLF_GREF_readonly = 1
XEN_NETIF_NR_SLOTS_MIN = 18
XEN_NETIF_MAX_TX_SIZE = 0xFFFF

netif_tx_request = struct("netif_tx_request", gref=U32, offset=U16, flags=U16, id=U16, size=U16)
netif_tx_response = struct("netif_tx_response", id=U16, status=I16)
netif_tx_sring_entry = union("netif_tx_sring_entry", req=netif_tx_request, rsp=netif_tx_response)
netif_rx_request = struct("netif_rx_request", id=U16, pad=U16, gref=U32)
netif_rx_response = struct("netif_rx_response", id=U16, offset=U16, flags=U16, status=I16)
netif_rx_sring_entry = union("netif_rx_sring_entry", req=netif_rx_request, rsp=netif_rx_response)
netif_extra_info = struct(
    "netif_extra_info",
    type=U8,
    flags=U8,
    u=union(
        gso=struct(size=U16, type=U8, pad=U8, features=U16),
        mcast=struct(addr=U8 * 6),
        hash=struct(type=U8, algorithm=U8, value=U8 * 4),
        pad=U16 * 3,
    ),
)
xen_netif_ctrl_request = struct("xen_netif_ctrl_request", id=U16, type=U16, data=U32 * 3)
xen_netif_ctrl_response = struct("xen_netif_ctrl_response", id=U16, type=U16, status=U32, data=U32)
xen_netif_ctrl_sring_entry = union(
    "xen_netif_ctrl_sring_entry", req=xen_netif_ctrl_request, rsp=xen_netif_ctrl_response
)
xen_netif_gref = struct("xen_netif_gref", ref=U32, flags=U16, status=U16)
