/*
 * abi_io.h: what two domains share: the header of an I/O ring, the console and xenstore rings, xenbus states, vchan.
 *
 * [FRONT] and [BACK] are the two ends of a ring. Neither believes the other: indices are read once and checked.
 */
#ifndef XEN_ABI_IO_H
#define XEN_ABI_IO_H

#include "abi_types.h"

/* Before the slots, which begin at 64. Indices run freely; slot = index & (slots - 1). Both events start at 1. */
struct xen_sring_header {
    uint32_t req_prod;          /* [FRONT] */
    uint32_t req_event;         /* [BACK] notify me once req_prod passes this */
    uint32_t rsp_prod;          /* [BACK] */
    uint32_t rsp_event;         /* [FRONT] */
    uint8_t pvt[4];
    uint8_t __pad[44];
};
_Static_assert(sizeof(struct xen_sring_header) == 64, "sring");

/* ---- console ring ---- */

enum { XENCONSOLE_CONNECTED = 0, XENCONSOLE_DISCONNECTED = 1 };

/* Byte streams; position = index & (size - 1). */
struct xencons_interface {
    char in[1024];              /* [BACK] to the domain */
    char out[2048];             /* [GST] from the domain */
    uint32_t in_cons;           /* [GST] */
    uint32_t in_prod;           /* [BACK] */
    uint32_t out_cons;          /* [BACK] */
    uint32_t out_prod;          /* [GST] */
    uint8_t connection;         /* [BACK] XENCONSOLE_* */
};
_Static_assert(sizeof(struct xencons_interface) == 3092, "xencons_interface");
_Static_assert(offsetof(struct xencons_interface, in_cons) == 3072, "xencons_interface.in_cons");

/* ---- xenstore ring ---- */

enum { XENSTORE_RING_SIZE = 1024, XENSTORE_PAYLOAD_MAX = 4096, XENSTORE_ABS_PATH_MAX = 3072, XENSTORE_REL_PATH_MAX = 2048 };
enum { XENSTORE_CONNECTED = 0, XENSTORE_RECONNECT = 1 };
enum { XENSTORE_ERROR_NONE = 0, XENSTORE_ERROR_COMM = 1, XENSTORE_ERROR_RINGIDX = 2, XENSTORE_ERROR_PROTO = 3 };
enum {
    XENSTORE_SERVER_FEATURE_RECONNECTION = 1, XENSTORE_SERVER_FEATURE_ERROR = 2,
    XENSTORE_SERVER_FEATURE_WATCHDEPTH = 4, XENSTORE_SERVER_FEATURE_DOMID_ANY = 8,
};

struct xenstore_domain_interface {
    char req[XENSTORE_RING_SIZE]; /* [GST] */
    char rsp[XENSTORE_RING_SIZE]; /* [BACK] responses and watch events */
    uint32_t req_cons;          /* [BACK] */
    uint32_t req_prod;          /* [GST] */
    uint32_t rsp_cons;          /* [GST] */
    uint32_t rsp_prod;          /* [BACK] */
    uint32_t server_features;   /* [BACK] XENSTORE_SERVER_FEATURE_* */
    uint32_t connection;        /* [GST] asks XENSTORE_RECONNECT, [BACK] answers XENSTORE_CONNECTED */
    uint32_t error;             /* [BACK] XENSTORE_ERROR_* */
    uint32_t evtchn_port;       /* [HV] or whoever builds the domain, where the guest has no other way to learn it */
};
_Static_assert(sizeof(struct xenstore_domain_interface) == 2080, "xenstore_domain_interface");
_Static_assert(offsetof(struct xenstore_domain_interface, req_cons) == 2048, "xenstore_domain_interface.req_cons");

/* Before each message, on the ring and on the socket. */
struct xen_xsd_sockmsg {
    uint32_t type;              /* XS_* */
    uint32_t req_id;            /* chosen by the client, echoed */
    uint32_t tx_id;             /* 0: no transaction */
    uint32_t len;               /* bytes that follow, at most XENSTORE_PAYLOAD_MAX */
};
_Static_assert(sizeof(struct xen_xsd_sockmsg) == 16, "xsd_sockmsg");

enum {
    XS_CONTROL = 0, XS_DEBUG = 0, XS_DIRECTORY = 1, XS_READ = 2, XS_GET_PERMS = 3, XS_WATCH = 4, XS_UNWATCH = 5,
    XS_TRANSACTION_START = 6, XS_TRANSACTION_END = 7, XS_INTRODUCE = 8, XS_RELEASE = 9, XS_GET_DOMAIN_PATH = 10,
    XS_WRITE = 11, XS_MKDIR = 12, XS_RM = 13, XS_SET_PERMS = 14, XS_WATCH_EVENT = 15, XS_ERROR = 16,
    XS_IS_DOMAIN_INTRODUCED = 17, XS_RESUME = 18, XS_SET_TARGET = 19, XS_RESET_WATCHES = 21, XS_DIRECTORY_PART = 22,
    XS_GET_FEATURE = 23, XS_SET_FEATURE = 24, XS_GET_QUOTA = 25, XS_SET_QUOTA = 26, XS_TYPE_COUNT = 27,
    XS_INVALID = 0xffff,
};
enum { XS_WATCH_PATH = 0, XS_WATCH_TOKEN = 1 }; /* parts of a watch event */

/* ---- states of a device's two ends in xenstore ---- */

enum {
    XenbusStateUnknown = 0,
    XenbusStateInitialising = 1,
    XenbusStateInitWait = 2,
    XenbusStateInitialised = 3,
    XenbusStateConnected = 4,
    XenbusStateClosing = 5,
    XenbusStateClosed = 6,
    XenbusStateReconfiguring = 7,
    XenbusStateReconfigured = 8,
};

/* ---- vchan: a byte stream each way between two domains ---- */

enum { VCHAN_NOTIFY_WRITE = 1, VCHAN_NOTIFY_READ = 2 };

struct xen_ring_shared {
    uint32_t cons;              /* the reader */
    uint32_t prod;              /* the writer */
};

/*
 * The server makes this page. Rings of 1024 and 2048 bytes are in it, at that offset; larger ones in granted frames.
 * The notify bytes are set and cleared by atomic instructions, and named after who shall send: indices first, fence,
 * then the byte; who asks sets the byte, fence, then looks at the indices once more.
 */
struct xen_vchan_interface {
    struct xen_ring_shared left;  /* client to server */
    struct xen_ring_shared right; /* server to client */
    uint16_t left_order;        /* [server] ring of 1 << order bytes: 10, 11, or from 12 on */
    uint16_t right_order;       /* [server] */
    uint8_t cli_live;           /* [server] 2 at first: waiting for a client; [client] 1 open, 0 closed */
    uint8_t srv_live;           /* [server] 1 open, 0 closed */
    uint8_t cli_notify;         /* [server] sets, [client] clears: VCHAN_NOTIFY_* of what the client does */
    uint8_t srv_notify;         /* [client] sets, [server] clears: of what the server does */
    uint32_t grants[];          /* [server] frames of the left ring, then of the right ring, where their order is 12 or more */
};
_Static_assert(sizeof(struct xen_vchan_interface) == 24, "vchan_interface");
_Static_assert(offsetof(struct xen_vchan_interface, cli_live) == 20, "vchan_interface.cli_live");

#endif
