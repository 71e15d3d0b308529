/*
 * vchan.h: a byte stream each way between two domains, in libxenvchan's layout, and messages on top of it.
 *
 * The shared page is struct xen_vchan_interface (abi_io.h, to the byte); everything here is private to one end.
 *   1. The peer's index is copied once, then checked: one that moves back or runs ahead of the ring closes the
 *      channel (-XEN_EILSEQ) and has no other effect. Our own index is never read back from the shared page.
 *   2. Whoever wants to sleep asks first (a bit in the peer's notify byte), then looks at the index once more; whoever moves
 *      an index looks at that byte afterwards, and sends an event only if asked. One of the two sees the other.
 *   3. Bytes that are in the ring when the peer closes or dies are still read first; then -XEN_ENOTCONN.
 *   4. A message is refused by its length before anything is allocated, waited for or written.
 *   5. One thread reads and one writes at a time; both at once, and close from a third, are fine.
 * Source: public/io/libxenvchan.h. Messages (4 bytes of length, little-endian, then the payload) are ours.
 *
 * Tour R:100
 */
#ifndef XP_VCHAN_H
#define XP_VCHAN_H

#include "abi_io.h"
#include "direct.h"

/* Orders of the rings: 10 and 11 lie in the shared page (one each at most), the others in granted pages. */
enum { XP_VCHAN_ORDER_1K = 10, XP_VCHAN_ORDER_2K = 11, XP_VCHAN_ORDER_MAX = 20 };

enum xp_vchan_state {
    XP_VCHAN_OPEN = 0,
    XP_VCHAN_CLOSED = 1,        /* by xp_vchan_close: -XEN_ENOTCONN */
    XP_VCHAN_BROKEN = 2,        /* the peer broke the protocol: -XEN_EILSEQ */
    XP_VCHAN_TORN = 3,          /* a message of ours was cut off by a time limit: -XEN_EIO */
};

enum { XP_VCHAN_READ = 1, XP_VCHAN_WRITE = 2 };   /* directions, for arm */

#define XP_VCHAN_HEADER 4u                        /* bytes of length before a message */
#define XP_VCHAN_MAX_MESSAGE (16u << 20)          /* unless set otherwise */

/* One direction, seen from this end. Reading: mine is cons, theirs prod. Writing: the other way round. */
struct xp_vchan_dir {
    _Atomic uint32_t *mine_word, *theirs_word;    /* in the shared page */
    uint8_t *base;              /* the ring where its pages follow each other, else NULL */
    uint8_t *const *pages;      /* the caller's list of page addresses */
    uint32_t mine, theirs;      /* ours, and the peer's as last checked */
    uint32_t slack;             /* level = slack + theirs - mine: 0 for reading, size for writing */
    uint32_t size;              /* a power of two */
    uint32_t want;              /* what the last call that would not wait was short of */
    uint32_t span;              /* bytes reserved or peeked at */
    int64_t left_ns;            /* of the time limit, after -XP_EINTR and -XEN_E2BIG of a receive */
    uint8_t ask;                /* the bit we set to be told, */
    uint8_t tell;               /* and the bit the peer sets */
    struct xp_sem_waiter waiter;                  /* whether spinning pays */
    uint64_t bytes, spun, slept;                  /* counters */
};

struct xp_vchan {
    struct xen_vchan_interface *page;
    struct xp_direct *event;
    struct xp_vchan_dir rd, wr;
    _Atomic uint8_t *ask_byte, *tell_byte, *my_live, *peer_live;
    _Atomic uint32_t state;     /* enum xp_vchan_state */
    int mode;                   /* enum xp_wait_mode, perhaps with XP_WAIT_SIGNALS; may be changed between calls */
    uint32_t max_message;
    uint32_t rx_total, rx_left; /* a message larger than the ring or the caller's buffer, being read */
    uint32_t tx_total, tx_left; /* one being written, */
    const void *tx_buf;         /* from here */
    /* Of two threads that wait, one waits for the event and tells the other. */
    _Atomic uint32_t leader, followers, turn;
    _Atomic uint32_t sending;   /* one thread at a time in xp_direct_send */
    uint32_t seen_prod, seen_cons, idle_wakes;    /* leader: wakes that moved no index */
    _Atomic uint32_t armed;     /* xp_vchan_arm: the descriptor stands for the event */
    int (*kick)(void *arg);
    void *kick_arg;
    _Atomic uint64_t sent;      /* events */
};

/* What a client must map, copied once from the server's page and checked. */
struct xp_vchan_geometry {
    uint32_t left_order, right_order;
    uint32_t left_pages, right_pages;             /* granted pages; 0 where the ring lies in the shared page */
    uint32_t grants[2 << (XP_VCHAN_ORDER_MAX - XP_PAGE_SHIFT)]; /* left's, then right's */
};

/*
 * Makes the server's end in `page` (zeroed by this call). Reads the left ring, writes the right one. left_pages and
 * right_pages list the addresses of their pages (order - 12 of them as a power of two; unused for orders 10 and 11) and must stay
 * as long as ch. grants: their references, left's first, or NULL. kick(kick_arg) tells the peer through the hypervisor, where
 * xp_direct_send cannot (it sleeps on a descriptor that this end does not hold); may be NULL. -XEN_EINVAL: orders, two small
 * rings alike, or grants that would reach into a small ring.
 */
int xp_vchan_server(struct xp_vchan *ch, void *page, uint32_t left_order, uint32_t right_order, uint8_t *const *left_pages,
                    uint8_t *const *right_pages, const uint32_t *grants, struct xp_direct *event, int (*kick)(void *),
                    void *kick_arg);

/* Copies and checks what the server wrote. -XEN_EILSEQ: nothing that a server may write. */
int xp_vchan_geometry(const void *page, struct xp_vchan_geometry *out);

/* Makes the client's end: reads right, writes left, from where the indices stand. Tells the server. Errors: as above. */
int xp_vchan_client(struct xp_vchan *ch, void *page, const struct xp_vchan_geometry *g, uint8_t *const *left_pages,
                    uint8_t *const *right_pages, struct xp_direct *event, int (*kick)(void *), void *kick_arg);

/* Says so to the peer, wakes everyone who waits on this end. Later calls: -XEN_ENOTCONN. Again: no effect. */
void xp_vchan_close(struct xp_vchan *ch);

/* 0 open, 1 the client has not come yet, else -XEN_ENOTCONN: closed by the peer, or (by this end's knowledge) dead. */
int xp_vchan_peer(struct xp_vchan *ch);
/* 1 if the peer closed its end properly. */
int xp_vchan_peer_closed(struct xp_vchan *ch);
/* [server] Waits until the client has come. */
int xp_vchan_accept(struct xp_vchan *ch, int64_t timeout_ns);

/*
 * Errors of all that follows: -XEN_EAGAIN (timeout_ns was 0 and it would have to wait), -XEN_ETIMEDOUT, -XEN_ENOTCONN,
 * -XEN_EILSEQ, -XEN_EIO, -XP_EINTR (mode with XP_WAIT_SIGNALS; call again). Bytes ready to be read or room to write, as known without waiting (>= 0).
 */
int64_t xp_vchan_ready(struct xp_vchan *ch);
int64_t xp_vchan_room(struct xp_vchan *ch);

/*
 * Byte stream. Moves at least `min` and at most `len` bytes (min <= len); *done counts them, also when it fails. A
 * read of min <= ring size takes nothing until min bytes are there.
 */
int xp_vchan_read(struct xp_vchan *ch, void *buf, uint64_t len, uint64_t min, int64_t timeout_ns, uint64_t *done);
int xp_vchan_write(struct xp_vchan *ch, const void *buf, uint64_t len, uint64_t min, int64_t timeout_ns, uint64_t *done);

/* Waits until the peer has read everything. */
int xp_vchan_drain(struct xp_vchan *ch, int64_t timeout_ns);

/*
 * Without copying: waits for a byte (or for `want`, at most the ring) and gives the span that lies in one piece; its
 * length is the result. Then commit or consume up to that much: -XEN_EINVAL if it is more.
 */
int64_t xp_vchan_reserve(struct xp_vchan *ch, uint32_t want, uint8_t **span, int64_t timeout_ns);
int xp_vchan_commit(struct xp_vchan *ch, uint32_t len);
int64_t xp_vchan_peek(struct xp_vchan *ch, uint32_t want, uint8_t **span, int64_t timeout_ns);
int xp_vchan_consume(struct xp_vchan *ch, uint32_t len);

/*
 * Around a poll/epoll on event->wait_fd. arm: 1 if something to do is there already (bytes for the read, room for the write
 * that last returned -XEN_EAGAIN, or the end of the channel), 0 if armed. disarm after waking, before the next arm.
 */
int xp_vchan_arm(struct xp_vchan *ch, int which);
void xp_vchan_disarm(struct xp_vchan *ch);

/* ---- messages ---- */

/*
 * Sends one. -XEN_E2BIG: longer than max_message; nothing was done. A message that fits the ring goes whole or not at all. A
 * larger one is streamed: after -XEN_EAGAIN, -XEN_ETIMEDOUT or -XP_EINTR with tx_left != 0 it is in the ring in part, and the
 * caller calls again with the same buf and len, or gives up: xp_vchan_tear. -XEN_EBUSY: another message is under way.
 */
int xp_vchan_send(struct xp_vchan *ch, const void *buf, uint64_t len, int64_t timeout_ns);
void xp_vchan_tear(struct xp_vchan *ch);

/*
 * Sends up to n messages that lie one after the other in data; each must fit the ring (-XEN_E2BIG). How many went, at
 * least 1, or an error.
 */
int64_t xp_vchan_send_many(struct xp_vchan *ch, const void *data, const uint32_t *lens, uint32_t n, int64_t timeout_ns);

/*
 * Receives one: its length. -XEN_E2BIG: it is larger than cap or than the ring; ch->rx_total says how long it is, and
 * xp_vchan_recv_rest reads it. A length over max_message closes the channel (-XEN_EILSEQ).
 */
int64_t xp_vchan_recv(struct xp_vchan *ch, void *buf, uint64_t cap, int64_t timeout_ns);

/* Reads the message announced by -XEN_E2BIG into buf of rx_total bytes; after a time limit call it again with the same buf. */
int xp_vchan_recv_rest(struct xp_vchan *ch, void *buf, int64_t timeout_ns);

/*
 * Waits for a message and finds all complete ones that lie in one piece, up to max and a quarter of the ring: span and
 * *total describe the piece (header, payload, header, ...), lens the payloads. Their number; 0: the first one lies across
 * the end of the ring, receive it alone. Then xp_vchan_consume(*total). The peer can still write there: payloads are to be
 * copied before they are looked at. -XEN_E2BIG as xp_vchan_recv.
 */
int64_t xp_vchan_peek_many(struct xp_vchan *ch, uint8_t **span, uint32_t *total, uint32_t *lens, uint32_t max, int64_t timeout_ns);

#endif
