/* Who runs on which CPU: native/scheduler.h. Python drives it in tests, and replays recorded runs through it. */
#define XP_SCHED_FOREVER ...
#define XP_SCHED_MCU_NS ...
#define XP_SCHED_ALLOWANCE_NS ...
#define XP_SCHED_RR_SLICE_NS ...
#define XP_SCHED_WEIGHT ...
#define XP_SCHED_WEIGHT_MAX ...
#define XP_SCHED_WARP_MAX_NS ...
struct xp_sched_params { uint32_t weight; int64_t warp_ns; int64_t warp_limit_ns; int64_t warp_period_ns; };
struct xp_sched_entity {
    void *owner; uint16_t domid; bool added, runnable, woken, claims, warped; int32_t cpu, last_cpu;
    struct xp_sched_params params;
    int64_t avt, evt, rest, ahead_ns, warp_used_ns, warp_since, since, charged_ns;
    struct xp_heap_node queue, virtual;
    ...;
};
struct xp_sched_settings { int64_t ctx_allow_ns, mcu_ns, slice_ns; };
struct xp_sched_class { const char *name; ...; };
struct xp_sched_cpu { struct xp_sched_entity *current; int64_t horizon; bool asked; };
struct xp_sched {
    const struct xp_sched_class *class; struct xp_sched_settings set; uint32_t nr_cpus, nr_entities; struct xp_sched_cpu *cpu;
    struct xp_heap queue, virtual; int64_t svt, weight; ...;
};
struct xp_sched_choice { struct xp_sched_entity *next; int64_t slice_ns; int32_t also; };
const struct xp_sched_class *xp_sched_class_named(const char *name);
int xp_sched_init(struct xp_sched *s, const struct xp_sched_class *class, uint32_t nr_cpus,
                  const struct xp_sched_settings *settings);
void xp_sched_free(struct xp_sched *s);
int xp_sched_check(const struct xp_sched_params *params);
int xp_sched_add(struct xp_sched *s, struct xp_sched_entity *e, const struct xp_sched_params *params, int64_t now);
int32_t xp_sched_remove(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);
int xp_sched_adjust(struct xp_sched *s, struct xp_sched_entity *e, const struct xp_sched_params *params, int64_t now);
int32_t xp_sched_wake(struct xp_sched *s, struct xp_sched_entity *e, int64_t now);
int32_t xp_sched_sleep(struct xp_sched *s, struct xp_sched_entity *e, int64_t now, bool voluntary);
void xp_sched_charge(struct xp_sched *s, struct xp_sched_entity *e, int64_t ran_ns, int64_t now);
int64_t xp_sched_room(const struct xp_sched *s, const struct xp_sched_entity *e);
struct xp_sched_choice xp_sched_decide(struct xp_sched *s, uint32_t cpu, int64_t now);
