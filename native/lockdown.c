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

static int single_thread(void)
{
    int single = xp_single_threaded();
    return single == 1 ? 0 : single == 0 ? -EBUSY : single;
}

static int limit_to(int resource, uint64_t value)
{
    struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
    return setrlimit(resource, &limit) == 0 ? 0 : -errno;
}

static int set_limits(const struct xp_lockdown *plan)
{
    for (uint32_t i = 0; i < plan->nr_limits; i++) {
        int ret = limit_to(plan->limits[i].resource, plan->limits[i].value);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int limit_memory(const struct xp_lockdown *plan)
{
    if (plan->private_bytes == 0)
        return XP_STEP_SKIPPED;
    int64_t now = xp_vm_bytes(plan->vm_hint, VM_GRAIN);
    struct rlimit old;
    if (now < 0 || getrlimit(RLIMIT_AS, &old) != 0)
        return now < 0 ? (int)now : -errno;
    uint64_t limit = (uint64_t)now + plan->private_bytes;
    return limit_to(RLIMIT_AS, limit < old.rlim_max ? limit : old.rlim_max);
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

static int install_filter(const struct xp_lockdown *plan)
{
    uint8_t program[MAX_INSNS * INSN_SIZE];
    uint32_t pid = (uint32_t)getpid();
    if (plan->nr_insns > MAX_INSNS || plan->nr_pid_places > sizeof plan->pid_places / sizeof *plan->pid_places)
        return -EINVAL;
    memcpy(program, plan->program, (size_t)plan->nr_insns * INSN_SIZE);
    for (uint32_t i = 0; i < plan->nr_pid_places; i++) {
        if (plan->pid_places[i] > plan->nr_insns * INSN_SIZE - sizeof pid)
            return -EINVAL;
        memcpy(program + plan->pid_places[i], &pid, sizeof pid);
    }
    return xp_seccomp_install(program, plan->nr_insns);
}

static bool wanted(const struct xp_lockdown *plan, enum xp_step step)
{
    return (plan->skip >> step & 1) == 0;
}

/* The steps that must not fail, in order; the first that does ends it. */
static int fatal_steps(const struct xp_lockdown *plan, int32_t *result)
{
    static const struct {
        enum xp_step step;
        int (*run)(const struct xp_lockdown *plan);
    } steps[] = {{XP_STEP_limits, set_limits}, {XP_STEP_memory, limit_memory}, {XP_STEP_uid, take_uid},
                 {XP_STEP_capabilities, drop_capabilities}, {XP_STEP_no_new_privs, no_new_privs}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (wanted(plan, steps[i].step) && (result[steps[i].step] = steps[i].run(plan)) < 0)
            return result[steps[i].step];
    return 0;
}

int xp_lockdown(struct xp_lockdown *plan)
{
    int32_t *result = plan->result;
    for (int i = 0; i < XP_NR_STEPS; i++)
        result[i] = XP_STEP_SKIPPED;
    if ((result[XP_STEP_threads] = single_thread()) < 0)
        return result[XP_STEP_threads];
    if (plan->nr_limits > XP_LOCKDOWN_MAX_LIMITS || plan->nr_keep > XP_LOCKDOWN_MAX_FDS)
        return -EINVAL;
    int ret = fatal_steps(plan, result);
    if (ret < 0)
        return ret;
    /* These two after the uid: a change of uid resets both. */
    if (wanted(plan, XP_STEP_no_dump))
        result[XP_STEP_no_dump] = xp_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    result[XP_STEP_death_signal] = xp_prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != plan->parent)
        _exit(0);                   /* it died before the line above; nobody is left to tell */
    if (plan->ruleset >= 0 && wanted(plan, XP_STEP_landlock))
        result[XP_STEP_landlock] = xp_landlock_restrict(plan->ruleset);
    if (wanted(plan, XP_STEP_descriptors) &&
        (result[XP_STEP_descriptors] = xp_close_others(plan->keep, plan->nr_keep)) < 0)
        return result[XP_STEP_descriptors];
    if (wanted(plan, XP_STEP_seccomp))
        result[XP_STEP_seccomp] = install_filter(plan);
    for (int i = 0; i < XP_NR_STEPS; i++)
        if (result[i] < 0)
            return 1;
    return 0;
}
