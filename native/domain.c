/*
 * domain.c: a domain's life in the hypervisor: created, attached to a process, started, dying, torn down. See hv.h.
 */
#include "abi.h"
#include "bells.h"
#include "board.h"
#include "console.h"
#include "dispatch.h"
#include "domtrace.h"
#include "evtchn.h"
#include "grant.h"
#include "hv.h"
#include "m2p.h"
#include "pagelist.h"
#include "park.h"
#include "runstate.h"
#include "shadow.h"
#include "start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEARDOWN_STEP 2048u      /* frames released a step: about 50 us */

static struct xp_domain *find(struct xp_hv *hv, xp_domid_t domid)
{
    return domid < XP_MAX_DOMAINS ? hv->domains[domid] : NULL;
}

/* ---- creation ---- */

static void link_pages(struct xp_domain *d, const xp_mfn_t *mfns, uint64_t nr)
{
    xp_pages_link(d, mfns, nr);
    for (uint64_t i = 0; i < nr; i++)
        xp_m2p_set(d->hv, mfns[i], i);
}

/* Its process is dead or was never there, so no page of it is in any window of its own. */
static void release_list(struct xp_domain *d)
{
    for (uint32_t i = 0; i < TEARDOWN_STEP && d->page_list != XP_FRAME_END; i++) {
        xp_mfn_t mfn = xp_mfn(d->page_list);
        xp_page_unlink(d, mfn);
        (void)xp_frame_release(&d->hv->frames, mfn, d->domid);
    }
}

/*
 * The reservation: start_info and rings with the P2M behind them in one run, as the P2M is an array to the guest; the
 * rest in as few runs as there are.
 */
static int take_pages(struct xp_domain *d, uint64_t nr)
{
    struct xp_frames *f = &d->hv->frames;
    uint64_t head = XP_START_PAGES + xp_p2m_pages(nr);
    xp_mfn_t *mfns = malloc(nr * sizeof *mfns);
    if (mfns == NULL)
        return -XEN_ENOMEM;
    int ret = nr + 2 > f->nr_free ? -XEN_ENOMEM : xp_frames_alloc_run(f, d->domid, head, 0, &mfns[0]);
    if (ret == 0) {
        for (uint64_t i = 1; i < head; i++)
            mfns[i] = xp_mfn(mfns[0].v + i);
        ret = xp_frames_alloc(f, d->domid, nr - head, 0, mfns + head);
        link_pages(d, mfns, ret == 0 ? nr : head);
    }
    free(mfns);
    if (ret != 0)
        while (d->page_list != XP_FRAME_END)
            release_list(d);
    return ret;
}

static int take_hv_pages(struct xp_domain *d)
{
    struct xp_frames *f = &d->hv->frames;
    xp_mfn_t first;
    int ret = xp_frames_alloc(f, d->domid, 1, XP_FF_HV, &first);
    if (ret != 0)
        return ret;
    d->call_mfn = first;
    ret = xp_frames_alloc(f, d->domid, 1, XP_FF_HV, &first);
    if (ret != 0) {
        (void)xp_frame_release(f, d->call_mfn, d->domid);
        return ret;
    }
    d->shared_info_mfn = first;
    d->calls = xp_frame_ptr(f, d->call_mfn);
    d->shared_info = xp_frame_ptr(f, d->shared_info_mfn);
    return 0;
}

static int create_locked(struct xp_hv *hv, xp_domid_t domid, const struct xp_domain_plan *plan)
{
    if (domid >= XP_MAX_DOMAINS || plan->nr_pages < XP_START_PAGES + xp_p2m_pages(plan->nr_pages) + 1 ||
        plan->nr_pages > plan->max_pages || xp_paging_mode(plan->paging) == NULL)
        return -XEN_EINVAL;
    if (hv->domains[domid] != NULL)
        return -XEN_EEXIST;
    struct xp_domain *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -XEN_ENOMEM;
    d->hv = hv;
    d->domid = domid;
    d->state = XP_DS_BUILDING;
    d->limits = plan->limits;
    d->max_pages = plan->max_pages;
    d->page_list = XP_FRAME_END;
    d->report_kind = -1;
    d->upcall_fd = d->doorbell = d->boot_sock = d->pidfd = -1;
    d->window = (struct xp_window){.uffd = -1, .pagemap_fd = -1};
    d->mm.mode = xp_paging_mode(plan->paging);
    d->created_ns = xp_hv_system_time(hv);
    xp_vcpu_init(d);
    (void)snprintf(d->name, sizeof d->name, "%s", plan->name);
    int ret = take_pages(d, plan->nr_pages);
    if (ret == 0 && plan->shadow_pages > 0)
        ret = xp_shadow_enable(d, plan->shadow_pages);
    if (ret == 0 && d->shadow != NULL)
        d->shadow->keeps = plan->shadow_keeps;
    if (ret == 0)
        ret = take_hv_pages(d);
    if (ret != 0)
        (void)xp_shadow_teardown(d);
    while (ret != 0 && d->page_list != XP_FRAME_END)
        release_list(d);
    if (ret != 0) {
        free(d);
        return ret;
    }
    d->start_info_mfn = xp_mfn(d->page_list);
    hv->domains[domid] = d;
    xp_names_add(&hv->names, domid, d->name);
    hv->nr_domains++;
    return 0;
}

int xp_domain_create(struct xp_hv *hv, xp_domid_t domid, const struct xp_domain_plan *plan)
{
    xp_hv_lock(hv);
    int ret = create_locked(hv, domid, plan);
    xp_hv_unlock(hv);
    if (ret == 0) {
        /* Not started: nobody else looks at these frames. */
        xp_start_shared_info(hv->domains[domid]);
        xp_start_info(hv->domains[domid], plan);
    }
    return ret;
}

int xp_domain_attach(struct xp_hv *hv, xp_domid_t domid, const struct xp_domain_process *process)
{
    xp_hv_lock(hv);
    struct xp_domain *d = find(hv, domid);
    int ret = d == NULL ? -XEN_ESRCH : d->state != XP_DS_BUILDING || d->pid != 0 ? -XEN_EINVAL : 0;
    if (ret == 0) {
        d->window = (struct xp_window){.uffd = process->uffd, .base = process->window_base, .nr = hv->frames.nr,
                                       .pagemap_fd = process->pagemap_fd};
        d->pidfd = process->pidfd;
        d->pid = process->pid;
        d->boot_sock = process->boot_sock;
        d->doorbell = process->doorbell;
        /* Addresses in start_info are the guest's. */
        struct xen_start_info *info = xp_frame_ptr(&hv->frames, d->start_info_mfn);
        info->mfn_list += process->window_base;
    }
    xp_hv_unlock(hv);
    return ret;
}

/*
 * Frames of the list from position *cursor (an mfn + 1; 0: the beginning), in runs, then the machine-to-physical table's
 * (from the number of frames + 1 on). Without the lock: see hv.h.
 */
int xp_domain_give(struct xp_hv *hv, xp_domid_t domid, uint64_t *cursor, uint64_t max)
{
    struct xp_domain *d = find(hv, domid);
    const struct xp_frame *table = hv->frames.table;
    int ret = 0;
    if (d == NULL || d->state != XP_DS_BUILDING)
        return -XEN_ESRCH;
    if (*cursor > hv->frames.nr)
        return xp_m2p_give(d, cursor, max);
    if (*cursor == 0) {
        ret = xp_window_give(&d->window, d->call_mfn, 1, false);
        if (ret == 0)
            ret = xp_window_give(&d->window, d->shared_info_mfn, 1, false);
        if (ret == 0)
            ret = xp_shadow_give(d);
    }
    uint32_t at = *cursor == 0 ? d->page_list : table[*cursor - 1].next;
    for (uint64_t done = 0; ret == 0 && at != XP_FRAME_END && done < max;) {
        uint64_t run = 1;
        while (done + run < max && table[at + run - 1].next == at + run)
            run++;
        ret = xp_window_give(&d->window, xp_mfn(at), run, false);
        done += run;
        *cursor = at + run;
        at = table[at + run - 1].next;
    }
    if (ret == 0 && at == XP_FRAME_END)
        *cursor = hv->frames.nr + 1;
    return ret != 0 ? ret : 1;
}

int xp_domain_start(struct xp_hv *hv, xp_domid_t domid)
{
    xp_hv_lock(hv);
    struct xp_domain *d = find(hv, domid);
    int ret = d == NULL ? -XEN_ESRCH : d->state != XP_DS_BUILDING ? -XEN_EINVAL : xp_bells_add(hv, d->doorbell, domid);
    if (ret == 0) {
        d->state = XP_DS_RUNNING;
        xp_clock_new_domain(d);
        xp_cpu_add(d);
        xp_trace(&hv->tracer, XP_TRACE_life, XP_TT_start, domid, 0, 0);
        xp_domain_trace(d, atomic_load_explicit(&hv->tracer.classes, memory_order_relaxed));
        xp_board_changed(hv);
    }
    xp_hv_unlock(hv);
    return ret;
}

int xp_domain_set_max(struct xp_hv *hv, xp_domid_t domid, uint64_t max_pages)
{
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    if (d != NULL)
        d->max_pages = max_pages;
    xp_hv_unlock(hv);
    return d == NULL ? -XEN_ESRCH : 0;
}

/* ---- events to it ---- */

void xp_domain_kick(struct xp_domain *d)
{
    if (d->calls == NULL)
        return;                 /* Domain0 has no process of this kind */
    d->nr_upcalls++;
    xp_trace(&d->hv->tracer, XP_TRACE_events, XP_TT_upcall, d->domid, 0, 0);
    (void)xp_sem_post(&d->calls->upcall);
    if (d->upcall_fd >= 0)
        xp_waker_signal(&d->hv->waker, d->upcall_fd);
    if (d->parked_mask != 0)
        xp_park_events(d);
}

int xp_domain_virq(struct xp_hv *hv, xp_domid_t domid, uint32_t virq)
{
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    int ret = d == NULL ? -XEN_ESRCH : virq >= 24 ? -XEN_EINVAL : 0;
    if (ret == 0)
        xp_evtchn_raise_virq(d, virq);
    xp_hv_unlock(hv);
    return ret;
}

/* ---- its end ---- */

int xp_domain_dying(struct xp_hv *hv, xp_domid_t domid)
{
    xp_hv_lock(hv);
    struct xp_domain *d = find(hv, domid);
    int ret = d == NULL ? -XEN_ESRCH : 0;
    if (ret == 0 && d->state != XP_DS_DYING) {
        xp_dispatch_remove(d);
        d->state = XP_DS_DYING;
        xp_trace(&hv->tracer, XP_TRACE_life, XP_TT_end, domid, 0, 0);
        hv->nr_continued -= d->pending_mask != 0;
        d->pending_mask = 0;
        xp_park_destroy(d);
        xp_vcpu_destroy(d);
    }
    xp_hv_unlock(hv);
    return ret;
}

static void close_all(struct xp_domain *d)
{
    int *fds[] = {&d->window.uffd, &d->window.pagemap_fd, &d->doorbell, &d->upcall_fd, &d->boot_sock, &d->pidfd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

static void free_domain(struct xp_domain *d)
{
    xp_names_remove(&d->hv->names, d->domid, d->name);
    d->hv->domains[d->domid] = NULL;
    d->hv->nr_domains--;
    d->hv->news[d->domid / 64] &= ~((uint64_t)1 << (d->domid % 64));
    free(d->pending);
    free(d->console);
    free(d->report);
    free(d);
}

static int teardown_step(struct xp_domain *d)
{
    struct xp_hv *hv = d->hv;
    if (d->state != XP_DS_DYING)
        return -XEN_EINVAL;
    if (!xp_window_dead(&d->window))
        return -XEN_EBUSY;
    int ret = xp_evtchn_destroy(d);
    if (ret == 0)
        ret = xp_grant_destroy(d);
    if (ret != 0)
        return ret;
    xp_board_destroy(d);
    xp_domain_trace_free(d);
    if (xp_mm_teardown(d) != 0)
        return 1;
    if (d->page_list != XP_FRAME_END) {
        release_list(d);
        return 1;
    }
    if (d->calls != NULL) {
        (void)xp_frame_release(&hv->frames, d->call_mfn, d->domid);
        (void)xp_frame_release(&hv->frames, d->shared_info_mfn, d->domid);
        d->calls = NULL;
        d->shared_info = NULL;
        close_all(d);
        xp_board_changed(hv);   /* whoever waits for it on the board learns that it is gone */
    }
    if (hv->frames.zombies[d->domid] > 0)
        return 2;
    free_domain(d);
    return 0;
}

int xp_domain_teardown(struct xp_hv *hv, xp_domid_t domid)
{
    xp_hv_lock(hv);
    struct xp_domain *d = find(hv, domid);
    int ret = d == NULL ? -XEN_ESRCH : teardown_step(d);
    xp_hv_unlock(hv);
    return ret;
}

/* ---- looking at it ---- */

static void fill_info(const struct xp_domain *d, struct xp_domain_info *info)
{
    *info = (struct xp_domain_info){
        .domid = d->domid, .state = d->state, .crashed = d->crashed, .ready = d->ready,
        .said_shutdown = d->said_shutdown,
        .shutdown_reason = d->shutdown_reason, .report_kind = d->report_kind, .report_len = d->report_len, .pid = d->pid,
        .nr_pages = d->nr_pages, .max_pages = d->max_pages, .nr_calls = d->nr_calls, .nr_doorbells = d->nr_doorbells,
        .nr_upcalls = d->nr_upcalls, .console_prod = d->console_prod, .nr_evtchns = d->nr_evtchns,
        .nr_direct = d->nr_direct, .nr_grant_frames = d->nr_grant_frames, .nr_maptrack = d->nr_maptrack,
        .nr_board = d->nr_board, .nr_zombies = d->hv->frames.zombies[d->domid], .call_mfn = d->call_mfn.v,
        .shared_info_mfn = d->shared_info_mfn.v, .start_info_mfn = d->start_info_mfn.v, .created_ns = d->created_ns,
        .virtual_time_ns = xp_cpu_ns(d->pid), .nr_alarms = d->vcpu.nr_alarms, .nr_page_faults = d->vcpu.nr_page_faults,
        .nr_syscalls = d->vcpu.nr_syscalls, .nr_other_traps = d->vcpu.nr_other_traps, .nr_irets = d->vcpu.nr_irets,
    };
    memcpy(info->name, d->name, sizeof info->name);
    memcpy(info->crash_reason, d->crash_reason, sizeof info->crash_reason);
    if (d->calls != NULL) {
        info->crash_signo = d->calls->crash_signo;
        info->crash_code = d->calls->crash_code;
        info->crash_addr = d->calls->crash_addr;
        info->crash_rip = d->calls->crash_rip;
    }
    info->nr_trace = d->nr_calls < XP_CALL_TRACE ? (uint32_t)d->nr_calls : XP_CALL_TRACE;
    for (uint32_t i = 0; i < info->nr_trace; i++)
        info->trace[i] = d->trace[(d->nr_calls - i) % XP_CALL_TRACE];
}

int xp_domain_info(struct xp_hv *hv, xp_domid_t domid, struct xp_domain_info *info)
{
    xp_hv_lock(hv);
    const struct xp_domain *d = find(hv, domid);
    if (d != NULL)
        fill_info(d, info);
    xp_hv_unlock(hv);
    return d == NULL ? -XEN_ESRCH : 0;
}

int xp_domain_report(struct xp_hv *hv, xp_domid_t domid, uint8_t *out, uint32_t max)
{
    xp_hv_lock(hv);
    const struct xp_domain *d = find(hv, domid);
    int nr = d == NULL ? -XEN_ESRCH : (int)(d->report_len < max ? d->report_len : max);
    if (nr > 0)
        memcpy(out, d->report, (size_t)nr);
    xp_hv_unlock(hv);
    return nr;
}

int xp_domain_console(struct xp_hv *hv, xp_domid_t domid, uint64_t *pos, uint8_t *out, uint32_t max)
{
    xp_hv_lock(hv);
    const struct xp_domain *d = find(hv, domid);
    int nr = d == NULL ? -XEN_ESRCH : (int)xp_console_read(d, pos, out, max);
    xp_hv_unlock(hv);
    return nr;
}
