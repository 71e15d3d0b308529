/* The CPUs that domains run on: native/cpu.h. */
struct xp_cpus_info {
    uint32_t nr_cpus, nr_waiting;
    const char *scheduler, *dispatch;
    bool on, contended, watches;
    uint64_t nr_contended, nr_switches, nr_blocks, nr_wakes, nr_slices;
    uint64_t nr_strayed, nr_stalls, nr_leaks;
    int64_t stalled_ns;
    int64_t ran_ns, host_ns;
};

int xp_cpus_start(struct xp_hv *hv, const char *scheduler, const char *dispatch, const uint32_t *host_cpus, uint32_t nr);
void xp_cpus_stop(struct xp_hv *hv);
void xp_cpus_info(struct xp_hv *hv, struct xp_cpus_info *info);
void xp_cpus_let_run(struct xp_hv *hv, uint16_t domid);
void xp_cpus_helper(struct xp_hv *hv, int32_t pid);

struct xp_classed { ...; };
int xp_class_open(struct xp_classed *c, int32_t pid, int pidfd);
void xp_class_close(struct xp_classed *c);
void xp_class_count(const struct xp_classed *c);
