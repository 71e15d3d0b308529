/*
 * hvtest.h: a hypervisor in one process, for tests of event channels and grants: no guests, no processes, plain memory.
 *
 * Links the real tables, frame table, guest memory and direct events. What is played here: domains (made whole), their
 * windows (a byte a frame: what the process could touch), upcalls and polls (counted). Any call that can fail can be made
 * to: hvtest_fail_at(n) lets the n-th from now fail once.
 */
#ifndef HVTEST_H
#define HVTEST_H

#include "evtchn.h"
#include "grant.h"
#include "shadow.h"

#define HVTEST_BASE 0x7e0000000000u  /* where each domain's window is said to lie */
#define HVTEST_ARGS 0u               /* the first frame of a domain's own holds the arguments of its calls */

enum hvtest_shown { HVTEST_ABSENT = 0, HVTEST_RO = 1, HVTEST_RW = 2 };

/* A guest that writes as late as it can: 8 bytes, just before this frame's next protection takes hold. And what that found. */
struct hvtest_race {
    uint64_t maddr, value;           /* maddr 0: nobody does */
    bool protected, lifted;
    struct xp_frame at_protect, at_lift;     /* the frame's record when each was first asked for */
};

struct hvtest {
    struct xp_hv hv;
    uint8_t *shown[XP_MAX_DOMAINS];  /* a window: enum hvtest_shown by mfn */
    bool dead[XP_MAX_DOMAINS];       /* its process */
    uint64_t kicks[XP_MAX_DOMAINS], polls[XP_MAX_DOMAINS];
    uint64_t first_mfn[XP_MAX_DOMAINS];
    uint64_t news;                   /* times that a domain had news for the policy thread */
    bool enforced;
    uint32_t paging;
    struct xp_call call;             /* the call under way, for those that are continued */
    struct hvtest_race race;
    uint64_t protections;            /* times that a window was asked to protect a frame, or to lift it */
};

struct hvtest *hvtest_create(uint64_t nr_frames);
void hvtest_destroy(struct hvtest *t);

/* A running domain with nr_pages of its own, all shown to it. Returns the first one's mfn, or -XEN_ENOMEM. */
int64_t hvtest_domain_create(struct hvtest *t, xp_domid_t domid, uint64_t nr_pages, struct xp_limits limits);
/*
 * Machines for tests of page tables: the M2P and the hole's tables are made, windows count as enforced or not, and domains
 * made from now on have this paging mode. A step of a call ends after `step` entries (0: by the clock). -XEN_ENOMEM.
 */
int hvtest_tables(struct hvtest *t, bool enforced, uint32_t step);
void hvtest_paging(struct hvtest *t, uint32_t mode);
/* Any call that page tables have, to its end or for max_steps; arguments as given. */
int64_t hvtest_mm(struct hvtest *t, xp_domid_t domid, uint32_t nr, const uint64_t *args, uint32_t max_steps);
/* The entry after the next n that are taken fails. */
void hvtest_inject(struct hvtest *t, uint32_t n);
uint64_t hvtest_mm_audit(struct hvtest *t);
/* The domain's tables are shadowed from now on, in a pool of so many frames that its window shows. */
int hvtest_shadow(struct hvtest *t, xp_domid_t domid, uint32_t nr);
/* What its walker walks: the shadow of its base pointer's table; 0: none. */
uint64_t hvtest_shadow_top(struct hvtest *t, xp_domid_t domid);
void hvtest_race(struct hvtest *t, uint64_t maddr, uint64_t value);
/* A window's frame is about to be protected, or not any more. */
void hvtest_protecting(struct hvtest *t, xp_mfn_t mfn, bool readonly);
/* The domain has a call page: this frame of its own. XP_OP_set_ad. */
void hvtest_calls(struct hvtest *t, xp_domid_t domid, uint64_t mfn);
uint32_t hvtest_generation(struct hvtest *t, xp_domid_t domid);
uint32_t hvtest_unhooked(struct hvtest *t, xp_domid_t domid);
int hvtest_set_ad(struct hvtest *t, xp_domid_t domid, uint64_t va, uint64_t nr);
/* Of each frame of a domain's three words: type count, references, and owner << 16 | type << 8 | flags; else zeroes. */
void hvtest_snapshot(struct hvtest *t, uint32_t *words);
/* What a domain's window shows, a byte a frame. */
const uint8_t *hvtest_window(struct hvtest *t, xp_domid_t domid);
/* The record itself, to be written to. */
struct xp_frame *hvtest_record(struct hvtest *t, uint64_t mfn);
/* False: no such paging mode. What its table says: hole_start, hole_end, m2p_start, frame_mask, and the forbidden bits of levels 1 to 4. */
bool hvtest_mode(uint32_t mode, uint64_t *words);
uint64_t hvtest_hole(struct hvtest *t, uint32_t mode, uint32_t slot);
int64_t hvtest_tables_call(struct xp_domain *d, struct xp_call *call);

/* Its process dies; then steps of its teardown. 1: more, 2: gone but for zombies, 0: gone. */
void hvtest_domain_kill(struct hvtest *t, xp_domid_t domid);
int hvtest_domain_teardown(struct hvtest *t, xp_domid_t domid);
void hvtest_domain_pause(struct hvtest *t, xp_domid_t domid, bool paused);
/* 1: a call of it waits for events. */
void hvtest_domain_polls(struct hvtest *t, xp_domid_t domid, bool polls);

/*
 * A hypercall by domid with its argument (size bytes each, count of them for grants) in its first frame; run to its end,
 * at most max_steps steps (XP_CALL_AGAIN if that is not enough; go on with hvtest_continue). The argument is read back.
 */
int64_t hvtest_evtchn_op(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *arg, uint64_t size, uint32_t max_steps);
int64_t hvtest_grant_op(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *args, uint64_t size, uint32_t count);
int64_t hvtest_grant_steps(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *args, uint64_t size, uint32_t count,
                           uint32_t max_steps);
int64_t hvtest_continue(struct hvtest *t, xp_domid_t domid, uint32_t max_steps);
int64_t hvtest_memory_op(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *arg, uint64_t size);
int64_t hvtest_memory_steps(struct hvtest *t, xp_domid_t domid, uint32_t cmd, uint32_t max_steps);
int64_t hvtest_raw_memory_op(struct hvtest *t, xp_domid_t domid, uint64_t cmd, uint64_t va);
/* The same with an address of the test's choosing and nothing copied. */
int64_t hvtest_raw(struct hvtest *t, xp_domid_t domid, bool grant, const uint64_t *args);

int hvtest_make_direct(struct hvtest *t, xp_domid_t domid, xp_port_t port, struct xp_op_direct *out);
int hvtest_direct_fd(struct hvtest *t, xp_domid_t domid, xp_port_t port, int which);
void hvtest_raise_virq(struct hvtest *t, xp_domid_t domid, uint32_t virq);

/* The process drops a page of its window (madvise). */
void hvtest_drop(struct hvtest *t, xp_domid_t domid, uint64_t mfn);

/* Where the argument of a domain's call lies, here and as its address; clearing what is dirty, as after every call. */
void *hvtest_args(struct hvtest *t, xp_domid_t domid);
uint64_t hvtest_va_of_args(struct hvtest *t, xp_domid_t domid);
void hvtest_scrub(struct hvtest *t);

/* ---- looking ---- */

void *hvtest_frame(struct hvtest *t, uint64_t mfn);
struct xp_frame hvtest_frame_record(struct hvtest *t, uint64_t mfn);
void *hvtest_shared_info(struct hvtest *t, xp_domid_t domid);
/* As if the frame had been validated as a table. */
void hvtest_frame_type(struct hvtest *t, uint64_t mfn, uint8_t type, uint32_t count);
/* Somebody else refers to a frame, and does not any more. */
int hvtest_hold(struct hvtest *t, uint64_t mfn);
void hvtest_let_go(struct hvtest *t, uint64_t mfn);
uint64_t hvtest_m2p(struct hvtest *t, uint64_t mfn);
uint64_t hvtest_reserved(struct hvtest *t, xp_domid_t domid);
uint64_t hvtest_nr_pages(struct hvtest *t, xp_domid_t domid);
void hvtest_set_max(struct hvtest *t, xp_domid_t domid, uint64_t max_pages);
int hvtest_shown(struct hvtest *t, xp_domid_t domid, uint64_t mfn);
struct xp_domain *hvtest_domain(struct hvtest *t, xp_domid_t domid);
/* Ports 0.. as far as they are valid; returns how many. */
uint32_t hvtest_ports(struct hvtest *t, xp_domid_t domid, struct xp_port_info *infos, uint32_t max);
uint32_t hvtest_grant_frames(struct hvtest *t, xp_domid_t domid, uint64_t *mfns, uint32_t max);
struct hvtest_counts {
    uint32_t nr_evtchns, nr_direct, nr_direct_held, nr_grant_frames, nr_maptrack;
    uint64_t kicks, polls;
    uint64_t pending_sel;
    uint8_t upcall_pending;
};
struct hvtest_counts hvtest_counts(struct hvtest *t, xp_domid_t domid);
/* Number of broken invariants of all tables. */
uint64_t hvtest_audit(struct hvtest *t);
/* One number for everything that anyone can see: equal before and after an operation that was undone. */
uint64_t hvtest_digest(struct hvtest *t);

/* Each look at the clock seems to come ns later: so that short calls take many steps. Negative: and otherwise it stands still. */
void hvtest_slow(int64_t ns);

/* ---- failures ---- */

/* -1: never. Counts calls of: copies in and out, window give and protect, frame allocation, malloc family, eventfd. */
void hvtest_fail_at(int64_t n);
/* How the last armed failure went: name of the call that failed, or NULL. */
const char *hvtest_failed(void);

#endif
