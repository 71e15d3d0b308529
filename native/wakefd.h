/*
 * wakefd.h: eventfds that the hypervisor wakes a domain by, and signalling one without ever waiting.
 *
 * A domain holds the same open file: it can fill the counter and clear O_NONBLOCK (FIONBIO, which no filter can judge), and then
 * a write() of ours waits for ever. So we never write: a read of no bytes, which is refused at once, is submitted to the kernel
 * (Linux AIO), and its completion signals the eventfd from inside, which saturates and does not block. Owned by the
 * hypervisor, called with its lock held.
 *   1. Nothing here waits, whatever the domain did to the descriptor.
 *   2. Made at the first descriptor that is asked for: a hypervisor without any costs nothing.
 */
#ifndef XP_WAKEFD_H
#define XP_WAKEFD_H

#include "xp.h"

/* Zeroed is a valid start. */
struct xp_waker {
    uint64_t context;            /* aio_context_t, 0: none yet */
};

/* A new eventfd of 0, or -errno (-EMFILE: none left; -EOPNOTSUPP: the kernel has no AIO, so nothing could signal it). */
int xp_waker_fd(struct xp_waker *w);

/* Adds one to an eventfd of xp_waker_fd. */
void xp_waker_signal(struct xp_waker *w, int fd);

void xp_waker_close(struct xp_waker *w);

#endif
