/*
 * window.h: which frames a domain's process can touch: given, write-protected and taken back from outside.
 *
 * The guest's process maps all of machine memory once, linearly, and registers it with userfaultfd; the hypervisor
 * holds that descriptor. A frame not given is SIGBUS. Without a descriptor (uffd -1: cooperative mode, and the unit
 * tests) every operation succeeds and enforces nothing.
 *   1. A frame is given only after its reference is counted, and that reference is dropped only after
 *      xp_window_gone has said 0 or the process is dead (xp_window_dead).
 *   2. What the guest announces is never believed: gone is probed (UFFDIO_POISON refuses a present page; pagemap).
 *
 * Tour M:040
 */
#ifndef XP_WINDOW_H
#define XP_WINDOW_H

#include "xp.h"

struct xp_window {
    int uffd;                    /* of the guest's address space, or -1 */
    uint64_t base;               /* address of machine memory in the guest */
    uint64_t nr;                 /* frames */
    int pagemap_fd;              /* /proc/PID/pagemap of the guest, opened before its lock-down, or -1 */
};

/* [guest side] Maps memory_fd at `want` (or anywhere) and registers it; *base is set, the uffd returned, or -errno.
 * Features the kernel lacks: -XEN_EOPNOTSUPP. */
int xp_window_open(int memory_fd, uint64_t nr, uint64_t want, uint64_t *base);

/* [guest side] The mapping alone, unwatched: cooperative mode. */
int xp_window_map(int memory_fd, uint64_t nr, uint64_t want, uint64_t *base);

/* Gives nr frames from first, writable or not. Frames given already are left as they are. */
int xp_window_give(const struct xp_window *w, xp_mfn_t first, uint64_t nr, bool readonly);

/* Write-protects a frame that was given, or lifts that. */
int xp_window_protect(const struct xp_window *w, xp_mfn_t mfn, bool readonly);

/* 0 if the process has no mapping of the frame any more (and cannot get one), -XEN_EBUSY if it still has. */
int xp_window_gone(const struct xp_window *w, xp_mfn_t mfn);

/* Is the process's address space gone? */
bool xp_window_dead(const struct xp_window *w);

#endif
