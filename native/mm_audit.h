/*
 * mm_audit.h: all references to all frames counted anew, from everything that can hold one, and compared with the frame table.
 *
 * For tests and for `Hypervisor.audit()`; called with the hypervisor's lock held. Changes nothing.
 *   1. A frame's references are: its owner's own, a pin, entries of validated tables, base pointers, descriptor frames,
 *      handles on grants, ends of direct events, shadows (shadow.h). Its types are those of tables, pins, base pointers, descriptors, entries that may
 *      write, and handles for writing. Nobody else keeps one from one step of a call to the next.
 *   2. What is counted must be what the record says, exactly. A third kind of holder counts itself here, or it is found out.
 *
 * Tour M:260
 */
#ifndef XP_MM_AUDIT_H
#define XP_MM_AUDIT_H

#include "xp.h"

struct xp_domain;
struct xp_hv;

/* What refers to a frame. */
struct xp_mm_counts { uint32_t refs, types; };

/*
 * Number of frames whose counts are not what refers to them, and of entries that reach a frame of another domain without a
 * grant. 0, too, where it cannot tell: a table is half done, or there is no memory to count in.
 */
uint64_t xp_mm_audit(struct xp_hv *hv);

/* May no entry of d's name this frame: another's, and no handle maps it so? Of a domain that ends the handles go first. */
bool xp_mm_is_foreign(struct xp_domain *d, uint64_t mfn, bool writes);

/* What a domain's ends of direct events hold, by mfn (evtchn_direct.c). */
void xp_direct_count(struct xp_domain *d, struct xp_mm_counts *counts);

#endif
