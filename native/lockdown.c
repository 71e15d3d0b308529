/* lockdown.c: see lockdown.h. */
#include "lockdown.h"
#include "confine.h"
#include "os.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_INSNS 1024u
#define INSN_SIZE 8u

/* Near enough for a limit: the exact size costs five more trials. */
#define VM_GRAIN 65536u

static int single_thread(const struct xp_lockdown *plan)
{
    (void)plan;
    int single = xp_single_threaded();
    return single == 1 ? 0 : single == 0 ? -EBUSY : single;
}

/* Sets a limit for good, or leaves a lower one that is there. */
static int limit_to(int resource, uint64_t value)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0)
        return -errno;
    if (limit.rlim_max > value)             /* RLIM_INFINITY is the highest value */
        limit.rlim_max = value;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(resource, &limit) == 0 ? 0 : -errno;
}

static int set_limits(const struct xp_lockdown *plan)
{
    int ret = limit_to(RLIMIT_NOFILE, plan->max_fds);
    if (ret == 0 && plan->uid >= 0 && (plan->skip >> XP_STEP_uid & 1) == 0)
        ret = limit_to(RLIMIT_NPROC, plan->max_threads);
    for (uint32_t i = 0; ret == 0 && i < plan->nr_limits; i++)
        ret = limit_to(plan->limits[i].resource, plan->limits[i].value);
    return ret;
}

static int limit_memory(const struct xp_lockdown *plan)
{
    if (plan->private_bytes == 0)
        return XP_STEP_SKIPPED;
    int64_t now = xp_vm_bytes(plan->vm_bytes + (plan->window_end - plan->window_base), VM_GRAIN);
    return now < 0 ? (int)now : limit_to(RLIMIT_AS, (uint64_t)now + plan->private_bytes);
}

static int take_uid(const struct xp_lockdown *plan)
{
    if (plan->uid < 0)
        return XP_STEP_SKIPPED;
    uid_t uid = (uid_t)plan->uid, is[3];
    gid_t gid = (gid_t)plan->uid, group[3];
    if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return -errno;
    if (getresuid(&is[0], &is[1], &is[2]) != 0 || getresgid(&group[0], &group[1], &group[2]) != 0)
        return -errno;
    for (int i = 0; i < 3; i++)
        if (is[i] != uid || group[i] != gid)
            return -EPERM;
    return 0;
}

static int drop_capabilities(const struct xp_lockdown *plan)
{
    (void)plan;
    uint64_t caps = 0;
    int ret = xp_drop_caps();
    if (ret == 0)
        ret = xp_effective_caps(&caps);
    return ret == 0 && caps != 0 ? -EPERM : ret;
}

static int no_new_privs(const struct xp_lockdown *plan)
{
    (void)plan;
    return xp_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int no_dump(const struct xp_lockdown *plan)
{
    (void)plan;
    return xp_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int death_signal(const struct xp_lockdown *plan)
{
    int ret = xp_prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != plan->parent)
        _exit(0);               /* it died before the line above: nobody is left to tell */
    return ret;
}

static int restrict_files(const struct xp_lockdown *plan)
{
    return plan->ruleset < 0 ? XP_STEP_SKIPPED : xp_landlock_restrict(plan->ruleset);
}

static int close_descriptors(const struct xp_lockdown *plan) { return xp_close_others(plan->keep, plan->nr_keep); }

static int install_filter(const struct xp_lockdown *plan)
{
    uint8_t program[MAX_INSNS * INSN_SIZE];
    if (plan->nr_insns > MAX_INSNS || plan->nr_places > XP_LOCKDOWN_MAX_PLACES)
        return -EINVAL;
    const uint64_t round = (1u << XP_WINDOW_UNIT_SHIFT) - 1;
    const uint32_t constants[] = {
        [XP_PLACE_PID] = (uint32_t)getpid(),
        [XP_PLACE_WINDOW_FIRST] = (uint32_t)(plan->window_base >> XP_WINDOW_UNIT_SHIFT),
        [XP_PLACE_WINDOW_END] = (uint32_t)((plan->window_end + round) >> XP_WINDOW_UNIT_SHIFT),
    };
    memcpy(program, plan->program, (size_t)plan->nr_insns * INSN_SIZE);
    for (uint32_t i = 0; i < plan->nr_places; i++) {
        const struct xp_lockdown_place *at = &plan->places[i];
        if (at->offset > plan->nr_insns * INSN_SIZE - sizeof *constants || at->what >= sizeof constants / sizeof *constants)
            return -EINVAL;
        memcpy(program + at->offset, &constants[at->what], sizeof *constants);
    }
    return xp_seccomp_install(program, plan->nr_insns);
}

struct step { int (*run)(const struct xp_lockdown *plan); bool fatal; };

/* no_dump and death_signal after the uid, which resets both. */
static const struct step steps[XP_NR_STEPS] = {
    [XP_STEP_threads] = {single_thread, true},
    [XP_STEP_limits] = {set_limits, true},
    [XP_STEP_memory] = {limit_memory, true},
    [XP_STEP_uid] = {take_uid, true},
    [XP_STEP_capabilities] = {drop_capabilities, true},
    [XP_STEP_no_new_privs] = {no_new_privs, true},
    [XP_STEP_no_dump] = {no_dump, false},
    [XP_STEP_death_signal] = {death_signal, false},
    [XP_STEP_landlock] = {restrict_files, false},
    [XP_STEP_descriptors] = {close_descriptors, true},
    [XP_STEP_seccomp] = {install_filter, false},
};

int xp_lockdown(struct xp_lockdown *plan)
{
    int refused = 0;
    if (plan->nr_limits > XP_LOCKDOWN_MAX_LIMITS || plan->nr_keep > XP_LOCKDOWN_MAX_FDS ||
        plan->window_base > plan->window_end || plan->window_end >> 47 != 0)
        return -EINVAL;
    for (int i = 0; i < XP_NR_STEPS; i++)
        plan->result[i] = XP_STEP_SKIPPED;
    for (int i = 0; i < XP_NR_STEPS; i++) {
        if (plan->skip >> i & 1)
            continue;
        plan->result[i] = steps[i].run(plan);
        if (plan->result[i] < 0 && steps[i].fatal)
            return plan->result[i];
        refused |= plan->result[i] < 0;
    }
    return refused;
}
