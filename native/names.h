/*
 * names.h: domains by name: a name's domid is found in a few steps, however many domains there are.
 *
 * Owned by hv.c and domain.c, which own the names; the hypervisor's lock is held. A dead domain keeps its name until it is gone, another may
 * have the same by then: who looks a name up goes through all that share its bucket, and judges.
 */
#ifndef XP_NAMES_H
#define XP_NAMES_H

#include "xp.h"

#define XP_NAME_BUCKETS 1024u
#define XP_NAMES_MAX 4096u       /* XP_MAX_DOMAINS */
#define XP_NAME_END UINT16_MAX

struct xp_names {
    uint16_t first[XP_NAME_BUCKETS], next[XP_NAMES_MAX];     /* domids; XP_NAME_END ends each */
};

void xp_names_init(struct xp_names *n);

/* name: NUL-terminated, or 64 bytes of it. Once a domid; remove with the same name. */
void xp_names_add(struct xp_names *n, xp_domid_t domid, const char *name);
void xp_names_remove(struct xp_names *n, xp_domid_t domid, const char *name);

/* The first domid of those whose names may be this one; then n->next[domid], until XP_NAME_END. */
uint16_t xp_names_first(const struct xp_names *n, const char *name);

#endif
