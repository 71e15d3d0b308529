/* cpu_host.c: see cpu_host.h. */
#include "cpu_host.h"

#include "cpu_decide.h"
#include "runstate.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PERIOD_NS 28000000
#define SERVER_PCT 5             /* the kernel's server for the ordinary class: 50 ms in each second, whatever its settings say */
#define MORE_PCT 140             /* of what is kept: other real-time threads run, too */
#define SOON_NS (PERIOD_NS / 4)  /* a switch so shortly before a breath is taken for it: one less */
#define AGAIN_NS 1000000         /* a breath that was cut short goes on after so long */
#define LEAK_NS 300000          /* so long a domain that waits may have of a turn: then the kernel lets it wait for a hundred ms of turns */
#define PROBE_NS 100000          /* between a breath and the host's turn: has the current one blocked meanwhile? The sentinel knows */

static int64_t read_number(const char *path)
{
    char text[32] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t nr = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    return nr > 0 ? strtoll(text, NULL, 10) : -1;
}

int64_t xp_host_breath_ns(void)
{
    int64_t period = read_number("/proc/sys/kernel/sched_rt_period_us"), runtime = read_number("/proc/sys/kernel/sched_rt_runtime_us");
    int64_t kept = PERIOD_NS / 100 * SERVER_PCT;
    if (period > 0 && runtime >= 0 && runtime < period && (period - runtime) * PERIOD_NS / period > kept)
        kept = (period - runtime) * PERIOD_NS / period;
    int64_t ns = kept / 100 * MORE_PCT;
    return ns < PERIOD_NS - PERIOD_NS / 10 ? ns : PERIOD_NS - PERIOD_NS / 10;
}

/* Of those domains that want to run, for one CPU. */
static uint64_t weight_of(const struct xp_cpus *cpus)
{
    uint64_t weight = (uint64_t)cpus->sched.weight / cpus->nr;
    return weight > 0 ? weight : 1;
}

/* The domains' turn, until the next breath in so many ns. */
static void domains_turn(struct xp_cpu *cpu, int64_t now, int64_t ns)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    h->phase = XP_HOST_NONE;
    h->since = now;
    h->at = now + ns;
}

static void begin_phase(struct xp_cpus *cpus, struct xp_cpu *cpu, enum xp_host_phase phase, int64_t now, int64_t ns)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    xp_cpu_watch_left(cpus, cpu);
    if (h->phase == XP_HOST_NONE)
        xp_host_share_domains(&h->share, now - h->since, weight_of(cpus));
    h->phase = phase;
    h->since = now;
    h->at = now + ns;
}

/* What passed since the last count, and what of it d did not get. Its class has just been changed: its clock is exact. One that is gone
   has none: nobody knows who used the time. */
static void count(struct xp_cpu *cpu, const struct xp_domain *d, int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    int64_t got = now - h->since, clock = xp_cpu_ns(d->pid), used = clock < h->clock_ns ? 0 : got - (clock - h->clock_ns);
    h->got_ns += got;
    h->used_ns += used < 0 ? 0 : used;
    h->since = now;
}

/* The breath or the turn is over, or cut short. */
static void conclude(struct xp_cpus *cpus, struct xp_cpu *cpu)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    int64_t domains = h->got_ns - h->used_ns;
    if (h->got_ns > 0)
        xp_host_share_host(&h->share, h->got_ns, h->used_ns);
    xp_host_share_domains(&h->share, domains, weight_of(cpus));
    h->got_ns = h->used_ns = 0;
}

void xp_host_begin(struct xp_cpus *cpus, int64_t now)
{
    if (cpus->hand->runs != NULL)
        return;                 /* no real-time classes: the host's processes are beside the chosen one's all the time */
    for (uint32_t i = 0; i < cpus->nr; i++) {
        struct xp_host_cpu *h = &cpus->cpu[i].host_turn;
        h->left_ns = cpus->breath_ns;
        h->turn_due = false;
        h->got_ns = h->used_ns = 0;
        xp_host_share_anew(&h->share);
        domains_turn(&cpus->cpu[i], now, (int64_t)(i + 1) * PERIOD_NS / cpus->nr);      /* not all at once */
    }
}

void xp_host_end(struct xp_cpus *cpus)
{
    for (uint32_t i = 0; i < cpus->nr; i++) {
        cpus->cpu[i].host_turn.phase = XP_HOST_NONE;
        cpus->cpu[i].host_turn.at = XP_FOREVER;
    }
}

static void put_current(struct xp_cpus *cpus, struct xp_cpu *cpu, enum xp_class class)
{
    xp_cpu_put(cpus, cpu->current, class, -1);
    cpu->host_turn.clock_ns = xp_cpu_ns(cpu->current->pid);
    xp_cpu_set_gate(cpu, class == XP_CLASS_CHOSEN);
}

/* What is left of a breath, if much, comes a little later. */
static bool goes_on(const struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    int64_t left = cpus->breath_ns - h->got_ns;
    if (left <= AGAIN_NS / 10)
        return false;
    h->left_ns = left;
    domains_turn(cpu, now, AGAIN_NS);
    return true;
}

static void after_breath(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    xp_cpu_put(cpus, cpu->current, XP_CLASS_CHOSEN, -1);
    xp_cpu_set_gate(cpu, 1);
    count(cpu, cpu->current, now);
    if (goes_on(cpus, cpu, now))
        return;
    conclude(cpus, cpu);
    h->left_ns = cpus->breath_ns;
    h->turn_due = xp_host_share_turn(&h->share) > 0;
    domains_turn(cpu, now, h->turn_due ? PROBE_NS : PERIOD_NS - cpus->breath_ns);
}

static void begin_turn(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    int64_t turn = xp_host_share_turn(&cpu->host_turn.share);
    cpu->host_turn.turn_due = false;
    begin_phase(cpus, cpu, XP_HOST_TURN, now, turn);
    put_current(cpus, cpu, XP_CLASS_YIELDS);
    if (cpu->slice_end != XP_FOREVER)
        cpu->slice_end += turn;
}

/*
 * Whether the host wants more is seen in a breath, not in its turn, in which domains that wait may take what the chosen one leaves: a
 * turn that was too short for what it is owed is followed by a breath after the time that the domains are owed.
 */
static void after_host(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    int64_t ns = xp_host_share_next(&cpu->host_turn.share, weight_of(cpus), PERIOD_NS) - cpus->breath_ns;
    domains_turn(cpu, now, ns > AGAIN_NS ? ns : AGAIN_NS);
}

static void after_turn(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    xp_cpu_put(cpus, cpu->current, XP_CLASS_CHOSEN, -1);
    count(cpu, cpu->current, now);
    conclude(cpus, cpu);
    after_host(cpus, cpu, now);
    xp_cpu_set_gate(cpu, 1);
}

void xp_host_due(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    if (h->at > now)
        return;
    if (cpu->current == NULL) {
        domains_turn(cpu, now, PERIOD_NS);      /* nobody is in anybody's way */
    } else if (h->phase == XP_HOST_BREATH) {
        after_breath(cpus, cpu, now);
    } else if (h->phase == XP_HOST_TURN) {
        after_turn(cpus, cpu, now);
    } else if (h->turn_due && xp_host_share_turn(&h->share) > 0) {
        begin_turn(cpus, cpu, now);
    } else {
        begin_phase(cpus, cpu, XP_HOST_BREATH, now, h->left_ns);
        put_current(cpus, cpu, XP_CLASS_BREATHES);
    }
}

/* A breath goes on later, and is judged as a whole; a turn is made up for when it is due again. */
static void cut(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    bool breath = h->phase == XP_HOST_BREATH;
    if (breath && goes_on(cpus, cpu, now))
        return;
    conclude(cpus, cpu);
    h->left_ns = cpus->breath_ns;
    if (breath)
        domains_turn(cpu, now, PERIOD_NS - cpus->breath_ns);
    else
        after_host(cpus, cpu, now);
}

static enum xp_class class_in(const struct xp_host_cpu *h)
{
    if (h->cut)
        return XP_CLASS_CHOSEN;
    return h->phase == XP_HOST_BREATH ? XP_CLASS_BREATHES : h->phase == XP_HOST_TURN ? XP_CLASS_YIELDS : XP_CLASS_CHOSEN;
}

enum xp_class xp_host_switch(struct xp_cpus *cpus, struct xp_cpu *cpu, const struct xp_domain *was, const struct xp_domain *next,
                             int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    if (next == was || h->at == XP_FOREVER)
        return class_in(h);
    bool woken = next != NULL && next->vcpu.place.process.class == XP_CLASS_ASLEEP;
    if (h->turn_due && was == NULL) {
        h->turn_due = false;    /* what the current one did not use it did not want: it has blocked */
        h->at = now + PERIOD_NS - cpus->breath_ns;
    } else if (h->phase == XP_HOST_NONE && !h->turn_due && next != NULL && !woken && h->at - now < SOON_NS) {
        h->at = now + PROBE_NS; /* not at once: who was here until now is to be off the CPU, or it would go on in the breath */
    }
    h->cut = h->phase != XP_HOST_NONE;
    return class_in(h);
}

void xp_host_switched(struct xp_cpus *cpus, struct xp_cpu *cpu, const struct xp_domain *was, int64_t now)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    if (h->phase == XP_HOST_NONE || was == cpu->current)
        return;
    if (was != NULL && h->since < now)
        count(cpu, was, now);
    h->cut = false;
    cut(cpus, cpu, now);
}

void xp_host_leak(struct xp_cpus *cpus, struct xp_cpu *cpu, int64_t now, int64_t leaked_ns)
{
    struct xp_host_cpu *h = &cpu->host_turn;
    if (h->phase == XP_HOST_TURN || h->share.wants) {
        if (h->at - now <= LEAK_NS)
            return;
        if (h->phase == XP_HOST_TURN && cpu->slice_end != XP_FOREVER)
            cpu->slice_end -= h->at - now - LEAK_NS;            /* begin_turn put it off */
        h->at = now + LEAK_NS;
        return;
    }
    xp_cpu_put(cpus, cpu->current, XP_CLASS_CHOSEN, -1);
    count(cpu, cpu->current, now);
    h->used_ns -= leaked_ns < h->used_ns ? leaked_ns : h->used_ns;
    cut(cpus, cpu, now);
    xp_cpu_set_gate(cpu, 1);
}
