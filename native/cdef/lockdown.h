#define XP_STEP_SKIPPED ...
#define XP_LOCKDOWN_MAX_LIMITS ...
#define XP_LOCKDOWN_MAX_FDS ...
#define XP_LOCKDOWN_MAX_PLACES ...
#define XP_WINDOW_UNIT_SHIFT ...
enum xp_step {
    XP_STEP_threads, XP_STEP_limits, XP_STEP_memory, XP_STEP_uid, XP_STEP_capabilities, XP_STEP_no_new_privs,
    XP_STEP_no_dump, XP_STEP_death_signal, XP_STEP_landlock, XP_STEP_descriptors, XP_STEP_seccomp, XP_NR_STEPS, ...
};
enum xp_place_what { XP_PLACE_PID, XP_PLACE_WINDOW_FIRST, XP_PLACE_WINDOW_END, ... };
struct xp_lockdown_limit { int32_t resource; uint64_t value; ...; };
struct xp_lockdown_place { uint32_t offset, what; ...; };
struct xp_lockdown {
    int64_t uid;
    uint64_t window_base, window_end;
    uint64_t private_bytes;
    uint64_t max_fds, max_threads;
    uint32_t skip;
    uint32_t nr_keep;
    int32_t keep[...];
    int32_t parent;
    int32_t ruleset;
    uint64_t vm_bytes;
    const uint8_t *program;
    uint32_t nr_insns;
    uint32_t nr_places;
    struct xp_lockdown_place places[...];
    uint32_t nr_limits;
    struct xp_lockdown_limit limits[...];
    int32_t result[...];
    ...;
};
int xp_lockdown(struct xp_lockdown *plan);
