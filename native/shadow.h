/*
 * shadow.h: shadow mode: a guest that owns page tables which nobody validates, and the tables that its walker walks instead.
 *
 * For guests that cannot be changed, and for comparison. The guest's tables are ordinary frames with anything in them. The
 * hypervisor keeps a shadow of each table that a walk has come to, in a pool of frames of its own that the guest's window
 * shows for reading. What an entry of the guest's says comes into its shadow when a walk needs it, checked then; a table that
 * has a shadow is write-protected, a store into it is trapped, done for the guest, and followed by its shadows. As Xen's
 * shadow code with XEN_DOMCTL_SHADOW_ENABLE_REFCOUNT: requests of mmu_update and base pointers work, pins mean nothing.
 * Called with the hypervisor's lock held. shadow.c makes and ends shadows, shadow_entry.c writes their entries,
 * shadow_walk.c answers walks that failed, shadow_write.c stores, calls and pages that go.
 *   1. A guest's table with shadows has the type SHADOWED, a count and a reference for each; a frame of the pool has SHADOW.
 *      Neither may be written by anybody: no entry, no grant, no copy of the hypervisor's.
 *   2. A shadow's leaf holds what a validated one holds: a reference, and the type WRITABLE if it may write. It names a frame of
 *      the domain's own, or one that a handle of its maps (grants), never one with another type writable.
 *   3. A shadow's entry says no more than the guest's entry does that stands at the same place: rights, frame, presence. It is
 *      there only where that has its accessed bit, writable only where that is dirty.
 *   4. An entry of a higher shadow names a shadow of the table that the guest's entry names. `users` counts them and the base
 *      pointers; one without users ends, but for top-level ones: they stay until the pool is short, or their table is given up.
 *   5. A shadow that ends gives its table's protection back at once; its own entries (`doomed`) are dropped a page at a time.
 *      No TLB may hold what it said: the operation that ended it flushes.
 *   6. A guest's table is read after it was protected; what was read before is read again (shadow_walk.c).
 *
 * Source: Xen's shadow code (refcounted, not translated); Intel SDM vol. 3 ch. 4.
 *
 * Tour M:210
 */
#ifndef XP_SHADOW_H
#define XP_SHADOW_H

#include "domain.h"

#define XP_SHADOW_POOL_MIN 16u   /* frames: two paths to a page, and room to make a third */
#define XP_SHADOW_POOL_MAX 512u  /* looked through in less than 200 us */
#define XP_SHADOW_NONE 0xffffu
#define XP_SHADOW_WRITES 128u    /* stores into a table that no walk came to in between: it is data */

struct xp_shadow_page {
    uint64_t used;               /* when a walk came through it last */
    uint32_t table;              /* the guest's table; 0: free */
    uint32_t up;                 /* a hint: the entry that named it last: page << 10 | index */
    uint32_t users;              /* entries of shadows that name it, and base pointers: more than 16 bits hold */
    uint16_t next;               /* in its hash chain, or the next free or doomed one */
    uint16_t nr_present;         /* entries, without the hole's */
    uint16_t writes;             /* stores into the table since a walk came to it */
    uint8_t kind;                /* as which table: XP_FT_L1 to L4, L2_HOLE */
    bool doomed;
};

struct xp_shadow_counts {
    uint64_t fills, faults, stores, made, evicted, unshadowed, unwritten;
};

struct xp_shadow {
    uint64_t first;              /* the pool's first frame: they follow each other */
    uint32_t nr, nr_free;
    uint64_t now;                /* counts walks */
    uint16_t free, doomed;       /* heads of lists */
    uint16_t base, user_base;    /* shadows of the base pointers' tables, or NONE */
    bool flush;                  /* before the operation ends */
    bool keeps;                  /* no table is data, however often it is stored into */
    struct xp_shadow_counts count;
    uint16_t chain[XP_SHADOW_POOL_MAX]; /* by hash of table and kind */
    struct xp_shadow_page page[];
};

/* A domain that is being made is to be in shadow mode, with so many frames for shadows. -XEN_EINVAL, -XEN_ENOMEM. */
int xp_shadow_enable(struct xp_domain *d, uint32_t nr);
/* Shows the pool to its process. */
int xp_shadow_give(struct xp_domain *d);
/* A step of letting go of everything; its process is dead. 1: more. */
int xp_shadow_teardown(struct xp_domain *d);

/* Ends what is doomed and flushes, as far as the step's time allows. False: come again. */
bool xp_shadow_settle(struct xp_domain *d);

/* XP_OP_pt_fault: 0: look again; else the fault that it is, as a walk of the guest's own tables says: error code | level << 8; or XP_PT_STORE. */
int64_t xp_shadow_fault(struct xp_domain *d, const struct xp_call *call);

/*
 * XP_OP_pt_write: 0: done; 2: writable; -XEN_EPERM, -XEN_EINVAL. What is stored is not known (bytes 0: a store of any code): 1, the
 * table's shadows have ended; -XEN_EPERM: it is a base pointer's.
 */
int64_t xp_shadow_store(struct xp_domain *d, struct xp_call *call);

/* May a request or a grant write into this frame of the domain's own? */
static inline bool xp_shadow_may_update(const struct xp_frame *frame)
{
    return (frame->flags & XP_FF_HV) == 0 && (frame->type == XP_FT_SHADOWED || xp_type_writable(frame));
}

/* A request of mmu_update: an entry of a frame that may be a table. */
int xp_shadow_update(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry, bool preserve_ad);

/* mmuext_op: pins (nothing happens), unpin (the table's shadows end), base pointers. */
int xp_shadow_ext(struct xp_domain *d, uint32_t cmd, xp_mfn_t mfn);

/* Where the guest's level-1 entry for va stands. -XEN_EINVAL: nowhere. */
int xp_shadow_find_leaf(struct xp_domain *d, uint64_t va, xp_mfn_t *mfn, uint32_t *index);

/* A page is about to leave the domain, or may not be used as it was: nothing maps it, and its shadows end (but a base pointer's). */
void xp_shadow_let_go(struct xp_domain *d, xp_mfn_t mfn);
static inline void xp_shadow_forget(struct xp_domain *d, xp_mfn_t mfn)
{
    if (d->shadow != NULL)
        xp_shadow_let_go(d, mfn);
}

/* The references that shadows hold, counted into counts; returns how many entries or pages are not what they must be. */
struct xp_mm_counts;
uint64_t xp_shadow_audit(struct xp_domain *d, struct xp_mm_counts *counts);

/* ---- between the four ---- */

static inline uint64_t xp_shadow_mfn(const struct xp_shadow *s, uint32_t page) { return s->first + page; }

/* The entries of a shadow that count. */
static inline void *xp_shadow_table(struct xp_domain *d, uint32_t page)
{
    return xp_mm_table(d, xp_mfn(xp_shadow_mfn(d->shadow, page)));
}

static inline uint32_t xp_shadow_nr(const struct xp_domain *d, uint32_t kind)
{
    return d->mm.mode->level[xp_type_level(kind)].nr;
}

static inline bool xp_shadow_is_top(const struct xp_domain *d, uint32_t kind) { return kind == xp_mm_top(&d->mm); }

/* One of the hypervisor's slots. */
bool xp_shadow_is_hole(const struct xp_domain *d, uint32_t kind, uint32_t index);

/* As what kind an entry of a table of `kind` names the table below. */
uint8_t xp_shadow_below(const struct xp_domain *d, uint32_t kind, uint32_t index);

/* The shadow of a table, or NONE; made if there is none: -XEN_EINVAL (no page of its own), -XEN_EBUSY, -XEN_ENOMEM. */
uint16_t xp_shadow_find(const struct xp_domain *d, uint64_t table, uint8_t kind);
int xp_shadow_get(struct xp_domain *d, uint64_t table, uint8_t kind);

/* What has ended is in no TLB any more. */
void xp_shadow_flush(struct xp_domain *d);

/* It has no users any more: it ends unless it may stay. And one that ends whatever it is. */
void xp_shadow_unused(struct xp_domain *d, uint32_t page);
void xp_shadow_doom(struct xp_domain *d, uint32_t page);
/* All entries that name it are taken away. */
void xp_shadow_unlink_all(struct xp_domain *d, uint32_t page);
/* All shadows of a table end. False: it is a base pointer's. */
bool xp_shadow_end(struct xp_domain *d, uint64_t table);

/* What a leaf of the guest's comes to as a shadow's: 0: nothing. */
uint64_t xp_shadow_leaf(struct xp_domain *d, uint64_t entry);
/* A leaf written; what it needs is taken, what the old one held dropped. False: it cannot be had, and nothing is there. */
bool xp_shadow_set_leaf(struct xp_domain *d, uint32_t page, uint32_t index, uint64_t leaf);
/* A higher entry made to name a shadow, with the rights of the guest's entry; and taken away. */
void xp_shadow_link(struct xp_domain *d, uint32_t page, uint32_t index, uint32_t below, uint64_t entry);
void xp_shadow_unlink(struct xp_domain *d, uint32_t page, uint32_t index);
/* The guest's entry has changed: so do its table's shadows. */
void xp_shadow_follow(struct xp_domain *d, xp_mfn_t table, uint32_t index);
/* No leaf may write to this frame any more; no leaf names it any more. False: others do. */
bool xp_shadow_unwrite(struct xp_domain *d, uint64_t mfn);
void xp_shadow_unmap(struct xp_domain *d, uint64_t mfn);

#endif
