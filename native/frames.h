/*
 * frames.h: the frame table: who owns each machine frame, as what it may be used, how many refer to it.
 *
 * Private memory of the hypervisor; no guest sees it. Laid out for the typing rules of page tables and descriptors:
 * one type at a time, changed only at count zero, as in Xen's mm.c (see also PAPER: "page types").
 *   1. A frame's ref_count is 1 for its allocation plus 1 for each mapping, direct page end and what else mm_audit.h counts.
 *   2. A frame becomes free only when ref_count reaches 0, and is handed out again only after it was scrubbed.
 *   3. The owner keeps a frame until then, dead or alive: a dead domain's frame that a peer still maps is a zombie.
 * Callers hold the hypervisor's lock, except for xp_frames_scrub's clearing of frames that nobody else can reach.
 *
 * Tour M:020
 */
#ifndef XP_FRAMES_H
#define XP_FRAMES_H

#include "xp.h"

enum xp_frame_type {
    XP_FT_NONE = 0, XP_FT_L1 = 1, XP_FT_L2 = 2, XP_FT_L3 = 3, XP_FT_L4 = 4, XP_FT_SEG = 5, XP_FT_WRITABLE = 6,
    XP_FT_L2_HOLE = 7,           /* PAE: the level-2 table that carries the hypervisor's slots */
    XP_FT_SHADOWED = 8,          /* shadow.h: a guest's table that nobody validates, with shadows; */
    XP_FT_SHADOW = 9,            /* a frame for shadows */
};

enum xp_frame_flags {
    XP_FF_ALLOCATED = 1u << 0,   /* the owner's own reference is held */
    XP_FF_HV = 1u << 1,          /* made by the hypervisor for its owner: shared_info, call page, grant table, event page */
    XP_FF_PINNED = 1u << 2,
    XP_FF_VALIDATED = 1u << 3,
    XP_FF_DIRTY = 1u << 4,       /* free, but not scrubbed yet */
    XP_FF_ZOMBIE = 1u << 5,      /* given up by its owner, still referred to by others */
    XP_FF_ABSENT = 1u << 7,      /* its owner's process has let go of it (xp_window_gone), and nobody gives it back */
};

#define XP_OWNER_NONE 0x7fffu    /* not a domid that a domain can have */
#define XP_OWNER_XEN 0x7ff2u     /* DOMID_XEN: the hypervisor's own frames that guests may read; never released */

struct xp_frame {
    uint32_t ref_count;
    uint32_t type_count;
    xp_domid_t owner;
    uint8_t type;
    uint8_t flags;
    uint32_t next;               /* its owner's list or the dirty list: next mfn, or XP_FRAME_END */
};

#define XP_FRAME_END UINT32_MAX
#define XP_M2P_INVALID UINT64_MAX
#define XP_OWNERS 4096u          /* domids that can own frames */

struct xp_frames {
    struct xp_frame *table;
    uint32_t *prev;              /* the other way round in its owner's list; of the first the list's end */
    uint64_t *free_map;          /* bit per frame: clean, may be handed out */
    uint8_t *base;               /* machine memory as the hypervisor maps it */
    uint64_t *m2p;               /* m2p.h, or NULL: the entry of a frame that becomes free says so */
    uint64_t nr;
    uint64_t nr_free;            /* clean, ready to be allocated */
    uint64_t nr_dirty;
    uint64_t nr_scrubbing;       /* taken for scrubbing, not given back yet */
    uint64_t nr_xen;             /* the hypervisor's own: XP_OWNER_XEN, and frame 0 */
    uint64_t cursor;             /* where the search for a run goes on */
    uint32_t dirty_head;
    uint32_t zombies[XP_OWNERS]; /* by owner: frames given up that others still refer to, */
    uint32_t given_up[XP_OWNERS]; /* and of those the ones of its reservation: not the hypervisor's making */
};

/* Records, the lists' way back, the map of what is free: 20 bytes and a bit a frame. */
static inline uint64_t xp_frames_bytes(uint64_t nr)
{
    return nr * (sizeof(struct xp_frame) + sizeof(uint32_t)) + (nr + 63) / 64 * sizeof(uint64_t);
}

/* memory: xp_frames_bytes(nr) of zeroes. Frame 0 is never handed out, as mfn 0 reads as "none" in too many places. */
void xp_frames_init(struct xp_frames *f, uint64_t nr, void *memory, void *base);

/* A run of nr consecutive frames for owner, each with ref_count 1. -XEN_ENOMEM: none that long; first is untouched. */
int xp_frames_alloc_run(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first);

/* nr frames in as few runs as memory allows; mfns[nr] is filled. All or nothing: -XEN_ENOMEM. */
int xp_frames_alloc(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *mfns);

/*
 * An extent: 1 << order frames, aligned to their number, below `limit`. -XEN_ENOMEM: none now (nr_dirty or nr_scrubbing may
 * say that there will be).
 */
int xp_frames_alloc_extent(struct xp_frames *f, xp_domid_t owner, uint32_t order, uint64_t limit, xp_mfn_t *first);

/* The frame's record, or NULL where mfn lies outside machine memory. */
static inline struct xp_frame *xp_frame_of(struct xp_frames *f, xp_mfn_t mfn)
{
    return mfn.v < f->nr ? &f->table[mfn.v] : NULL;
}

/* Is mfn an allocated frame of owner? */
static inline bool xp_frame_owned(struct xp_frames *f, xp_mfn_t mfn, xp_domid_t owner)
{
    const struct xp_frame *frame = xp_frame_of(f, mfn);
    return frame != NULL && frame->owner == owner && (frame->flags & XP_FF_ALLOCATED) != 0;
}

/* Its address in the hypervisor. mfn must lie inside. */
static inline void *xp_frame_ptr(struct xp_frames *f, xp_mfn_t mfn)
{
    return f->base + (mfn.v << XP_PAGE_SHIFT);
}

/* One more reference to an allocated or zombie frame. -XEN_EINVAL: outside, free, or the count is full. */
int xp_frame_get(struct xp_frames *f, xp_mfn_t mfn);

/* One less; at zero the frame goes to the dirty list. 1: it was the last, 0: not. */
int xp_frame_put(struct xp_frames *f, xp_mfn_t mfn);

/* Drops the owner's own reference. -XEN_EINVAL: not owner's, or dropped already, or the hypervisor's. */
int xp_frame_release(struct xp_frames *f, xp_mfn_t mfn, xp_domid_t owner);

/* Takes up to max dirty frames off the list for scrubbing (their mfns), then gives them back clean. */
uint32_t xp_frames_take_dirty(struct xp_frames *f, xp_mfn_t *mfns, uint32_t max);
void xp_frames_give_clean(struct xp_frames *f, const xp_mfn_t *mfns, uint32_t nr);

/* Clears up to max dirty frames at once, for who cannot wait until somebody does. Returns how many. */
uint32_t xp_frames_scrub_now(struct xp_frames *f, uint32_t max);

/* Walks the whole table: 0, or the number of broken invariants (lists, counts, owners). For tests and audit. */
uint64_t xp_frames_audit(struct xp_frames *f);

#endif
