/*
 * mm.h: a domain's page tables as the hypervisor sees them: base pointers, descriptor frames, and the one long operation
 * on tables that may be under way.
 *
 * Frame types follow Xen's rules (frames.h); tables.c gives and takes them, the operations are in mmu_update.c, mmuext.c
 * and segment.c. All are called with the hypervisor's lock held.
 *   1. A frame has a table's or descriptor page's type from its first user to its last; meanwhile no window shows it
 *      writable: protected before its first entry is read, released after its last type reference is gone.
 *   2. A validated table's present entries each hold their references: a leaf one of its frame, and one of type
 *      WRITABLE if it may write; a branch one of the table below and one of its type.
 *   3. One operation of a domain is under way at a time; another call that needs tables comes again until it is done.
 *      Tables only ever refer to tables of their own domain, so nobody else waits. Pages of others are mapped by way of a
 *      grant alone (grant_host.h).
 *   4. What a step cannot finish in its time stays on the work stack: validating upwards or dropping downwards, from
 *      where it was; after a failure exactly what was taken is dropped.
 *   5. Without enforcement (no window from outside) the hypervisor reads its own copy of a validated table only.
 *
 * Source: Xen's frame types for paravirtual guests; PAPER: 3.3.3.
 *
 * Tour M:140
 */
#ifndef XP_MM_H
#define XP_MM_H

#include "frames.h"
#include "paging.h"

struct xp_call;
struct xp_domain;
struct xp_hv;

/* Why a real TLB would have been flushed. */
enum xp_flush_cause {
    XP_FLUSH_baseptr = 0, XP_FLUSH_asked = 1, XP_FLUSH_invlpg = 2, XP_FLUSH_type = 3,
    XP_FLUSH_grant = 4, XP_FLUSH_CAUSES = 5,
};

#define XP_GDT_FRAMES 14u        /* what Xen leaves a guest of its 16 */

/* A table being validated (entries below `next` are taken) or dropped (entries from `next` on are dropped). */
struct xp_mm_work {
    uint32_t mfn;
    uint16_t next;
    uint8_t type;
    bool down;
};

#define XP_MM_DEPTH 10u          /* a table of each level, and one beside each that a linear entry held */

/* Writable page tables (writable_pt.h): a table that its directory's entry does not name at the moment. As many as Xen had. */
#define XP_UNHOOKED 2u
struct xp_unhooked {
    uint64_t entry;              /* as it was, present */
    uint32_t table, dir, index;
};

enum xp_mm_stage { XP_MM_idle = 0, XP_MM_taking = 1, XP_MM_dropping = 2 };

struct xp_mm {
    const struct xp_paging_mode *mode;
    xp_mfn_t base, user_base;    /* top-level tables in use, each with its type; 0: none */
    xp_mfn_t gdt[XP_GDT_FRAMES];
    uint32_t nr_gdt, gdt_entries;
    uint64_t ldt_address;
    uint32_t ldt_entries;
    uint32_t assists;            /* vm_assist: bit per type */
    uint32_t nr_pinned;
    bool stale;                  /* a TLB may hold an entry that was taken away since the last flush */
    bool unmapped;               /* ... a grant's entry among them, in this call */
    uint64_t nr_flushes[XP_FLUSH_CAUSES];

    struct xp_unhooked unhooked[XP_UNHOOKED]; /* oldest first */
    uint32_t nr_unhooked;
    bool rehooking;              /* the oldest is being validated: the work stack is nobody's call's */
    uint64_t nr_unhooks, nr_emulated;

    /* the operation under way */
    uint32_t ticket, last_ticket; /* whose it is: 0 nobody's */
    enum xp_mm_stage stage;
    int32_t result;              /* of the operation, kept while it drops what it replaced */
    int32_t failed;              /* of the validation: 0, or why it was undone */
    xp_mfn_t at;                 /* the table, or the frame, that it is about */
    uint32_t index;
    uint64_t entry;              /* copied once */
    uint32_t nr_work;
    struct xp_mm_work work[XP_MM_DEPTH];
    uint32_t left;               /* entries until the clock is looked at */
    int64_t until;               /* when this step ends */
    uint64_t cursor;             /* teardown: frames looked through */
};

static inline bool xp_type_is_table(uint32_t type)
{
    return (type >= XP_FT_L1 && type <= XP_FT_L4) || type == XP_FT_L2_HOLE;
}

static inline uint32_t xp_type_level(uint32_t type)
{
    return type == XP_FT_L2_HOLE ? 2 : type;
}

/* May the hypervisor, or a grant, write to this frame for a guest? Never into tables and descriptors. */
static inline bool xp_type_writable(const struct xp_frame *frame)
{
    return frame->type_count == 0 || frame->type == XP_FT_WRITABLE;
}

/* The type of a base pointer's table. */
static inline uint8_t xp_mm_top(const struct xp_mm *mm)
{
    return mm->mode->levels;
}

/* The entries of a validated table that count (invariant 5). */
void *xp_mm_table(struct xp_domain *d, xp_mfn_t mfn);

/* One entry of a validated table, written where it counts and where the guest reads it. */
void xp_mm_write(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry);

/* The hypervisor's own copy of a table, made if there is none (invariant 5), and its end. -XEN_ENOMEM. */
int xp_mm_copy_table(struct xp_domain *d, xp_mfn_t mfn);
void xp_mm_free_copy(struct xp_domain *d, xp_mfn_t mfn);

/* A slot that a guest may not change: the hole, and what PAE's hole hangs on. */
bool xp_mm_slot_fixed(const struct xp_mm *mm, uint32_t type, uint32_t index);

/* Where the level-1 entry for va stands: a walk of validated tables alone. -XEN_EINVAL: nowhere. */
int xp_mm_find_leaf(struct xp_domain *d, uint64_t va, xp_mfn_t *mfn, uint32_t *index);

/* ---- one step ---- */

/* Begins a step of at most 100 us. */
void xp_mm_begin(struct xp_domain *d);
/* A call's step: false if another call's operation is under way (invariant 3). */
bool xp_mm_turn(struct xp_domain *d, const struct xp_call *call);
/* The same for who needs the tables as they are to be: none is unhooked any more. False, too: come again for that. */
bool xp_mm_enter(struct xp_domain *d, const struct xp_call *call);
/* A batch's end or its step's: comes again at number `done` (XP_CALL_AGAIN), or says at pdone (0: nowhere) how many were done. */
int64_t xp_mm_finish(struct xp_domain *d, struct xp_call *call, uint64_t pdone, uint32_t done, int ret);
static inline uint32_t xp_mm_done(uint64_t progress) { return (uint32_t)progress; }
/* DOMID_SELF, or why not another: -XEN_EPERM, -XEN_ESRCH. As Xen, one's own number is no foreign domain. */
int xp_mm_foreign(struct xp_domain *d, uint64_t domid);
/* Is the step's time up? Counts entries, at most xp_mm.left of them. */
bool xp_mm_spent(struct xp_domain *d, uint32_t entries);
/* Goes on with the work stack. 0: empty (xp_mm.failed says how it went), XP_CALL_AGAIN. */
int xp_mm_run(struct xp_domain *d);

/* ---- references (tables.c) ---- */

/* A frame of d's own: one more general reference. -XEN_EINVAL. */
int xp_mm_get_page(struct xp_domain *d, xp_mfn_t mfn);
/* ... and one of type WRITABLE. -XEN_EINVAL: it has another type, or is not d's. */
int xp_mm_get_writable(struct xp_domain *d, xp_mfn_t mfn);
void xp_mm_put_page(struct xp_domain *d, xp_mfn_t mfn);
void xp_mm_put_writable(struct xp_domain *d, xp_mfn_t mfn);

/* A table of d's own as `type`, validated if it is the first use: 0, -XEN_EINVAL and what its entries say, XP_CALL_AGAIN. */
int xp_mm_get_table(struct xp_domain *d, xp_mfn_t mfn, uint8_t type);
/* The reference and the type of it; the last one drops what its entries hold. 0 or XP_CALL_AGAIN. */
int xp_mm_put_table(struct xp_domain *d, xp_mfn_t mfn);

/* What an entry holds: taken for table `mfn` of `type`. 0, -XEN_Exxx, or XP_CALL_AGAIN: on the work stack. */
int xp_mm_take_entry(struct xp_domain *d, xp_mfn_t mfn, uint8_t type, uint32_t index, uint64_t entry);
int xp_mm_drop_entry(struct xp_domain *d, xp_mfn_t mfn, uint8_t type, uint64_t entry);

/* One entry of a validated table changed, as by a request of mmu_update; of level 1 in one go. */
int xp_mm_update_entry(struct xp_domain *d, xp_mfn_t mfn, uint32_t index, uint64_t entry);

/* A frame gets a type that windows must not write (tables, descriptors), and loses it. 0 or -XEN_Exxx. */
int xp_mm_protect(struct xp_domain *d, xp_mfn_t mfn, uint8_t type);
void xp_mm_release(struct xp_domain *d, xp_mfn_t mfn);

/* A descriptor page (GDT, LDT) with all its descriptors checked. 0 or -XEN_EINVAL (segment.c). */
int xp_mm_get_segment(struct xp_domain *d, xp_mfn_t mfn);
void xp_mm_put_segment(struct xp_domain *d, xp_mfn_t mfn);

/* The domain's TLB is flushed (or, invlpg, a page of it: the guest's side does that). */
void xp_mm_flush(struct xp_domain *d, enum xp_flush_cause cause);

/* XP_OP_set_ad: nr entries at va. 0 (all of them), -XEN_EINVAL, -XEN_EFAULT. */
int xp_mm_set_ad(struct xp_domain *d, uint64_t va, uint64_t nr);

/* One step of dropping everything; the domain makes no calls any more. 1: more, 0: done. */
int xp_mm_teardown(struct xp_domain *d);

#endif
