/* bells.c: see bells.h. */
#include "bells.h"

#include "alarm.h"
#include "dispatch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define KICK_ID UINT64_MAX
#define VIRTUAL_ID (UINT64_MAX - 1)
#define TIMER_ID (UINT64_MAX - 2)

static int add(struct xp_hv *hv, int fd, uint32_t events, uint64_t id)
{
    struct epoll_event ev = {.events = events, .data.u64 = id};
    return epoll_ctl(hv->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

int xp_bells_listen(struct xp_hv *hv)
{
    hv->ring_at = XP_FOREVER;
    hv->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (hv->timer_fd < 0)
        return -errno;
    int ret = xp_alarm_listen(hv);
    if (ret == 0)
        ret = add(hv, hv->kick_fd, EPOLLIN, KICK_ID);
    if (ret == 0)
        ret = add(hv, hv->virtual_fd, EPOLLIN, VIRTUAL_ID);
    return ret != 0 ? ret : add(hv, hv->timer_fd, EPOLLIN, TIMER_ID);
}

int xp_bells_add(struct xp_hv *hv, int doorbell, xp_domid_t domid) { return add(hv, doorbell, EPOLLIN | EPOLLET, domid); }

void xp_bells_remove(struct xp_hv *hv, int doorbell) { (void)epoll_ctl(hv->epoll_fd, EPOLL_CTL_DEL, doorbell, NULL); }

static void ring(struct xp_hv *hv, uint64_t id)
{
    uint64_t count;
    switch (id) {
    case KICK_ID: (void)!read(hv->kick_fd, &count, sizeof count); break;
    case VIRTUAL_ID: xp_alarm_virtual_due(hv); break;
    case TIMER_ID:
        /* What is due is done by the dispatcher's next turn. */
        (void)!read(hv->timer_fd, &count, sizeof count);
        hv->ring_at = XP_FOREVER;
        break;
    default: xp_dispatch_rung(hv, id); break;
    }
}

static int act_on(struct xp_hv *hv, const struct epoll_event *events, int nr, int error)
{
    if (nr < 0)
        return error == EINTR ? 0 : -error;
    for (int i = 0; i < nr; i++)
        ring(hv, events[i].data.u64);
    return 0;
}

int xp_bells_look(struct xp_hv *hv)
{
    struct epoll_event events[EVENTS_MAX];
    int nr = epoll_wait(hv->epoll_fd, events, EVENTS_MAX, 0);
    return act_on(hv, events, nr, errno);
}

/* The timer rings at deadline at the latest. 1: it is that already. */
static int set_timer(struct xp_hv *hv, int64_t deadline)
{
    if (deadline >= hv->ring_at)
        return 0;
    int64_t left = deadline - xp_hv_system_time(hv);
    if (left <= 0)
        return 1;
    /* By the kernel's clock from now on, whatever the TSC's scale says of later. */
    int64_t at = xp_now_ns() + left;
    const struct itimerspec spec = {.it_value = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000}};
    if (timerfd_settime(hv->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) != 0)
        return -errno;
    hv->ring_at = deadline;
    return 0;
}

int xp_bells_wait(struct xp_hv *hv, int64_t deadline)
{
    struct epoll_event events[EVENTS_MAX];
    int ret = set_timer(hv, deadline);
    if (ret != 0)
        return ret < 0 ? ret : xp_bells_look(hv);
    pthread_mutex_unlock(&hv->lock);
    int nr = epoll_wait(hv->epoll_fd, events, EVENTS_MAX, -1);
    int error = errno;
    pthread_mutex_lock(&hv->lock);
    xp_spent_begin(&hv->spent);
    return act_on(hv, events, nr, error);
}
