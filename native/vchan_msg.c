/*
 * vchan_msg.c: messages on a vchan: four bytes of length, little-endian, then the payload.
 *
 *   1. A message that fits the ring is written whole or not at all, and taken whole or not at all; a time limit loses nothing.
 *   2. A larger one is streamed: tx_left and rx_left say what is still to come. Sent in part and given up, the channel is torn.
 *   3. A length is copied out of the ring once, and the copy is checked before anything depends on it.
 */
#include "vchan_dir.h"
#include <endian.h>

static bool fits(const struct xp_vchan_dir *d, uint64_t len)
{
    return len <= d->size - XP_VCHAN_HEADER;
}

static void put_header(const struct xp_vchan_dir *d, uint32_t offset, uint32_t len)
{
    uint32_t wire = htole32(len);
    xp_vchan_copy_in(d, offset, &wire, sizeof(wire));
}

static uint32_t get_header(const struct xp_vchan_dir *d, uint32_t offset)
{
    uint32_t wire;
    xp_vchan_copy_out(d, offset, &wire, sizeof(wire));
    return le32toh(wire);
}

static int may_write(struct xp_vchan *ch)
{
    int ret = xp_vchan_state_error(ch);
    return ret == 0 && xp_vchan_gone(ch) ? -XEN_ENOTCONN : ret;
}

/* ---- sending ---- */

static int send_whole(struct xp_vchan *ch, const void *buf, uint32_t len, struct xp_vchan_timer *timer)
{
    struct xp_vchan_dir *d = &ch->wr;
    int ret = xp_vchan_await(ch, d, XP_VCHAN_HEADER + len, timer);
    if (ret != 0) return ret;
    put_header(d, 0, len);
    xp_vchan_copy_in(d, XP_VCHAN_HEADER, buf, len);
    xp_vchan_advance(ch, d, XP_VCHAN_HEADER + len);
    return 0;
}

/* Goes on with a message whose header is in the ring. */
static int send_rest(struct xp_vchan *ch, const uint8_t *buf, struct xp_vchan_timer *timer)
{
    struct xp_vchan_dir *d = &ch->wr;
    uint32_t piece = xp_vchan_piece(d);
    while (ch->tx_left != 0) {
        int ret = may_write(ch);
        if (ret == 0 && xp_vchan_level(d) < piece) ret = xp_vchan_refresh(ch, d);
        if (ret == 0 && xp_vchan_level(d) == 0) ret = xp_vchan_await(ch, d, 1, timer);
        if (ret != 0) return ret;
        uint32_t n = xp_vchan_level(d);
        if (n > piece) n = piece;
        if (n > ch->tx_left) n = ch->tx_left;
        xp_vchan_copy_in(d, 0, buf + (ch->tx_total - ch->tx_left), n);
        ch->tx_left -= n;
        xp_vchan_advance(ch, d, n);
    }
    return 0;
}

int xp_vchan_send(struct xp_vchan *ch, const void *buf, uint64_t len, int64_t timeout_ns)
{
    struct xp_vchan_timer timer = {timeout_ns, 0};
    if (len > ch->max_message) return -XEN_E2BIG;
    int ret = may_write(ch);
    if (ret != 0) return ret;
    if (ch->tx_left != 0 && (len != ch->tx_total || buf != ch->tx_buf)) return -XEN_EBUSY;
    if (fits(&ch->wr, len)) return send_whole(ch, buf, (uint32_t)len, &timer);
    if (ch->tx_left == 0) {
        ret = xp_vchan_await(ch, &ch->wr, XP_VCHAN_HEADER, &timer);
        if (ret != 0) return ret;
        put_header(&ch->wr, 0, (uint32_t)len);
        ch->tx_total = ch->tx_left = (uint32_t)len;
        ch->tx_buf = buf;
        xp_vchan_advance(ch, &ch->wr, XP_VCHAN_HEADER);
    }
    return send_rest(ch, buf, &timer);
}

void xp_vchan_tear(struct xp_vchan *ch)
{
    (void)xp_vchan_end(ch, XP_VCHAN_TORN);
}

int64_t xp_vchan_send_many(struct xp_vchan *ch, const void *data, const uint32_t *lens, uint32_t n, int64_t timeout_ns)
{
    struct xp_vchan_dir *d = &ch->wr;
    struct xp_vchan_timer timer = {timeout_ns, 0};
    const uint8_t *from = data;
    uint32_t filled = 0, piece = xp_vchan_piece(d), sent = 0;
    int ret = may_write(ch);
    if (ret == 0 && ch->tx_left != 0) return -XEN_EBUSY;
    while (ret == 0 && sent < n) {
        uint32_t len = lens[sent];
        if (len > ch->max_message || !fits(d, len)) {
            ret = -XEN_E2BIG;
            break;
        }
        /* `filled` bytes are copied but not published: level counts them as room still. */
        if (xp_vchan_level(d) - filled < XP_VCHAN_HEADER + len) {
            if (filled != 0) xp_vchan_advance(ch, d, filled);
            filled = 0;
            ret = may_write(ch);
            if (ret == 0) ret = xp_vchan_await(ch, d, XP_VCHAN_HEADER + len, &timer);
            if (ret != 0) break;
        }
        put_header(d, filled, len);
        xp_vchan_copy_in(d, filled + XP_VCHAN_HEADER, from, len);
        filled += XP_VCHAN_HEADER + len;
        from += len;
        sent++;
        if (filled >= piece) {
            xp_vchan_advance(ch, d, filled);
            filled = 0;
        }
    }
    if (filled != 0) xp_vchan_advance(ch, d, filled);
    return sent != 0 ? (int64_t)sent : ret;
}

/* ---- receiving ---- */

/* Waits for the header, and for all of the message if it fits the ring; its length. Takes nothing. */
static int64_t await_message(struct xp_vchan *ch, struct xp_vchan_timer *timer)
{
    struct xp_vchan_dir *d = &ch->rd;
    int ret = xp_vchan_state_error(ch);
    if (ret == 0) ret = xp_vchan_await(ch, d, XP_VCHAN_HEADER, timer);
    if (ret != 0) return ret;
    uint32_t len = get_header(d, 0);
    if (len > ch->max_message) return xp_vchan_end(ch, XP_VCHAN_BROKEN);
    if (fits(d, len)) ret = xp_vchan_await(ch, d, XP_VCHAN_HEADER + len, timer);
    return ret != 0 ? ret : (int64_t)len;
}

/* Takes the header alone: the payload follows by xp_vchan_recv_rest. */
static int64_t announce(struct xp_vchan *ch, uint32_t len, const struct xp_vchan_timer *timer)
{
    ch->rd.left_ns = xp_vchan_left(timer);
    ch->rx_total = ch->rx_left = len;
    xp_vchan_advance(ch, &ch->rd, XP_VCHAN_HEADER);
    return -XEN_E2BIG;
}

/* One is under way already. */
static int64_t resume(struct xp_vchan *ch, const struct xp_vchan_timer *timer)
{
    ch->rd.left_ns = xp_vchan_left(timer);
    return -XEN_E2BIG;
}

int64_t xp_vchan_recv(struct xp_vchan *ch, void *buf, uint64_t cap, int64_t timeout_ns)
{
    struct xp_vchan_timer timer = {timeout_ns, 0};
    if (ch->rx_left != 0) return resume(ch, &timer);
    int64_t len = await_message(ch, &timer);
    if (len < 0) return len;
    if ((uint64_t)len > cap || !fits(&ch->rd, (uint64_t)len)) return announce(ch, (uint32_t)len, &timer);
    xp_vchan_copy_out(&ch->rd, XP_VCHAN_HEADER, buf, (uint32_t)len);
    xp_vchan_advance(ch, &ch->rd, XP_VCHAN_HEADER + (uint32_t)len);
    return len;
}

int xp_vchan_recv_rest(struct xp_vchan *ch, void *buf, int64_t timeout_ns)
{
    struct xp_vchan_dir *d = &ch->rd;
    struct xp_vchan_timer timer = {timeout_ns, 0};
    uint32_t piece = xp_vchan_piece(d);
    while (ch->rx_left != 0) {
        int ret = xp_vchan_state_error(ch);
        if (ret == 0 && xp_vchan_level(d) < piece) ret = xp_vchan_refresh(ch, d);
        if (ret == 0 && xp_vchan_level(d) == 0) ret = xp_vchan_await(ch, d, 1, &timer);
        if (ret != 0) return ret;
        uint32_t n = xp_vchan_level(d);
        if (n > piece) n = piece;
        if (n > ch->rx_left) n = ch->rx_left;
        xp_vchan_copy_out(d, 0, (uint8_t *)buf + (ch->rx_total - ch->rx_left), n);
        ch->rx_left -= n;
        xp_vchan_advance(ch, d, n);
    }
    return 0;
}

int64_t xp_vchan_peek_many(struct xp_vchan *ch, uint8_t **span, uint32_t *total, uint32_t *lens, uint32_t max, int64_t timeout_ns)
{
    struct xp_vchan_dir *d = &ch->rd;
    struct xp_vchan_timer timer = {timeout_ns, 0};
    if (max == 0) return -XEN_EINVAL;
    if (ch->rx_left != 0) return resume(ch, &timer);
    int64_t first = await_message(ch, &timer);
    if (first < 0) return first;
    if (!fits(d, (uint64_t)first)) return announce(ch, (uint32_t)first, &timer);
    int ret = xp_vchan_refresh(ch, d);
    if (ret != 0) return ret;
    uint32_t run, there = xp_vchan_level(d), offset = 0, nr = 0;
    *span = xp_vchan_at(d, d->mine, &run);
    if (run > there) run = there;
    while (nr < max && run - offset >= XP_VCHAN_HEADER) {
        uint32_t len = nr == 0 ? (uint32_t)first : get_header(d, offset);
        /* Across the end of the piece, not complete yet, or for the next call to judge. */
        if (len > run - offset - XP_VCHAN_HEADER || len > ch->max_message) break;
        /* The rest of the ring is for the writer to go on in meanwhile. */
        if (nr != 0 && offset + XP_VCHAN_HEADER + len > d->size / 4) break;
        offset += XP_VCHAN_HEADER + len;
        lens[nr++] = len;
    }
    *total = d->span = offset;
    return nr;
}
