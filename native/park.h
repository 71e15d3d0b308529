/*
 * park.h: calls that wait in the hypervisor: SCHEDOP_block, SCHEDOP_poll, a look at the board, a name, a shutdown.
 *
 * A parked call keeps its slot; its deadline, if it has one, is in the queue of timers, so that waiting costs nothing.
 *   1. A slot is parked at most once; completing or cancelling it cancels its timer.
 *   2. What a guest asked to wait for was copied when it was parked.
 *
 * Tour H:060
 */
#ifndef XP_PARK_H
#define XP_PARK_H

#include "domain.h"

enum xp_park_kind {
    XP_PARK_NONE = 0, XP_PARK_BLOCK, XP_PARK_POLL, XP_PARK_LOOKUP, XP_PARK_RESOLVE, XP_PARK_SHUTDOWN,
};

struct xp_park {
    struct xp_domain *d;
    struct xp_timer timer;       /* set if there is a deadline */
    uint64_t va;                 /* of the board struct, for LOOKUP and RESOLVE */
    uint32_t *ports;             /* POLL */
    uint32_t nr_ports;
    uint8_t kind;
    uint8_t slot;
};

/* Parks a slot; takes over ports (malloc'd or NULL). -XEN_ENOMEM. */
int xp_park(struct xp_domain *d, uint32_t slot, enum xp_park_kind kind, int64_t deadline, uint64_t va,
            uint32_t *ports, uint32_t nr_ports);

/* Ends the wait of a slot with a result for its caller. */
void xp_unpark(struct xp_domain *d, uint32_t slot, int64_t result);

/* Forgets all of a domain's parked calls, answering none. */
void xp_park_destroy(struct xp_domain *d);

/* Completes what waits for events and has them now. */
void xp_park_events(struct xp_domain *d);

/* Its time is over. */
void xp_park_due(struct xp_park *p);

#endif
