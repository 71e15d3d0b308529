struct xp_bench_lines { ...; };
struct xp_bench_sems { ...; };
int xp_bench_lines_client(struct xp_bench_lines *l, uint64_t n, uint64_t stride, int same, int64_t timeout_ns,
                          const struct xp_tick *t, struct xp_hist *h);
int xp_bench_lines_server(struct xp_bench_lines *l, uint64_t n, int same, int64_t timeout_ns);
int xp_bench_sems_init(struct xp_bench_sems *s);
int xp_bench_sems_client(struct xp_bench_sems *s, uint64_t n, uint64_t stride, const struct xp_tick *t,
                         struct xp_hist *h);
int xp_bench_sems_server(struct xp_bench_sems *s, uint64_t n);
int xp_bench_event_client(struct xp_direct *d, uint64_t n, uint64_t stride, int mode, int64_t timeout_ns,
                          const struct xp_tick *t, struct xp_hist *h);
int xp_bench_event_server(struct xp_direct *d, uint64_t n, int mode, int64_t timeout_ns);
void xp_bench_record_ticks(struct xp_hist *h, const struct xp_tick *t, const uint64_t *ticks, uint64_t n);
int xp_bench_die_with_parent(int parent_pid);
