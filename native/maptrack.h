/*
 * maptrack.h: what a domain maps of others: handles, and how often each foreign frame is mapped.
 *
 * Owned by maptrack.c, private to the hypervisor. A window shows a frame once, however many handles there are:
 *   1. The page is in the window while there is a handle, writable while there is a writable one.
 *   2. The last handle of a frame goes only when the process has let go of the page (xp_window_gone).
 *   3. A domain's own frames, granted to itself, are in its window anyway: handles on them leave the window alone.
 *
 * Tour R:030
 */
#ifndef XP_MAPTRACK_H
#define XP_MAPTRACK_H

#include "domain.h"

struct xp_mapping {
    struct xp_domain *granter;   /* NULL: the handle is free */
    uint32_t ref;
    uint32_t flags;              /* GNTMAP_* */
    uint32_t frame;              /* its frame record; of a free handle: the next free one */
    bool in_tables;              /* made with an entry in the page tables (grant_host.h) */
};

struct xp_mapped_frame {
    uint32_t mfn;
    uint32_t readers, writers;   /* handles; none: the record is free */
    uint32_t next;               /* in its hash chain, or the next free one */
};

#define XP_NO_HANDLE UINT32_MAX
#define XP_MAPTRACK_CHUNK 64u

/* All of it grows by this: handles, as many records of frames, as many hash chains. */
struct xp_maptrack_chunk {
    struct xp_mapping handle[XP_MAPTRACK_CHUNK];
    struct xp_mapped_frame frame[XP_MAPTRACK_CHUNK];
    uint32_t head[XP_MAPTRACK_CHUNK];
};

struct xp_maptrack {
    struct xp_maptrack_chunk **chunks;
    uint32_t nr_chunks;
    uint32_t free_frame;
    uint32_t released;           /* at the end: handles below are done */
};

/* Is there a handle to be had? Grows up to limits.max_maptrack. -XEN_ENOSPC, -XEN_ENOMEM. */
int xp_maptrack_reserve(struct xp_domain *d);

/* Takes the handle that reserve found. */
uint32_t xp_maptrack_take(struct xp_domain *d, struct xp_domain *granter, xp_gref_t ref, xp_mfn_t mfn, uint32_t flags,
                          bool in_tables);

/* One of its two parts, GNTMAP_host_map and GNTMAP_device_map, has ended; the other has not. */
void xp_maptrack_ended(struct xp_domain *d, uint32_t handle, uint32_t parts);

/* Puts it back. */
void xp_maptrack_put(struct xp_domain *d, uint32_t handle);

/* The mapping of a handle, or NULL: free or out of range. */
const struct xp_mapping *xp_maptrack_of(const struct xp_domain *d, uint32_t handle);
xp_mfn_t xp_maptrack_mfn(const struct xp_domain *d, const struct xp_mapping *m);

/* Has d a handle on this frame, one for writing? */
bool xp_maptrack_maps(const struct xp_domain *d, xp_mfn_t mfn, bool writes);

/* Brings the window in line with one handle more, just taken; or with one less, about to be put. -XEN_Exxx: unchanged. */
int xp_maptrack_show(struct xp_domain *d, uint32_t handle);
/* -XEN_EAGAIN: the process still has the page. */
int xp_maptrack_gone(struct xp_domain *d, uint32_t handle);
int xp_maptrack_lower(struct xp_domain *d, uint32_t handle);

void xp_maptrack_free(struct xp_domain *d);
uint64_t xp_maptrack_audit(struct xp_domain *d);

#endif
