/*
 * hv.h: the hypervisor's core: made once over machine memory, holds the domains, and is what the policy thread
 * (xenproc/hv, Python) calls. Every function here takes the hypervisor's lock itself.
 *
 *   1. No function holds the lock for longer than about 200 us: building, giving, teardown and scrubbing go in steps.
 *   2. A dead domain keeps its number while others still refer to frames of it (zombie frames).
 *
 * Tour H:020
 */
#ifndef XP_HV_H
#define XP_HV_H

#include "dispatch.h"
#include "domain.h"
#include "runstate.h"

/* Maps memory_fd (nr frames, backed). Returns NULL and *error = -errno. */
struct xp_hv *xp_hv_create(int memory_fd, uint64_t nr_frames, bool may_spin, int *error);
void xp_hv_destroy(struct xp_hv *hv);

/* Keeps machine memory out of swap: a page that is swapped out would be taken from its guest. 0 or -errno (mlock). */
int xp_hv_pin_memory(struct xp_hv *hv);

struct xp_domain_plan {
    const char *name;
    const char *cmdline;
    uint64_t nr_pages, max_pages;
    struct xp_limits limits;
    uint32_t sif_flags;
    uint32_t paging;             /* enum xp_paging */
    uint32_t shadow_pages;       /* 0: validated tables; else shadow mode, with so many frames for shadows (shadow.h) */
    bool shadow_keeps;           /* a table keeps its shadows however often it is stored into */
};

/* Takes frames and builds start_info, shared_info, ring pages and P2M in them. -XEN_EEXIST, -XEN_ENOMEM, -XEN_EINVAL. */
int xp_domain_create(struct xp_hv *hv, xp_domid_t domid, const struct xp_domain_plan *plan);

/* The process: its window (uffd -1: cooperative), where it lies, and what we hold of it. Descriptors become ours. */
struct xp_domain_process {
    int uffd, pagemap_fd, pidfd, boot_sock, doorbell;
    int32_t pid;
    uint64_t window_base;
};
int xp_domain_attach(struct xp_hv *hv, xp_domid_t domid, const struct xp_domain_process *process);

/* Gives up to max frames of what is not given yet, from *cursor on. 1: more to give, 0: done. */
int xp_domain_give(struct xp_hv *hv, xp_domid_t domid, uint64_t *cursor, uint64_t max);

/* What its reservation may grow to from now on; it may have more at the moment, as in Xen. -XEN_ESRCH. */
int xp_domain_set_max(struct xp_hv *hv, xp_domid_t domid, uint64_t max_pages);

/* Lets its hypercalls be answered from now on. */
int xp_domain_start(struct xp_hv *hv, xp_domid_t domid);

/* Domain0 ends it, or its process is dead: no more calls. Then teardown until it returns 0. */
int xp_domain_dying(struct xp_hv *hv, xp_domid_t domid);

/*
 * One step of taking it down; its process must be dead. 1: more, 2: all done but for zombie frames (ask again when
 * others have let go), 0: gone, -XEN_EBUSY: its address space still lives.
 */
int xp_domain_teardown(struct xp_hv *hv, xp_domid_t domid);

/* Clears up to max dirty frames. Returns how many were done. */
uint32_t xp_hv_scrub(struct xp_hv *hv, uint32_t max);

/* Raises a VIRQ in a domain. -XEN_ESRCH, -XEN_EINVAL (not bound: nothing happens, 0). */
int xp_domain_virq(struct xp_hv *hv, xp_domid_t domid, uint32_t virq);

struct xp_domain_info {
    xp_domid_t domid;
    uint8_t state;
    bool crashed, ready, said_shutdown;
    uint32_t shutdown_reason;
    int32_t report_kind;
    uint32_t report_len;
    int32_t pid;
    uint64_t nr_pages, max_pages;
    uint64_t nr_calls, nr_doorbells, nr_upcalls;
    uint64_t console_prod;
    uint32_t nr_evtchns, nr_direct, nr_grant_frames, nr_maptrack, nr_board, nr_zombies;
    uint64_t call_mfn, shared_info_mfn, start_info_mfn;
    int64_t created_ns;
    int64_t virtual_time_ns;     /* ns its process has run */
    uint64_t nr_alarms;
    uint64_t nr_page_faults, nr_syscalls, nr_other_traps, nr_irets; /* through the hypervisor */
    char name[64];
    char crash_reason[160];
    /* the domain's own claim (call page): a signal it caught before it died */
    uint32_t crash_signo;
    int32_t crash_code;
    uint64_t crash_addr, crash_rip;
    struct xp_call_trace trace[XP_CALL_TRACE]; /* newest first */
    uint32_t nr_trace;
};
int xp_domain_info(struct xp_hv *hv, xp_domid_t domid, struct xp_domain_info *info);

/* Copies its report (result or traceback), or console from *pos on; returns bytes. */
int xp_domain_report(struct xp_hv *hv, xp_domid_t domid, uint8_t *out, uint32_t max);
int xp_domain_console(struct xp_hv *hv, xp_domid_t domid, uint64_t *pos, uint8_t *out, uint32_t max);

/* Domids with news since the last call; clears them. Returns how many of max were filled. */
uint32_t xp_hv_news(struct xp_hv *hv, xp_domid_t *domids, uint32_t max);

struct xp_hv_info {
    uint64_t nr_frames, nr_free, nr_dirty, nr_xen;
    uint64_t m2p_mfn, nr_m2p_frames;
    uint32_t nr_domains;
    uint64_t nr_calls, nr_sleeps, nr_spins, nr_spin_hits;
    uint64_t tsc_hz;
    int64_t system_time_ns;
    int64_t wall_clock_ns;       /* when system time was 0 */
    uint64_t compared_tsc;       /* a moment on both clocks */
    int64_t compared_ns;
    uint64_t nr_time_told;       /* times that a domain's clock was set right */
    int control_fd;
    void *base;
};
void xp_hv_info(struct xp_hv *hv, struct xp_hv_info *info);

/* Records into the memory behind fd from now on (trace.h), instead of what was recorded into before; no more. */
int xp_hv_trace_start(struct xp_hv *hv, int fd, uint32_t nr_cpus, uint32_t nr_records, uint32_t classes);
void xp_hv_trace_stop(struct xp_hv *hv);

/* The audit of every table: number of broken invariants. */
uint64_t xp_hv_audit(struct xp_hv *hv);

#endif
