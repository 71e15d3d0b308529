/*
 * evtchn_direct.c: see evtchn_direct.h. The page's life: made, given to each end that asks, closed, let go of.
 */
#include "evtchn_direct.h"

#include "direct.h"
#include "mm_audit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY 64u                /* held pages probed before a request for one more is refused: about 60 us */

bool xp_direct_given(const struct xp_evtchn *chn)
{
    return chn->direct != NULL && chn->direct->end[chn->side].d != NULL;
}

static struct xp_event_page *page_of(struct xp_domain *d, const struct xp_direct_page *page)
{
    return xp_frame_ptr(&d->hv->frames, page->mfn);
}

/* ---- making ---- */

/* The page, charged to d, owned by it, not given to anybody yet. */
static int make_page(struct xp_domain *d, struct xp_direct_page **made)
{
    if (d->nr_direct + d->nr_direct_held >= d->limits.max_direct)
        return -XEN_ENOSPC;
    struct xp_direct_page *page = calloc(1, sizeof *page);
    if (page == NULL)
        return -XEN_ENOMEM;
    int ret = xp_frames_alloc_run(&d->hv->frames, d->domid, 1, XP_FF_HV, &page->mfn);
    if (ret != 0) {
        free(page);
        return ret;
    }
    page->maker = d->domid;
    page->live = true;
    page->end[0].fd = page->end[1].fd = -1;
    page->end[0].page = page->end[1].page = page;
    struct xp_event_page *shared = page_of(d, page);
    memset(shared, 0, XP_PAGE_SIZE);
    /*
     * Until the other end has asked, it listens for upcalls. "Sleeps on a descriptor" makes a sender that is direct
     * already come to the hypervisor (xp_direct_send: -XEN_EAGAIN), which knows.
     */
    atomic_store_explicit(&shared->half[1].sleep, XP_SLEEP_FD, memory_order_relaxed);
    *made = page;
    return 0;
}

/* Reference first, then the window (window.h, invariant 1). */
static int give(struct xp_domain *d, struct xp_direct_page *page, unsigned side)
{
    int ret = xp_frame_get(&d->hv->frames, page->mfn);
    if (ret != 0)
        return ret;
    ret = xp_window_give(&d->window, page->mfn, 1, false);
    if (ret != 0) {
        (void)xp_frame_put(&d->hv->frames, page->mfn);
        return ret;
    }
    page->end[side].d = d;
    return 0;
}

/* The first end to ask. */
static int open_channel(struct xp_domain *d, struct xp_evtchn *chn)
{
    struct xp_direct_page *page;
    int ret = make_page(d, &page);
    if (ret != 0)
        return ret;
    ret = give(d, page, 0);
    if (ret != 0) {
        XP_BUG_ON(xp_frame_release(&d->hv->frames, page->mfn, d->domid) != 0);
        free(page);
        return ret;
    }
    struct xp_evtchn *other = xp_evtchn_of(d->hv->domains[chn->remote_dom], chn->remote_port);
    chn->direct = other->direct = page;
    chn->side = 0;
    other->side = 1;
    d->nr_direct++;
    return 0;
}

/* The second. What came for it by upcall till now goes on being pending, in the page. */
static int join_channel(struct xp_domain *d, xp_port_t port, struct xp_evtchn *chn)
{
    struct xp_port_info info;
    if (d->nr_direct_held >= d->limits.max_direct)
        return -XEN_ENOSPC;
    int ret = give(d, chn->direct, chn->side);
    if (ret != 0)
        return ret;
    struct xp_event_half *half = &page_of(d, chn->direct)->half[chn->side];
    if (xp_evtchn_info(d, port, &info) == 0 && info.pending)
        atomic_store_explicit(&half->pending, 1, memory_order_relaxed);
    /* release: pairs with the peer's load of sleep in xp_direct_send */
    atomic_store_explicit(&half->sleep, XP_AWAKE, memory_order_release);
    return 0;
}

int xp_evtchn_make_direct(struct xp_domain *d, xp_port_t port, struct xp_op_direct *out)
{
    struct xp_evtchn *chn = xp_evtchn_of(d, port);
    int ret = 0;
    if (chn == NULL || chn->state != XP_PORT_INTERDOMAIN)
        return -XEN_EINVAL;
    if (!xp_direct_given(chn)) {
        (void)xp_direct_retry(d, RETRY);
        ret = chn->direct == NULL ? open_channel(d, chn) : join_channel(d, port, chn);
    }
    if (ret == 0)
        *out = (struct xp_op_direct){.mfn = chn->direct->mfn.v, .side = chn->side};
    return ret;
}

int xp_evtchn_direct_fd(struct xp_domain *d, xp_port_t port, int which)
{
    const struct xp_evtchn *chn = xp_evtchn_of(d, port);
    if (chn == NULL || chn->state != XP_PORT_INTERDOMAIN || !xp_direct_given(chn) || which < 0 || which > 1)
        return -XEN_EINVAL;
    struct xp_direct_end *end = &chn->direct->end[which == 0 ? chn->side : 1 - chn->side];
    if (end->d == NULL)
        return -XEN_EAGAIN;     /* listens for upcalls yet: a descriptor would wake nobody */
    int fd = end->fd >= 0 ? end->fd : xp_waker_fd(&d->hv->waker);
    if (fd < 0)
        return -XEN_EMFILE;
    return end->fd = fd;
}

/* ---- events ---- */

/*
 * As xp_direct_send, but for one difference: an event that is pending already may be the one that its sender could not
 * wake for (-XEN_EAGAIN) and brings here, so a sleeper on a descriptor is woken in any case.
 */
static void signal_half(struct xp_waker *waker, struct xp_event_half *half, int fd)
{
    /* seq_cst: with the receiver's store of sleep, load of pending */
    bool was = atomic_exchange_explicit(&half->pending, 1, memory_order_seq_cst) == 1;
    uint32_t sleep = atomic_load_explicit(&half->sleep, memory_order_seq_cst);
    if (sleep == XP_SLEEP_SEM && !was)
        (void)xp_sem_post(&half->sem);
    else if (sleep == XP_SLEEP_FD && fd >= 0)
        xp_waker_signal(waker, fd);
}

bool xp_direct_signal(struct xp_domain *d, struct xp_evtchn *chn)
{
    if (chn->direct == NULL)
        return false;
    struct xp_event_half *half = &page_of(d, chn->direct)->half[chn->side];
    if (xp_direct_given(chn)) {
        signal_half(&d->hv->waker, half, chn->direct->end[chn->side].fd);
        return true;
    }
    /* It listens for upcalls. Not pending in the page: or a direct sender would think it had been told for good. */
    atomic_store_explicit(&half->pending, 0, memory_order_seq_cst);
    return false;
}

/* ---- closing and letting go ---- */

static void free_if_unused(struct xp_direct_page *page)
{
    if (!page->live && page->end[0].d == NULL && page->end[1].d == NULL)
        free(page);
}

/* Drops the end's reference if its process has let go. */
static bool let_go(struct xp_direct_end *end)
{
    if (xp_window_gone(&end->d->window, end->page->mfn) != 0)
        return false;
    (void)xp_frame_put(&end->d->hv->frames, end->page->mfn);
    end->d = NULL;
    return true;
}

static void close_end(struct xp_waker *waker, struct xp_direct_end *end)
{
    if (end->fd >= 0) {
        xp_waker_signal(waker, end->fd);
        close(end->fd);
        end->fd = -1;
    }
    if (end->d != NULL && !let_go(end)) {
        end->next = end->d->direct_held;
        end->d->direct_held = end;
        end->d->nr_direct_held++;
    }
}

void xp_direct_close(struct xp_domain *d, struct xp_direct_page *page)
{
    struct xp_domain *maker = d->hv->domains[page->maker];
    xp_direct_close_page(page_of(d, page));
    page->live = false;
    close_end(&d->hv->waker, &page->end[0]);
    close_end(&d->hv->waker, &page->end[1]);
    maker->nr_direct--;
    XP_BUG_ON(xp_frame_release(&d->hv->frames, page->mfn, page->maker) != 0);
    free_if_unused(page);
}

/* What was not asked this time comes first next time. */
static void rotate(struct xp_domain *d, struct xp_direct_end **at)
{
    struct xp_direct_end *rest = *at, *last = rest;
    while (last->next != NULL)
        last = last->next;
    *at = NULL;
    last->next = d->direct_held;
    d->direct_held = rest;
}

uint32_t xp_direct_retry(struct xp_domain *d, uint32_t max)
{
    struct xp_direct_end **at = &d->direct_held;
    while (*at != NULL && max-- > 0) {
        struct xp_direct_end *end = *at, *next = end->next;
        if (let_go(end)) {
            *at = next;
            d->nr_direct_held--;
            free_if_unused(end->page);
        } else {
            at = &end->next;
        }
    }
    if (*at != NULL && at != &d->direct_held)
        rotate(d, at);
    return d->nr_direct_held;
}

void xp_direct_count(struct xp_domain *d, struct xp_mm_counts *counts)
{
    for (xp_port_t port = 0; d->nr_evtchns > 0 && port < XP_MAX_EVTCHNS; port++) {
        const struct xp_evtchn *chn = xp_evtchn_of(d, port);
        if (chn == NULL)
            break;
        if (xp_direct_given(chn))
            counts[chn->direct->mfn.v].refs++;
    }
    for (const struct xp_direct_end *end = d->direct_held; end != NULL; end = end->next)
        counts[end->page->mfn.v].refs++;
}
