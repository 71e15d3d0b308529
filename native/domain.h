/*
 * domain.h: a domain and the hypervisor that holds it, as the C core sees them.
 *
 * Owned by hv.c. Everything is reached with the hypervisor's lock held (xp_hv.lock: private to the hypervisor's
 * process; no guest ever waits for it by name). Whose fault decides what happens:
 *   caller asked wrongly: -XEN_Exxx to the caller, state unchanged;
 *   a guest broke a rule: xp_domain_crash(d, reason), the first reason wins, its process is killed;
 *   our own invariant broke: xp_bug(): the hypervisor stops, loudly.
 *
 * Tour H:010
 */
#ifndef XP_DOMAIN_H
#define XP_DOMAIN_H

#include "clock.h"
#include "frames.h"
#include "mm.h"
#include "names.h"
#include "ours.h"
#include "trace.h"
#include "vcpu.h"
#include "wakefd.h"
#include "window.h"
#include <pthread.h>

#define XP_MAX_DOMAINS 4096u     /* domids 0..4095; 0 is Domain0 */
#define XP_MAX_EVTCHNS 4096u     /* two-level ABI, x86_64 */

struct xp_hv;
struct xp_domain;
struct xp_evtchn;                /* evtchn.h */
struct xp_direct_end;            /* evtchn_direct.h */
struct xp_grant_pins;            /* grant.h */
struct xp_maptrack;              /* maptrack.h */
struct xp_board_entry;           /* board.h */
struct xp_park;                  /* park.h */
struct xp_shadow;                /* shadow.h */

enum xp_domain_state {
    XP_DS_BUILDING = 0, XP_DS_RUNNING = 1, XP_DS_SHUTDOWN = 2, XP_DS_DYING = 3,
};

/* A call being worked on: arguments copied once out of the slot; progress is the hypervisor's alone. */
struct xp_call {
    uint32_t nr;
    uint32_t slot;
    uint64_t args[6];
    uint64_t progress;           /* 0 at first; a long call is continued from here */
    bool plain;                  /* the result is a value of the guest's own, never AGAIN or PARK */
    struct {                     /* of a multicall: the entry under way, copied once, if it is a long call itself */
        uint64_t op, args[6], progress;
        bool under_way;
    } entry;
};

/* Handlers return a result for the caller, or one of these (far below any -errno). */
#define XP_CALL_AGAIN (-100000)  /* not done: continue later, progress says where */
#define XP_CALL_PARK (-100001)   /* waits for an event, a port or the board: park.c holds it */

struct xp_call_trace { uint32_t nr; uint16_t slot, answered; uint64_t arg0; int64_t result; };
#define XP_CALL_TRACE 16u

struct xp_limits {
    uint32_t max_evtchns;
    uint32_t max_grant_frames;
    uint32_t max_maptrack;       /* handles */
    uint32_t max_direct;         /* event pages this domain may have made */
    uint32_t max_board;          /* entries it may have published */
};

struct xp_domain {
    struct xp_hv *hv;
    xp_domid_t domid;
    uint8_t state;
    uint8_t paused;
    bool crashed;
    uint32_t shutdown_reason;    /* SHUTDOWN_* once in SHUTDOWN */
    char name[64];
    char crash_reason[160];
    struct xp_limits limits;

    struct xp_window window;
    int doorbell;                /* eventfd that the guest writes */
    int upcall_fd;               /* eventfd signalled with each upcall if asked for, or -1 */
    int boot_sock;               /* our end of its boot socket: carries descriptors to it */
    int pidfd;
    int32_t pid;                 /* as the hypervisor sees it */
    int64_t created_ns;          /* system time */
    bool ready;                  /* its guest has begun to run, locked down */
    bool said_shutdown;          /* it asked for its end itself */

    xp_mfn_t call_mfn, shared_info_mfn, start_info_mfn;
    struct xp_call_page *calls;  /* in machine memory: volatile in the worst sense */
    void *shared_info;           /* struct xen_shared_info, in machine memory */
    uint32_t page_list;          /* its reservation, linked through the frame table; XP_FRAME_END ends it */
    uint64_t nr_pages;           /* its reservation now */
    uint64_t max_pages;

    /* evtchn.c */
    struct xp_evtchn **evtchn_buckets;   /* grown as ports are used */
    uint32_t nr_evtchns;         /* ports in use */
    uint32_t nr_direct;          /* event pages it made whose channels live */
    uint16_t virq_to_port[24];
    struct xp_direct_end *direct_held;   /* event pages of closed channels that its process has not let go of */
    uint32_t nr_direct_held;

    struct xp_mm mm;             /* mm.h: its page tables */
    struct xp_shadow *shadow;    /* shadow.h; NULL: its tables are validated */

    /* grant.c */
    xp_mfn_t *grant_frames;      /* of its table */
    uint32_t nr_grant_frames;
    struct xp_grant_pins **grant_pins;   /* uses of its entries, in chunks made at the first use */
    struct xp_maptrack *maptrack;
    uint32_t maptrack_size, maptrack_free, nr_maptrack;

    /* board.c, park.c */
    struct xp_board_entry *board;
    uint32_t nr_board;
    struct xp_park *parked;      /* XP_CALL_SLOTS of them, made at the first wait */
    uint32_t parked_mask;        /* slots whose call waits in the hypervisor */

    struct xp_vcpu vcpu;         /* vcpu.h */

    /* dispatch.c */
    struct xp_call_trace trace[XP_CALL_TRACE];
    uint64_t nr_calls, nr_doorbells, nr_upcalls;
    struct xp_call *pending;     /* XP_CALL_SLOTS of them, made at the first continued call */
    uint32_t pending_mask;
    bool hot;                    /* looked at without a doorbell */
    uint8_t idle_rings;          /* doorbells in a row with nothing behind them */

    /* domtrace.c: the ring that it records into itself */
    struct {
        xp_mfn_t mfn;
        bool made, works;        /* has frames; and they are all in its window */
        uint64_t pos, since;     /* read so far; the TSC when recording began */
    } gtrace;

    /* console.c */
    uint8_t *console;            /* ring of XP_CONSOLE_BYTES, made at the first write */
    uint64_t console_prod;

    /* report.c */
    uint8_t *report;
    uint32_t report_len;
    int32_t report_kind;         /* -1: none */
};

#define XP_CONSOLE_BYTES 16384u

#define XP_HOT_MAX 2u            /* domains that the dispatcher looks at without being rung */

struct xp_hv {
    pthread_mutex_t lock;
    _Atomic uint32_t lock_wanted;  /* the policy thread waits for the lock: the dispatcher lets it in */
    _Atomic uint32_t lock_waits;   /* the dispatcher sleeps on lock_wanted */
    struct xp_frames frames;
    xp_mfn_t m2p_mfn;            /* m2p.h: the table's first frame, */
    uint64_t nr_m2p_frames;      /* and how many follow each other */
    uint64_t nr_template_frames; /* ... and behind them the tables that show it in every address space (template.h) */
    uint64_t hole[XP_PAGING_LEVELS - 1][XP_HOLE_SLOTS]; /* by levels - 2: the entries of the hole's slots */

    /* tables.c: by frame, made at the first use */
    uint8_t **table_copies;      /* the hypervisor's own copies of validated tables, where windows cannot be protected */
    int32_t *linear;             /* of a table: entries that name others of its level, or (negative) such entries to it */
    uint64_t *directories;       /* of a level-1 table: the entry that named it last (writable_pt.h) */
    uint32_t *shadow_hints;      /* of a frame: the shadow's leaf that named it last (shadow_entry.c) */
    uint32_t mm_step, mm_inject; /* tests: a step ends after so many entries; so many entries from now one fails */
    struct xp_domain *domains[XP_MAX_DOMAINS];
    uint32_t nr_domains;
    struct xp_names names;       /* board.c looks domains up by theirs */
    int epoll_fd;                /* bells.h */
    int timer_fd;                /* rings at ring_at, system time; XP_FOREVER: not set */
    int64_t ring_at;
    int control_fd;              /* eventfd: news for the policy thread */
    struct xp_waker waker;       /* signals the eventfds that domains hold, too */
    int kick_fd;                 /* eventfd: the policy thread wants the dispatcher's attention */
    uint64_t news[XP_MAX_DOMAINS / 64];  /* bit per domid: something for the policy thread */
    struct xp_clock clock;       /* clock.h */
    struct xp_timers timers;     /* timer.h: every deadline there is */
    struct xp_tracer tracer;     /* trace.h */
    uint64_t gtrace_lost;        /* domtrace.c: records that domains overwrote before they were fetched */

    struct xp_cpus *cpus;        /* cpu.h; NULL: the kernel alone schedules */
    struct xp_spent_pool spent;  /* cpu_spent.h: what its threads do for whom */

    /* dispatch.c */
    int32_t dispatcher_tid;
    struct xp_domain *hot[XP_HOT_MAX];
    uint32_t hot_clock;
    uint32_t nr_continued;       /* domains with pending_mask != 0 */
    _Atomic bool stop;
    bool may_spin;
    bool awake;                  /* the hot ones' pages say hv_awake */
    uint32_t spin_ns, spin_backoff, spin_fails;
    uint64_t nr_calls, nr_sleeps, nr_spins, nr_spin_hits;

    /* park.c */
    uint32_t nr_waiting;         /* calls that wait for the board or a name, in any domain */

    /* alarm.c */
    int virtual_fd;              /* signalfd of the kernel's timers on virtual time; the dispatcher's thread alone reads it */
};

/* A live domain (BUILDING, RUNNING or SHUTDOWN; not DYING) or NULL. */
struct xp_domain *xp_hv_domain(struct xp_hv *hv, xp_domid_t domid);

/* Resolves DOMID_SELF; NULL if there is no such live domain. */
struct xp_domain *xp_domain_by_arg(struct xp_domain *caller, xp_domid_t domid);

/* Ends a domain that broke a rule; printf-like, the first reason wins. */
void xp_domain_crash(struct xp_domain *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Wakes a domain after bits were set in its shared_info: posts its upcall semaphore, completes a parked block or poll. */
void xp_domain_kick(struct xp_domain *d);

/* Something about d is new for the policy thread (console, report, shutdown, crash). */
void xp_hv_news_of(struct xp_domain *d);

/* System time: ns since the hypervisor started. */
int64_t xp_hv_system_time(const struct xp_hv *hv);

/* An invariant of ours broke. */
void xp_bug(const char *what, const char *file, int line) __attribute__((noreturn));
#define XP_BUG_ON(condition) ((condition) ? xp_bug(#condition, __FILE__, __LINE__) : (void)0)

#endif
