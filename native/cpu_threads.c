/*
 * cpu_threads.c: the threads that carry the scheduler out: a sentinel for each CPU and one watcher; how they begin and end.
 *
 * A sentinel does nothing but be runnable below the chosen domain of its CPU; when it runs, that one is blocked. The watcher waits for
 * the end of slices, for who wakes, and for the busy sensor. Neither holds the hypervisor's lock in a class that a domain can
 * preempt: a sentinel raises itself before it takes it.
 */
#include "cpu_look.h"
#include "cpu_stop.h"

#include "abi.h"
#include "dispatch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX 32
#define TIMER_ID UINT64_MAX
#define SIGNAL_ID (UINT64_MAX - 1)
#define STOP_ID (UINT64_MAX - 2)
#define SUSPECT_ID (UINT64_MAX - 3)

/* This thread, to nr CPUs. */
static void pin_to(const struct xp_cpu *cpu, uint32_t nr)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < nr; i++)
        CPU_SET((size_t)cpu[i].host, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static void serve_blocked(struct xp_cpu *cpu)
{
    struct xp_domain *d = cpu->current;
    xp_spent_begin(&cpu->cpus->hv->spent);
    xp_cpu_blocked(cpu);
    if (d != NULL)
        xp_spent_turn(&cpu->cpus->hv->spent, &d->vcpu.place.spent);
}

static void *sentinel(void *arg)
{
    struct xp_cpu *cpu = arg;
    struct xp_cpus *cpus = cpu->cpus;
    (void)prctl(PR_SET_NAME, "xp-sentinel", 0, 0, 0);
    pin_to(cpu, 1);
    bool idle = cpus->hand->runs != NULL;
    if (idle)
        xp_stop_be_idle();
    else
        (void)cpus->hand->thread(0, XP_CLASS_SENTINEL);
    while (!atomic_load_explicit(&cpus->stop, memory_order_acquire)) {
        if (atomic_load_explicit(&cpu->gate, memory_order_acquire) == 0) {
            (void)xp_futex_wait(&cpu->gate, 0, XP_FOREVER);
            continue;
        }
        if (idle) {
            xp_look_idle(cpu);
            continue;
        }
        /* This CPU's chosen domain does not run, or we would not. */
        (void)cpus->hand->thread(0, XP_CLASS_HYPERVISOR);
        xp_hv_lock(cpus->hv);
        if (atomic_load_explicit(&cpu->gate, memory_order_acquire) != 0)
            serve_blocked(cpu);
        xp_hv_unlock(cpus->hv);
        /* Preempted here and now by whoever was chosen. */
        (void)cpus->hand->thread(0, XP_CLASS_SENTINEL);
    }
    return NULL;
}

/* The hypervisor's own threads are above all domains while these are real-time: nobody waits for a lock that a starved one holds. */
static void raise_ourselves(struct xp_cpus *cpus, bool up)
{
    enum xp_class class = up ? XP_CLASS_HYPERVISOR : XP_CLASS_NONE;
    (void)cpus->hand->thread(getpid(), up ? XP_CLASS_ASLEEP : XP_CLASS_NONE);      /* the policy thread: its work is longer */
    if (cpus->hv->dispatcher_tid != 0)
        (void)cpus->hand->thread(cpus->hv->dispatcher_tid, class);
    (void)cpus->hand->thread(0, class);
    xp_hv_lock(cpus->hv);
    if (cpus->helper != 0)
        (void)cpus->hand->family(cpus->helper, up ? XP_CLASS_ASLEEP : XP_CLASS_NONE);
    xp_hv_unlock(cpus->hv);
}

/* In steps: others get the lock in between. */
static void begin_contention(struct xp_cpus *cpus)
{
    uint32_t cursor = 0;
    bool more = true;
    raise_ourselves(cpus, true);
    while (more) {
        xp_hv_lock(cpus->hv);
        more = xp_cpu_enter(cpus, &cursor);
        xp_hv_unlock(cpus->hv);
    }
}

static void end_contention(struct xp_cpus *cpus)
{
    bool more = true;
    while (more) {
        xp_hv_lock(cpus->hv);
        cpus->leaving = true;
        more = xp_cpu_leave(cpus);
        xp_hv_unlock(cpus->hv);
    }
    raise_ourselves(cpus, false);
}

static void take_signals(struct xp_cpus *cpus)
{
    struct signalfd_siginfo info;
    while (read(cpus->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        struct xp_domain *d = info.ssi_int >= 0 ? xp_hv_domain(cpus->hv, (xp_domid_t)info.ssi_int) : NULL;
        if (d != NULL && d->vcpu.place.known)
            xp_cpu_ran(d, 1 + info.ssi_overrun);
    }
}

static void take_event(struct xp_cpus *cpus, uint64_t id)
{
    if (id == TIMER_ID) {
        xp_cpu_due(cpus);       /* its next edge comes when it was set anew: it needs no reading */
        xp_spent_turn(&cpus->hv->spent, &cpus->hv->spent.own);
    } else if (id == SIGNAL_ID) {
        take_signals(cpus);
    } else if (id == SUSPECT_ID) {
        xp_look_suspected(cpus);
        xp_spent_turn(&cpus->hv->spent, &cpus->hv->spent.own);
    } else if (id < XP_MAX_DOMAINS && cpus->hv->domains[id] != NULL && cpus->hv->domains[id]->vcpu.place.known) {
        struct xp_place *place = &cpus->hv->domains[id]->vcpu.place;
        bool waits = place->process.class == XP_CLASS_WAITING && place->watches.armed;
        if (waits)
            xp_cpu_leaked(cpus->hv->domains[id]);
        else
            xp_cpu_woken(cpus->hv->domains[id]);
        xp_spent_turn(&cpus->hv->spent, waits ? &cpus->hv->spent.own : &place->spent);
    }
}

static void *watcher(void *arg)
{
    struct xp_cpus *cpus = arg;
    struct epoll_event events[EVENTS_MAX];
    (void)prctl(PR_SET_NAME, "xp-watcher", 0, 0, 0);
    pin_to(cpus->cpu, cpus->nr);        /* to change who runs on another CPU takes an interrupt there */
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    /* Whoever started us waits for the number: timers on CPU clocks are sent to it. */
    atomic_store_explicit(&cpus->watcher_tid, (uint32_t)syscall(SYS_gettid), memory_order_release);
    (void)xp_futex_wake(&cpus->watcher_tid, 1);
    while (!atomic_load_explicit(&cpus->stop, memory_order_acquire)) {
        int nr = epoll_wait(cpus->epoll_fd, events, EVENTS_MAX, -1);
        xp_hv_lock(cpus->hv);
        bool before = cpus->contended;
        xp_spent_begin(&cpus->hv->spent);
        for (int i = 0; i < nr; i++)
            take_event(cpus, events[i].data.u64);
        bool begins = !before && cpus->contended, ends = cpus->contended && cpus->leaving;
        xp_hv_unlock(cpus->hv);
        if (begins)
            begin_contention(cpus);
        else if (ends)
            end_contention(cpus);
    }
    if (cpus->contended)
        end_contention(cpus);
    return NULL;
}

/* ---- the beginning and the end ---- */

static int listen_to(struct xp_cpus *cpus, int fd, uint64_t id)
{
    struct epoll_event event = {.events = id == TIMER_ID ? EPOLLIN | EPOLLET : EPOLLIN, .data.u64 = id};
    return fd < 0 || epoll_ctl(cpus->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

static int open_descriptors(struct xp_cpus *cpus)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, xp_busy_signal());
    cpus->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    cpus->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    cpus->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    cpus->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cpus->suspect_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int ret = cpus->epoll_fd < 0 ? -errno : listen_to(cpus, cpus->timer_fd, TIMER_ID);
    if (ret == 0)
        ret = listen_to(cpus, cpus->signal_fd, SIGNAL_ID);
    if (ret == 0)
        ret = listen_to(cpus, cpus->suspect_fd, SUSPECT_ID);
    return ret != 0 ? ret : listen_to(cpus, cpus->stop_fd, STOP_ID);
}

static int start_threads(struct xp_cpus *cpus)
{
    sigset_t all, before;
    sigfillset(&all);
    int ret = pthread_sigmask(SIG_SETMASK, &all, &before);      /* theirs from the start: signals are for others */
    if (ret != 0)
        return -ret;
    ret = pthread_create(&cpus->watcher, NULL, watcher, cpus);
    cpus->has_watcher = ret == 0;
    for (; ret == 0 && cpus->nr_sentinels < cpus->nr; cpus->nr_sentinels += ret == 0)
        ret = pthread_create(&cpus->cpu[cpus->nr_sentinels].sentinel, NULL, sentinel, &cpus->cpu[cpus->nr_sentinels]);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (ret == 0 && atomic_load_explicit(&cpus->watcher_tid, memory_order_acquire) == 0)
        (void)xp_futex_wait(&cpus->watcher_tid, 0, 1000000000);
    return -ret;
}

static void destroy(struct xp_cpus *cpus)
{
    const uint64_t one = 1;
    const int fds[] = {cpus->epoll_fd, cpus->timer_fd, cpus->signal_fd, cpus->stop_fd, cpus->suspect_fd, cpus->watch_fd};
    atomic_store_explicit(&cpus->stop, true, memory_order_release);
    (void)!write(cpus->stop_fd, &one, sizeof one);
    if (cpus->has_watcher)
        pthread_join(cpus->watcher, NULL);
    for (uint32_t i = 0; i < cpus->nr_sentinels; i++) {
        /* Pairs with its look at stop: the gate is open, it does not sleep again. */
        atomic_store_explicit(&cpus->cpu[i].gate, 2, memory_order_release);
        (void)xp_futex_wake(&cpus->cpu[i].gate, 1);
        pthread_join(cpus->cpu[i].sentinel, NULL);
    }
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    xp_sched_free(&cpus->sched);
    free(cpus->cpu);
    free(cpus);
}

int xp_cpus_start(struct xp_hv *hv, const char *scheduler, const char *dispatch, const uint32_t *host_cpus, uint32_t nr)
{
    const struct xp_sched_class *class = xp_sched_class_named(scheduler);
    const struct xp_hand *hand = xp_hand_named(dispatch);
    if (class == NULL || hand == NULL || nr == 0 || nr > XP_CPUS_MAX || hv->cpus != NULL)
        return -XEN_EINVAL;
    if (hand->allowed() != 0)
        return -XEN_EPERM;
    struct xp_cpus *cpus = calloc(1, sizeof *cpus);
    if (cpus == NULL)
        return -XEN_ENOMEM;
    *cpus = (struct xp_cpus){.hv = hv, .hand = hand, .nr = nr, .suspect_fd = -1, .epoll_fd = -1, .timer_fd = -1, .signal_fd = -1, .stop_fd = -1,
                             .timer_at = XP_FOREVER, .breath_ns = xp_host_breath_ns(), .watch_fd = xp_watch_begin(),
                             .cpu = calloc(nr, sizeof *cpus->cpu)};
    int ret = cpus->cpu == NULL ? -XEN_ENOMEM : xp_sched_init(&cpus->sched, class, nr, NULL);
    for (uint32_t i = 0; ret == 0 && i < nr; i++)
        cpus->cpu[i] = (struct xp_cpu){.cpus = cpus, .nr = i, .host = (int32_t)host_cpus[i],
                                      .host_turn = {.at = XP_FOREVER, .share.weight = XP_SCHED_WEIGHT}};
    if (ret == 0)
        ret = open_descriptors(cpus);
    if (ret == 0)
        ret = start_threads(cpus);
    if (ret != 0) {
        destroy(cpus);
        return ret;
    }
    xp_hv_lock(hv);
    hv->cpus = cpus;
    xp_hv_unlock(hv);
    return 0;
}

void xp_cpus_stop(struct xp_hv *hv)
{
    struct xp_cpus *cpus = hv->cpus;
    if (cpus == NULL)
        return;
    destroy(cpus);
    hv->cpus = NULL;
}
