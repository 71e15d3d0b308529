/* A domain's weight and warp: native/cpu_params.h. */
struct xp_cpus_state { int64_t avt, evt, svt, charged_ns; bool warped; };
int xp_cpus_adjust(struct xp_hv *hv, uint16_t domid, const struct xp_sched_params *params);
int xp_cpus_params(struct xp_hv *hv, uint16_t domid, struct xp_sched_params *params, struct xp_cpus_state *state);
uint32_t xp_cpus_host_weight(struct xp_hv *hv);
int xp_cpus_set_host_weight(struct xp_hv *hv, uint32_t weight);
