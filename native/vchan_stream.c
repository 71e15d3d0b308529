/*
 * vchan_stream.c: the rings of a vchan as byte streams: copied, and in place. See vchan.h for the rules.
 */
#include "vchan_dir.h"

/* ---- copying ---- */

uint8_t *xp_vchan_at(const struct xp_vchan_dir *d, uint32_t index, uint32_t *contiguous)
{
    uint32_t offset = index & (d->size - 1);
    if (d->base != NULL) {
        *contiguous = d->size - offset;
        return d->base + offset;
    }
    uint32_t page = offset >> XP_PAGE_SHIFT, last = page, nr = d->size >> XP_PAGE_SHIFT;
    while (last + 1 < nr && d->pages[last + 1] == d->pages[last] + XP_PAGE_SIZE) last++;
    *contiguous = ((last + 1) << XP_PAGE_SHIFT) - offset;
    return d->pages[page] + (offset & (XP_PAGE_SIZE - 1));
}

void xp_vchan_copy_in(const struct xp_vchan_dir *d, uint32_t offset, const void *src, uint32_t n)
{
    const uint8_t *from = src;
    while (n != 0) {
        uint32_t run;
        uint8_t *to = xp_vchan_at(d, d->mine + offset, &run);
        if (run > n) run = n;
        memcpy(to, from, run);
        from += run;
        offset += run;
        n -= run;
    }
}

void xp_vchan_copy_out(const struct xp_vchan_dir *d, uint32_t offset, void *dst, uint32_t n)
{
    uint8_t *to = dst;
    while (n != 0) {
        uint32_t run;
        const uint8_t *from = xp_vchan_at(d, d->mine + offset, &run);
        if (run > n) run = n;
        memcpy(to, from, run);
        to += run;
        offset += run;
        n -= run;
    }
}

/* ---- the byte stream ---- */

int64_t xp_vchan_ready(struct xp_vchan *ch)
{
    int ret = xp_vchan_state_error(ch);
    if (ret == 0) ret = xp_vchan_refresh(ch, &ch->rd);
    return ret != 0 ? ret : (int64_t)xp_vchan_level(&ch->rd);
}

int64_t xp_vchan_room(struct xp_vchan *ch)
{
    int ret = xp_vchan_state_error(ch);
    if (ret == 0) ret = xp_vchan_refresh(ch, &ch->wr);
    return ret != 0 ? ret : (int64_t)xp_vchan_level(&ch->wr);
}

static uint32_t least(uint64_t a, uint32_t b, uint32_t c)
{
    uint32_t smaller = b < c ? b : c;
    return a < smaller ? (uint32_t)a : smaller;
}

int xp_vchan_read(struct xp_vchan *ch, void *buf, uint64_t len, uint64_t min, int64_t timeout_ns, uint64_t *done)
{
    struct xp_vchan_dir *d = &ch->rd;
    struct xp_vchan_timer timer = {timeout_ns, 0};
    uint32_t piece = xp_vchan_piece(d);
    *done = 0;
    while (*done < len) {
        int ret = xp_vchan_state_error(ch);
        if (ret != 0) return ret;
        if (xp_vchan_level(d) < least(len - *done, piece, d->size) && (ret = xp_vchan_refresh(ch, d)) != 0) return ret;
        if (*done >= min && xp_vchan_level(d) == 0) break;
        if (*done < min) {
            /* Nothing is taken before min bytes are there, where they fit the ring. */
            uint32_t want = min > d->size ? 1 : (uint32_t)(min - *done);
            if ((ret = xp_vchan_await(ch, d, want, &timer)) != 0) return ret;
        }
        uint32_t n = least(len - *done, xp_vchan_level(d), piece);
        xp_vchan_copy_out(d, 0, (uint8_t *)buf + *done, n);
        xp_vchan_advance(ch, d, n);
        *done += n;
    }
    return 0;
}

int xp_vchan_write(struct xp_vchan *ch, const void *buf, uint64_t len, uint64_t min, int64_t timeout_ns, uint64_t *done)
{
    struct xp_vchan_dir *d = &ch->wr;
    struct xp_vchan_timer timer = {timeout_ns, 0};
    uint32_t piece = xp_vchan_piece(d);
    *done = 0;
    while (*done < len) {
        int ret = xp_vchan_state_error(ch);
        if (ret != 0) return ret;
        if (xp_vchan_gone(ch)) return -XEN_ENOTCONN;
        if (xp_vchan_level(d) < least(len - *done, piece, d->size) && (ret = xp_vchan_refresh(ch, d)) != 0) return ret;
        if (xp_vchan_level(d) == 0) {
            if (*done >= min) return 0;
            if ((ret = xp_vchan_await(ch, d, 1, &timer)) != 0) return ret;
        }
        uint32_t n = least(len - *done, xp_vchan_level(d), piece);
        xp_vchan_copy_in(d, 0, (const uint8_t *)buf + *done, n);
        xp_vchan_advance(ch, d, n);
        *done += n;
    }
    return 0;
}

int xp_vchan_drain(struct xp_vchan *ch, int64_t timeout_ns)
{
    struct xp_vchan_timer timer = {timeout_ns, 0};
    int ret = xp_vchan_state_error(ch);
    return ret != 0 ? ret : xp_vchan_await(ch, &ch->wr, ch->wr.size, &timer);
}

/* ---- without copying ---- */

static int64_t span(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t want, uint8_t **out, int64_t timeout_ns)
{
    struct xp_vchan_timer timer = {timeout_ns, 0};
    int ret = xp_vchan_state_error(ch);
    if (want > d->size) ret = -XEN_EINVAL;
    if (ret == 0) ret = xp_vchan_refresh(ch, d);
    if (ret == 0) ret = xp_vchan_await(ch, d, want != 0 ? want : 1, &timer);
    if (ret != 0) return ret;
    uint32_t run, level = xp_vchan_level(d);
    *out = xp_vchan_at(d, d->mine, &run);
    d->span = run < level ? run : level;
    return d->span;
}

static int pass(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t len)
{
    int ret = xp_vchan_state_error(ch);
    if (ret != 0) return ret;
    if (len > d->span) return -XEN_EINVAL;
    if (len != 0) xp_vchan_advance(ch, d, len);
    return 0;
}

int64_t xp_vchan_reserve(struct xp_vchan *ch, uint32_t want, uint8_t **out, int64_t timeout_ns)
{
    if (xp_vchan_state_error(ch) == 0 && xp_vchan_gone(ch)) return -XEN_ENOTCONN;
    return span(ch, &ch->wr, want, out, timeout_ns);
}

int xp_vchan_commit(struct xp_vchan *ch, uint32_t len)
{
    return pass(ch, &ch->wr, len);
}

int64_t xp_vchan_peek(struct xp_vchan *ch, uint32_t want, uint8_t **out, int64_t timeout_ns)
{
    return span(ch, &ch->rd, want, out, timeout_ns);
}

int xp_vchan_consume(struct xp_vchan *ch, uint32_t len)
{
    return pass(ch, &ch->rd, len);
}
