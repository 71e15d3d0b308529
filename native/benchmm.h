/*
 * benchmm.h: page tables' validation measured without anything around it: calls made straight on a core whose domain has no
 * process, and the plain loop over frame records that they are compared with.
 *
 * Used by `xenproc bench mmu` alone, in a process that owns the whole machine: no dispatcher runs, nobody else calls.
 *   1. The domain's window is a real one, of this very process, so that protection costs what it costs.
 *   2. What a loop counted it takes off again, outside the time that it reports.
 *
 * Tour T:100
 */
#ifndef XP_BENCHMM_H
#define XP_BENCHMM_H

#include "xp.h"

struct xp_hv;

/* Gives the domain a window over memory_fd, enforced or only mapped, with all its frames in it. -XEN_EOPNOTSUPP, -errno. */
int xp_bench_mm_attach(struct xp_hv *hv, xp_domid_t domid, int memory_fd, bool enforced, uint64_t *base);

/* Takes it away again, as the end of a process would: before the domain is taken down. */
void xp_bench_mm_detach(struct xp_hv *hv, xp_domid_t domid);

/* Its frames, in the order of its list, up to max; returns how many. */
uint64_t xp_bench_mm_frames(struct xp_hv *hv, xp_domid_t domid, uint64_t *mfns, uint64_t max);

/* One hypercall to its end, step by step: ticks of all steps in took[0], of the longest in took[1]. Returns its result. */
int64_t xp_bench_mm_call(struct xp_hv *hv, xp_domid_t domid, uint32_t nr, const uint64_t args[6], uint64_t took[2]);

/* The limit of validation: each frame's record loaded and counted up. Returns the ticks. */
uint64_t xp_bench_mm_touch(struct xp_hv *hv, const uint64_t *mfns, uint64_t nr);

/* Frames taken out of the window of the domain (this process's own), then given one by one, or `run` at a time; or protected
 * one by one (and released again). ticks[nr / run] each. 0 or -errno. */
int xp_bench_mm_give(struct xp_hv *hv, xp_domid_t domid, uint64_t first, uint64_t nr, uint64_t run, uint64_t *ticks);
int xp_bench_mm_protect(struct xp_hv *hv, xp_domid_t domid, uint64_t first, uint64_t nr, uint64_t *ticks);

#endif
