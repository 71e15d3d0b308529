/*
 * hv.c: see hv.h: the hypervisor itself. Domains' lives are in domain.c.
 */
#include "hv.h"

#include "domtrace.h"

#include "board.h"
#include "dispatch.h"
#include "evtchn.h"
#include "grant.h"
#include "m2p.h"
#include "mm_audit.h"
#include "pagelist.h"
#include "template.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int open_descriptors(struct xp_hv *hv)
{
    hv->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    hv->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    hv->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return hv->epoll_fd < 0 || hv->control_fd < 0 || hv->kick_fd < 0 ? -errno : 0;
}

static int map_memory(struct xp_hv *hv, int memory_fd, uint64_t nr)
{
    void *table = mmap(NULL, xp_frames_bytes(nr), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *base = mmap(NULL, nr << XP_PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (table == MAP_FAILED || base == MAP_FAILED)
        return -errno;
    /* A core dump of the hypervisor must not hold every guest's memory, nor may a child of it. */
    (void)madvise(base, nr << XP_PAGE_SHIFT, MADV_DONTDUMP);
    (void)madvise(base, nr << XP_PAGE_SHIFT, MADV_DONTFORK);
    xp_frames_init(&hv->frames, nr, table, base);
    int ret = xp_m2p_make(hv);
    return ret != 0 ? ret : xp_template_make(hv);
}

/* Domain0 is the process that builds the others: it is on the board and has a name, but neither frames nor a call page. */
static int make_domain0(struct xp_hv *hv)
{
    struct xp_domain *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -XEN_ENOMEM;
    d->hv = hv;
    d->state = XP_DS_RUNNING;
    d->page_list = XP_FRAME_END;
    d->report_kind = d->upcall_fd = d->doorbell = d->boot_sock = d->pidfd = -1;
    d->window = (struct xp_window){.uffd = -1, .pagemap_fd = -1};
    d->limits.max_board = 4096;
    (void)snprintf(d->name, sizeof d->name, "Domain-0");
    hv->domains[0] = d;
    xp_names_init(&hv->names);
    xp_names_add(&hv->names, 0, d->name);
    hv->nr_domains = 1;
    return 0;
}

/* Whoever holds the lock runs in the class of who waits for it: domains in real-time classes (cpu.h) hold up nobody by it. */
static void init_lock(struct xp_hv *hv)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&hv->lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

struct xp_hv *xp_hv_create(int memory_fd, uint64_t nr_frames, bool may_spin, int *error)
{
    struct xp_hv *hv = calloc(1, sizeof *hv);
    if (hv == NULL) {
        *error = -XEN_ENOMEM;
        return NULL;
    }
    hv->epoll_fd = hv->timer_fd = hv->control_fd = hv->kick_fd = hv->virtual_fd = -1;
    init_lock(hv);
    hv->may_spin = may_spin;
    xp_clock_start(hv);
    *error = nr_frames < 16 || nr_frames >= UINT32_MAX ? -XEN_EINVAL : open_descriptors(hv);
    if (*error == 0)
        *error = map_memory(hv, memory_fd, nr_frames);
    if (*error == 0)
        *error = make_domain0(hv);
    if (*error != 0) {
        xp_hv_destroy(hv);
        return NULL;
    }
    return hv;
}

void xp_hv_destroy(struct xp_hv *hv)
{
    const int fds[] = {hv->epoll_fd, hv->timer_fd, hv->control_fd, hv->kick_fd, hv->virtual_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    xp_waker_close(&hv->waker);
    if (hv->frames.table != NULL)
        munmap(hv->frames.table, xp_frames_bytes(hv->frames.nr));
    if (hv->frames.base != NULL)
        munmap(hv->frames.base, hv->frames.nr << XP_PAGE_SHIFT);
    if (hv->domains[0] != NULL)
        xp_board_destroy(hv->domains[0]);
    free(hv->domains[0]);
    xp_timers_free(&hv->timers);
    free(hv->linear);
    free(hv->directories);
    free(hv->shadow_hints);
    for (uint64_t i = 0; hv->table_copies != NULL && i < hv->frames.nr; i++)
        free(hv->table_copies[i]);
    free(hv->table_copies);
    xp_tracer_close(&hv->tracer);
    pthread_mutex_destroy(&hv->lock);
    free(hv);
}

int xp_hv_pin_memory(struct xp_hv *hv)
{
    return mlock(hv->frames.base, hv->frames.nr << XP_PAGE_SHIFT) == 0 ? 0 : -errno;
}

struct xp_domain *xp_hv_domain(struct xp_hv *hv, xp_domid_t domid)
{
    struct xp_domain *d = domid < XP_MAX_DOMAINS ? hv->domains[domid] : NULL;
    return d != NULL && d->state != XP_DS_DYING ? d : NULL;
}

struct xp_domain *xp_domain_by_arg(struct xp_domain *caller, xp_domid_t domid)
{
    return domid == 0x7ff0 /* DOMID_SELF */ ? caller : xp_hv_domain(caller->hv, domid);
}

void xp_hv_news_of(struct xp_domain *d)
{
    const uint64_t one = 1;
    uint64_t *word = &d->hv->news[d->domid / 64], bit = (uint64_t)1 << (d->domid % 64);
    if ((*word & bit) != 0)
        return;                 /* told already, not looked at yet */
    *word |= bit;
    (void)!write(d->hv->control_fd, &one, sizeof one);
}

void xp_domain_crash(struct xp_domain *d, const char *fmt, ...)
{
    va_list args;
    if (d->crashed)
        return;                 /* the first reason wins */
    d->crashed = true;
    va_start(args, fmt);
    (void)vsnprintf(d->crash_reason, sizeof d->crash_reason, fmt, args);
    va_end(args);
    if (d->state != XP_DS_DYING)
        d->state = XP_DS_SHUTDOWN;
    d->shutdown_reason = 3;     /* SHUTDOWN_crash */
    if (d->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, d->pidfd, SIGKILL, NULL, 0);
    xp_cpu_let_run(d);
    xp_hv_news_of(d);
}

void xp_bug(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "xenproc: hypervisor bug: %s at %s:%d; stopping\n", what, file, line);
    abort();
}

uint32_t xp_hv_scrub(struct xp_hv *hv, uint32_t max)
{
    xp_mfn_t mfns[64];
    uint32_t nr;
    xp_hv_lock(hv);
    nr = xp_frames_take_dirty(&hv->frames, mfns, max < 64 ? max : 64);
    xp_hv_unlock(hv);
    /* Nobody can reach them: not owned, not given, not on a list. */
    for (uint32_t i = 0; i < nr; i++)
        memset(xp_frame_ptr(&hv->frames, mfns[i]), 0, XP_PAGE_SIZE);
    xp_hv_lock(hv);
    xp_frames_give_clean(&hv->frames, mfns, nr);
    xp_hv_unlock(hv);
    return nr;
}

uint32_t xp_hv_news(struct xp_hv *hv, xp_domid_t *domids, uint32_t max)
{
    uint32_t nr = 0;
    uint64_t count;
    xp_hv_lock(hv);
    (void)!read(hv->control_fd, &count, sizeof count);
    for (uint32_t i = 0; i < XP_MAX_DOMAINS / 64; i++)
        while (hv->news[i] != 0 && nr < max) {
            domids[nr++] = (xp_domid_t)(i * 64 + (uint32_t)__builtin_ctzll(hv->news[i]));
            hv->news[i] &= hv->news[i] - 1;
        }
    xp_hv_unlock(hv);
    return nr;
}

void xp_hv_info(struct xp_hv *hv, struct xp_hv_info *info)
{
    xp_hv_lock(hv);
    *info = (struct xp_hv_info){
        .nr_frames = hv->frames.nr, .nr_free = hv->frames.nr_free, .nr_dirty = hv->frames.nr_dirty,
        .nr_xen = hv->frames.nr_xen, .m2p_mfn = hv->m2p_mfn.v, .nr_m2p_frames = hv->nr_m2p_frames,
        .nr_domains = hv->nr_domains, .nr_calls = hv->nr_calls, .nr_sleeps = hv->nr_sleeps, .nr_spins = hv->nr_spins,
        .nr_spin_hits = hv->nr_spin_hits, .tsc_hz = xp_clock_hz(&hv->clock), .system_time_ns = xp_hv_system_time(hv),
        .wall_clock_ns = hv->clock.wall_ns, .compared_tsc = hv->clock.last.tsc, .compared_ns = hv->clock.last.ns,
        .nr_time_told = hv->clock.nr_told,
        .control_fd = hv->control_fd, .base = hv->frames.base,
    };
    xp_hv_unlock(hv);
}

int xp_hv_trace_start(struct xp_hv *hv, int fd, uint32_t nr_cpus, uint32_t nr_records, uint32_t classes)
{
    /* Whoever records holds the lock: nobody is within the old memory when it goes. */
    xp_hv_lock(hv);
    int ret = xp_tracer_open(&hv->tracer, fd, nr_cpus, nr_records, classes);
    xp_hv_unlock(hv);
    if (ret == 0)
        xp_hv_trace_domains(hv, classes);
    return ret;
}

void xp_hv_trace_stop(struct xp_hv *hv)
{
    xp_hv_lock(hv);
    xp_tracer_close(&hv->tracer);
    xp_hv_unlock(hv);
    xp_hv_trace_domains(hv, 0);
}

uint64_t xp_hv_audit(struct xp_hv *hv)
{
    xp_hv_lock(hv);
    uint64_t broken = xp_frames_audit(&hv->frames) + xp_mm_audit(hv);
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++) {
        struct xp_domain *d = hv->domains[i];
        if (d == NULL)
            continue;
        broken += xp_evtchn_audit(d) + xp_grant_audit(d) + xp_pages_audit(d);
    }
    xp_hv_unlock(hv);
    return broken;
}
