/*
 * board.h: where two domains find each other before a store exists: one domain publishes a small value under a key for
 * one reader, the reader looks it up and may wait for it. Names resolve to domids the same way.
 *
 * Our own (XP_OP_publish, XP_OP_lookup, XP_OP_resolve); nothing that a guest puts here means anything to the hypervisor.
 *   1. An entry is readable by the reader it names only, and goes with its publisher.
 *   2. A domain has at most limits.max_board entries.
 *
 * Tour G:070
 */
#ifndef XP_BOARD_H
#define XP_BOARD_H

#include "domain.h"

int64_t xp_board_publish(struct xp_domain *d, uint64_t va);
int64_t xp_board_lookup(struct xp_domain *d, struct xp_call *call, uint64_t va);
int64_t xp_board_resolve(struct xp_domain *d, struct xp_call *call, uint64_t va);

/* Domain0 publishes for one reader. */
int xp_domain0_publish(struct xp_hv *hv, xp_domid_t reader, const char *key, const uint8_t *value, uint32_t len);

/* A domain became known or went: lookups and resolutions that waited for it are answered. */
void xp_board_changed(struct xp_hv *hv);

void xp_board_destroy(struct xp_domain *d);

#endif
