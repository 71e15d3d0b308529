/*
 * ring.h: Xen's shared I/O ring, both ends, over one to sixteen pages.
 *
 * Owns the ring's shared header and slots while an end is open, and the private halves struct xp_front and struct
 * xp_back. The peer can write any of the shared bytes at any time:
 *   1. every index that we act on is private; a shared one is read once a step and refused if impossible;
 *   2. an entry is copied once into private memory, then checked, then used;
 *   3. a refused index or id closes this end for good: -XEN_EILSEQ from then on, and nothing else happens;
 *   4. responses never outnumber the requests that were pushed, requests never overwrite an unanswered one;
 *   5. every wait ends by its time limit.
 * One thread uses an end at a time; a second one gets -XEN_EBUSY, no harm done.
 * Source: Xen's public io/ring.h, as summed up in tests/abi/xen-public.json under "rings".
 *
 * Tour R:070
 */
#ifndef XP_RING_H
#define XP_RING_H

#include "abi_io.h"
#include "direct.h"

#define XP_RING_MAX_PAGES 16u
#define XP_RING_SLOTS_AT 64u

/* Sizes in bytes, with padding as the compiler of the two structs has it. */
struct xp_ring_layout {
    uint32_t req_size, rsp_size;
    uint32_t entry_size;        /* of their union; 0: the larger of the two */
    uint32_t id_size;           /* 1, 2, 4 or 8: the front numbers requests and checks the numbers; 0: it does not */
    uint32_t req_id_at, rsp_id_at;
};

/* How to wait, and whom to tell. */
struct xp_ring_wait {
    struct xp_direct *direct;   /* NULL: nobody is told, and waiting is always polling */
    int64_t timeout_ns;
    int mode;                   /* enum xp_wait_mode, perhaps with XP_WAIT_SIGNALS */
};

/* The first words of the header, as both ends use them. */
struct xp_sring {
    _Atomic uint32_t req_prod;  /* [front] */
    _Atomic uint32_t req_event; /* [back] tell me once req_prod passes this */
    _Atomic uint32_t rsp_prod;  /* [back] */
    _Atomic uint32_t rsp_event; /* [front] */
};

/* What both ends keep in private memory. */
struct xp_ring {
    struct xp_sring *shared;
    uint8_t *linear;            /* the pages, if they lie one after the other, else NULL */
    uint32_t nr_ents, entry_size, req_size, rsp_size;
    _Atomic int32_t closed;     /* 0, or -XEN_Exxx that every call returns from now on */
    _Atomic uint32_t busy;      /* a thread is inside */
    uint32_t idle_wakes;        /* events without progress since the last progress */
    uint32_t nr_pages;
    struct xp_sem_waiter alone; /* spins where there is no direct end */
    uint64_t pushes, notified;  /* counters: pushes, and those that told the peer */
    const struct xp_gtracer *tracer; /* gtrace.h, or NULL */
    uint32_t port;              /* of its event channel: what a trace calls it */
    uint8_t *page[XP_RING_MAX_PAGES];
};

struct xp_front {
    struct xp_ring r;
    uint32_t req_prod_pvt;      /* requests put */
    uint32_t req_pushed;        /* ... and shown to the back */
    uint32_t rsp_cons;          /* responses taken */
    struct xp_ring_layout layout;
    uint32_t nr_ids, nr_free;
    uint32_t *free_ids;         /* a stack */
    uint32_t *id_at;            /* the request that carries an id: its index */
    uint8_t *id_used;
    /* An exchange under way. */
    uint8_t *rsps;
    uint32_t wanted, got;
    /* What xp_front_call uses. */
    void *req_buf, *rsp_buf;
    struct xp_ring_wait wait;
};

struct xp_back {
    struct xp_ring r;
    uint32_t req_cons;          /* requests taken */
    uint32_t rsp_prod_pvt;      /* responses put */
    uint32_t rsp_pushed;        /* ... and shown to the front */
    uint32_t id_size, req_id_at, rsp_id_at;
    /* What xp_back_call uses. */
    void *req_buf, *rsp_buf;
    uint32_t max_reqs;
    uint32_t taken;             /* requests of the last xp_back_call, 0 once responses were put */
    struct xp_ring_wait wait;
};

/* Slots for a layout in so many pages: the largest power of two that fits, 0 if none does or the layout is nonsense. */
uint32_t xp_ring_entries(const struct xp_ring_layout *l, uint32_t nr_pages);

/*
 * The front makes the ring (header as new, both producers at `start`, which is 0 but in tests) and the back attaches to
 * it at `start`. pages: nr_pages addresses of pages, 1 to 16. -XEN_EINVAL, -XEN_ENOMEM.
 */
int xp_front_init(struct xp_front *f, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages, uint32_t start);
void xp_front_free(struct xp_front *f);
int xp_back_init(struct xp_back *b, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages, uint32_t start);

/* Closes our end: every call returns `error` (negative) from now on; the first close counts. Any thread may. */
void xp_ring_close(struct xp_ring *r, int error);

/* ---- the front, step by step. All return -XEN_EILSEQ once the peer has broken a rule. ---- */

/* Copies as many of n requests into slots as there is room for: how many. Numbers them, in reqs too, if the layout has ids. */
int xp_front_put(struct xp_front *f, void *reqs, uint32_t n);
/* Shows the back what was put. 1: it wants to be told, 0: it does not. */
int xp_front_push(struct xp_front *f);
/* Copies up to max responses out: how many. */
int xp_front_get(struct xp_front *f, void *rsps, uint32_t max);
/* Asks to be told when `holdoff` (at least 1) more responses are there; returns how many are there already. */
int xp_front_final_check(struct xp_front *f, uint32_t holdoff);

/* ---- the back ---- */

int xp_back_get(struct xp_back *b, void *reqs, uint32_t max);
/* All n or none: -XEN_EINVAL if fewer requests are unanswered. */
int xp_back_put(struct xp_back *b, const void *rsps, uint32_t n);
int xp_back_push(struct xp_back *b);
int xp_back_final_check(struct xp_back *b, uint32_t holdoff);

/* ---- a whole turn in one call (ringwait.c) ---- */

/*
 * Puts n requests, pushes, tells the back if it wants, and waits for n responses: n. -XEN_EINVAL: n is 0 or more than
 * the ring has; -XEN_EBUSY: responses of before are still owed; -XEN_ETIMEDOUT, -XP_EINTR, -XEN_ENOTCONN, -XEN_EILSEQ;
 * -XEN_EAGAIN: pushed, but the back must be told through the hypervisor (xp_direct_send). After -XEN_ETIMEDOUT,
 * -XP_EINTR and -XEN_EAGAIN xp_front_resume goes on waiting for the same responses.
 */
int xp_front_exchange(struct xp_front *f, void *reqs, uint32_t n, void *rsps, const struct xp_ring_wait *wait);
int xp_front_resume(struct xp_front *f, const struct xp_ring_wait *wait);
/* Waits for at least one response and takes up to max. */
int xp_front_wait(struct xp_front *f, void *rsps, uint32_t max, const struct xp_ring_wait *wait);
/* Pushes and tells the back. 0, -XEN_EAGAIN as above. */
int xp_front_send(struct xp_front *f, const struct xp_ring_wait *wait);

/*
 * Puts n responses (0 is allowed), pushes, tells the front if it wants, and waits for requests: takes up to max, returns
 * how many. Errors as above; after -XEN_ETIMEDOUT, -XP_EINTR and -XEN_EAGAIN go on with n = 0.
 */
int xp_back_reply_and_wait(struct xp_back *b, const void *rsps, uint32_t n, void *reqs, uint32_t max,
                           const struct xp_ring_wait *wait);
int xp_back_send(struct xp_back *b, const struct xp_ring_wait *wait);

/*
 * The same with what is kept in the struct: one request out of req_buf, its response into rsp_buf; n responses from rsp_buf,
 * then each request taken leaves its number in the response of the same place, for a back that answers in order.
 */
int xp_front_call(struct xp_front *f);
int xp_back_call(struct xp_back *b, uint32_t n);
/* The same, answering all that the call before took, unless that was begun by hand: one argument, the fastest from Python. */
int xp_back_turn(struct xp_back *b);

/* ---- loops for measuring (ringloop.c). The back answers with the request's first bytes, the front checks them. ---- */

/*
 * n times one request and its response. Each `stride` of them (the last ones perhaps fewer) leave their mean in the next of
 * `ticks`, in ticks of the time stamp counter; NULL: nothing is recorded. Where a turn is short its two time stamps count.
 */
int xp_front_pingpong(struct xp_front *f, const struct xp_ring_wait *wait, uint32_t n, uint32_t stride, uint64_t *ticks);
/* n requests, pushed in batches, up to `flight` under way at a time. */
int xp_front_pump(struct xp_front *f, const struct xp_ring_wait *wait, uint64_t n, uint32_t batch, uint32_t flight);
/* Answers n requests, up to `batch` at a time. */
int xp_back_serve(struct xp_back *b, const struct xp_ring_wait *wait, uint64_t n, uint32_t batch);

#endif
