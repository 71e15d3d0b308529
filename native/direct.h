/*
 * direct.h: events straight between two domains, through one page that only they map.
 *
 * The hypervisor makes the page when a port is bound (hv side: evtchn.c) and then stands aside: a send is an atomic
 * store and at most one wake. Each end owns one half, on which it waits and the other end posts.
 *   1. Whatever the peer writes here hurts only this channel: waits have deadlines, spurious wakes a budget.
 *   2. `closed` set by the hypervisor (peer dead or port closed) ends every wait with -XEN_ENOTCONN.
 *   3. Sender: store pending, fence, read `sleep`. Receiver: store `sleep`, fence, read pending. One of them sees the other.
 *
 * Tour E:070
 */
#ifndef XP_DIRECT_H
#define XP_DIRECT_H

#include "gtrace.h"
#include "sem.h"

enum { XP_AWAKE = 0, XP_SLEEP_SEM = 1, XP_SLEEP_FD = 2 };

/* One cache line (64 bytes): what one end waits on. */
struct xp_event_half {
    _Atomic uint32_t pending;   /* [peer, HV] 1: there is an event; [owner] clears it */
    _Atomic uint32_t sleep;     /* [owner] XP_AWAKE, XP_SLEEP_SEM or XP_SLEEP_FD: how it wants waking */
    struct xp_sem sem;          /* [peer, HV] posts, [owner] waits */
    _Atomic uint32_t closed;    /* [HV] the channel is gone */
    _Atomic uint32_t cpu;       /* [owner] the CPU it last spun long on, plus 1 (0: unknown): a hint, so that nobody spins against himself */
    uint8_t pad[40];
};

struct xp_event_page {
    struct xp_event_half half[2];
};

/* An end, in private memory. */
struct xp_direct {
    struct xp_event_half *mine, *theirs;
    struct xp_sem_waiter waiter;
    uint32_t causeless;         /* wakes without an event since the last one with */
    int wait_fd;                /* eventfd that the peer writes while we sleep in poll/epoll, or -1 */
    int wake_fd;                /* the peer's eventfd, or -1: then XP_SLEEP_FD needs the hypervisor (xp_direct_send returns -XEN_EAGAIN) */
    uint64_t sent, woken, slept;/* counters */
    const struct xp_gtracer *tracer; /* gtrace.h, or NULL */
    uint32_t port;              /* what a trace calls it */
};

void xp_direct_init(struct xp_direct *d, void *page, unsigned side, int wait_fd, int wake_fd);

/*
 * Tells the peer. 1: it was woken, 0: it was awake, -XEN_ENOTCONN: closed, -XEN_EAGAIN: it sleeps on a descriptor that
 * this end does not hold (the caller then uses EVTCHNOP_send).
 */
int xp_direct_send(struct xp_direct *d);

/* 1 and clears it if an event was pending, else 0; -XEN_ENOTCONN if closed and nothing is pending. */
int xp_direct_take(struct xp_direct *d);

/*
 * Waits for an event and takes it: 0, -XEN_ETIMEDOUT, -XEN_ENOTCONN, -XEN_EILSEQ (peer spent the spurious budget).
 * mode: enum xp_wait_mode, with XP_WAIT_SIGNALS also -XP_EINTR. One thread waits on an end at a time.
 */
int xp_direct_wait(struct xp_direct *d, int mode, int64_t timeout_ns);

/*
 * Around a poll/epoll on wait_fd: arm returns 1 if an event is pending already (do not sleep), 0 if armed;
 * disarm after waking drains wait_fd and says AWAKE again.
 */
int xp_direct_arm(struct xp_direct *d);
void xp_direct_disarm(struct xp_direct *d);

/* [HV] Marks both halves closed and wakes whoever sleeps on a semaphore. */
void xp_direct_close_page(void *page);

#endif
