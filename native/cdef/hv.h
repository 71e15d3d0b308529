/* The hypervisor's core: native/hv.h says what each does. */
struct xp_hv { ...; };

struct xp_limits {
    uint32_t max_evtchns;
    uint32_t max_grant_frames;
    uint32_t max_maptrack;
    uint32_t max_direct;
    uint32_t max_board;
};

struct xp_domain_plan {
    const char *name;
    const char *cmdline;
    uint64_t nr_pages, max_pages;
    struct xp_limits limits;
    uint32_t sif_flags;
    uint32_t paging;
    uint32_t shadow_pages;
    bool shadow_keeps;
};

struct xp_domain_process {
    int uffd, pagemap_fd, pidfd, boot_sock, doorbell;
    int32_t pid;
    uint64_t window_base;
};

struct xp_call_trace { uint32_t nr; uint16_t slot, answered; uint64_t arg0; int64_t result; };

struct xp_domain_info {
    uint16_t domid;
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
    int64_t virtual_time_ns;
    uint64_t nr_alarms;
    uint64_t nr_page_faults, nr_syscalls, nr_other_traps, nr_irets;
    char name[64];
    char crash_reason[160];
    uint32_t crash_signo;
    int32_t crash_code;
    uint64_t crash_addr, crash_rip;
    struct xp_call_trace trace[16];
    uint32_t nr_trace;
};

struct xp_hv_info {
    uint64_t nr_frames, nr_free, nr_dirty, nr_xen;
    uint64_t m2p_mfn, nr_m2p_frames;
    uint32_t nr_domains;
    uint64_t nr_calls, nr_sleeps, nr_spins, nr_spin_hits;
    uint64_t tsc_hz;
    int64_t system_time_ns;
    int64_t wall_clock_ns;
    uint64_t compared_tsc;
    int64_t compared_ns;
    uint64_t nr_time_told;
    int control_fd;
    void *base;
};

struct xp_hv *xp_hv_create(int memory_fd, uint64_t nr_frames, bool may_spin, int *error);
void xp_hv_destroy(struct xp_hv *hv);
int xp_hv_pin_memory(struct xp_hv *hv);
int xp_hv_run(struct xp_hv *hv);
void xp_hv_stop(struct xp_hv *hv);
int xp_domain_create(struct xp_hv *hv, uint16_t domid, const struct xp_domain_plan *plan);
int xp_domain_attach(struct xp_hv *hv, uint16_t domid, const struct xp_domain_process *process);
int xp_domain_give(struct xp_hv *hv, uint16_t domid, uint64_t *cursor, uint64_t max);
int xp_domain_set_max(struct xp_hv *hv, uint16_t domid, uint64_t max_pages);
int xp_domain_start(struct xp_hv *hv, uint16_t domid);
int xp_domain_dying(struct xp_hv *hv, uint16_t domid);
int xp_domain_teardown(struct xp_hv *hv, uint16_t domid);
int xp_domain_paused(struct xp_hv *hv, uint16_t domid, bool paused);
int xp_hv_set_wall_clock(struct xp_hv *hv, int64_t wall_ns, int64_t at_ns);
int xp_domain_virq(struct xp_hv *hv, uint16_t domid, uint32_t virq);
int xp_domain_info(struct xp_hv *hv, uint16_t domid, struct xp_domain_info *info);
int xp_domain_report(struct xp_hv *hv, uint16_t domid, uint8_t *out, uint32_t max);
int xp_domain_console(struct xp_hv *hv, uint16_t domid, uint64_t *pos, uint8_t *out, uint32_t max);
uint32_t xp_hv_scrub(struct xp_hv *hv, uint32_t max);
uint32_t xp_hv_news(struct xp_hv *hv, uint16_t *domids, uint32_t max);
void xp_hv_info(struct xp_hv *hv, struct xp_hv_info *info);
int xp_hv_trace_start(struct xp_hv *hv, int fd, uint32_t nr_cpus, uint32_t nr_records, uint32_t classes);
void xp_hv_trace_stop(struct xp_hv *hv);
uint64_t xp_hv_audit(struct xp_hv *hv);
