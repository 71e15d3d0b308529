/* The trace: native/trace.h. */
enum xp_trace_class { XP_TRACE_hypercalls, XP_TRACE_events, XP_TRACE_traps, XP_TRACE_sched, XP_TRACE_life,
                      XP_TRACE_rings, ... };
enum xp_trace_type { XP_TT_none, XP_TT_call, XP_TT_answer, XP_TT_event, XP_TT_upcall, XP_TT_trap, XP_TT_block, XP_TT_wake,
                     XP_TT_alarm, XP_TT_pause, XP_TT_start, XP_TT_end, XP_TT_sleep, XP_TT_awake, XP_TT_push, XP_TT_take, XP_TT_send, XP_TT_wait,
                     XP_TT_woken, XP_TT_sched_add, XP_TT_sched_remove, XP_TT_sched_wake, XP_TT_sched_sleep, XP_TT_sched_charge,
                     XP_TT_sched_decide, XP_TT_sched_slice, XP_TT_sched_adjust, XP_TT_sched_warp, XP_TT_sched_spent, XP_TT_sched_paid, ... };
struct xp_tracer { uint32_t nr_cpus, nr_records; ...; };
struct xp_trace_seen { uint64_t tsc, value; uint32_t number; uint16_t type, domid; };
uint64_t xp_trace_ring_bytes(uint32_t nr_records);
int xp_tracer_open(struct xp_tracer *t, int fd, uint32_t nr_cpus, uint32_t nr_records, uint32_t classes);
void xp_tracer_close(struct xp_tracer *t);
void xp_trace_put(struct xp_tracer *t, uint16_t type, uint16_t domid, uint32_t number, uint64_t value);
uint32_t xp_trace_read(const void *ring, uint32_t nr_records, uint64_t *pos, struct xp_trace_seen *out, uint32_t max, uint64_t *lost);
uint64_t xp_trace_cost(struct xp_tracer *t, uint32_t n);
