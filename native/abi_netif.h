/*
 * abi_netif.h: the two rings of a network interface, and its control ring.
 *
 * Transmit: requests name the frames of a packet. Receive: requests offer empty frames, responses say what is in them.
 */
#ifndef XEN_ABI_NETIF_H
#define XEN_ABI_NETIF_H

#include "abi_types.h"

enum { NETTXF_csum_blank = 1, NETTXF_data_validated = 2, NETTXF_more_data = 4, NETTXF_extra_info = 8 };
enum {
    NETRXF_data_validated = 1, NETRXF_csum_blank = 2, NETRXF_more_data = 4, NETRXF_extra_info = 8, NETRXF_gso_prefix = 16,
};
enum { NETIF_RSP_DROPPED = -2, NETIF_RSP_ERROR = -1, NETIF_RSP_OKAY = 0, NETIF_RSP_NULL = 1 };
enum { XEN_NETIF_NR_SLOTS_MIN = 18, XEN_NETIF_MAX_TX_SIZE = 0xffff };

struct xen_netif_tx_request {
    uint32_t gref;
    uint16_t offset;            /* in the frame */
    uint16_t flags;             /* NETTXF_* */
    uint16_t id;                /* echoed */
    uint16_t size;              /* first slot: of the whole packet; others: of this part */
};
_Static_assert(sizeof(struct xen_netif_tx_request) == 12, "netif_tx_request");

struct xen_netif_tx_response {
    uint16_t id;
    int16_t status;             /* NETIF_RSP_* */
};

struct xen_netif_rx_request {
    uint16_t id;
    uint16_t pad;
    uint32_t gref;
};
_Static_assert(sizeof(struct xen_netif_rx_request) == 8, "netif_rx_request");

struct xen_netif_rx_response {
    uint16_t id;
    uint16_t offset;
    uint16_t flags;             /* NETRXF_* */
    int16_t status;             /* bytes, or NETIF_RSP_* if negative */
};
_Static_assert(sizeof(struct xen_netif_rx_response) == 8, "netif_rx_response");

union xen_netif_tx_sring_entry {
    struct xen_netif_tx_request req;
    struct xen_netif_tx_response rsp;
};

union xen_netif_rx_sring_entry {
    struct xen_netif_rx_request req;
    struct xen_netif_rx_response rsp;
};

/* ---- extra slots ---- */

enum {
    XEN_NETIF_EXTRA_TYPE_NONE = 0, XEN_NETIF_EXTRA_TYPE_GSO = 1, XEN_NETIF_EXTRA_TYPE_MCAST_ADD = 2,
    XEN_NETIF_EXTRA_TYPE_MCAST_DEL = 3, XEN_NETIF_EXTRA_TYPE_HASH = 4, XEN_NETIF_EXTRA_TYPE_MAX = 5,
    XEN_NETIF_EXTRA_FLAG_MORE = 1,
};
enum { XEN_NETIF_GSO_TYPE_NONE = 0, XEN_NETIF_GSO_TYPE_TCPV4 = 1, XEN_NETIF_GSO_TYPE_TCPV6 = 2 };

struct xen_netif_extra_info {
    uint8_t type;               /* XEN_NETIF_EXTRA_TYPE_* */
    uint8_t flags;              /* XEN_NETIF_EXTRA_FLAG_MORE: another follows */
    union {
        struct {
            uint16_t size;      /* largest payload of a segment */
            uint8_t type;       /* XEN_NETIF_GSO_TYPE_* */
            uint8_t pad;
            uint16_t features;
        } gso;
        struct {
            uint8_t addr[6];
        } mcast;
        struct {
            uint8_t type;
            uint8_t algorithm;
            uint8_t value[4];
        } hash;
        uint16_t pad[3];
    } u;
};
_Static_assert(sizeof(struct xen_netif_extra_info) == 8, "netif_extra_info");

/* ---- control ring ---- */

enum {
    XEN_NETIF_CTRL_TYPE_INVALID = 0, XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS = 1, XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS = 2,
    XEN_NETIF_CTRL_TYPE_SET_HASH_KEY = 3, XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE = 4,
    XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE = 5, XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING = 6,
    XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM = 7, XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE = 8,
    XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING = 9, XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING = 10,
};
enum {
    XEN_NETIF_CTRL_STATUS_SUCCESS = 0, XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED = 1,
    XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER = 2, XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW = 3,
};
enum {
    XEN_NETIF_CTRL_HASH_ALGORITHM_NONE = 0, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ = 1,
    XEN_NETIF_CTRL_HASH_TYPE_IPV4 = 1, XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP = 2,
    XEN_NETIF_CTRL_HASH_TYPE_IPV6 = 4, XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP = 8,
    XEN_NETIF_CTRLF_GREF_readonly = 1,
};

struct xen_netif_ctrl_request {
    uint16_t id;
    uint16_t type;              /* XEN_NETIF_CTRL_TYPE_* */
    uint32_t data[3];
};

struct xen_netif_ctrl_response {
    uint16_t id;
    uint16_t type;
    uint32_t status;            /* XEN_NETIF_CTRL_STATUS_* */
    uint32_t data;
};

struct xen_netif_gref {
    uint32_t ref;
    uint16_t flags;             /* XEN_NETIF_CTRLF_GREF_readonly */
    uint16_t status;            /* [BACK] */
};

union xen_netif_ctrl_sring_entry {
    struct xen_netif_ctrl_request req;
    struct xen_netif_ctrl_response rsp;
};

#endif
