#define XP_STEP_SKIPPED ...
#define XP_LOCKDOWN_MAX_LIMITS ...
#define XP_LOCKDOWN_MAX_FDS ...
enum xp_step {
    XP_STEP_threads, XP_STEP_limits, XP_STEP_memory, XP_STEP_uid, XP_STEP_capabilities, XP_STEP_no_new_privs,
    XP_STEP_no_dump, XP_STEP_death_signal, XP_STEP_landlock, XP_STEP_descriptors, XP_STEP_seccomp, XP_NR_STEPS, ...
};
struct xp_lockdown_limit { int32_t resource; uint64_t value; ...; };
struct xp_lockdown {
    int64_t uid;
    int32_t parent;
    int32_t ruleset;
    uint64_t vm_hint;
    uint64_t private_bytes;
    const uint8_t *program;
    uint32_t nr_insns;
    uint32_t nr_pid_places;
    uint32_t pid_places[8];
    uint32_t nr_limits;
    uint32_t nr_keep;
    uint32_t skip;
    struct xp_lockdown_limit limits[...];
    int32_t keep[...];
    int32_t result[...];
    ...;
};
int xp_lockdown(struct xp_lockdown *plan);
