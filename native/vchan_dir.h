/*
 * vchan_dir.h: what the parts of vchan share among themselves: level, copy, moving an index, waiting.
 *
 * Private to vchan.c, vchan_wait.c and vchan_msg.c. Atomics on the shared page are sequentially consistent, not fenced, so
 * that ThreadSanitizer follows them; on x86 that is an xchg for a store and a plain mov for a load.
 */
#ifndef XP_VCHAN_DIR_H
#define XP_VCHAN_DIR_H

#include "vchan.h"
#include <string.h>

/* A time limit; the clock is read when something first has to wait. */
struct xp_vchan_timer {
    int64_t timeout_ns;
    int64_t deadline;           /* xp_deadline of it; 0: not set yet */
};

/* Streams are copied in pieces, so that the peer works on one while we copy the next. */
#define XP_VCHAN_PIECE_MAX 65536u

static inline uint32_t xp_vchan_piece(const struct xp_vchan_dir *d)
{
    uint32_t eighth = d->size >> 3;
    return eighth < XP_VCHAN_PIECE_MAX ? eighth : XP_VCHAN_PIECE_MAX;
}

/* Bytes to read, or room to write, as last seen. */
static inline uint32_t xp_vchan_level(const struct xp_vchan_dir *d)
{
    return d->slack + d->theirs - d->mine;
}

static inline int xp_vchan_state_error(struct xp_vchan *ch)
{
    switch (atomic_load_explicit(&ch->state, memory_order_relaxed)) {
    case XP_VCHAN_OPEN: return 0;
    case XP_VCHAN_BROKEN: return -XEN_EILSEQ;
    case XP_VCHAN_TORN: return -XEN_EIO;
    default: return -XEN_ENOTCONN;
    }
}

/* Ends the channel with `state` (first reason wins) and tells the peer; returns the error for it. */
int xp_vchan_end(struct xp_vchan *ch, uint32_t state);

/* Sends the peer an event, asked or not. */
void xp_vchan_event(struct xp_vchan *ch);

/*
 * Copies the peer's index, once, and checks the copy: the level may grow to the ring's size, never shrink.
 * 0 or -XEN_EILSEQ. Pairs with xp_vchan_advance of the other end.
 */
static inline int xp_vchan_refresh(struct xp_vchan *ch, struct xp_vchan_dir *d)
{
    uint32_t theirs = atomic_load(d->theirs_word);
    if (theirs - d->theirs > d->size - xp_vchan_level(d)) return xp_vchan_end(ch, XP_VCHAN_BROKEN);
    d->theirs = theirs;
    return 0;
}

/* Whether the peer has closed, or the hypervisor has closed the event for it. */
static inline bool xp_vchan_gone(struct xp_vchan *ch)
{
    return atomic_load(ch->peer_live) == 0 || atomic_load(&ch->event->mine->closed) != 0;
}

/* Clears the peer's wish to be told and sends the event. The load pairs with the fetch_or in xp_vchan_await and xp_vchan_arm. */
static inline void xp_vchan_tell(struct xp_vchan *ch, uint8_t bit)
{
    if ((atomic_load(ch->tell_byte) & bit) == 0) return;
    if ((atomic_fetch_and(ch->tell_byte, (uint8_t)~bit) & bit) == 0) return;
    XP_FAULT_POINT("vchan.tell.taken");
    xp_vchan_event(ch);
}

/* Moves our index past n bytes that were copied, and tells the peer if it asked. Pairs with xp_vchan_refresh. */
static inline void xp_vchan_advance(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t n)
{
    d->mine += n;
    d->bytes += n;
    d->span = 0;
    d->want = 1;
    if (d == &ch->wr) XP_FAULT_POINT("vchan.write.copied"); else XP_FAULT_POINT("vchan.read.copied");
    atomic_store(d->mine_word, d->mine);
    if (d == &ch->wr) XP_FAULT_POINT("vchan.write.published"); else XP_FAULT_POINT("vchan.read.published");
    xp_vchan_tell(ch, d->tell);
}

/* The address of the byte at a free-running index, and how many follow it in one piece. */
uint8_t *xp_vchan_at(const struct xp_vchan_dir *d, uint32_t index, uint32_t *contiguous);

/* Between the ring at mine + offset and private memory; n must be within the level. */
void xp_vchan_copy_in(const struct xp_vchan_dir *d, uint32_t offset, const void *src, uint32_t n);
void xp_vchan_copy_out(const struct xp_vchan_dir *d, uint32_t offset, void *dst, uint32_t n);

/* Waits until the level is at least want (at most the ring's size): 0 or an error of vchan.h. */
int xp_vchan_await(struct xp_vchan *ch, struct xp_vchan_dir *d, uint32_t want, struct xp_vchan_timer *timer);

/* One wait for an event on this end, after `turn` was read from ch->turn and the condition checked again. */
int xp_vchan_wait_event(struct xp_vchan *ch, uint32_t turn, struct xp_vchan_timer *timer);

/* When the time is up, on CLOCK_MONOTONIC. */
int64_t xp_vchan_deadline(struct xp_vchan_timer *timer);

/* What the caller may still wait if he calls again: at least 1 ns if there was a limit. */
int64_t xp_vchan_left(const struct xp_vchan_timer *timer);

/* Wakes every waiter of this end, as an event would. */
void xp_vchan_wake_self(struct xp_vchan *ch);

#endif
