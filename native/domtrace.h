/*
 * domtrace.h: the hypervisor's side of what domains record of themselves (gtrace.h): gives each a ring of records, copies what is new.
 *
 *   1. The memory is shared by one domain and the hypervisor only. Whoever scribbles on it lies about nobody but himself: what
 *      is copied gets the domain's own number, a moment within the recording, and is of a domain's types.
 *   2. The ring stays in the window until the domain's end (a page cannot be taken from a process that does not let it go): 68 KiB.
 *
 * Tour H:270
 */
#ifndef XP_DOMTRACE_H
#define XP_DOMTRACE_H

#include "domain.h"

/* Begins or ends recording in a running domain; classes 0: ends. Where there are no frames to be had it goes unrecorded. */
void xp_domain_trace(struct xp_domain *d, uint32_t classes);

/* At the domain's end, its process dead. */
void xp_domain_trace_free(struct xp_domain *d);

/* In every domain; the lock is let go of in between. */
void xp_hv_trace_domains(struct xp_hv *hv, uint32_t classes);

/*
 * Copies what is new in every domain into the recording's memory; takes the lock, a domain at a time. Returns how many
 * were lost since the last time.
 */
uint64_t xp_hv_trace_gather(struct xp_hv *hv);

#endif
